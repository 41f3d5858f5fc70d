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
    ALTERED     a READY one whose disk has other           the next purge; never served
                content than when it became READY
    ADOPTED     a template that bears one of our names     deleted when it has expired or has to
                and no record we can read: made by the     make room; with a name that only we give,
                prior art, or altered by hand              by the next reconcile; never served
    FOREIGN     anything else in our folder, what another  never touched by us
                cloud made, and one that was READY and
                that somebody
                converted to a virtual machine

A replica is READY at once: one CloneVM_Task of a READY copy makes it, whole or not at all.

An entry becomes READY once. What was noted on it then (cache/usage.py) tells later that it was, and
with which content: by this an entry that an administrator altered is known. A clone pins its entry
(cache/pins.py); before an entry is deleted it is reserved, so that it cannot be pinned any more. An
importer works only on the VM that it created itself, by its managed object id, so no
loser of a race harms a winner.
vCenter is the heartbeat of an import: the VM is locked by a running task for as long as the NFC
lease is renewed, and vCenter removes it when the lease runs out.
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass

from vmdk_cache.cache.key import image_id_in, is_copy_name
from vmdk_cache.cache.record import Record


class Owner(enum.Enum):
    """Whose a VM in the cache's folder is, among the clouds that use the vCenter.

    By its record, or by a note on it. Records of earlier versions name nobody, and a note does so
    only once it is certain: volumes of this cloud use the template, or Glance has its very image.
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
    """What is known of one VM in the cache's folder at one moment.

    :ivar moref: managed object id of the VM
    :ivar name: its name
    :ivar phase: see the module's table
    :ivar record: its record, None for ADOPTED and most FOREIGN ones
    :ivar datastore: managed object id of the datastore its disk is on, None if unknown
    :ivar disk_key: device key of its disk, None if it has none or more than one
    :ivar size_bytes: capacity of its disks; what it counts as provisioned
    :ivar unshared_bytes: space that deleting it frees, as vCenter last looked
    :ivar made_at: when vCenter says it was created, aware UTC; not reliable for clones
    :ivar used_at: last clone that was noted on it, aware UTC, None if none was
    :ivar warmed_at: last warm-up that was noted on it, aware UTC, None if none was
    :ivar was_ready: a note on it says that it was READY once, whatever it is now
    :ivar content_id: vCenter's id of its disk's content now, None if vCenter does not say
    :ivar ready_content_id: the same as noted when it became READY, None if it was not
    :ivar host: managed object id of the host that it is registered on and that does its reads, None
        if unknown
    :ivar owner: see :class:`Owner`
    :ivar deployment: which cloud's it is, '' if nothing says so
    :ivar accessible: False if vCenter says that its files are lost or out of reach
    :ivar has_config: False if vCenter has no configuration of it: files lost, or just being made
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

    @property
    def image_id(self) -> str | None:
        """Glance image id that it is a copy of, None if that is not known."""
        return self.record.key.image_id if self.record else image_id_in(self.name)

    @property
    def created_at(self) -> datetime.datetime | None:
        """When its import began, by its record; else what vCenter says."""
        return self.record.created_at if self.record else self.made_at


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
    :param was_ready: a note on it says so
    :param has_other_content: its disk's content is not the one that was noted
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
