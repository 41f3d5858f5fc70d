from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection
from typing import Any

import pytest

from tests.fakes.clock import ManualClock
from tests.fakes.memory import PLACE, MemoryDirectories, MemoryLocks
from tests.unit.cache.conftest import GIB, IMAGE, World, volume
from vmdk_cache import errors
from vmdk_cache.cache.entry import ABANDONED_AFTER, CacheEntry, Owner, Phase
from vmdk_cache.cache.events import Evicted, Rule
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.findings import Finding, Kind, diagnose
from vmdk_cache.cache.key import CacheKey, lock_name, template_name
from vmdk_cache.cache.ports import Directory
from vmdk_cache.cache.record import Record
from vmdk_cache.periodic.reconcile import ENDS_WITHIN_S, LOCK, REGISTERED_WITHIN_S, Reconcile

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
        context = self.context(locks=self.locks)
        return Reconcile(context, Evictor(context), self.directories)

    def check(self, **options: bool) -> list[Finding]:
        return list(self.reconcile.check(**options).findings)

    def put(self, **changes: Any) -> CacheEntry:
        """A READY template, changed."""
        entry = self.store.finish_import(self.store.put_import(KEY, GIB))
        entry = dataclasses.replace(entry, **changes)
        self.store.vms[entry.moref] = entry
        return entry

    def put_broken(self) -> CacheEntry:
        """A template with a name of ours and no record."""
        name = template_name("b1", dataclasses.replace(KEY, adapter_type="ide"))
        entry = CacheEntry("vm-50", name, Phase.ADOPTED, None, None, 2000, GIB)
        self.store.vms[entry.moref] = entry
        return entry

    def break_off(self) -> CacheEntry:
        """Start an import whose importer dies."""
        entry = self.store.put_import(KEY, GIB)
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
    world.store.put_import(KEY, GIB)
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


def test_an_import_whose_key_is_locked_belongs_to_a_process(world: Checked) -> None:
    world.break_off()
    for _ in range(3):
        world.clock.advance(10**6)
        with world.locks.hold(lock_name(template_name("b1", KEY)), 1):
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


def test_a_template_without_a_record_that_is_being_imported_again_stays(world: Checked) -> None:
    world.put(phase=Phase.ADOPTED, record=None)
    with world.locks.hold(lock_name(template_name("b1", KEY)), 1):
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
CONVERTED = dataclasses.replace(
    OF_B2,
    name=NAME,
    record=Record("b1", KEY, GIB, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "h:1"),
    was_ready=True,
)
OF_A_LATER_VERSION = dataclasses.replace(
    THEIRS, name=NAME, record=Record.from_json('{"schema": 99}'), accessible=False
)


