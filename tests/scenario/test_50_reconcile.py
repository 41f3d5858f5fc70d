"""What crashes, admins and broken storage leave in the cache's folder, on the fake vCenter."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.fakes.images import FakeImage, FakeImageSource
from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.virtual_machine import VirtualMachine
from tests.fakes.vcenter.virtual_machine_create import make_directory
from tests.fakes.vcenter.virtual_machine_devices import Devices
from tests.scenario.conftest import FOLDER, RECORD_KEY, Lab, running_cache, volume
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.findings import Kind
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.cache.record import Record
from vmdk_cache.conf import Settings
from vmdk_cache.vim import inventory, template, virtual_machine
from vmdk_cache.vim.session import Endpoint
from vmdk_cache.vim.template import DESTROY_WITHIN_S

LEASE_TIMEOUT_S = 300
DATASTORES = ("DC0_DS0", "DC0_DS1")


def kinds(lab: Lab, **options: bool) -> list[tuple[Kind, bool]]:
    report = lab.cache.reconcile.check(**options)
    return [(finding.kind, finding.fixed) for finding in report.findings]


def template_vm(lab: Lab) -> Any:
    (name,) = lab.templates()
    return lab.vcenter.find_vm(name)


def storage_of(lab: Lab, vm: Any) -> Any:
    return lab.vcenter.datastore(vm.config.files.vmPathName[1:].split("]")[0]).storage


def import_in_a_process(endpoint: Endpoint, locks_url: str, disk_image: FakeImage) -> None:
    with running_cache(endpoint, locks_url, lambda event: None) as cache:
        cache.images.create_volume(disk_image.image(), volume(1), FakeImageSource(disk_image))


def kill_an_importer(lab: Lab, method: str) -> None:
    """A process dies just before vCenter hears of its call of ``method``."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(
        target=import_in_a_process, args=(lab.endpoint, lab.locks_url, lab.disk_image)
    )
    process.start()

    def kill() -> None:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)

    rule = lab.vcenter.fault_rules.add(method, drop="before", action=kill)
    process.join(60)
    assert (rule.hits, process.exitcode) == (1, -signal.SIGKILL)


@pytest.mark.parametrize("method", ["nfc:POST", "HttpNfcLeaseComplete"])
def test_an_importer_killed_under_its_lease_leaves_nothing(lab: Lab, method: str) -> None:
    kill_an_importer(lab, method)
    assert kinds(lab, fix=True) == []  # vCenter's task says that somebody may still be at it
    lab.eventually(lab.assert_nothing_left, advancing_s=LEASE_TIMEOUT_S + 1)
    assert kinds(lab, fix=True) == []


@pytest.mark.parametrize("method", ["RefreshStorageInfo", "MarkAsTemplate"])
def test_an_importer_killed_after_its_lease_leaves_a_vm_that_a_check_removes(
    lab: Lab, method: str
) -> None:
    kill_an_importer(lab, method)
    assert kinds(lab, fix=True) == []
    assert len(lab.vcenter.vms()) == 1
    lab.vcenter.clock.advance(61)
    assert kinds(lab) == [(Kind.HALF_IMPORTED, False)]
    assert kinds(lab, fix=True) == [(Kind.HALF_IMPORTED, True)]
    lab.assert_nothing_left()


def test_a_process_that_was_just_started_removes_an_old_half_import(lab: Lab) -> None:
    kill_an_importer(lab, "MarkAsTemplate")
    lab.vcenter.clock.advance(61)
    lab.cache = lab.process(Settings(enabled=False))
    assert kinds(lab, fix=True) == [(Kind.HALF_IMPORTED, True)]
    lab.assert_nothing_left()


def test_a_half_import_on_a_datastore_that_is_no_longer_used_is_removed(lab: Lab) -> None:
    kill_an_importer(lab, "MarkAsTemplate")
    lab.vcenter.clock.advance(61)
    lab.cache = lab.process(datastore_regex="another")
    assert kinds(lab, fix=True) == [(Kind.HALF_IMPORTED, True)]
    lab.assert_nothing_left()


