"""The space that a VM's files take, as of the last time that vCenter looked at them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from vmdk_cache.vim import properties
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_machine import in_utc


@dataclass(frozen=True)
class StorageUsage:
    """:ivar committed_bytes: what the VM's files take, all datastores together
    :ivar seen_at: when vCenter looked at them, which may be days ago; aware, UTC
    """

    committed_bytes: int
    seen_at: datetime.datetime | None


def of(session: Session, moref: str) -> StorageUsage:
    """What vCenter knows of the space that the VM's files take.

    :raises ObjectNotFound: the VM is gone
    """
    paths = ["storage.perDatastoreUsage", "storage.timestamp"]
    values = properties.read_one(session, "VirtualMachine", moref, paths)
    usage = values.get("storage.perDatastoreUsage") or ()
    committed_bytes = sum(part.committed or 0 for part in usage)
    return StorageUsage(committed_bytes, in_utc(values.get("storage.timestamp")))


def refresh(session: Session, moref: str) -> None:
    """Have vCenter look at the VM's files now: what it says of their sizes is old for a while
    after an import (vSphere API reference, VirtualMachineStorageInfo.timestamp)."""
    session.invoke("VirtualMachine", moref, "RefreshStorageInfo", safe=True)
