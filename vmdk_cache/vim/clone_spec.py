"""The CloneSpec of a full, powered-off copy, with edits of the copy's disk.

One CloneVM_Task sets the whole identity of a clone. vCenter copies extraConfig, annotation and
managedBy of the source into the clone unless the request overrides them, so it always does.
``CloneSpec.config`` may also edit the disk, but the effect is not documented (docs/assumptions.rst,
A92 and A93).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import VmomiSupport, vim, vmodl

from vmdk_cache import errors
from vmdk_cache.vim.virtual_disk import VirtualDisk, disk_backing, edit

_FlatVer2 = vim.vm.device.VirtualDisk.FlatVer2BackingInfo
#: Faults, with subtypes, with which vCenter may reject a spec (vSphere API reference).
_SPEC_FAULTS = (
    vim.fault.VmConfigFault,
    vim.fault.InvalidDatastore,
    vmodl.fault.InvalidArgument,
    vmodl.fault.InvalidRequest,
    vmodl.fault.NotImplemented,
    vmodl.fault.NotSupported,
    vmodl.fault.SecurityError,
    vmodl.fault.SystemError,
)


@dataclass(frozen=True)
class DiskEdit:
    """The requested edit of the copy's disk in ``CloneSpec.config``.

    :ivar source: the source's only disk
    """

    source: VirtualDisk
    capacity_bytes: int
    uuid: str


@dataclass(frozen=True)
class CloneRequest:
    """The place and identity of a clone.

    :ivar folder: moref; so are ``datastore``, ``host`` and ``pool``
    :ivar disk_key: device key of the source's only disk (:class:`VirtualDisk`)
    :ivar disk_type: ``thin``, ``thick`` or ``eagerZeroedThick``
    :ivar extra_config: keys to set; the value ``''`` removes a key that the source has
    :ivar managed_by: (extension key, type), or None: the clone is unmanaged, even if its source is
        managed
    :ivar annotation: replaces the source's; '' removes it
    :ivar profile_id: storage profile for the VM's home and its disk
    :ivar as_template: create the clone as a template
    :ivar disk_edit: edit to request in the same task; read the disk to see whether it was done
    """

    name: str
    folder: str
    datastore: str
    host: str | None
    pool: str
    disk_key: int
    disk_type: str = "thin"
    instance_uuid: str | None = None
    extra_config: Mapping[str, str] = field(default_factory=dict)
    managed_by: tuple[str, str] | None = None
    annotation: str = ""
    profile_id: str | None = None
    as_template: bool = False
    disk_edit: DiskEdit | None = None


def clone_spec(request: CloneRequest) -> Any:
    """The VirtualMachineCloneSpec of a request."""
    profile_id = request.profile_id
    profiles = [vim.vm.DefinedProfileSpec(profileId=profile_id)] if profile_id is not None else []
    managed_by = request.managed_by or ("", "")  # an empty key removes the source's
    locator = vim.vm.RelocateSpec.DiskLocator(
        diskId=request.disk_key,
        datastore=vim.Datastore(request.datastore),
        diskMoveType="moveAllDiskBackingsAndDisallowSharing",
        diskBackingInfo=disk_backing(request.disk_type),
        profile=profiles,
    )
    location = vim.vm.RelocateSpec(
        datastore=vim.Datastore(request.datastore),
        pool=vim.ResourcePool(request.pool),
        host=None if request.host is None else vim.HostSystem(request.host),
        diskMoveType="moveAllDiskBackingsAndDisallowSharing",
        disk=[locator],
        profile=profiles,
    )
    changes = [] if request.disk_edit is None else [_change(request.disk_edit, request.disk_type)]
    config = vim.vm.ConfigSpec(
        instanceUuid=request.instance_uuid,
        annotation=request.annotation,
        managedBy=vim.ext.ManagedByInfo(extensionKey=managed_by[0], type=managed_by[1]),
        extraConfig=[
            vim.option.OptionValue(key=key, value=value)
            for key, value in request.extra_config.items()
        ],
        deviceChange=changes,
    )
    return vim.vm.CloneSpec(
        location=location, template=request.as_template, powerOn=False, config=config
    )


def is_editable(source: VirtualDisk | None) -> bool:
    """Whether a clone of the disk may be edited in the same task: only a flat disk that is not a
    delta ("Disks with parents cannot be expanded", CAPV issue 1189)."""
    return (
        source is not None
        and source.device is not None
        and not source.has_parent
        and type(source.device.backing) is _FlatVer2
    )


def may_be_about_spec(failure: errors.VCenterError) -> bool:
    """Whether vCenter may have refused a clone because of its spec."""
    if failure.fault is None or isinstance(failure, errors.HardwareTooNew):
        return False
    try:
        kind = VmomiSupport.GetVmodlType(failure.fault)
    except KeyError:
        return False
    return issubclass(kind, _SPEC_FAULTS)


def _change(wanted: DiskEdit, disk_type: str) -> Any:
    """The source's whole device with the changes, as CAPV, Ansible and Packer send it to real
    vCenters."""
    device = copy.copy(wanted.source.device)
    device.backing = copy.copy(device.backing)
    becomes = disk_backing(disk_type)
    device.backing.thinProvisioned = becomes.thinProvisioned
    device.backing.eagerlyScrub = becomes.eagerlyScrub
    return edit(device, wanted.capacity_bytes, wanted.uuid)