OF_ANOTHER_CLOUD = dataclasses.replace(
    CONVERTED, was_ready=False, owner=Owner.ANOTHER, deployment="auto-there"
)
WITHOUT_RECORD = dataclasses.replace(OF_ANOTHER_CLOUD, record=None)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (THEIRS, Kind.FOREIGN),
        (OF_ANOTHER_CLOUD, Kind.OTHER_DEPLOYMENT),
        (WITHOUT_RECORD, Kind.OTHER_DEPLOYMENT),
        (dataclasses.replace(WITHOUT_RECORD, accessible=False), Kind.OTHER_DEPLOYMENT),
        (dataclasses.replace(WITHOUT_RECORD, has_config=False), Kind.OTHER_DEPLOYMENT),
        (dataclasses.replace(OF_B2, owner=Owner.ANOTHER, deployment="x"), Kind.OTHER_DEPLOYMENT),
        (OF_A_LATER_VERSION, Kind.FOREIGN),
        (dataclasses.replace(THEIRS, has_config=False), Kind.WITHOUT_CONFIG),
        (dataclasses.replace(THEIRS, has_config=False, accessible=False), Kind.WITHOUT_CONFIG),
        (dataclasses.replace(THEIRS, name=NAME), Kind.FOREIGN),
        (CONVERTED, Kind.FOREIGN),
        (dataclasses.replace(CONVERTED, accessible=False), Kind.FOREIGN),
        (OF_B2, Kind.OTHER_BACKEND),
    ],
)
def test_foreign_vms_are_reported_and_never_touched(
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


def test_a_converted_template_is_reported_with_what_to_do(world: Checked) -> None:
    world.store.vms = {CONVERTED.moref: CONVERTED}
    (finding,) = world.check(fix=True)
    assert "convert it back to a template" in finding.says


def test_a_template_of_another_deployment_is_reported_with_both_ids(world: Checked) -> None:
    (diagnosis,) = [diagnose(OF_ANOTHER_CLOUD, "b1", "auto-here")]
    assert diagnosis is not None
    assert not diagnosis.ours
    assert "'auto-there'" in diagnosis.says
    assert "'auto-here'" in diagnosis.says
    assert "image_cache_deployment_id = auto-there" in diagnosis.says


def test_a_template_of_unknown_owner_is_reported_and_stays(world: Checked) -> None:
    ready = world.store.finish_import(world.store.put_import(KEY, GIB))
    world.store.vms[ready.moref] = dataclasses.replace(ready, owner=Owner.UNKNOWN)
    assert kinds(world.check(fix=True)) == [(Kind.OWNER_UNKNOWN, False)]
    assert ready.moref in world.store.vms


def test_a_template_of_a_later_version_is_not_recommended_for_deletion(world: Checked) -> None:
    world.store.vms = {OF_A_LATER_VERSION.moref: OF_A_LATER_VERSION}
    (finding,) = world.check(fix=True)
    assert "a later version" in finding.says
    assert "delete" not in finding.says


def test_a_directory_whose_machine_another_cloud_is_about_to_register_stays(world: Checked) -> None:
    class Registering(ManualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            world.directories.in_use = {NAME}

    world.directories.names = {NAME}
    world.clock = Registering()
    world.reconcile = world.checker()
    assert world.check(remove_directories=True) == []
    assert world.clock.slept == [REGISTERED_WITHIN_S]
    assert world.directories.names == {NAME}


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


def test_one_template_that_cannot_be_deleted_does_not_block_the_others(world: Checked) -> None:
    for adapter_type in ("ide", "busLogic"):
        entry = world.store.put_import(dataclasses.replace(KEY, adapter_type=adapter_type), GIB)
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
        f"b1_image_cache (x)_image_cache ({IMAGE.id}) 0badc0de",
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
    with world.locks.hold(lock_name(template_name("b1", KEY)), 1):
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


def test_a_datastore_that_cannot_be_searched_is_reported_and_blocks_no_other(
    world: Checked,
) -> None:
    world.directories.fault = errors.NoPermission("Datastore.Browse")
    world.put(phase=Phase.ADOPTED, record=None)
    assert kinds(world.check(fix=True)) == [
        (Kind.RECORD_BROKEN, True),
        (Kind.DATASTORE_UNREAD, False),
    ]


def test_a_template_that_can_be_neither_removed_nor_seen_blocks_nothing_else(
    world: Checked,
) -> None:
    for adapter_type in ("ide", "busLogic"):
        entry = world.store.put_import(dataclasses.replace(KEY, adapter_type=adapter_type), GIB)
        world.store.importing.discard(entry.moref)
    world.clock.advance(10**6)
    world.store.faults["destroy"] = [errors.NoPermission("no right to delete")]
    world.store.faults["look_again"] = [None, errors.Unreachable("vCenter is away")]
    found = world.check(fix=True)
    assert kinds(found) == [(Kind.HALF_IMPORTED, False), (Kind.HALF_IMPORTED, True)]
    assert "not now" in found[0].says
    assert world.kinds() == ["Evicted"]


def test_a_half_import_that_goes_on_while_it_is_removed_is_no_finding(world: Checked) -> None:
    entry = world.break_off()
    world.clock.advance(10**6)
    world.store.faults["destroy"] = [errors.InUse("a task uses it")]
    world.store.during["destroy"] = lambda: world.store.vms.pop(entry.moref)
    assert world.check(fix=True) == []
    assert world.events == []


def test_an_import_without_an_answer_from_vcenter_is_checked_next_time(
    world: Checked, caplog: pytest.LogCaptureFixture
) -> None:
    """The other imports are looked at now."""
    caplog.set_level("INFO")
    unknown = world.break_off()
    other = world.store.put_import(dataclasses.replace(KEY, adapter_type="ide"), GIB)
    world.store.importing.discard(other.moref)
    world.clock.advance(10**6)
    is_importing = world.store.is_importing
    away = True

    def ask(entry: CacheEntry) -> bool:
        if away and entry.moref == unknown.moref:
            raise errors.Unreachable("vCenter is away")
        return is_importing(entry)

    world.store.is_importing = ask  # type: ignore[method-assign]
    (finding,) = world.check(fix=True)
    assert (finding.where, finding.fixed) == (other.moref, True)
    assert list(world.store.vms) == [unknown.moref]
    assert "vCenter is away" in caplog.text
    away = False
    (finding,) = world.check(fix=True)
    assert (finding.where, finding.fixed) == (unknown.moref, True)


def test_an_import_whose_key_is_locked_does_not_block_the_others(world: Checked) -> None:
    world.break_off()
    other = world.store.put_import(dataclasses.replace(KEY, adapter_type="ide"), GIB)
    world.store.importing.discard(other.moref)
    world.clock.advance(10**6)
    with world.locks.hold(lock_name(template_name("b1", KEY)), 1):
        report = world.reconcile.check(fix=True)
    assert not report.skipped
    assert [(finding.where, finding.fixed) for finding in report.findings] == [(other.moref, True)]


def test_an_import_that_goes_on_at_the_last_look_is_not_removed(world: Checked) -> None:
    """Its importer seemed to be gone until its lock was held."""
    entry = world.break_off()
    world.clock.advance(10**6)
    looks: list[str] = []

    def ask(seen: CacheEntry) -> bool:
        looks.append(seen.moref)
        return len(looks) > 2  # the two looks at an import that seems abandoned

    world.store.is_importing = ask  # type: ignore[method-assign]
    (finding,) = world.check(fix=True)
    assert (finding.fixed, len(looks)) == (False, 3)
    assert list(world.store.vms) == [entry.moref]
    assert world.events == []


@pytest.mark.parametrize("step", ["second look", "deletion"])
def test_a_directory_that_resists_does_not_block_the_others(world: Checked, step: str) -> None:
    other = template_name("b1", dataclasses.replace(KEY, adapter_type="ide"))
    first, second = sorted((NAME, other))
    mine = "b1_image_cache ( mine)"  # the first in order
    world.directories.names = {first, second, mine}
    unused, delete = world.directories.unused, world.directories.delete

    def look(datastore: str, prefix: str, known: Collection[str] = ()) -> list[Directory]:
        if prefix == first and step == "second look":
            raise errors.Unreachable("vCenter is away")
        return unused(datastore, prefix, known)

    def remove(directory: Directory) -> None:
        if directory.name == first and step == "deletion":
            raise errors.FileLocked("a host has a file open")
        delete(directory)

    world.directories.unused = look  # type: ignore[method-assign]
    world.directories.delete = remove  # type: ignore[method-assign]
    found = world.check(remove_directories=True)
    assert [(finding.name, finding.fixed) for finding in found] == [(first, False), (second, True)]
    assert "not now" in found[0].says
    assert world.directories.names == {first, mine}


def test_a_datastore_that_cannot_be_searched_does_not_block_the_others(world: Checked) -> None:
    world.directories.names = {NAME}
    unused = world.directories.unused

    def look(datastore: str, prefix: str, known: Collection[str] = ()) -> list[Directory]:
        if datastore == "datastore-0":
            raise errors.Unreachable("vCenter is away")
        return unused(datastore, prefix, known)

    world.directories.unused = look  # type: ignore[method-assign]
    world.directories.volumes = lambda: ["datastore-0", PLACE.datastore]  # type: ignore[method-assign]
    found = world.check()
    assert kinds(found) == [(Kind.DATASTORE_UNREAD, False), (Kind.DIRECTORY_ORPHANED, False)]
    assert (found[0].name, found[0].where) == ("datastore-0", "datastore-0")


def test_an_altered_template_is_reported_and_removed_on_request(world: Checked) -> None:
    world.put(phase=Phase.ALTERED)
    assert kinds(world.check()) == [(Kind.ALTERED, False)]
    assert kinds(world.check(fix=True)) == [(Kind.ALTERED, True)]
    assert world.store.vms == {}
    (event,) = world.events
    assert isinstance(event, Evicted)
    assert (event.template, event.rule, event.reason) == (NAME, Rule.BROKEN, "altered")


def test_a_check_of_slow_deletions_leaves_the_rest_to_the_next_one(world: Checked) -> None:
    for adapter_type in ("ide", "busLogic", "lsiLogic"):
        entry = world.store.put_import(dataclasses.replace(KEY, adapter_type=adapter_type), GIB)
        world.store.finish_import(entry)
        world.store.vms[entry.moref] = dataclasses.replace(entry, phase=Phase.ALTERED)
    world.store.importing.clear()
    world.store.during["destroy"] = lambda: world.clock.advance(ENDS_WITHIN_S / 2)
    world.directories.names = {"b1_image_cache ( mine)"}
    *found, unread = world.check(fix=True)
    assert [finding.fixed for finding in found] == [True, True, False]
    assert "taken too long" in found[-1].says
    assert (unread.kind, unread.name) == (Kind.DATASTORE_UNREAD, PLACE.datastore)
    assert "taken too long" in unread.says
    assert world.directories.searches == 0
    assert kinds(world.check(fix=True)) == [(Kind.ALTERED, True)]
    assert world.store.vms == {}


def test_a_check_of_slow_directories_leaves_the_rest_to_the_next_one(world: Checked) -> None:
    other = template_name("b1", dataclasses.replace(KEY, adapter_type="ide"))
    world.directories.names = {NAME, other}
    delete = world.directories.delete

    def remove(directory: Directory) -> None:
        world.clock.advance(ENDS_WITHIN_S)
        delete(directory)

    world.directories.delete = remove  # type: ignore[method-assign]
    found = world.check(remove_directories=True)
    assert [finding.fixed for finding in found] == [True, False]
    assert "taken too long" in found[1].says
    assert kinds(world.check(remove_directories=True)) == [(Kind.DIRECTORY_ORPHANED, True)]
    assert world.directories.names == set()


def test_a_check_that_is_to_fix_notes_templates_without_a_note(world: Checked) -> None:
    ready = world.put(was_ready=False)
    noted = world.store.replicate(ready, dataclasses.replace(PLACE, datastore="datastore-2"))
    world.store.vms[noted.moref] = dataclasses.replace(noted, was_ready=True)
    world.put_broken()
    world.check()
    assert world.store.calls["note_ready"] == 0
    world.check(fix=True)
    assert world.store.vms[ready.moref].was_ready
    assert world.store.calls["note_ready"] == 1


def test_a_template_that_cannot_be_noted_blocks_nothing_else(world: Checked) -> None:
    first = world.put(was_ready=False)
    second = world.store.replicate(first, dataclasses.replace(PLACE, datastore="datastore-2"))
    world.put_broken()
    world.store.faults["note_ready"] = [errors.Unreachable("vCenter is away")]
    assert kinds(world.check(fix=True)) == [(Kind.RECORD_BROKEN, True)]
    assert not world.store.vms[first.moref].was_ready
    assert world.store.vms[second.moref].was_ready


def _young(entry: CacheEntry, world: Checked) -> Record:
    assert entry.record is not None
    return dataclasses.replace(entry.record, created_at=world.clock.now())
