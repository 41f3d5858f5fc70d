from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from tests.fakes.memory import PLACE, MemoryDirectories, MemoryLocks
from tests.unit.cache.conftest import GIB, IMAGE, World, volume
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.importer import ABANDONED_AFTER
from vmdk_cache.cache.key import CacheKey, lock_name, template_name
from vmdk_cache.cache.record import Record
from vmdk_cache.periodic.findings import Finding, Kind
from vmdk_cache.periodic.reconcile import LOCK, Reconcile

KEY = CacheKey.of(IMAGE, "lsiLogic")
NAME = template_name("b1", KEY)
ABANDONED_S = ABANDONED_AFTER.total_seconds()


class Checked(World):
    """A world with its directories, and the reconcile of one process."""

    def __init__(self) -> None:
        super().__init__()
        self.directories = MemoryDirectories()
        self.locks = MemoryLocks()
        self.reconcile = self.checker()

    def checker(self) -> Reconcile:
        parts: dict[str, Any] = {"store": self.store, "locks": self.locks}
        return Reconcile(
            "b1",
            directories=self.directories,
            evictor=Evictor("b1", leases=self.leases, events=self.events.append, **parts),
            clock=self.clock,
            now=self.clock.now,
            **parts,
        )

    def check(self, **options: bool) -> list[Finding]:
        return list(self.reconcile.check(**options).findings)

    def put(self, **changes: Any) -> CacheEntry:
        """A READY template, changed."""
        entry = self.store.finish_import(self.store.begin_import(KEY, GIB))
        entry = dataclasses.replace(entry, **changes)
        self.store.vms[entry.moref] = entry
        return entry

    def break_off(self) -> CacheEntry:
        """An import whose importer dies."""
        entry = self.store.begin_import(KEY, GIB)
        self.store.importing.discard(entry.moref)
        return entry


@pytest.fixture
def world() -> Checked:
    return Checked()


def kinds(findings: list[Finding]) -> list[tuple[Kind, bool]]:
    return [(finding.kind, finding.fixed) for finding in findings]


def test_a_cache_in_order_has_no_findings(world: Checked) -> None:
    world.engine.create_volume(IMAGE, volume(), world.source)
    world.directories.names = world.directories.in_use = {NAME}
    assert world.check(fix=True, remove_directories=True) == []
    assert len(world.store.vms) == 1


def test_an_import_under_way_is_no_finding_however_long_it_takes(world: Checked) -> None:
    world.store.begin_import(KEY, GIB)
    for _ in range(3):
        world.clock.advance(10**6)
        assert world.check(fix=True) == []
    assert len(world.store.vms) == 1


def test_an_import_between_its_last_byte_and_its_mark_is_left_alone(world: Checked) -> None:
    world.clock.advance(10**6)
    world.break_off()
    assert world.check(fix=True) == []
    world.clock.advance(ABANDONED_S - 1)
    assert world.check(fix=True) == []
    assert len(world.store.vms) == 1


def test_an_import_whose_importer_is_gone_is_removed_at_the_second_look(world: Checked) -> None:
    entry = world.break_off()
    assert world.check(fix=True) == []
    world.clock.advance(ABANDONED_S)
    (finding,) = world.check(fix=True)
    assert (finding.kind, finding.where, finding.fixed) == (Kind.HALF_IMPORTED, entry.moref, True)
    assert world.store.vms == {}
    assert world.clock.slept == []


def test_a_process_that_looks_once_looks_twice_at_an_old_import(world: Checked) -> None:
    world.break_off()
    world.clock.advance(10**6)
    assert kinds(world.check(fix=True)) == [(Kind.HALF_IMPORTED, True)]
    assert world.clock.slept == [ABANDONED_S]


def test_an_old_import_that_goes_on_meanwhile_is_left_alone(world: Checked) -> None:
    entry = world.break_off()
    world.clock.advance(10**6)
    sleep = world.clock.sleep

    def go_on(seconds: float) -> None:
        world.store.finish_import(entry)
        sleep(seconds)

    world.clock.sleep = go_on  # type: ignore[method-assign]
    assert world.check(fix=True) == []
    assert world.store.vms[entry.moref].phase is Phase.READY


def test_an_import_that_was_seen_at_work_again_is_given_time_again(world: Checked) -> None:
    entry = world.break_off()
    world.check(fix=True)
    world.clock.advance(ABANDONED_S - 1)
    world.store.importing.add(entry.moref)
    world.check(fix=True)
    world.store.importing.clear()
    world.store.vms[entry.moref] = dataclasses.replace(entry, record=_young(entry, world))
    world.clock.advance(1)
    assert world.check(fix=True) == []
    assert len(world.store.vms) == 1


