"""One VM in the cache's folder, and its life.

    phase       the VM is                                  left by
    ---------   ----------------------------------------   ------------------------------------
    (absent)    not there                                  ImportVApp under its final name
    IMPORTING   ours by its record, no template yet        MarkAsTemplate (the commit point), or
                                                           destroyed by its importer, by the next
                                                           importer or by a reconcile once no NFC
                                                           lease holds it
    READY       a template with a record for its name;     deleted when it has expired, is
                the only phase that is cloned from         superseded, or has to make room
    ALTERED     READY before, but its disk's content has   the next purge; never served
                changed since
    ADOPTED     a template with one of our names and no    deleted when it has expired or has to
                record we can read: made by the cache of   make room, or, if only we give its name,
                sapcc/cinder, or altered by hand           by the next reconcile; never served
    FOREIGN     anything else in our folder, a template    never touched by us
                of another cloud, or a READY one that
                an administrator converted to a VM

A replica is READY at once: one CloneVM_Task of a READY copy makes it, atomically.

An entry becomes READY once. A note on it (cache/record.py) then records this and the content of its
disk, so that an entry that an administrator altered is recognized later. An entry that a clone uses
(cache/templates_in_use.py) is not deleted, and no clone starts from an entry that is being deleted.
An importer works only on the VM that it created, by its moref, so the loser of a race cannot harm
the winner. vCenter is the heartbeat of an import: a running task locks the VM for as long as the
NFC lease is renewed, and vCenter removes the VM when the lease runs out.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterable
from dataclasses import dataclass

from vmdk_cache.cache.key import image_id_in, is_copy_name
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cache.record import Record

#: Without an NFC lease, an import lacks only MarkAsTemplate, which takes seconds. After this long
#: without either, its importer is gone.
ABANDONED_AFTER = datetime.timedelta(seconds=60)


class Owner(enum.Enum):
    """Which of the clouds that use the vCenter owns a VM in the cache's folder.

    The VM's record says so, or a note on it. Records of earlier versions do not name the
    deployment. The note is written once the owner is certain: volumes of this cloud use the
    template, or this cloud's Glance has exactly its image.
    """

    OURS = "ours"
    UNKNOWN = "unknown"
    ANOTHER = "another"


class Phase(enum.Enum):
    """See the table above."""

    IMPORTING = "importing"
    READY = "ready"
    ALTERED = "altered"
    ADOPTED = "adopted"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class CacheEntry:
    """One VM in the cache's folder, as of one moment.

    :ivar moref: managed object id of the VM
    :ivar name: its name
    :ivar phase: see the module's table
    :ivar record: its record, None for ADOPTED and most FOREIGN ones
    :ivar datastore: moref of the datastore its disk is on, None if unknown
    :ivar disk_key: device key of its disk, None if it has none or more than one
    :ivar size_bytes: capacity of its disks; what it counts as provisioned
    :ivar unshared_bytes: space that deleting it frees, as vCenter last looked
    :ivar made_at: when vCenter says it was created, aware UTC; not reliable for clones
    :ivar used_at: the last clone noted on it, aware UTC, None if none is noted
    :ivar warmed_at: the last warm-up noted on it, aware UTC, None if none is noted
    :ivar was_ready: a note on it says that it was READY once, whatever it is now
    :ivar content_id: vCenter's id of its disk's content now, None if vCenter gives none
    :ivar ready_content_id: that id as noted when it became READY, None if it was not noted
    :ivar host: moref of the host that it is registered on, which reads it for clones;
        None if unknown
    :ivar owner: see :class:`Owner`
    :ivar deployment: the deployment that owns it, '' if unknown
    :ivar accessible: False if vCenter reports its files as lost or out of reach
    :ivar has_config: False if vCenter has no configuration of it: its files are lost, or it is
        being created
    :ivar pinned: the operator's pin noted on this copy; :func:`pins_of` says which images are
        pinned
    """

    moref: str
    name: str
    phase: Phase
    record: Record | None
    datastore: str | None
    disk_key: int | None
    size_bytes: int
    unshared_bytes: int = 0
    made_at: datetime.datetime | None = None
    used_at: datetime.datetime | None = None
    warmed_at: datetime.datetime | None = None
    was_ready: bool = False
    content_id: str | None = None
    ready_content_id: str | None = None
    host: str | None = None
    owner: Owner = Owner.OURS
    deployment: str = ""
    accessible: bool = True
    has_config: bool = True
    pinned: Pin | None = None

    @property
    def image_id(self) -> str | None:
        """Glance id of the image that it is a copy of, None if unknown."""
        return self.record.key.image_id if self.record else image_id_in(self.name)

    @property
    def is_ours(self) -> bool:
        """Whether it is or will be a template of this cache: neither a foreign VM in our folder,
        nor made by a later version of this package, whose record cannot be interpreted."""
        later = self.record is not None and self.record.is_of_later_version
        return self.phase is not Phase.FOREIGN and not later

    @property
    def image_name(self) -> str:
        """The image's name when it was imported, as its user chose it; '' if unknown."""
        return self.record.image_name if self.record else ""

    @property
    def created_at(self) -> datetime.datetime | None:
        """When its import began, by its record; without a record, as vCenter says."""
        return self.record.created_at if self.record else self.made_at

    @property
    def unused_since(self) -> datetime.datetime | None:
        """The latest of its import, its uses and its warm-ups; None if none is known."""
        return latest(self.created_at, self.used_at, self.warmed_at)


def pins_of(entries: Iterable[CacheEntry]) -> dict[str, Pin]:
    """The pinned images, those with a pin on any copy: Glance id -> its oldest pin.

    A copy that was altered by hand is no longer served, but what the operator wanted still holds
    for the others.
    """
    pins: dict[str, Pin] = {}
    for entry in entries:
        if entry.pinned is None or entry.image_id is None:
            continue
        if entry.phase in (Phase.READY, Phase.ALTERED):
            known = pins.get(entry.image_id, entry.pinned)
            pins[entry.image_id] = min(known, entry.pinned, key=lambda pin: pin.at)
    return pins


def latest(*times: datetime.datetime | None) -> datetime.datetime | None:
    """The latest of the known times; None if there is none."""
    return max((time for time in times if time is not None), default=None)


def classify(
    backend: str,
    name: str,
    is_template: bool,
    disks: int,
    record: Record | None,
    *,
    owner: Owner = Owner.OURS,
    was_ready: bool = False,
    has_other_content: bool = False,
) -> Phase:
    """The phase of a VM found in the cache's folder of ``backend``.

    :param owner: the cloud that it belongs to
    :param was_ready: a note on it says that it was READY
    :param has_other_content: its disk's content differs from the content noted on it
    """
    if owner is Owner.ANOTHER:
        return Phase.FOREIGN
    if record is None:
        ours = is_template and image_id_in(name, backend) is not None
        return Phase.ADOPTED if ours else Phase.FOREIGN
    if record.backend != backend:
        return Phase.FOREIGN
    if not is_copy_name(name, backend, record.key, record.deployment):
        return Phase.FOREIGN
    if not is_template:
        return Phase.FOREIGN if was_ready else Phase.IMPORTING
    if disks != 1:
        return Phase.FOREIGN
    return Phase.ALTERED if has_other_content else Phase.READY
