"""Every row of the crash table in docs/crash-table.rst, by really killing a process.

The rows are read from the document: what they say is left must be left, and each of those who are
said to clean it up must do so alone. Another test sees to it that no call is missing.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pathlib
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any

import pytest
from pyVmomi import vim

from tests.fakes.clock import SharedClock
from tests.fakes.images import FakeImage, FakeImageSource
from tests.fakes.vcenter import Clock, CostModel, Model, VCenter
from tests.scenario.conftest import GIB, Lab, running_cache, volume
from vmdk_cache import wiring
from vmdk_cache.cache.entry import Phase
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.ports import Place
from vmdk_cache.cache.replication import THREAD_NAME
from vmdk_cache.conf import Settings
from vmdk_cache.vim.session import Endpoint

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "crash-table.rst"
LEASE_TIMEOUT_S = 300
AGE_S = 86400
REPLICA_NAME = re.compile(r" [0-9a-f]{8}-[a-z2-7]{4}$")
#: Its name in the table.
WARM_UP = "warm-up, two datastores"
EAGER = "clone, eagerZeroedThick"
ONE_TASK = "clone, in one task"
READS = {
    "CreateFilter",
    "CreateListView",
    "CreatePropertyCollector",
    "CurrentTime",
    "DestroyPropertyCollector",
    "DestroyPropertyFilter",
    "DestroyView",
    "Fetch",
    "FindChild",
    "HttpNfcLeaseProgress",
    "Login",
    "Logout",
    "ModifyListView",
    "Reload",
    "RetrievePropertiesEx",
    "RetrieveServiceContent",
    "WaitForUpdatesEx",
}


# -- the table


@dataclass(frozen=True)
class Row:
    """One row; ``when`` is before, while or after the ``number``-th call of ``method``."""

    work: str
    when: str
    method: str
    number: int
    left: str
    cleaned_by: tuple[str, ...]


def rows() -> list[Row]:
    """The rows of the document's list-table."""
    table = DOCUMENT.read_text().split(".. list-table::")[1].split("\n\n", 2)[1]
    made = []
    for text in re.split(r"^ +\* - ", table, flags=re.MULTILINE)[2:]:
        work, killed, left, cleaned = re.split(r"\n +- ", " ".join(text.split(" ")).strip())
        when, number, method = re.fullmatch(
            r"(before|while|after) (?:the (\d)\w\w )?``(.+)``", killed
        ).groups()  # type: ignore[union-attr]
        made.append(Row(work, when, method, int(number or 1), left, tuple(cleaned.split("; "))))
    return made


def cases() -> list[Any]:
    return [
        pytest.param(
            row, cleaner, id=f"{row.work}, {row.when} {row.method} {row.number}: {cleaner}"
        )
        for row in rows()
        for cleaner in row.cleaned_by
    ]


# -- the world


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    """Time passes here with requests and tasks, and when the test moves it."""
    model = Model(hosts_per_cluster=2, datastores=2)
    with VCenter(model, clock=Clock(scale=0.0), cost_model=CostModel.plain()) as running:
        yield running
        assert running.errors == []


@pytest.fixture
def lab(vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path) -> Iterator[Lab]:
    made = Lab(vcenter, disk_image, tmp_path)
    with made.stack:
        made.clock = SharedClock(vcenter.clock)
        made.cache = made.process(Settings(enabled=True, age_s=AGE_S))
        yield made


def prepare(lab: Lab, work: str) -> set[str]:
    """What is there before; the names of the VMs that the row does not speak of."""
    if work in ("import", WARM_UP):
        return set()
    lab.create(9, folder=("OpenStack", "Project (p9)", "Volumes"))
    if work == ONE_TASK:
        lab.vcenter.switches.disk_uuid_in_clone = "kept"
    if work in ("clone", EAGER, ONE_TASK, "replicate"):
        return {vm.name for vm in lab.vcenter.vms()}
    lab.vcenter.clock.advance(AGE_S + 1)
    if work == "delete, files lost":
        lose_files(lab)
    return {volume(9).name}


