"""What the engine needs of the world below it, in the engine's own words.

vmdk_cache/cache/template_store.py and vmdk_cache/cache/placement.py speak these to a vCenter;
tests/fakes/memory.py in memory. One suite of contract tests runs on both.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.image import Image, ImageSource


@dataclass(frozen=True)
class Volume:
    """The volume that is asked for.

    :ivar name: of the VM that backs it
    :ivar instance_uuid: ``config.instanceUuid`` of that VM, and the uuid of its disk
    :ivar size_bytes: at least this capacity; more than the image's: grown
    :ivar disk_type: ``thin``, ``thick`` or ``eagerZeroedThick``
    :ivar adapter_type: adapter its disk hangs on
    :ivar storage_profile: name of a storage policy, or None
    :ivar folder: inventory path below the datacenter's VM folder
    :ivar extra_config: what the VM's extraConfig must hold
    :ivar managed_by: extension key and type, or None
    """

    id: str
    name: str
    instance_uuid: str
    size_bytes: int
    disk_type: str
    adapter_type: str
    storage_profile: str | None
    folder: tuple[str, ...]
    extra_config: Mapping[str, str]
    managed_by: tuple[str, str] | None


@dataclass(frozen=True)
class Place:
    """Where a VM goes: managed object ids, and the names that logs and paths need."""

    datastore: str
    datastore_name: str
    host: str
    pool: str
    datacenter: str
    profile_id: str | None = None


class Disk(Protocol):
    """An image's stream as a disk: see vmdk_cache/datastore/transfer.py."""

    @property
    def capacity_bytes(self) -> int: ...
    @property
    def length(self) -> int | None: ...
    @property
    def bytes_read(self) -> int: ...
    def read(self, n: int = -1, /) -> bytes: ...
    def finish(self) -> None: ...


class Catalog(Protocol):
    """What Glance says of images now, whoever asked for them first."""

    def describe(self, image_id: str) -> Image | None:
        """The image as it is now, None if it is deleted.

        :raises SourceUnavailable: that is not known now
        """


class MarkedImages(ImageSource, Protocol):
    """What Glance says is to be kept warm, and its bytes."""

    def marked(self) -> Sequence[Image]:
        """The active VMDK images whose property ``image_cache_warm`` says yes.

        :raises SourceUnavailable: that is not known now
        """


class Transfer(Protocol):
    """Opens an image's stream and checks what its head claims."""

    def __call__(
        self, image: Image, source: ImageSource
    ) -> contextlib.AbstractContextManager[Disk]: ...


class Placement(Protocol):
    """Chooses places; remembers what was promised, so that a burst spreads."""

    def for_volume(
        self, volume: Volume, size_bytes: int
    ) -> contextlib.AbstractContextManager[Place]:
        """A place for ``volume`` at ``size_bytes``, reserved for the block.

        :raises NoPlacement: nothing fits
        """

    def for_template(
        self, size_bytes: int, near: Place | None
    ) -> contextlib.AbstractContextManager[Place]:
        """A place for a template, on the datastore of ``near`` if there is one with the room.

        :raises NoPlacement: nothing fits
        """

    def for_replica(
        self, size_bytes: int, datastore: str
    ) -> contextlib.AbstractContextManager[Place]:
        """A place on that very datastore.

        :raises NoPlacement: it does not fit
        """

    def reader(self, entry: CacheEntry) -> str | None:
        """The host that can do an entry's reads now: its own if that is in order, else another that
        has its datastore mounted; None if there is none. A managed object id."""


@dataclass(frozen=True)
class Directory:
    """A directory in the root of a datastore.

    :ivar datastore: managed object id
    """

    datastore: str
    datastore_name: str
    name: str

    @property
    def path(self) -> str:
        """As vSphere writes it."""
        return f"[{self.datastore_name}] {self.name}"


class Directories(Protocol):
    """What deletions and crashes left on the backend's datastores."""

    def datastores(self) -> list[str]:
        """Managed object ids of the datastores that the backend uses."""

    def unused(self, datastore: str, prefix: str, known: Collection[str] = ()) -> list[Directory]:
        """Directories whose names begin with ``prefix`` and in which no registered VM has files.

        :param known: names that are left out without a look
        """

    def delete(self, directory: Directory) -> None:
        """Delete the directory with all that is in it; gone already is fine."""


class TemplateStore(Protocol):
    """The VMs in the cache's folder, and the volumes cloned from them."""

    def find(self, key: CacheKey) -> CacheEntry | None:
        """The VM that bears the key's name, in whatever phase, or None."""

    def copies(self, key: CacheKey, *, fresh: bool = False) -> tuple[CacheEntry, ...]:
        """The READY copies of the key, in no particular order.

        :param fresh: as they are now; else as they were a moment ago, which may be for nothing
        """

    def look_again(self, entry: CacheEntry) -> CacheEntry | None:
        """The same VM as it is now, None if it is not in the cache's folder under its name."""

    def entries(self) -> list[CacheEntry]:
        """All that is in the cache's folders; never creates one."""

    def import_(
        self, key: CacheKey, disk: Disk, place: Place, *, started: Callable[[], None] = ...
    ) -> CacheEntry:
        """Make a READY entry of ``disk``; on any error nothing is left behind.

        :param started: called once the VM exists, and so is among the entries
        :raises NameTaken: another import of this key is under way or done
        """

    def is_importing(self, entry: CacheEntry) -> bool:
        """Whether somebody's NFC lease holds the VM now."""

    def clone(self, entry: CacheEntry, volume: Volume, place: Place) -> None:
        """Make ``volume`` of a READY entry; on any error nothing is left behind.

        :raises ObjectNotFound: with the entry's moref if the template is gone
        """

    def replicate(self, entry: CacheEntry, place: Place) -> CacheEntry:
        """Make another READY copy of a READY entry, as old as that; whole or not at all.

        :raises NameTaken: a copy for that datastore is there, or being made
        """

    def move(self, entry: CacheEntry, host: str) -> None:
        """Register a READY entry on another host of its datastore; its files stay where they are.

        :param host: managed object id
        :raises InUse: another operation holds it
        """

    def touch(self, entry: CacheEntry, *, warmed: bool = False) -> datetime.datetime:
        """Note a use of the entry, or a warm-up, on the entry itself if the account may.

        :returns: the time noted: the store's, not this host's; aware UTC
        """

    def destroy(self, entry: CacheEntry) -> None:
        """Delete the VM and its files; gone already is fine.

        :raises InUse: another operation holds it
        """