def test_an_import_whose_key_is_locked_is_somebodys(world: Checked) -> None:
    world.break_off()
    for _ in range(3):
        world.clock.advance(10**6)
        with world.locks.hold(lock_name(KEY), 1):
            assert world.check(fix=True) == []
    assert len(world.store.vms) == 1


def test_a_half_import_that_vcenter_holds_stays_until_the_next_check(world: Checked) -> None:
    entry = world.break_off()
    world.clock.advance(10**6)
    world.store.in_use = {entry.moref}
    (finding,) = world.check(fix=True)
    assert not finding.fixed
    assert "in use" in finding.says
    world.store.in_use = set()
    assert kinds(world.check(fix=True)) == [(Kind.HALF_IMPORTED, True)]


def test_a_template_without_its_files_is_removed_at_once(world: Checked) -> None:
    world.put(phase=Phase.FOREIGN, record=None, accessible=False, has_config=False)
    assert kinds(world.check(fix=True)) == [(Kind.FILES_LOST, True)]
    assert world.store.vms == {}


def test_a_template_on_a_datastore_that_is_out_of_reach_is_kept(world: Checked) -> None:
    world.put(accessible=False, datastore="datastore-9")
    (finding,) = world.check(fix=True)
    assert (finding.kind, finding.fixed) == (Kind.FILES_LOST, False)
    assert "not accessible" in finding.says
    assert len(world.store.vms) == 1


def test_a_template_with_our_tagged_name_and_no_record_is_removed(world: Checked) -> None:
    world.put(phase=Phase.ADOPTED, record=None)
    assert kinds(world.check(fix=True)) == [(Kind.RECORD_BROKEN, True)]
    assert world.store.vms == {}


def test_a_template_without_a_record_that_is_being_imported_anew_stays(world: Checked) -> None:
    world.put(phase=Phase.ADOPTED, record=None)
    with world.locks.hold(lock_name(KEY), 1):
        assert kinds(world.check(fix=True)) == [(Kind.RECORD_BROKEN, False)]
    assert len(world.store.vms) == 1


def test_templates_of_the_prior_art_are_the_purges(world: Checked) -> None:
    name = f"b1_image_cache ({IMAGE.id})"
    world.put(phase=Phase.ADOPTED, record=None, name=name)
    assert world.check(fix=True) == []
    assert len(world.store.vms) == 1


def test_a_vm_without_configuration_is_given_time_like_an_import(world: Checked) -> None:
    shell = world.put(phase=Phase.FOREIGN, record=None, has_config=False)
    assert world.check(fix=True) == []
    world.clock.advance(ABANDONED_S)
    world.store.importing.add(shell.moref)
    assert world.check(fix=True) == []
    world.store.importing.clear()
    assert world.check(fix=True) == []
    world.clock.advance(ABANDONED_S)
    assert kinds(world.check(fix=True)) == [(Kind.WITHOUT_CONFIG, True)]
    assert world.store.vms == {}


THEIRS = CacheEntry("vm-99", "golden", Phase.FOREIGN, None, PLACE.datastore, 2000, GIB)
OF_B2 = dataclasses.replace(
    THEIRS,
    name=template_name("b2", KEY),
    record=Record("b2", KEY, GIB, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "h:1"),
)
OF_A_LATER_VERSION = dataclasses.replace(
    THEIRS, name=NAME, record=Record.from_json('{"schema": 2}'), accessible=False
)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (THEIRS, Kind.FOREIGN),
        (OF_A_LATER_VERSION, Kind.FOREIGN),
        (dataclasses.replace(THEIRS, has_config=False), Kind.WITHOUT_CONFIG),
        (dataclasses.replace(THEIRS, has_config=False, accessible=False), Kind.WITHOUT_CONFIG),
        (dataclasses.replace(THEIRS, name=NAME), Kind.FOREIGN),
        (OF_B2, Kind.OTHER_BACKEND),
    ],
)
def test_what_is_not_ours_is_told_and_never_touched(
    world: Checked, entry: CacheEntry, kind: Kind
) -> None:
    world.store.vms = {entry.moref: entry}
    for _ in range(3):
        world.clock.advance(10**6)
        (finding,) = world.check(fix=True, remove_directories=True)
        assert (finding.kind, finding.name, finding.fixed) == (kind, entry.name, False)
        assert finding.says
    assert world.store.vms == {entry.moref: entry}
    assert world.store.calls["destroy"] == 0


