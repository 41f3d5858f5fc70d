"""The interfaces through which the engine uses vCenter and Glance, in the engine's own terms.

vmdk_cache/adapters/template_store.py and vmdk_cache/adapters/placement.py implement them for
vCenter, tests/fakes/memory.py in memory. One suite of contract tests runs on both.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.pin import Pin
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.quoting import identifier


@dataclass(frozen=True)
class Volume:
    """The volume to create.

    :ivar name: of the VM that backs it
    :ivar instance_uuid: ``config.instanceUuid`` of that VM, and the uuid of its disk
    :ivar size_bytes: minimum capacity; a smaller image's disk is grown
    :ivar disk_type: ``thin``, ``thick`` or ``eagerZeroedThick``
    :ivar adapter_type: adapter of its disk
    :ivar storage_profile: name of a storage policy, or None
    :ivar folder: inventory path below the datacenter's VM folder
    :ivar extra_config: the VM's extraConfig
    :ivar managed_by: extension key and type, or None
    :ivar is_being_created: whether Cinder says now that it is being created; only then may a VM
        with its name and uuid be removed that this request has not made
    :ivar is_wanted: False only if Cinder is known to have deleted it, or to be deleting it
    :ivar deletion_lock: Cinder's lock of its deletion, which waits until the block ends
    :ivar remove_old_vm: called before each clone: removes the VM that a reimage replaces, if any
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
    is_being_created: Callable[[], bool] = field(compare=False)
    is_wanted: Callable[[], bool] = field(default=lambda: True, compare=False)
    deletion_lock: Callable[[], contextlib.AbstractContextManager[None]] = field(
        default=contextlib.nullcontext, compare=False
    )
    remove_old_vm: Callable[[], None] = field(default=lambda: None, compare=False)

    def check_wanted(self) -> None:
        """:raises VolumeDeleted: the volume has been deleted, or is being deleted"""
        if not self.is_wanted():
            raise errors.VolumeDeleted(
                f"volume {identifier(self.id)} was deleted while it was being created"
            )


@dataclass(frozen=True)
class Place:
    """Where a VM goes: morefs, and the names that logs and paths need."""

    datastore: str
    datastore_name: str
    host: str
    pool: str
    datacenter: str
    profile_id: str | None = None
    #: The forms that ``datastore_name`` may have in a path.
    path_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Space:
    """A datastore that the backend uses."""

    capacity_bytes: int
    free_bytes: int


class Disk(Protocol):
    """An image's stream as a disk: see vmdk_cache/vmdk/transfer.py."""

    @property
    def capacity_bytes(self) -> int: ...
    @property
    def length(self) -> int | None: ...
    @property
    def bytes_read(self) -> int: ...
    def read(self, n: int = -1, /) -> bytes: ...
    def finish(self) -> None: ...


class Catalog(Protocol):
    """The state of images in Glance, as an administrator sees it."""

    def describe(self, image_id: str) -> Image | None:
        """The image as it is now, None if it is deleted.

        :raises SourceUnavailable: Glance cannot tell now
        """


class MarkedImages(ImageSource, Protocol):
    """The images that are marked in Glance to be kept warm, and their data."""

    def marked(self) -> Sequence[Image]:
        """The active VMDK images whose property ``image_cache_warm`` is true.

        :raises SourceUnavailable: Glance cannot tell now
        """


class Transfer(Protocol):
    """Opens an image's stream and checks its header."""

    def __call__(
        self, image: Image, source: ImageSource, *, check_grains: bool = False
    ) -> contextlib.AbstractContextManager[Disk]:
        """:param check_grains: also look for damage that only the receiving host finds otherwise"""


class Placement(Protocol):
    """Chooses places, and reserves them so that a burst of volumes spreads."""

    def for_volume(
        self, volume: Volume, size_bytes: int, excluded: Collection[str] = ()
    ) -> contextlib.AbstractContextManager[Place]:
        """A place for ``volume`` at ``size_bytes``, reserved for the block.

        :param excluded: morefs of datastores that turned out to be full
        :raises NoPlacement: no datastore fits
        """

    def for_template(
        self,
        size_bytes: int,
        near: str | None = None,
        *,
        only: str | None = None,
        excluded: Collection[str] = (),
    ) -> contextlib.AbstractContextManager[Place]:
        """A place for a template.

        :param near: moref of the datastore to choose if it has the space
        :param only: moref of the datastore to choose in any case
        :param excluded: morefs of datastores not to choose
        :raises NoPlacement: no datastore fits, or not that one
        """

    def reader(self, entry: CacheEntry) -> str | None:
        """Moref of a host that can read the entry now: its own if that is in order,
        otherwise another that has its datastore mounted; None if there is none."""

    def spaces(self) -> Mapping[str, Space]:
        """The datastores that the backend uses, by moref."""

    def in_reach(self) -> Collection[str]:
        """Morefs of the datastores whose files can be read, also of those that the
        backend does not use: a template may be on one that it used before."""


@dataclass(frozen=True)
class Directory:
    """A directory in the root of a datastore.

    :ivar datastore: moref
    """

    datastore: str
    datastore_name: str
    name: str

    @property
    def path(self) -> str:
        """As vSphere writes it."""
        return f"[{self.datastore_name}] {self.name}"