def test_a_check_in_the_middle_of_an_import_does_no_harm(lab: Lab) -> None:
    other = lab.process()

    def check() -> None:
        lab.vcenter.clock.advance(61)
        assert other.reconcile.check(fix=True, remove_directories=True).findings == ()

    for method in ("nfc:POST", "HttpNfcLeaseComplete", "RefreshStorageInfo", "MarkAsTemplate"):
        lab.vcenter.fault_rules.add(method, action=check)
    assert [lab.create(1), lab.create(2)] == [False, True]


@pytest.mark.parametrize("noticed", [True, False])
def test_a_template_whose_files_were_deleted_goes_and_is_imported_again(
    lab: Lab, noticed: bool
) -> None:
    lab.create(1)
    vm = template_vm(lab)
    storage_of(lab, vm).delete(vm.name)
    if noticed:
        virtual_machine.refresh_storage(lab.cache.session, vm.moref)
        assert kinds(lab) == [(Kind.FILES_LOST, False)]
        assert kinds(lab, fix=True) == [(Kind.FILES_LOST, True)]
        assert lab.vcenter.find_vm(vm.name) is None
    assert not lab.create(2)
    assert len(lab.templates()) == 1


def write_record(lab: Lab, text: str) -> None:
    """Have the one template say something else of itself, as an admin could."""
    session, moref = lab.cache.session, template_vm(lab).moref
    host = inventory.snapshot(session).hosts[0]
    pool = vim.ResourcePool(host.pool)
    session.invoke(
        "VirtualMachine", moref, "MarkAsVirtualMachine", pool=pool, host=vim.HostSystem(host.moref)
    )
    option = vim.option.OptionValue(key=RECORD_KEY, value=text)
    task = session.invoke(
        "VirtualMachine", moref, "ReconfigVM_Task", spec=vim.vm.ConfigSpec(extraConfig=[option])
    )
    lab.cache.waiter.wait(task, timeout_s=60)
    template.mark_as_template(session, moref)
    lab.cache = lab.process()  # one that does not remember what it said a moment ago


def test_a_template_without_a_record_goes_and_is_imported_again(lab: Lab) -> None:
    lab.create(1)
    write_record(lab, "{}")
    with pytest.raises(errors.NotCacheable):
        lab.create(2)
    assert kinds(lab) == [(Kind.RECORD_BROKEN, False)]
    assert kinds(lab, fix=True) == [(Kind.RECORD_BROKEN, True)]
    assert not lab.create(3)


def test_a_template_of_a_later_version_is_told_and_left_alone_and_not_served(lab: Lab) -> None:
    """While a cloud is upgraded, processes of two versions share the folder."""
    lab.create(1)
    (name,) = lab.templates()
    write_record(lab, '{"schema": 99, "content": "whatever that version says of it"}')
    with pytest.raises(errors.NotCacheable):
        lab.create(2)
    lab.vcenter.clock.advance(10**7)
    assert lab.cache.purge.run() == []
    assert kinds(lab, fix=True, remove_directories=True) == [(Kind.FOREIGN, False)]
    assert lab.templates() == [name]


def test_an_admins_vm_in_our_folder_is_told_and_left_alone(lab: Lab) -> None:
    lab.create(1, folder=FOLDER)
    assert kinds(lab, fix=True, remove_directories=True) == [(Kind.FOREIGN, False)]
    lab.vcenter.clock.advance(10**7)
    assert len(lab.cache.purge.run()) == 1
    vm = lab.vcenter.find_vm(volume(1).name)
    storage_of(lab, vm).delete(vm.name)
    virtual_machine.refresh_storage(lab.cache.session, vm.moref)
    for _ in range(2):
        assert kinds(lab, fix=True, remove_directories=True) == [(Kind.WITHOUT_CONFIG, False)]
        lab.vcenter.clock.advance(61)
    assert lab.vcenter.find_vm(volume(1).name) is not None


