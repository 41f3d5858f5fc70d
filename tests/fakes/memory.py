"""The engine's ports in memory: the rules of vCenter that matter to the engine, and no others.

Names are unique, an import is visible before it is ready, only templates can be cloned, and an
object in use cannot be destroyed. ``faults`` makes the n-th call of a verb fail.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

from tests.fakes.clock import ManualClock
from vmdk_cache import errors
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.events import to_all
from vmdk_cache.cache.key import CacheKey, is_copy_name, replica_name, template_name
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cache.ports import Directory, Disk, Place, Space, Volume
from vmdk_cache.cache.record import Record
from vmdk_cache.cache.usage import Usage
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image, ImageSource

PLACE = Place("datastore-1", "ds1", "host-1", "pool-1", "datacenter-1")


class MemoryStore:
    """A TemplateStore.

    :ivar calls: number of calls of each verb
    :ivar volumes: what was cloned: volume id -> moref of its template
    :ivar faults: verb -> errors to raise, one per call; None lets a call succeed
    :ivar during: verb -> function to call (without the store's lock) while that verb runs
    """

    def __init__(self, clock: ManualClock, backend: str = "b1") -> None:
        self._clock = clock
        self._backend = backend
        self._lock = threading.RLock()
        self._ids = itertools.count(1)
        self.vms: dict[str, CacheEntry] = {}
        self.volumes: dict[str, str] = {}
        self.importing: set[str] = set()
        self.in_use: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.faults: dict[str, list[Exception | None]] = {}
        self.during: dict[str, Callable[[], None]] = {}
        self.makes_volumes_in_one_task = False

    def find(self, key: CacheKey) -> CacheEntry | None:
        self.called("find")
        name = template_name(self._backend, key)
        with self._lock:
            return next((e for e in self.vms.values() if e.name == name), None)

    def copies(self, key: CacheKey, *, fresh: bool = False) -> tuple[CacheEntry, ...]:
        self.called("copies")
        with self._lock:
            return tuple(
                e
                for e in self.vms.values()
                if e.phase is Phase.READY and e.record is not None and e.record.key == key
            )

    def look_again(self, entry: CacheEntry) -> CacheEntry | None:
        self.called("look_again")
        with self._lock:
            seen = self.vms.get(entry.moref)
            return seen if seen is not None and seen.name == entry.name else None

    def entries(self) -> list[CacheEntry]:
        self.called("entries")
        with self._lock:
            return list(self.vms.values())

    @contextlib.contextmanager
    def begin_import(
        self, key: CacheKey, name: str, image: Image, capacity_bytes: int, place: Place
    ) -> Iterator[MemoryImport]:
        begun = MemoryImport(
            self, self.put_import(key, capacity_bytes, name, image_name=image.name)
        )
        try:
            yield begun
        finally:
            if not begun.is_committed:
                self.drop_import(begun.entry)

    def put_import(
        self,
        key: CacheKey,
        capacity_bytes: int,
        name: str | None = None,
        lock_domain: str = "",
        image_name: str = "",
    ) -> CacheEntry:
        """Add an import that stopped half-way, as it looks when another process made it."""
        name = name or template_name(self._backend, key)
        with self._lock:
            for entry in self.vms.values():
                if entry.name == name:
                    raise errors.NameTaken(f"{name} exists", moref=entry.moref)
            record = Record(self._backend, key, capacity_bytes, self._clock.now(), "host:1")
            record = dataclasses.replace(record, lock_domain=lock_domain, image_name=image_name)
            moref = f"vm-{next(self._ids)}"
            entry = CacheEntry(
                moref, name, Phase.IMPORTING, record, PLACE.datastore, None, capacity_bytes
            )
            self.vms[moref] = entry
            self.importing.add(moref)
        return entry

    def drop_import(self, entry: CacheEntry) -> None:
        with self._lock:
            del self.vms[entry.moref]
            self.importing.discard(entry.moref)

    def finish_import(self, entry: CacheEntry) -> CacheEntry:
        ready = CacheEntry(
            entry.moref,
            entry.name,
            Phase.READY,
            entry.record,
            entry.datastore,
            2000,
            entry.size_bytes,
            was_ready=True,
        )
        with self._lock:
            self.vms[entry.moref] = ready
            self.importing.discard(entry.moref)
        return ready

    def is_importing(self, entry: CacheEntry) -> bool:
        return entry.moref in self.importing

    def clone(self, entry: CacheEntry, volume: Volume, place: Place) -> bool:
        self.called("clone")
        with self._lock:
            if entry.moref not in self.vms:
                raise errors.ObjectNotFound("gone", moref=entry.moref)
            assert self.vms[entry.moref].phase is Phase.READY, "cloned from no template"
            assert volume.id not in self.volumes, "cloned twice"
            self.volumes[volume.id] = entry.moref
        try:
            volume.check_wanted()
        except errors.VolumeDeleted:
            with self._lock:
                del self.volumes[volume.id]
            raise
        return self.makes_volumes_in_one_task

    def replicate(self, entry: CacheEntry, place: Place, name: str | None = None) -> CacheEntry:
        self.called("replicate")
        assert entry.record is not None
        name = name or replica_name(self._backend, entry.record.key, place.datastore)
        assert is_copy_name(name, self._backend, entry.record.key)
        with self._lock:
            if entry.moref not in self.vms:
                raise errors.ObjectNotFound("gone", moref=entry.moref)
            if any(e.name == name for e in self.vms.values()):
                raise errors.NameTaken(f"{name} exists")
            moref = f"vm-{next(self._ids)}"
            self.vms[moref] = dataclasses.replace(
                entry,
                moref=moref,
                name=name,
                datastore=place.datastore,
                host=place.host,
                used_at=None,
                warmed_at=None,
                pinned=None,
            )
            return self.vms[moref]

    def move(self, entry: CacheEntry, host: str) -> None:
        self.called("move")
        with self._lock:
            if entry.moref not in self.vms:
                raise errors.ObjectNotFound("gone", moref=entry.moref)
            self.vms[entry.moref] = dataclasses.replace(self.vms[entry.moref], host=host)

    def touch(self, entry: CacheEntry, *, warmed: bool = False) -> datetime.datetime:
        self.called("touch")
        now = self._clock.now()
        with self._lock:
            if (seen := self.vms.get(entry.moref)) is not None:
                self.vms[entry.moref] = dataclasses.replace(
                    seen,
                    used_at=seen.used_at or entry.used_at if warmed else now,
                    warmed_at=now if warmed else seen.warmed_at or entry.warmed_at,
                    was_ready=True,
                )
        return now

    def note_ready(self, entry: CacheEntry) -> None:
        self.called("note_ready")
        with self._lock:
            seen = self.vms.get(entry.moref)
            if seen is not None and seen.phase is Phase.READY:
                self.vms[entry.moref] = dataclasses.replace(seen, was_ready=True)

    def note_owner(self, entry: CacheEntry) -> None:
        self.called("note_owner")
        with self._lock:
            seen = self.vms.get(entry.moref)
            if seen is not None and seen.owner is Owner.UNKNOWN:
                self.vms[entry.moref] = dataclasses.replace(seen, owner=Owner.OURS)

    def set_pin(self, entry: CacheEntry, pin: Pin | None) -> None:
        self.called("set_pin")
        with self._lock:
            if entry.moref not in self.vms:
                raise errors.ObjectNotFound("gone", moref=entry.moref)
            self.vms[entry.moref] = dataclasses.replace(self.vms[entry.moref], pinned=pin)

    def destroy(self, entry: CacheEntry) -> None:
        self.called("destroy")
        with self._lock:
            if entry.moref in self.in_use:
                raise errors.InUse("being cloned", moref=entry.moref)
            self.vms.pop(entry.moref, None)

    def called(self, verb: str) -> None:
        with self._lock:
            self.calls[verb] += 1
            fault = self.faults[verb].pop(0) if self.faults.get(verb) else None
        if verb in self.during:
            self.during[verb]()
        if fault is not None:
            raise fault


class MemoryImport:
    """An Import."""

    def __init__(self, store: MemoryStore, entry: CacheEntry) -> None:
        self._store = store
        self.entry = entry
        self.is_committed = False

    def upload(self, disk: Disk) -> None:
        self._store.called("upload")
        while disk.read(1 << 16):
            pass
        disk.finish()

    def commit(self) -> CacheEntry:
        self.is_committed = True
        return self._store.finish_import(self.entry)


class MemoryDirectories:
    """Directories on one datastore.

    :ivar names: of all directories
    :ivar in_use: directories that contain files of registered VMs
    :ivar fault: raised by every search, if set
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.in_use: set[str] = set()
        self.searches = 0
        self.fault: Exception | None = None

    def volumes(self) -> list[str]:
        return [PLACE.datastore]

    def unused(self, datastore: str, prefix: str, known: Collection[str] = ()) -> list[Directory]:
        self.searches += 1
        if self.fault is not None:
            raise self.fault
        return [
            Directory(datastore, PLACE.datastore_name, name)
            for name in sorted(self.names - self.in_use - set(known))
            if name.startswith(prefix)
        ]

    def delete(self, directory: Directory) -> None:
        if directory.name in self.in_use:
            raise errors.InUse(f"{directory.path} is in use")
        self.names.discard(directory.name)


class MemoryDisk:
    """A Disk that passes the source's bytes on unchanged."""

    def __init__(self, image: Image, source: ImageSource, capacity_bytes: int) -> None:
        self._image = image
        self._chunks = source.open(image)
        self._hash = hashlib.md5()
        self.capacity_bytes = capacity_bytes
        self.length = image.size_bytes
        self.bytes_read = 0

    def read(self, n: int = -1, /) -> bytes:
        chunk = next(self._chunks, b"")
        self._hash.update(chunk)
        self.bytes_read += len(chunk)
        return chunk

    def finish(self) -> None:
        if self._image.checksum and self._hash.hexdigest() != self._image.checksum:
            raise errors.ImageCorrupt("other bytes than promised")


class MemoryTransfer:
    """A Transfer; ``capacity_bytes`` is the capacity in every image's header.

    :ivar open: streams that are open now
    :ivar damage: what an inspection of the grains finds; None if they are intact
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.open = 0
        self.damage: Exception | None = None

    @contextlib.contextmanager
    def __call__(
        self, image: Image, source: ImageSource, *, check_grains: bool = False
    ) -> Iterator[MemoryDisk]:
        if check_grains and self.damage is not None:
            raise self.damage
        self.open += 1
        try:
            yield MemoryDisk(image, source, self.capacity_bytes)
        finally:
            self.open -= 1


class MemoryPlacement:
    """A Placement that hands out its places in turn.

    :ivar reserved: bytes reserved and not yet released
    :ivar sick_hosts: morefs of hosts that are in maintenance mode or disconnected
    :ivar sizes: what :meth:`spaces` returns
    :ivar reachable: what :meth:`in_reach` returns
    """

    def __init__(self, *places: Place) -> None:
        self._lock = threading.Lock()
        self._places = places or (PLACE,)
        self._turns = itertools.cycle(self._places)
        self.reserved = 0
        self.sick_hosts: set[str] = set()
        self.sizes: dict[str, Space] = {}
        self.reachable = {f"datastore-{number}" for number in range(1, 6)}

    @contextlib.contextmanager
    def for_volume(
        self, volume: Volume, size_bytes: int, excluded: Collection[str] = ()
    ) -> Iterator[Place]:
        with self._lock:
            turns = [next(self._turns) for _ in self._places]
        fitting = [place for place in turns if place.datastore not in excluded]
        if not fitting:
            raise errors.NoPlacement("every datastore is full")
        place = fitting[0]
        with self._lock:  # the next volume goes to the next place
            for _ in range((turns.index(place) + 1) % len(turns)):
                next(self._turns)
        with self._reserve(size_bytes):
            yield place

    def reader(self, entry: CacheEntry) -> str | None:
        if entry.host is None or entry.host not in self.sick_hosts:
            return entry.host
        for place in self._places:
            if place.datastore == entry.datastore and place.host not in self.sick_hosts:
                return place.host
        return None

    def spaces(self) -> dict[str, Space]:
        return self.sizes

    def in_reach(self) -> set[str]:
        return self.reachable

    @contextlib.contextmanager
    def for_template(
        self,
        size_bytes: int,
        near: str | None = None,
        *,
        only: str | None = None,
        excluded: Collection[str] = (),
    ) -> Iterator[Place]:
        places = {p.datastore: p for p in self._places if p.datastore not in excluded}
        if not places or (only is not None and only not in places):
            raise errors.NoPlacement(f"{only} does not fit")
        with self._reserve(size_bytes):
            yield places.get(only or near or "", next(iter(places.values())))

    @contextlib.contextmanager
    def _reserve(self, size_bytes: int) -> Iterator[None]:
        with self._lock:
            self.reserved += size_bytes
        try:
            yield
        finally:
            with self._lock:
                self.reserved -= size_bytes


class MemorySource:
    """An ImageSource.

    :ivar opened: how often it was opened
    :ivar fault: raised after the first chunk, if set
    """

    def __init__(self, *chunks: bytes, fault: Exception | None = None) -> None:
        self._chunks = chunks or (b"disk",)
        self._lock = threading.Lock()
        self.opened = 0
        self.fault = fault

    def open(self, image: Image) -> Iterator[bytes]:
        with self._lock:
            self.opened += 1
        for chunk in self._chunks:
            yield chunk
            if self.fault:
                raise self.fault


class MemoryLocks:
    """Locks between threads that represent processes.

    :ivar broken: raised instead of granting any lock, if set
    :ivar domain: the lock domain that importers record
    """

    domain = "memory"

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self.broken: Exception | None = None

    @contextlib.contextmanager
    def hold(self, name: str, timeout_s: float) -> Iterator[None]:
        if self.broken:
            raise self.broken
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        acquired = lock.acquire(timeout=timeout_s) if timeout_s else lock.acquire(blocking=False)
        if not acquired:
            raise errors.LockTimeout(f"{name} is held")
        try:
            yield
        finally:
            lock.release()


class NoLocks:
    """Locks of processes that share no coordinator: every caller gets every lock."""

    domain = ""

    @contextlib.contextmanager
    def hold(self, name: str, timeout_s: float) -> Iterator[None]:
        yield


def memory_context(settings: Settings | None = None, **parts: Any) -> CacheContext:
    """A context whose ports are in memory.

    :param parts: fields of the context; pass whatever two processes share to the contexts of both
    """
    in_force = settings or Settings(enabled=True)
    clock = parts.get("clock") or ManualClock()
    store = parts.get("store") or MemoryStore(clock)
    defaults: dict[str, Any] = {
        "backend": "b1",
        "deployment": "",
        "settings": lambda: in_force,
        "store": store,
        "placement": MemoryPlacement(),
        "locks": MemoryLocks(),
        "usage": Usage(store, clock),
        "events": lambda event: None,
        "clock": clock,
        "server_time": clock.now,
    }
    known = {**defaults, **parts}
    return CacheContext(**{**known, "events": to_all(known["events"])})
