"""Templates and their clones."""

from __future__ import annotations

import hashlib
import threading
import uuid

import pytest

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import (
    IMAGE,
    MIB,
    RECORD_KEY,
    CountingSession,
    Place,
    clone_request,
    content_of,
    end_session,
    import_vm,
)
from vmdk_cache import errors
from vmdk_cache.vim import properties, template, virtual_machine
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import VmInfo


def test_marking_twice_is_fine(session: Session, waiter: TaskWaiter, place: Place) -> None:
    moref = import_vm(session, waiter, place)

    template.mark_as_template(session, moref)
    template.mark_as_template(session, moref)

    found = virtual_machine.get_vm(session, moref, RECORD_KEY)
    assert found is not None
    assert found.is_template


def test_a_template_is_found_by_its_name_in_its_folder_only(
    session: Session, place: Place, source: VmInfo
) -> None:
    name = place.named("image")
    assert virtual_machine.find_vm(session, place.folder, name, RECORD_KEY) == source
    assert virtual_machine.find_vm(session, place.folder, name[:-1], RECORD_KEY) is None
    assert virtual_machine.find_vm(session, place.datacenter.vm_folder, name, RECORD_KEY) is None


def test_listing_a_folder_is_one_request(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    for number in range(3):
        import_vm(session, waiter, place, f"image {number}")
    before = session.request_count

    found = virtual_machine.list_vms(session, place.folder, RECORD_KEY)

    assert session.request_count - before == 1
    names = ("image", "image 0", "image 1", "image 2")
    assert sorted(vm.name for vm in found) == [place.named(name) for name in names]
    assert source in found


def test_a_key_that_is_not_set_reads_as_none(
    session: Session, place: Place, source: VmInfo
) -> None:
    (found,) = virtual_machine.list_vms(session, place.folder, "vmdk_cache.other")

    assert found.extra_config_record is None
    assert found.disks == source.disks


def test_a_clone_has_its_own_identity_and_nothing_of_the_template(
    target: Target, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    identity = str(uuid.uuid4())
    request = clone_request(place, source, "volume-1", instance_uuid=identity)

    moref = template.clone(session, waiter, source.moref, request, timeout_s=60)
    template.finish_clone(session, waiter, moref, 4 * MIB, identity, forbidden_key=RECORD_KEY)

    clone = virtual_machine.get_vm(session, moref, RECORD_KEY)
    assert clone is not None
    assert clone.name == place.named("volume-1")
    assert not clone.is_template
    assert clone.instance_uuid == identity
    assert clone.extra_config_record is None
    assert clone.annotation == ""
    (disk,) = clone.disks
    assert disk.capacity_bytes == 4 * MIB
    assert uuid.UUID(disk.uuid) == uuid.UUID(identity)
    assert disk.file_name != source.disks[0].file_name
    own = virtual_machine.get_vm(session, moref, "cinder.volume.id")
    assert own is not None
    assert own.extra_config_record == "volume-1"
    manager = properties.read_one(session, "VirtualMachine", moref, ["config.managedBy"])
    assert manager.get("config.managedBy") is None
    if not target.is_vcsim:  # which keeps no content
        content = content_of(session, moref)
        assert hashlib.sha256(content).hexdigest() == IMAGE.disk_sha256


@pytest.mark.parametrize("disk_type", ["thin", "thick", "eagerZeroedThick"])
def test_a_clone_has_the_disk_type_that_was_requested(
    target: Target,
    session: Session,
    waiter: TaskWaiter,
    place: Place,
    source: VmInfo,
    disk_type: str,
) -> None:
    request = clone_request(place, source, disk_type, disk_type=disk_type)

    moref = template.clone(session, waiter, source.moref, request, timeout_s=60)

    clone = virtual_machine.get_vm(session, moref, RECORD_KEY)
    assert clone is not None
    if not target.is_vcsim:  # which ignores disk locators
        assert clone.disks[0].thin == (disk_type == "thin")


def test_an_unknown_disk_type_is_refused_before_anything_is_sent(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    before = session.request_count
    request = clone_request(place, source, "volume-1", disk_type="sparse")

    with pytest.raises(ValueError, match="eagerZeroedThick"):
        template.clone(session, waiter, source.moref, request, timeout_s=60)

    assert session.request_count == before


def test_a_clone_to_another_datastore_lives_there_alone(
    target: Target, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    other = place.other_datastore
    request = clone_request(place, source, "replica", datastore=other.moref, as_template=True)

    moref = template.clone(session, waiter, source.moref, request, timeout_s=60)

    replica = virtual_machine.get_vm(session, moref, RECORD_KEY)
    assert replica is not None
    assert replica.is_template
    assert replica.datastores == (other.moref,)


def test_a_second_clone_of_a_name_is_refused_and_names_the_first(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    request = clone_request(place, source, "volume-1")
    first = template.clone(session, waiter, source.moref, request, timeout_s=60)

    with pytest.raises(errors.NameTaken) as caught:
        template.clone(session, waiter, source.moref, request, timeout_s=60)

    assert caught.value.moref == first


def test_a_template_that_is_gone_is_not_found(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    template.destroy(session, waiter, source.moref)

    with pytest.raises(errors.ObjectNotFound) as caught:
        template.clone(
            session, waiter, source.moref, clone_request(place, source, "v"), timeout_s=60
        )

    assert caught.value.moref == source.moref


def test_a_clone_that_carries_the_record_is_refused(
    target: Target, session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    """vcsim's clones inherit no extraConfig, so there the key is set on purpose."""
    inherited = {RECORD_KEY: "x"} if target.is_vcsim else {}
    request = clone_request(place, source, "volume-1", extra_config=inherited)
    moref = template.clone(session, waiter, source.moref, request, timeout_s=60)

    with pytest.raises(errors.TaskFailed, match=RECORD_KEY):
        template.finish_clone(session, waiter, moref, forbidden_key=RECORD_KEY)


def test_a_disk_does_not_shrink(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    request = clone_request(place, source, "volume-1")
    moref = template.clone(session, waiter, source.moref, request, timeout_s=60)

    with pytest.raises(errors.NotSupported, match="cannot shrink"):
        template.finish_clone(session, waiter, moref, MIB // 2)


def test_destroying_what_is_gone_is_success(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    template.destroy(session, waiter, source.moref)
    template.destroy(session, waiter, source.moref)

    assert virtual_machine.get_vm(session, source.moref, RECORD_KEY) is None
    assert virtual_machine.list_vms(session, place.folder, RECORD_KEY) == []


def test_a_hundred_clones_at_once_send_two_requests_each_and_share_the_rest(
    target: Target, place: Place, source: VmInfo
) -> None:
    """Each volume sends an exact number of requests of its own.

    How many requests volumes share depends on which of them coincide, and so on the machine's
    speed: a place in the watch (at most one per task), a look at the new VM (at most one per
    volume), and the long polls, which are not counted here. Benchmarks measure the total.
    """
    failures: list[BaseException] = []
    session = CountingSession(target.endpoint())
    waiter = TaskWaiter(session)

    def make(number: int) -> None:
        try:
            request = clone_request(place, source, f"volume-{number}")
            moref = template.clone(session, waiter, source.moref, request, timeout_s=120)
            template.finish_clone(session, waiter, moref, 2 * MIB, str(uuid.uuid4()))
        except BaseException as error:
            failures.append(error)

    with session:
        threads = [threading.Thread(target=make, args=(number,)) for number in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        asked = session.asked.copy()
        waiter.close()
        assert not failures
        assert len(virtual_machine.list_vms(session, place.folder, RECORD_KEY)) == 101

    assert 1 <= asked.pop("ModifyListView") <= 200
    assert 1 <= asked.pop("RetrievePropertiesEx") <= 100
    assert asked == {
        "CloneVM_Task": 100,
        "ReconfigVM_Task": 100,
        "CreatePropertyCollector": 1,
        "CreateListView": 1,
        "CreateFilter": 1,
    }


def test_clones_go_on_over_a_lost_session(
    session: Session, waiter: TaskWaiter, place: Place, source: VmInfo
) -> None:
    first = clone_request(place, source, "volume-1")
    template.clone(session, waiter, source.moref, first, timeout_s=60)
    end_session(session)

    second = clone_request(place, source, "volume-2")

    assert template.clone(session, waiter, source.moref, second, timeout_s=60)
    assert session.generation == 2