def test_templates_of_another_backend_are_told_and_left_alone(lab: Lab) -> None:
    lab.create(1)
    own, lab.cache = lab.cache, lab.process(name="b2")
    lab.create(2)
    assert kinds(lab, fix=True, remove_directories=True) == [(Kind.OTHER_BACKEND, False)]
    lab.cache = own
    assert kinds(lab, fix=True, remove_directories=True) == [(Kind.OTHER_BACKEND, False)]
    lab.vcenter.clock.advance(10**7)
    (gone,) = own.purge.run()
    assert gone.name.startswith("b1_")
    assert [name[:3] for name in lab.templates()] == ["b2_"]


def test_orphaned_directories_are_listed_and_deleted_only_when_that_is_asked_for(lab: Lab) -> None:
    lab.create(1)
    (used,) = lab.templates()
    storage = storage_of(lab, lab.vcenter.find_vm(used))
    ours = template_name("b1", CacheKey(lab.image.id, "left", "ide"))
    others = [template_name("b2", CacheKey(lab.image.id, "left", "ide")), "b1_image_cache (mine)"]
    for name in (ours, *others):
        storage.make_directory(name)
        storage.create(f"{name}/disk.vmdk")
    (finding,) = lab.cache.reconcile.check(fix=True).findings
    assert (finding.kind, finding.fixed) == (Kind.DIRECTORY_ORPHANED, False)
    assert finding.where == f"[{storage.name}] {ours}"
    assert storage.is_directory(ours)
    assert kinds(lab, remove_directories=True) == [(Kind.DIRECTORY_ORPHANED, True)]
    assert not storage.exists(ours)
    assert {used, *others} <= set(storage.directories())
    assert lab.create(2)


@pytest.fixture
def shared(disk_image: FakeImage, tmp_path: pathlib.Path) -> Iterator[Lab]:
    """Both datacenters mount DC0_DS0, which is DC1_DS0 in the second; the cache uses the first."""
    model = Model(datacenters=2, hosts_per_cluster=2, datastores=2, shared_datastores=1)
    with VCenter(model) as vcenter:
        made = Lab(vcenter, disk_image, tmp_path)
        with made.stack:
            made.cache = made.process(clusters=("DC0_C0",), datastore_regex="DC._DS0")
            yield made
        assert vcenter.errors == []


def test_a_directory_in_use_through_another_datacenters_datastore_is_no_orphan(
    shared: Lab,
) -> None:
    """A machine of the second datacenter has files in a directory that bears one of our names."""
    there = shared.process(clusters=("DC1_C0",), datastore_regex="DC1_DS0")
    there.images.warm(shared.image, "lsiLogic", shared.source)
    vm = template_vm(shared)
    directory = vm.directory
    task = shared.cache.session.invoke("VirtualMachine", vm.moref, "Rename_Task", newName="kept")
    shared.cache.waiter.wait(task, timeout_s=60)
    found = {kind for kind, _ in kinds(shared, fix=True, remove_directories=True)}
    assert Kind.DIRECTORY_ORPHANED not in found
    assert shared.vcenter.datastore("DC0_DS0").storage.is_directory(directory)
    assert shared.vcenter.datastore("DC1_DS0").storage.is_directory(directory)


def test_a_directory_on_a_volume_of_two_datacenters_is_told_once(shared: Lab) -> None:
    storage = shared.vcenter.datastore("DC0_DS0").storage
    ours = template_name("b1", CacheKey(shared.image.id, "left", "ide"))
    storage.make_directory(ours)
    shared.cache = shared.process(datastore_regex="DC._DS0")
    assert kinds(shared) == [(Kind.DIRECTORY_ORPHANED, False)]
    assert kinds(shared, remove_directories=True) == [(Kind.DIRECTORY_ORPHANED, True)]
    assert not storage.exists(ours)


