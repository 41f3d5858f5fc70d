"""One import per image: which process imports, which ones wait, and what a lost race leaves. It
tests the importer alone; test_engine.py has the volumes."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Collection, Iterator

import pytest

from tests.fakes.memory import PLACE, MemoryLocks, MemoryPlacement, MemorySource
from tests.unit.cache.conftest import GIB, IMAGE, World, image
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import ImportStarted, Reason
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.importer import Importer
from vmdk_cache.cache.key import CacheKey, is_copy_name, lock_name, template_name
from vmdk_cache.cache.ports import Place, Space
from vmdk_cache.cache.room import Room
from vmdk_cache.conf import Settings

KEY = CacheKey.of(IMAGE, "lsiLogic")
LOCK = lock_name(template_name("b1", KEY))


class _Noting(MemoryPlacement):
    """Notes the size of each template for which it is asked for a place."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self._sizes = sizes

    @contextlib.contextmanager
    def for_template(
        self,
        size_bytes: int,
        near: str | None = None,
        *,
        only: str | None = None,
        excluded: Collection[str] = (),
    ) -> Iterator[Place]:
        self._sizes.append(size_bytes)
        with super().for_template(size_bytes, near, only=only, excluded=excluded) as place:
            yield place


class Lab:
    """Importers of several processes on one vCenter.

    :ivar sizes: capacities of the disks for which a place was asked
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = world.store
        self.locks = MemoryLocks()
        self.sizes: list[int] = []
        world.placement = _Noting(self.sizes)
        self.importer = self.process()

    def process(self, settings: Settings | None = None, locks: object = None) -> Importer:
        context = self.world.context(settings, locks=locks or self.locks)
        evictor = Evictor(context)
        return Importer(
            context, transfer=self.world.transfer, room=Room(context, evictor), evictor=evictor
        )

    def ready(
        self, importer: Importer | None = None, key: CacheKey = KEY, source: object = None
    ) -> tuple[CacheEntry, bool]:
        return (importer or self.importer).ready(
            key,
            IMAGE,
            source or self.world.source,  # type: ignore[arg-type]
        )

    def names(self) -> list[str]:
        return sorted(entry.name for entry in self.store.vms.values())


@pytest.fixture
def lab(world: World) -> Lab:
    return Lab(world)


def test_a_second_call_finds_the_copy_of_the_first(lab: Lab) -> None:
    first, imported = lab.ready()
    assert imported
    assert (first.phase, first.name) == (Phase.READY, template_name("b1", KEY))
    again, imported = lab.ready()
    assert (again.moref, imported) == (first.moref, False)
    assert lab.world.source.opened == 1
    assert lab.sizes == [GIB]


def test_a_copy_is_looked_for_before_a_place_is_asked_for(lab: Lab) -> None:
    """A datastore without space for another copy is no obstacle."""
    lab.ready()

    _, imported = lab.importer.ready(KEY, IMAGE, lab.world.source, only="a full datastore")
    assert not imported


def test_each_adapter_has_an_import_of_its_own(lab: Lab) -> None:
    keys = [CacheKey.of(IMAGE, adapter) for adapter in ("lsiLogic", "ide")]
    made = {lab.ready(key=key)[0].moref for key in keys}
    assert len(made) == 2
    assert lab.world.source.opened == 2


def test_threads_of_one_process_share_one_import_that_one_of_them_did(lab: Lab) -> None:
    go_on = threading.Event()
    lab.store.during["upload"] = lambda: _wait(go_on)
    outcomes: list[tuple[CacheEntry, bool]] = []
    threads = [threading.Thread(target=lambda: outcomes.append(lab.ready())) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: lab.store.calls["upload"])
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert sorted(imported for _, imported in outcomes) == [False] * 4 + [True]
    assert len({entry.moref for entry, _ in outcomes}) == 1
    assert lab.store.calls["upload"] == 1


def test_the_key_is_locked_while_its_image_is_imported(lab: Lab) -> None:
    held: list[bool] = []

    def look() -> None:
        try:
            with lab.locks.hold(LOCK, 0):
                held.append(False)
        except errors.LockTimeout:
            held.append(True)

    lab.store.during["upload"] = look
    lab.ready()
    assert held == [True]
    with lab.locks.hold(LOCK, 0):
        pass


def test_a_process_that_gets_the_lock_later_finds_the_copy(lab: Lab) -> None:
    lab.ready()
    _, imported = lab.ready(lab.process())
    assert not imported
    assert lab.world.source.opened == 1


def test_a_lock_that_is_never_released_is_not_waited_for_forever(lab: Lab) -> None:
    hasty = lab.process(Settings(enabled=True, lock_timeout_s=0))
    with lab.locks.hold(LOCK, 0), pytest.raises(errors.LockTimeout):
        lab.ready(hasty)
    assert lab.names() == []


@pytest.mark.parametrize("fault", [errors.TaskFailed("no"), errors.NoSpace("full")])
def test_a_failed_import_leaves_no_vm_and_can_be_repeated(
    lab: Lab, fault: errors.VCenterError
) -> None:
    lab.store.faults["upload"] = [fault]
    with pytest.raises(type(fault)):
        lab.ready()
    assert lab.names() == []
    assert lab.world.kinds() == ["ImportStarted", "ImportFailed"]
    assert lab.ready()[1]


def test_an_import_that_another_process_has_under_way_is_waited_for(lab: Lab) -> None:
    """They share no locks; its VM shows that the import is running."""
    begun = lab.store.put_import(KEY, GIB)
    looks = 0

    def finish_at_the_third_look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            lab.store.finish_import(begun)

    lab.store.during["find"] = finish_at_the_third_look
    entry, imported = lab.ready()
    assert (entry.moref, imported) == (begun.moref, False)
    assert lab.world.source.opened == 0


def test_an_import_that_never_ends_is_not_waited_for_forever(lab: Lab) -> None:
    lab.store.put_import(KEY, GIB)
    with pytest.raises(errors.LockTimeout, match="still importing"):
        lab.ready()
    assert len(lab.names()) == 1


def test_leftovers_of_a_dead_importer_are_replaced(lab: Lab) -> None:
    """No NFC lease holds its VM."""
    left = lab.store.put_import(KEY, GIB)
    lab.store.importing.clear()
    entry, imported = lab.ready()
    assert imported
    assert entry.moref != left.moref
    assert lab.names() == [template_name("b1", KEY)]


def test_the_vm_of_an_importer_that_lost_its_lock_is_passed_by_under_another_name(
    lab: Lab,
) -> None:
    """It held the lock that this process holds now, so it has lost it. It may still be alive, so
    its VM is left alone."""
    lost = lab.store.put_import(KEY, GIB, lock_domain=MemoryLocks.domain)
    entry, imported = lab.ready()
    assert imported
    assert entry.name != template_name("b1", KEY)
    assert is_copy_name(entry.name, "b1", KEY)
    assert lab.store.vms[lost.moref].phase is Phase.IMPORTING


def test_an_import_ends_without_a_copy_when_another_was_faster(lab: Lab) -> None:
    """Two imports of a key, without a shared lock: the loser removes its own VM."""
    lost = lab.store.put_import(KEY, GIB, lock_domain=MemoryLocks.domain)
    lab.store.during["upload"] = lambda: _finish_once(lab, lost)
    entry, imported = lab.ready()
    assert (entry.moref, imported) == (lost.moref, False)
    assert lab.names() == [lost.name]


def test_a_vm_that_is_not_ours_keeps_the_name_and_is_named(lab: Lab) -> None:
    foreign = lab.store.finish_import(lab.store.put_import(KEY, GIB))
    lab.store.vms[foreign.moref] = _as(foreign, Phase.FOREIGN)
    with pytest.raises(errors.NotCacheable, match=foreign.moref) as refused:
        lab.ready()
    assert refused.value.reason == Reason.NAME_TAKEN
    assert foreign.moref in lab.store.vms


def test_a_disk_larger_than_the_limit_is_refused_before_a_place_is_asked_for(lab: Lab) -> None:
    small = lab.process(Settings(enabled=True, max_size_bytes=GIB - 1))
    with pytest.raises(errors.NotCacheable) as refused:
        lab.ready(small)
    assert refused.value.reason == Reason.IMAGE_TOO_LARGE
    assert lab.sizes == []
    assert lab.names() == []


def test_an_image_without_room_beside_its_volume_is_imported_elsewhere(lab: Lab) -> None:
    beside = dataclasses.replace(PLACE, datastore="datastore-2", datastore_name="full")
    lab.world.placement = MemoryPlacement(beside, PLACE)
    lab.world.placement.sizes = {
        beside.datastore: Space(capacity_bytes=100 * GIB, free_bytes=20 * GIB),
        PLACE.datastore: Space(capacity_bytes=100 * GIB, free_bytes=90 * GIB),
    }
    process = lab.process(Settings(enabled=True, min_free_percent=20))
    _, imported = process.ready(KEY, IMAGE, lab.world.source, near=beside.datastore)
    assert imported
    (begun,) = [event for event in lab.world.events if isinstance(event, ImportStarted)]
    assert begun.datastore == PLACE.datastore_name


def test_an_image_without_room_anywhere_is_refused(lab: Lab) -> None:
    lab.world.placement.sizes = {PLACE.datastore: Space(100 * GIB, 20 * GIB)}
    process = lab.process(Settings(enabled=True, min_free_percent=20))
    with pytest.raises(errors.NotCacheable) as refused:
        process.ready(KEY, IMAGE, lab.world.source, near=PLACE.datastore)
    assert refused.value.reason == Reason.NO_ROOM
    assert lab.names() == []


def test_a_refused_damaged_image_is_reported_as_damaged(lab: Lab) -> None:
    """Cinder's own driver would make a volume without the image's bytes."""
    lab.store.faults["upload"] = [errors.UploadRefused("HTTP 500")]
    lab.world.transfer.damage = errors.ImageCorrupt("grain 7 is broken")
    with pytest.raises(errors.ImageCorrupt, match="grain 7"):
        lab.ready()


@pytest.mark.parametrize("damage", [None, errors.SourceUnavailable("Glance is away")])
def test_a_refused_upload_of_an_image_that_is_not_known_to_be_damaged_stays_one(
    lab: Lab, damage: Exception | None
) -> None:
    lab.store.faults["upload"] = [errors.UploadRefused("HTTP 500")]
    lab.world.transfer.damage = damage
    with pytest.raises(errors.UploadRefused):
        lab.ready()


@pytest.mark.slow(reason="followers check their volume every 30 s")
def test_a_wait_for_another_threads_import_ends_with_what_its_check_raises(lab: Lab) -> None:
    """The volume was deleted meanwhile; the import continues for the others."""
    go_on = threading.Event()
    lab.store.during["upload"] = lambda: _wait(go_on)
    leader = threading.Thread(target=lab.ready)
    leader.start()
    wait_until(lambda: lab.store.calls["upload"])

    def deleted() -> None:
        raise errors.VolumeDeleted("it is deleted")

    with pytest.raises(errors.VolumeDeleted):
        lab.importer.ready(KEY, IMAGE, MemorySource(), check_wanted=deleted)
    go_on.set()
    leader.join(60)
    assert lab.names() == [template_name("b1", KEY)]


def test_a_check_makes_nothing_and_says_what_would_be_refused(lab: Lab) -> None:
    full = lab.process(Settings(enabled=True, max_total_bytes=GIB))
    full.check(GIB)
    with pytest.raises(errors.NotCacheable):
        full.check(GIB + 1)
    assert lab.names() == []
    assert lab.world.source.opened == 0


def test_an_image_with_other_content_gets_a_second_copy(lab: Lab) -> None:
    changed = image(1, os_hash_value="cd" * 64)
    keys = [CacheKey.of(image(1), "lsiLogic"), CacheKey.of(changed, "lsiLogic")]
    assert [lab.ready(key=key)[1] for key in keys] == [True, True]
    assert len(lab.names()) == 2


def _as(entry: CacheEntry, phase: Phase) -> CacheEntry:
    return dataclasses.replace(entry, phase=phase)


def _finish_once(lab: Lab, entry: CacheEntry) -> None:
    if lab.store.vms[entry.moref].phase is Phase.IMPORTING:
        lab.store.finish_import(entry)


def _wait(event: threading.Event) -> None:
    assert event.wait(60)