def lose_files(lab: Lab) -> None:
    """Somebody deletes the template's directory behind vCenter's back."""
    (template,) = (vm for vm in lab.vcenter.vms() if vm.config.template)
    storage = template.home_datastore.storage
    for path in list(storage.files()):
        if path.startswith(f"{template.directory}/"):
            storage.delete(path)
    storage.delete_if_empty(template.directory)


def create(
    endpoint: Endpoint, locks_url: str, image: FakeImage, dies_at: Event | None = None
) -> None:
    """The work of the process that is killed: one volume.

    :param dies_at: when it is set, the process is in the middle of its upload, and ends there
    """
    source = FakeImageSource(image)
    if dies_at is not None:
        source = FakeImageSource(lambda: half_of(image.file_bytes, dies_at))
    with running_cache(endpoint, locks_url, lambda event: None) as cache:
        cache.images.create_volume(image.image(), volume(1), source)


def create_eager(endpoint: Endpoint, locks_url: str, image: FakeImage) -> None:
    """The work of the process that is killed: one volume whose disk is zeroed in advance."""
    asked = volume(1, disk_type="eagerZeroedThick")
    with running_cache(endpoint, locks_url, lambda event: None) as cache:
        cache.images.create_volume(image.image(), asked, FakeImageSource(image))