def test_a_volume_that_cannot_be_looked_at_from_all_its_datacenters_keeps_its_directories(
    shared: Lab,
) -> None:
    storage = shared.vcenter.datastore("DC0_DS0").storage
    ours = template_name("b1", CacheKey(shared.image.id, "left", "ide"))
    storage.make_directory(ours)
    assert kinds(shared) == [(Kind.DIRECTORY_ORPHANED, False)]
    shared.vcenter.fault_rules.add(
        "RetrievePropertiesEx",
        vim.fault.NoPermission(privilegeId="System.View"),
        skip=2,  # the browser, and the machines of the backend's own datastore
    )
    assert kinds(shared, remove_directories=True) == [(Kind.DATASTORE_UNREAD, False)]
    assert storage.exists(ours)


def test_no_datastore_outside_the_backends_is_searched(lab: Lab) -> None:
    ours = template_name("b1", CacheKey(lab.image.id, "left", "ide"))
    for name in DATASTORES:
        lab.vcenter.datastore(name).storage.make_directory(ours)
    lab.cache = lab.process(datastore_regex="DC0_DS1")
    (finding,) = lab.cache.reconcile.check().findings
    assert finding.where == f"[DC0_DS1] {ours}"


def test_a_datastore_that_may_not_be_searched_is_told(lab: Lab) -> None:
    refusal = vim.fault.NoPermission(privilegeId="Datastore.Browse")
    lab.vcenter.fault_rules.add("SearchDatastore_Task", refusal, times=None)
    assert kinds(lab) == [(Kind.DATASTORE_UNREAD, False)] * 2


@pytest.mark.parametrize("ever", [True, False])
def test_a_cache_folder_that_does_not_exist_is_no_error(lab: Lab, ever: bool) -> None:
    if ever:
        lab.create(1)
        folder = template_vm(lab).parent.moref
        task = lab.cache.session.invoke("Folder", folder, "Destroy_Task")
        lab.cache.waiter.wait(task, timeout_s=60)
    lab.vcenter.request_log.reset()
    lab.cache.housekeeping.run()
    assert kinds(lab, fix=True) == []
    assert lab.cache.capacity() == ()
    assert lab.vcenter.request_log.count("CreateFolder") == 0
    assert not lab.create(2)


def test_what_a_check_cannot_delete_blocks_nothing_else(lab: Lab) -> None:
    kill_an_importer(lab, "MarkAsTemplate")
    lab.cache = lab.process()
    ours = template_name("b1", CacheKey(lab.image.id, "left", "ide"))
    storage = lab.vcenter.datastore(DATASTORES[0]).storage
    storage.make_directory(ours)
    lab.vcenter.clock.advance(61)
    rule = lab.vcenter.fault_rules.add("Destroy_Task", vmodl.fault.SystemError(reason="made up"))
    assert kinds(lab, fix=True, remove_directories=True) == [
        (Kind.HALF_IMPORTED, False),
        (Kind.DIRECTORY_ORPHANED, True),
    ]
    assert rule.hits == 1
    assert kinds(lab, fix=True) == [(Kind.HALF_IMPORTED, True)]


def put_templates(lab: Lab, count: int, *, age_s: int, first: int) -> None:
    """Copies of the one template, each of an image of its own, put into the fake's inventory.

    :param first: of the numbers that tell them apart
    """
    entry = lab.cache.store.find(CacheKey.of(lab.image, volume().adapter_type))
    assert entry is not None
    assert entry.record is not None
    source = lab.vcenter.find_vm(entry.name)
    born = lab.cache.session.server_time() - datetime.timedelta(seconds=age_s)
    with lab.vcenter.lock:
        for number in range(first, first + count):
            key = dataclasses.replace(entry.record.key, image_id=f"{number:08x}{lab.image.id[8:]}")
            record = dataclasses.replace(entry.record, key=key, created_at=born)
            put_template(source, template_name("b1", key), record)


