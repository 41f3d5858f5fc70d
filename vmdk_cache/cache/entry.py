"""One VM in the cache's folder, and its life.

    phase       the VM is                                  left by
    ---------   ----------------------------------------   ------------------------------------
    (absent)    not there                                  ImportVApp under its final name
    IMPORTING   ours by its record, no template yet        MarkAsTemplate (the commit point), or
                                                           destroyed by its importer, by the next
                                                           importer once no NFC lease holds it
    READY       a template with a record for its name;     condemned when it has expired
                the only phase that is cloned from
    FOREIGN     anything else in our folder: no record,    never touched by us
                a broken one, another backend's

An entry becomes READY once and never goes back. Who clones from it holds a lease (cache/lease.py);
an entry is condemned, so that no new lease starts, before it is destroyed. An importer works only
on the VM that it created itself, by its managed object id, so no loser of a race harms a winner.
vCenter is the heartbeat of an import: the VM is locked by a running task for as long as the NFC
lease is renewed, and vCenter removes it when the lease runs out.
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass

from vmdk_cache.cache.key import template_name
from vmdk_cache.cache.record import Record


class Phase(enum.Enum):
    """See the table above."""

    IMPORTING = "importing"
    READY = "ready"
    FOREIGN = "foreign"


@dataclass(frozen=True)
class CacheEntry:
    """What is known of one VM in the cache's folder at one moment.

    :ivar moref: managed object id of the VM
    :ivar name: its name
    :ivar phase: see the module's table
    :ivar record: its record, None for most FOREIGN ones
    :ivar datastore: managed object id of the datastore its disk is on, None if unknown
    :ivar disk_key: device key of its disk, None if it has none or more than one
    :ivar size_bytes: capacity of its disks; what it counts as provisioned
    """

    moref: str
    name: str
    phase: Phase
    record: Record | None
    datastore: str | None
    disk_key: int | None
    size_bytes: int

    def age(self, now: datetime.datetime) -> datetime.timedelta | None:
        """Time since the import began; None without a record."""
        return now - self.record.created_at if self.record else None


def classify(
    backend: str, name: str, is_template: bool, disks: int, record: Record | None
) -> Phase:
    """The phase of a VM found in the cache's folder of ``backend``."""
    if record is None or record.backend != backend or name != template_name(backend, record.key):
        return Phase.FOREIGN
    if not is_template:
        return Phase.IMPORTING
    return Phase.READY if disks == 1 else Phase.FOREIGN
