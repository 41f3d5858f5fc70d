"""Settings of a VM besides its name, files and devices, and how a ConfigSpec changes them.

A key of extraConfig with an empty value is deleted; an annotation "" is removed; managedBy with an
empty extensionKey is unset; an empty profile spec removes the policy. (vSphere API reference,
VirtualMachineConfigSpec.)
"""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from pyVmomi import VmomiSupport, vim

DEFAULT_VERSION = "vmx-21"
_NEWEST_VERSION = 22
#: Some of vSphere's guest operating systems, with their names in a recording of 8.0.1.
GUEST_NAMES = {
    "otherGuest": "Other (32-bit)",
    "otherGuest64": "Other (64-bit)",
    "otherLinux64Guest": "Other Linux (64-bit)",
    "ubuntu64Guest": "Ubuntu Linux (64-bit)",
    "debian12_64Guest": "Debian GNU/Linux 12 (64-bit)",
    "windows2019srv_64Guest": "Microsoft Windows Server 2019 (64-bit)",
}


@dataclass
class Settings:
    """One VM's settings; `copy` them before a change if others hold them."""

    guest_id: str = "otherGuest"
    version: str = DEFAULT_VERSION
    num_cpus: int = 1
    cores_per_socket: int = 1
    memory_mb: int = 32
    annotation: str = ""
    extra_config: dict[str, str] = field(default_factory=dict)
    managed_by: tuple[str, str] | None = None
    profile_id: str | None = None
    #: Other properties of a ConfigSpec that a ConfigInfo shows unchanged.
    plain: dict[str, Any] = field(default_factory=dict)
    uuid: str = field(default_factory=lambda: "42" + str(uuid.uuid4())[2:])
    instance_uuid: str = field(default_factory=lambda: "50" + str(uuid.uuid4())[2:])

    def copy(self) -> Settings:
        return replace(self, extra_config=dict(self.extra_config), plain=dict(self.plain))

    @property
    def guest_name(self) -> str:
        """The guest's full name."""
        return GUEST_NAMES.get(self.guest_id, self.guest_id)

    def for_clone(self) -> Settings:
        """The settings of a clone: the same, except for new uuids."""
        fresh = Settings()
        return replace(self.copy(), uuid=fresh.uuid, instance_uuid=fresh.instance_uuid)

    def apply(self, spec: Any) -> None:
        """Apply the fields that `spec` sets; the caller has checked them."""
        for field_name, own_name in _PLAIN:
            value = getattr(spec, field_name)
            if value is not None:
                setattr(self, own_name, value)
        if spec.uuid:
            self.uuid = spec.uuid.lower()
        if spec.instanceUuid:
            self.instance_uuid = spec.instanceUuid.lower()
        for option in spec.extraConfig or []:
            if option.value in (None, ""):
                self.extra_config.pop(option.key, None)
            else:
                self.extra_config[option.key] = str(option.value)
        if spec.managedBy is not None:
            key = spec.managedBy.extensionKey
            self.managed_by = (key, spec.managedBy.type) if key else None
        for name in _kept_as_sent():
            value = getattr(spec, name)
            if value is not None and value != []:
                self.plain[name] = merged(self.plain.get(name), value)
        profile = profile_of(spec.vmProfile)
        if profile is not None:
            self.profile_id = profile or None


_PLAIN = (
    ("guestId", "guest_id"),
    ("version", "version"),
    ("numCPUs", "num_cpus"),
    ("numCoresPerSocket", "cores_per_socket"),
    ("memoryMB", "memory_mb"),
    ("annotation", "annotation"),
)


#: Properties of a ConfigSpec that other parts of the fake handle.
_NOT_AS_SENT = {
    *("name", "guestId", "version", "annotation", "uuid", "instanceUuid", "extraConfig"),
    *("managedBy", "files", "changeVersion", "createDate", "dynamicType", "dynamicProperty"),
    *("changeTrackingEnabled", "alternateGuestName"),
}


@cache
def _kept_as_sent() -> tuple[str, ...]:
    """Properties that ConfigSpec and ConfigInfo have in common, by name and type."""
    shown = {info.name: info.type for info in vim.vm.ConfigInfo._GetPropertyList()}
    return tuple(
        info.name
        for info in vim.vm.ConfigSpec._GetPropertyList()
        if shown.get(info.name) is info.type and info.name not in _NOT_AS_SENT
    )


def merged(present: Any, asked: Any) -> Any:
    """`present` with the fields that `asked` sets."""
    if present is None or not isinstance(asked, VmomiSupport.DataObject):
        return asked
    merged = copy.copy(present)
    for info in asked._GetPropertyList():
        value = getattr(asked, info.name)
        if value is not None and value != []:
            setattr(merged, info.name, value)
    return merged


def profile_of(specs: Any) -> str | None:
    """The profile id of profile specs; "" if they name none, None if there are no specs."""
    for spec in specs or []:
        if isinstance(spec, vim.vm.DefinedProfileSpec):
            return str(spec.profileId)
        if isinstance(spec, vim.vm.EmptyProfileSpec):
            return ""
    return None


def known_versions() -> tuple[str, ...]:
    """The hardware versions of hosts of 8.0. (Broadcom, "Virtual machine hardware versions")"""
    numbers = (4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21)
    return tuple(f"vmx-{number:02d}" for number in numbers)


def require_known_version(version: str, host: Any) -> None:
    """VirtualHardwareVersionNotSupported for a version that the fake's hosts do not support."""
    number = version.removeprefix("vmx-")
    if not version.startswith("vmx-") or not number.isdigit() or int(number) > _NEWEST_VERSION:
        raise vim.fault.VirtualHardwareVersionNotSupported(
            msg=f"Virtual machine hardware version '{version}' is not supported on the host.",
            hostName=host.name,
            host=host.ref,
        )
