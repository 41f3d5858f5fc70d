"""The space used by a VM's files, as of vCenter's last refresh."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from vmdk_cache.vim import properties
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_machine import in_utc


@dataclass(frozen=True)
class StorageUsage:
    """:ivar committed_bytes: space used by the VM's files on all datastores
    :ivar seen_at: time of vCenter's last refresh, which may be days ago; aware, UTC
    """

    committed_bytes: int
    seen_at: datetime.datetime | None


def of(session: Session, moref: str) -> StorageUsage:
    """The space that the VM's files use, as known to vCenter.

    :raises ObjectNotFound: the VM is gone
    """
    paths = ["storage.perDatastoreUsage", "storage.timestamp"]
    values = properties.read_one(session, "VirtualMachine", moref, paths)
    usage = values.get("storage.perDatastoreUsage") or ()
    committed_bytes = sum(part.committed or 0 for part in usage)
    return StorageUsage(committed_bytes, in_utc(values.get("storage.timestamp")))


def refresh(session: Session, moref: str) -> None:
    """Have vCenter refresh the sizes of the VM's files: they are outdated for a while after an
    import (vSphere API reference, VirtualMachineStorageInfo.timestamp)."""
    session.invoke("VirtualMachine", moref, "RefreshStorageInfo", safe=True)