def put_template(source: Any, name: str, record: Record) -> None:
    """A template like ``source`` where it stands, with another name and record."""
    vm = VirtualMachine(source.vcenter, name, source.host, pool=None)
    vm.template = True
    source.parent.add_child(vm)
    datastore = source.home_datastore
    directory, base_name = make_directory(datastore, "", name)
    vm.make_home(datastore, directory, base_name)
    (attached,) = source.devices.disks
    path = vm.new_disk_path(datastore)
    disk = attached.disk.copy_to(datastore.storage, path, provisioning=attached.disk.provisioning)
    vm.devices = Devices(controllers=list(source.devices.controllers))
    vm.devices.add_disk(disk, attached.controller_key, attached.unit_number, mode=attached.mode)
    vm.settings = source.settings.for_clone()
    option = vim.option.OptionValue(key=RECORD_KEY, value=record.to_json())
    vm.settings.apply(vim.vm.ConfigSpec(extraConfig=[option]))
    vm.complete = True
    vm.touch()


def requests_of(lab: Lab, work: Callable[[], object]) -> collections.Counter[str]:
    """Requests by method."""
    lab.vcenter.request_log.reset()
    work()
    return collections.Counter(lab.vcenter.request_log.by_method())


def times(count: int, requests: collections.Counter[str]) -> collections.Counter[str]:
    return collections.Counter({method: count * each for method, each in requests.items()})


def test_housekeeping_costs_the_same_however_many_templates_there_are(lab: Lab) -> None:
    """Of 1,000 templates as much as of one; only what is deleted costs requests of its own."""
    two_days_s = 2 * 86400
    lab.create(1)
    purge, check = lab.cache.purge.run, lab.cache.reconcile.check
    storage_of(lab, template_vm(lab)).make_directory(
        template_name("b1", CacheKey(lab.image.id, "left", "ide"))
    )
    check()  # the custom attribute's name is read once
    purge_of_one, check_of_one = requests_of(lab, purge), requests_of(lab, check)
    put_templates(lab, 1, age_s=two_days_s, first=1)
    one_deletion = requests_of(lab, purge) - purge_of_one
    assert one_deletion["Destroy_Task"] == 1

    put_templates(lab, 899, age_s=0, first=2)
    put_templates(lab, 100, age_s=two_days_s, first=901)
    assert len(lab.templates()) == 1000
    purge_of_many = requests_of(lab, purge)
    assert len(lab.templates()) == 900
    check_of_many = requests_of(lab, check)

    # In how many pieces vCenter gives news is a matter of the moment: of a task that is queued,
    # runs and has ended, of the machine that goes, and one in which there was none.
    for counts in (purge_of_one, purge_of_many, one_deletion):
        assert counts.pop("WaitForUpdatesEx", 0) <= 5 * (1 + counts["Destroy_Task"])
    assert purge_of_many == purge_of_one + times(100, one_deletion)
    # The inventory is read anew once it is old, and VMs come in pages of a thousand.
    assert check_of_many.total() <= check_of_one.total() + 4


def test_every_template_counts_as_provisioned(lab: Lab) -> None:
    lab.create(1)
    put_templates(lab, 19, age_s=0, first=1)
    (capacity,) = lab.cache.capacity()
    assert capacity.templates == 20
    assert capacity.provisioned_bytes == 20 * lab.disk_image.capacity_bytes
    assert 0 < capacity.unshared_bytes < capacity.provisioned_bytes * 2


def test_a_deletion_that_hangs_holds_no_lock_forever(lab: Lab) -> None:
    """Neither that of the purge, nor that of the template's name."""
    lab.create(1)
    (name,) = lab.templates()
    (doomed,) = lab.cache.store.entries()
    lab.vcenter.fault_rules.add("Destroy_Task", on="task", delay_s=1e9)
    expiring = lab.process(Settings(enabled=True, age_s=100))
    lab.vcenter.clock.advance(1000)
    removed: list[CacheEntry] = []
    purging = threading.Thread(target=lambda: removed.extend(expiring.purge.run()))
    purging.start()

    def ended() -> None:
        for entry in list(expiring.waiter._pending.values()):
            with expiring.waiter._lock:
                entry.changed.notify_all()
        assert not purging.is_alive()

    lab.eventually(ended, advancing_s=DESTROY_WITHIN_S / 4)
    assert removed == []
    assert lab.templates() == [name]
    assert [entry.moref for entry in expiring.purge.run()] == [doomed.moref]
