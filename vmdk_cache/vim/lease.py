"""Importing a disk: ImportVApp and its NFC lease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ImportRequest:
    """The VM that an import creates; hardware as upstream's driver makes it.

    :ivar datastore: NAME of the datastore (vmPathName is ``[name]``)
    :ivar capacity_bytes: virtual size of the disk
    :ivar disk_type: ``thin``, ``thick`` or ``eagerZeroedThick``
    :ivar adapter_type: ``lsiLogic``, ``busLogic``, ``lsiLogicsas``, ``paraVirtual`` or ``ide``
    :ivar managed_by: (extension key, type) or None
    :ivar hardware_version: e.g. ``vmx-13``; upstream's default is ``vmx-08``
    """

    name: str
    datastore: str
    capacity_bytes: int
    disk_type: str = "thin"
    adapter_type: str = "lsiLogic"
    extra_config: Mapping[str, str] = field(default_factory=dict)
    annotation: str = ""
    managed_by: tuple[str, str] | None = None
    profile_id: str | None = None
    instance_uuid: str | None = None
    guest_id: str = "otherGuest"
    cpus: int = 1
    memory_mb: int = 128
    hardware_version: str = "vmx-08"