def half_of(file_bytes: bytes, dies_at: Event) -> Iterator[bytes]:
    """In pieces: the reader withholds the last one, until it knows that the whole is right."""
    for start in range(0, len(file_bytes) // 2, 1 << 16):
        yield file_bytes[start : start + (1 << 16)]
    dies_at.wait(60)
    os.kill(os.getpid(), signal.SIGKILL)


def purge(endpoint: Endpoint, locks_url: str) -> None:
    """The work of the process that is killed: one purge."""
    settings = Settings(enabled=True, age_s=AGE_S)
    with running_cache(endpoint, locks_url, lambda event: None, settings) as cache:
        cache.purge.run()


def replicate(endpoint: Endpoint, locks_url: str, image: FakeImage, datastores: list[str]) -> None:
    """The work of the process that is killed: one replica."""
    settings = Settings(enabled=True)
    with running_cache(endpoint, locks_url, lambda event: None, settings) as cache:
        make_replica(cache, image, datastores)


def warm(endpoint: Endpoint, locks_url: str, image: FakeImage, datastores: list[str]) -> None:
    """The work of the process that is killed: an import to the first datastore, a copy on the
    other."""
    with running_cache(endpoint, locks_url, lambda event: None) as cache:
        for datastore in datastores:
            cache.images.warm(image.image(), "lsiLogic", FakeImageSource(image), datastore)


def make_replica(cache: wiring.RunningCache, image: FakeImage, datastores: list[str]) -> None:
    """As many volumes as it takes go to the datastore without a copy.

    :param datastores: managed object ids of all
    """
    key = CacheKey.of(image.image(), volume().adapter_type)
    copies = cache.store.copies(key)
    (elsewhere,) = set(datastores) - {copy.datastore for copy in copies}
    for _ in range(Settings().replicate_after + 1):
        cache.replication.asked(key, copies, Place(elsewhere, elsewhere, "", "", ""))
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join(60)


def datastores_of(lab: Lab) -> list[str]:
    return [lab.vcenter.datastore(f"DC0_DS{number}").moref for number in (0, 1)]


def kill_a_process(lab: Lab, row: Row) -> None:
    """Run the row's work in a process of its own and kill it where the row says."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])

    def kill() -> None:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)

    arguments: tuple[Any, ...] = (lab.endpoint, lab.locks_url)
    action: Callable[[], None] = kill
    if not row.work.startswith("delete"):
        arguments += (lab.disk_image,)
    if row.work in ("replicate", WARM_UP):
        arguments += (datastores_of(lab),)
    if (row.when, row.method) == ("while", "nfc:POST"):
        half_sent = context.Event()
        arguments += (half_sent,)
        action = half_sent.set
    lab.vcenter.fault_rules.add(
        row.method,
        on="task" if row.when == "while" and row.method.endswith("_Task") else "call",
        skip=row.number - 1,
        drop="before" if row.when == "before" else None,
        action=action,
    )
    work: dict[str, Callable[..., None]] = {
        "delete": purge,
        "delete, files lost": purge,
        "replicate": replicate,
        WARM_UP: warm,
        EAGER: create_eager,
    }
    process = context.Process(target=work.get(row.work, create), args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, "the process came through: the call was not made"
    lab.vcenter.fault_rules.clear()


# -- what is left


def what_is_there(lab: Lab, ignored: set[str], folders_before: set[str]) -> str:
    """vCenter's state in the words of the table."""
    with lab.vcenter.lock:
        assert [task.method for task in lab.vcenter.tasks.running()] == [
            "ImportVAppLRO" for _ in lab.vcenter.leases()
        ]
        found = [in_words(lab, vm) for vm in lab.vcenter.vms() if vm.name not in ignored]
        if found:
            return "; ".join(found)
        empty = [folder for folder in folders(lab) if folder not in folders_before]
        return "empty folders" if empty else "nothing"


def in_words(lab: Lab, vm: Any) -> str:
    if vm.files_lost:
        return "a machine without its files"
    if vm.config.template:
        return "the replica" if REPLICA_NAME.search(vm.name) else "the template"
    if vm.name == volume(1).name:
        assert vm.config.instanceUuid == volume(1).instance_uuid
        (disk,) = vm.disks
        is_whole = (disk.capacity_bytes, disk.uuid) == (GIB, volume(1).instance_uuid)
        return "the volume" if is_whole else "the volume, not finished"
    held = [lease.vm for lease in lab.vcenter.leases()]
    return "a machine that a lease holds" if vm in held else "a machine that is no template"


def folders(lab: Lab) -> set[str]:
    return {folder.moref for folder in lab.vcenter.registry.of_type(vim.Folder)}


# -- who cleans it up


def nobody(lab: Lab) -> None:
    """Nothing has to."""


def lease_runs_out(lab: Lab) -> None:
    lab.vcenter.clock.advance(LEASE_TIMEOUT_S + 1)


def next_volume(lab: Lab) -> None:
    lab.create(2)


def same_volume(lab: Lab) -> None:
    lab.create(1)


def users_deletion(lab: Lab) -> None:
    """As Cinder's driver deletes a volume: by its uuid, wherever it is."""
    search = str(lab.cache.session.content.searchIndex._GetMoId())
    found = lab.cache.session.invoke(
        "SearchIndex",
        search,
        "FindAllByUuid",
        uuid=volume(1).instance_uuid,
        vmSearch=True,
        instanceUuid=True,
    )
    assert len(found) == 1
    for vm in found:
        lab.cache.session.invoke("VirtualMachine", vm, "Destroy_Task")
    lab.eventually(lambda: gone(lab, volume(1).name))


def next_purge(lab: Lab) -> None:
    assert len(lab.cache.purge.run()) == 1


def reconcile(lab: Lab) -> None:
    """Two looks at an abandoned import, with an action in between."""
    lab.cache.reconcile.check(fix=True)
    lab.vcenter.clock.advance(61)
    lab.cache.reconcile.check(fix=True)


CLEANERS: dict[str, Callable[[Lab], None]] = {
    "nothing to clean": nobody,
    "vCenter, when the lease runs out": lease_runs_out,
    "the next volume from the image": next_volume,
    "the next attempt at the volume": same_volume,
    "the user's deletion of the volume": users_deletion,
    "the next purge": next_purge,
    "a reconcile": reconcile,
}


def gone(lab: Lab, name: str) -> None:
    assert lab.vcenter.find_vm(name) is None


def all_is_well(lab: Lab) -> None:
    """The invariants of the document."""
    assert lab.vcenter.leases() == []
    assert lab.vcenter.tasks.running() == []
    entries = lab.cache.store.entries()
    assert {entry.phase for entry in entries} <= {Phase.READY}
    assert len({entry.datastore for entry in entries}) == len(entries)
    templates = {entry.moref for entry in entries}
    with lab.vcenter.lock:
        for vm in lab.vcenter.vms():
            disk = lab.vcenter.read_disk(vm)
            assert disk.read(0, len(lab.disk_image.disk)) == lab.disk_image.disk, vm.name
            assert vm.moref in templates or disk.size_bytes == GIB, vm.name
        held = [
            path
            for number in (0, 1)
            for path in lab.vcenter.datastore(f"DC0_DS{number}").directories()
        ]
        assert sorted(held) == sorted(vm.directory for vm in lab.vcenter.vms())


@pytest.mark.parametrize(("row", "cleaner"), cases())
def test_what_a_killed_process_leaves_is_cleaned_up(lab: Lab, row: Row, cleaner: str) -> None:
    ignored = prepare(lab, row.work)
    folders_before = folders(lab)
    kill_a_process(lab, row)

    def is_left() -> None:
        assert what_is_there(lab, ignored, folders_before) == row.left

    lab.eventually(is_left)
    CLEANERS[cleaner](lab)
    lab.eventually(lambda: all_is_well(lab))
    lab.create(3)
    all_is_well(lab)
    assert len(lab.templates()) == (2 if "the replica" in row.left else 1)


# -- nothing is missing from the table


def changes(lab: Lab) -> list[tuple[str, int]]:
    """The changing calls since the last reset, in order: method, and the how manieth of it."""
    methods = [r.method for r in lab.vcenter.request_log.recent() if r.method not in READS]
    lab.vcenter.request_log.reset()
    seen: dict[str, itertools.count[int]] = {}
    return [(method, next(seen.setdefault(method, itertools.count(1)))) for method in methods]


def in_table(work: str) -> list[tuple[str, int]]:
    return list(dict.fromkeys((row.method, row.number) for row in rows() if row.work == work))


def test_no_changing_call_is_missing_from_the_table(lab: Lab) -> None:
    lab.vcenter.request_log.reset()
    lab.create(9, folder=("OpenStack", "Project (p9)", "Volumes"))
    first = changes(lab)
    after_import = first.index(("SetField", 1)) + 1
    assert first[:after_import] == in_table("import")
    another = lab.process()
    another.images.create_volume(lab.image, volume(1), lab.source)
    assert changes(lab) == in_table("clone")
    another.images.create_volume(lab.image, volume(2, disk_type="eagerZeroedThick"), lab.source)
    made = changes(lab)
    after_clone = made.index(("ReconfigVM_Task", 1)) + 1
    assert made[after_clone:] == in_table(EAGER)
    lab.vcenter.clock.advance(AGE_S + 1)
    assert len(lab.cache.purge.run()) == 1
    assert changes(lab) == in_table("delete")
    lab.create(3)
    lab.vcenter.clock.advance(AGE_S + 1)
    lose_files(lab)
    lab.vcenter.request_log.reset()
    assert len(lab.cache.purge.run()) == 1
    assert changes(lab) == in_table("delete, files lost")
    lab.create(4)
    lab.vcenter.request_log.reset()
    make_replica(lab.cache, lab.disk_image, datastores_of(lab))
    assert changes(lab) == in_table("replicate")


def test_no_changing_call_of_a_clone_in_one_task_is_missing_from_the_table(lab: Lab) -> None:
    prepare(lab, ONE_TASK)
    lab.vcenter.request_log.reset()
    lab.process().images.create_volume(lab.image, volume(1), lab.source)
    made = changes(lab)
    assert made[made.index(("CloneVM_Task", 1)) :] == in_table(ONE_TASK)


def test_no_changing_call_of_a_warm_up_is_missing_from_the_table(lab: Lab) -> None:
    lab.vcenter.request_log.reset()
    warm(lab.endpoint, lab.locks_url, lab.disk_image, datastores_of(lab))
    made = changes(lab)
    after_import = made.index(("SetField", 1)) + 1
    assert made[:after_import] == in_table("import")
    assert made[after_import:] == in_table(WARM_UP)