def test_a_template_of_a_later_version_is_not_told_to_be_deleted(world: Checked) -> None:
    world.store.vms = {OF_A_LATER_VERSION.moref: OF_A_LATER_VERSION}
    (finding,) = world.check(fix=True)
    assert "a later version" in finding.says
    assert "delete" not in finding.says


def test_a_check_that_is_not_to_fix_changes_nothing_and_waits_for_nothing(world: Checked) -> None:
    world.break_off()
    world.directories.names = {NAME}
    world.store.vms["vm-50"] = dataclasses.replace(
        THEIRS, moref="vm-50", name=template_name("b1", CacheKey(IMAGE.id, "x", "ide")),
        phase=Phase.ADOPTED,
    )  # fmt: skip
    world.clock.advance(10**6)
    before = dict(world.store.vms)
    assert kinds(world.check()) == [(Kind.HALF_IMPORTED, False), (Kind.RECORD_BROKEN, False)]
    assert world.store.vms == before
    assert world.clock.slept == []


def test_one_template_that_cannot_be_deleted_does_not_keep_the_others(world: Checked) -> None:
    for adapter_type in ("ide", "busLogic"):
        entry = world.store.begin_import(dataclasses.replace(KEY, adapter_type=adapter_type), GIB)
        world.store.importing.discard(entry.moref)
    world.clock.advance(10**6)
    world.store.faults["destroy"] = [errors.NoPermission("no right to delete")]
    assert sorted(finding.fixed for finding in world.check(fix=True)) == [False, True]
    assert len(world.store.vms) == 1


def test_two_processes_do_not_check_at_once(world: Checked) -> None:
    with world.locks.hold(LOCK, 1):
        report = world.reconcile.check(fix=True)
    assert report.skipped
    assert world.store.calls["entries"] == 0


@pytest.mark.parametrize("name", [NAME, f"{NAME}_1"])
def test_an_orphaned_directory_is_listed_and_only_deleted_when_that_is_asked_for(
    world: Checked, name: str
) -> None:
    world.directories.names = {name}
    (finding,) = world.check(fix=True)
    assert (finding.kind, finding.where) == (Kind.DIRECTORY_ORPHANED, f"[ds1] {name}")
    assert not finding.fixed
    assert world.directories.names == {name}
    assert kinds(world.check(remove_directories=True)) == [(Kind.DIRECTORY_ORPHANED, True)]
    assert world.directories.names == set()


@pytest.mark.parametrize(
    "name",
    [
        "b1_image_cache (backups)",
        f"b1_image_cache ({IMAGE.id})",
        f"b1_image_cache ({IMAGE.id}) 0badc0de and more",
        template_name("b2", KEY),
        "volume-1",
    ],
)
def test_a_directory_that_no_name_of_ours_explains_is_never_deleted(
    world: Checked, name: str
) -> None:
    world.directories.names = {name}
    assert world.check(fix=True, remove_directories=True) == []
    assert world.directories.names == {name}


def test_a_directory_is_not_deleted_under_an_import_of_its_name(world: Checked) -> None:
    world.directories.names = {NAME}
    with world.locks.hold(lock_name(KEY), 1):
        (finding,) = world.check(remove_directories=True)
    assert not finding.fixed
    assert world.directories.names == {NAME}


def test_a_directory_that_an_import_took_since_it_was_listed_is_not_deleted(
    world: Checked,
) -> None:
    world.directories.names = {NAME}
    unused = world.directories.unused

    def taken(*args: Any) -> Any:
        found = unused(*args)
        world.directories.in_use = {NAME}
        return found

    world.directories.unused = taken  # type: ignore[method-assign, assignment]
    assert world.check(remove_directories=True) == []
    assert world.directories.names == {NAME}


def test_a_datastore_that_cannot_be_searched_is_told_and_keeps_nothing_else(
    world: Checked,
) -> None:
    world.directories.fault = errors.NoPermission("Datastore.Browse")
    world.put(phase=Phase.ADOPTED, record=None)
    assert kinds(world.check(fix=True)) == [
        (Kind.RECORD_BROKEN, True),
        (Kind.DATASTORE_UNREAD, False),
    ]


def _young(entry: CacheEntry, world: Checked) -> Record:
    assert entry.record is not None
    return dataclasses.replace(entry.record, created_at=world.clock.now())