class Directories(Protocol):
    """Directories that deletions and crashes left on the backend's datastores."""

    def volumes(self) -> list[str]:
        """Morefs of datastores that the backend uses, one for each storage volume:
        hosts of several datacenters may mount the same one, and it is a datastore in each of
        them."""

    def unused(self, datastore: str, prefix: str, known: Collection[str] = ()) -> list[Directory]:
        """Directories whose names begin with ``prefix`` and in which no registered VM has files,
        through any datastore of the same storage volume.

        :param known: names to leave out without a look
        """

    def delete(self, directory: Directory) -> None:
        """Delete the directory and its files; does nothing if it is gone already."""


class Import(Protocol):
    """An import that has begun: the VM exists, and an NFC lease holds it."""

    def upload(self, disk: Disk) -> None:
        """Fill the VM's disk, end the lease and check what vCenter has made of the upload; only
        :meth:`commit` is left.

        :raises UploadRefused: the ESXi host does not take the data
        :raises VCenterError: the lease was lost, or the disk is not what was sent
        :raises VmdkCacheError: errors of ``disk``
        """

    def commit(self) -> CacheEntry:
        """Make the VM a READY entry. Once it is, an error that leaves the entry known is not
        raised.

        :raises VCenterError: vCenter refused, or cannot be reached
        :raises ObjectNotFound: the template was deleted right after
        """


class TemplateStore(Protocol):
    """The VMs in the cache's folder, and the volumes cloned from them."""

    def find(self, key: CacheKey) -> CacheEntry | None:
        """The VM with the key's name, in any phase, or None."""

    def copies(self, key: CacheKey, *, fresh: bool = False) -> tuple[CacheEntry, ...]:
        """The READY copies of the key, in no particular order.

        :param fresh: as they are now; otherwise as of a few seconds ago, often without a request
        """

    def look_again(self, entry: CacheEntry) -> CacheEntry | None:
        """The same VM as it is now, None if it is not in the cache's folder under its name."""

    def entries(self) -> list[CacheEntry]:
        """All VMs in the cache's folders; creates no folder."""

    def begin_import(
        self, key: CacheKey, name: str, image: Image, capacity_bytes: int, place: Place
    ) -> contextlib.AbstractContextManager[Import]:
        """Make a VM with an empty disk, which is among the entries from then on.

        An error in the block removes the VM, unless the VM was READY before it: then the entry
        stays, complete, and the next request finds it. This happens only if vCenter becomes
        unreachable at that point.

        :param name: see :func:`~vmdk_cache.cache.key.template_name`
        :param image: what is imported
        :raises NameTaken: another import of this key is under way or done
        :raises VCenterError: vCenter refused, or cannot be reached
        """

    def is_importing(self, entry: CacheEntry) -> bool:
        """Whether an NFC lease, of any process, holds the VM now."""

    def clone(self, entry: CacheEntry, volume: Volume, place: Place) -> bool:
        """Make ``volume`` from a READY entry; an error leaves nothing behind.

        :returns: whether CloneVM_Task alone made it
        :raises ObjectNotFound: with the entry's moref if the template is gone
        :raises VolumeDeleted: the volume was deleted while it was cloned
        """

    def replicate(self, entry: CacheEntry, place: Place, name: str) -> CacheEntry:
        """Make another READY copy of a READY entry, with the same age. Atomic, but a complete copy
        may exist even after an error.

        :param name: see :func:`~vmdk_cache.cache.key.free_replica_name`
        :raises NameTaken: a copy with that name exists, or is being made
        """

    def move(self, entry: CacheEntry, host: str) -> None:
        """Register a READY entry on another host of its datastore; its files stay where they are.

        :param host: moref
        :raises InUse: another operation holds it
        """

    def touch(self, entry: CacheEntry, *, warmed: bool = False) -> datetime.datetime:
        """Note a use of the entry, or a warm-up, on the entry itself if the account may do so.

        :returns: the time that was noted, by the store's clock, not this host's; aware UTC
        """

    def note_ready(self, entry: CacheEntry) -> None:
        """Note on a READY entry without notes that it is ready, and its content. Does nothing if
        the account may not, or if the entry has a note or is not READY any more.

        :raises VCenterError: vCenter cannot be asked
        """

    def note_owner(self, entry: CacheEntry) -> None:
        """Note on a READY entry of unknown owner that it belongs to this deployment. Does nothing
        if the account may not, or if the owner has become known meanwhile.

        :raises VCenterError: vCenter cannot be asked
        """

    def set_pin(self, entry: CacheEntry, pin: Pin | None) -> None:
        """Note an operator's pin on the entry, for all processes to see; None removes it.

        :raises NoPermission: the account may not, or vCenter has no such attribute for VMs
        :raises ObjectNotFound: the entry is gone
        """

    def destroy(self, entry: CacheEntry) -> None:
        """Delete the VM and its files; does nothing if it is gone already. The wait has a deadline,
        because the caller holds locks meanwhile.

        :raises InUse: another operation holds it
        """
