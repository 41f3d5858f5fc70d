"""What can be wrong in the cache's folder: pure diagnosis of one entry.

    kind                 what it is                                          fixed by
    ------------------   -------------------------------------------------   ------------------
    HALF_IMPORTED        not a template yet, and its importer is gone        deleting it
    FILES_LOST           has a name of this cache, files are lost            unregistering it
    ALTERED              a template whose disk was changed by hand           deleting it
    RECORD_BROKEN        has a name of this cache and no readable record     deleting it
    WITHOUT_CONFIG       vCenter has had no configuration of it for a while  deleting it, if ours
    DIRECTORY_ORPHANED   has our prefix, and no VM has files in it           deleting it, if asked
    BACKING_ORPHANED     a VM of a volume that Cinder does not have          an operator
                         (periodic/orphaned_backings.py)
    DATASTORE_UNREAD     could not be searched for orphaned directories      an operator
    OTHER_BACKEND        a template of another backend                       left alone
    OTHER_DEPLOYMENT     a template of another cloud, or of this one before  left alone
                         its id changed
    OWNER_UNKNOWN        an earlier version made it, perhaps for another     left alone
                         cloud; it is served, and expires
    FOREIGN              not ours, of a later version of this package, or    left alone
                         a template that was converted to a VM by hand

An entry that has expired, is superseded or stale is no finding: the purge removes it
(periodic/purge.py).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.key import has_tag, image_id_in
from vmdk_cache.quoting import identifier, quoted


class Kind(enum.StrEnum):
    """See the module's table."""

    HALF_IMPORTED = "half-imported"
    FILES_LOST = "files-lost"
    ALTERED = "altered"
    RECORD_BROKEN = "record-broken"
    WITHOUT_CONFIG = "without-config"
    DIRECTORY_ORPHANED = "directory-orphaned"
    BACKING_ORPHANED = "backing-orphaned"
    DATASTORE_UNREAD = "datastore-unread"
    OTHER_BACKEND = "other-backend"
    OTHER_DEPLOYMENT = "other-deployment"
    OWNER_UNKNOWN = "owner-unknown"
    FOREIGN = "foreign"


#: Not ours to change; reported to the operator because they are in our folder.
LEFT_ALONE = frozenset(
    {Kind.OTHER_BACKEND, Kind.OTHER_DEPLOYMENT, Kind.OWNER_UNKNOWN, Kind.FOREIGN}
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    :ivar name: of the VM or directory
    :ivar where: moref, or ``[datastore] directory``
    :ivar says: what is wrong and what to do, in one sentence
    :ivar fixed: it has been repaired
    """

    kind: Kind
    name: str
    where: str
    says: str
    fixed: bool = False


@dataclass(frozen=True)
class Report:
    """The findings of a check.

    :ivar skipped: another process was checking, so this one checked nothing
    :ivar templates: how many of the cache's templates and imports it looked at
    :ivar datastores: how many datastores it searched for directories
    """

    findings: tuple[Finding, ...]
    skipped: bool = False
    templates: int = 0
    datastores: int = 0


@dataclass(frozen=True)
class Diagnosis:
    """:ivar ours: may be removed; an entry that may be an import, only once it is abandoned"""

    kind: Kind
    says: str
    ours: bool = False

    @property
    def may_be_an_import(self) -> bool:
        return self.ours and self.kind in (Kind.HALF_IMPORTED, Kind.WITHOUT_CONFIG)


def diagnose(entry: CacheEntry, backend: str, deployment: str = "") -> Diagnosis | None:
    """What is wrong with ``entry``, None if nothing is, or if it is the purge's to remove.

    :param deployment: id of this cloud
    """
    if entry.record is not None and entry.record.is_of_later_version:
        return Diagnosis(
            Kind.FOREIGN,
            f"a later version of this package made it (record schema {entry.record.schema}): it is "
            f"left alone and not served here; upgrade this host too",
        )
    if entry.owner is Owner.ANOTHER:
        return _of_another_deployment(entry, deployment)
    ours = image_id_in(entry.name, backend) is not None and (
        entry.record is None or entry.record.backend == backend
    )
    if ours and _is_converted(entry):
        return Diagnosis(
            Kind.FOREIGN,
            "it was a template of this cache and was altered by hand, so its image cannot be "
            "cached: convert it back to a template, rename or delete it",
        )
    if ours and not entry.accessible:
        return Diagnosis(
            Kind.FILES_LOST,
            "its files are lost or out of reach, so it is not served: take it out of the inventory",
            ours,
        )
    if not entry.has_config:
        return Diagnosis(
            Kind.WITHOUT_CONFIG,
            "vCenter has no configuration of it: "
            + ("delete it" if ours else "look after its files, or take it out of the inventory"),
            ours,
        )
    if entry.phase is Phase.IMPORTING:
        return Diagnosis(Kind.HALF_IMPORTED, "its import was abandoned: delete it", ours)
    if entry.phase is Phase.ALTERED:
        return Diagnosis(
            Kind.ALTERED,
            "its disk has other content than when it became ready, so it is not served any more: "
            "delete it, or let the next purge do so",
            ours,
        )
    if entry.phase is Phase.ADOPTED and has_tag(entry.name):
        return Diagnosis(
            Kind.RECORD_BROKEN,
            "its record cannot be read, so it is never served: delete it",
            ours,
        )
    if entry.phase is Phase.FOREIGN:
        return _foreign(entry, backend, ours)
    if entry.phase is Phase.READY and entry.owner is Owner.UNKNOWN:
        return Diagnosis(
            Kind.OWNER_UNKNOWN,
            "an earlier version made it, and its record does not name the deployment: volumes are "
            "cloned from it, and it expires by its age. The next volume here, or the next purge of "
            "cinder-volume if its image is in Glance, makes it this deployment's",
        )
    return None


def _of_another_deployment(entry: CacheEntry, deployment: str) -> Diagnosis:
    return Diagnosis(
        Kind.OTHER_DEPLOYMENT,
        f"it belongs to deployment {quoted(entry.deployment)} and is left alone; this deployment "
        f"is {quoted(deployment)}. If that is the same cloud under an earlier id, set "
        f"image_cache_deployment_id = {identifier(entry.deployment)} on all its hosts",
    )


def _is_converted(entry: CacheEntry) -> bool:
    """Whether an administrator converted a template to a virtual machine, for a purpose."""
    return entry.phase is Phase.FOREIGN and entry.record is not None and entry.was_ready


def _foreign(entry: CacheEntry, backend: str, bears_our_name: bool) -> Diagnosis:
    if entry.record is not None and entry.record.backend != backend:
        return Diagnosis(
            Kind.OTHER_BACKEND,
            f"it belongs to the cache of {quoted(entry.record.backend)} and is left alone: give "
            "each backend a section and so a folder of its own",
        )
    if bears_our_name:
        return Diagnosis(
            Kind.FOREIGN,
            "it has a name of this cache and was altered by hand, so its image cannot be "
            "cached: rename or delete it",
        )
    return Diagnosis(
        Kind.FOREIGN, "it is not a template of this cache and is left alone: move it elsewhere"
    )
