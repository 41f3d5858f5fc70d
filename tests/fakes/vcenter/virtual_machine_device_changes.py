"""ConfigSpec.deviceChange: adds, edits and removes devices, all of them or none.

An eagerZeroedThick disk that grows is lazily zeroed from then on, because ReconfigVM_Task offers no
other way. (pyvmomi#648, community.vmware#278 and #817, terraform-provider-vsphere#2123)

All changes are tried on a copy of the devices. Disks created on the way are deleted again if a
later change is refused, and files are destroyed only after the last change has passed. Faults carry
the index of the change: InvalidDeviceSpec for an impossible device, InvalidDeviceOperation for an
impossible operation (shrinking; growing a disk with parents), InvalidDeviceBacking for anything but
flat disks.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter import virtual_machine_other_devices as other_devices
from tests.fakes.vcenter.datastore import find_datastore, parse_path
from tests.fakes.vcenter.virtual_disk import (
    Provisioning,
    VirtualDisk,
    create_disk,
    open_disk,
)
from tests.fakes.vcenter.virtual_machine_devices import AttachedDisk
from tests.fakes.vcenter.virtual_machine_faults import (
    invalid_backing,
    invalid_operation,
    invalid_spec,
)
from tests.fakes.vcenter.virtual_machine_placement import not_supported, require_datastore
from tests.fakes.vcenter.virtual_machine_settings import profile_of

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_machine import VirtualMachine

_Disk = vim.vm.device.VirtualDisk
_FlatVer2 = vim.vm.device.VirtualDisk.FlatVer2BackingInfo
_DISK_CONTROLLERS = (
    vim.vm.device.VirtualSCSIController,
    vim.vm.device.VirtualSATAController,
    vim.vm.device.VirtualNVMEController,
)
_CONTROLLERS = (vim.vm.device.VirtualController,)


class DeviceChanges:
    """The changes of one spec to one VM; call `apply` once."""

    def __init__(self, vm: VirtualMachine, specs: Any) -> None:
        self.vm = vm
        self.specs = list(enumerate(specs or []))
        self.devices = vm.devices.copy()
        self.created: list[VirtualDisk] = []
        self.doomed: list[VirtualDisk] = []
        self.edits: list[tuple[VirtualDisk, Any, int]] = []
        self._keys: dict[int, int] = {}

    def apply(self) -> None:
        """Change the VM's devices; a fault leaves devices and files as they were."""
        try:
            self._try_all()
            for disk, size_bytes, _ in self.edits:
                if size_bytes > disk.capacity_bytes:
                    disk.extend(size_bytes)
                disk.shown_capacity_bytes = None
        except Exception:
            for disk in self.created:
                disk.delete()
            raise
        self.vm.devices = self.devices
        self.vm.sync()
        for disk in self.doomed:
            for one in disk.chain:
                if not one.users:
                    one.delete()

    def _try_all(self) -> None:
        # A disk may precede the controller that it names by a temporary key.
        for index, spec in self.specs:
            if spec.operation == "remove":
                self._remove(index, spec)
        for index, spec in self.specs:
            if spec.operation == "add" and isinstance(spec.device, _CONTROLLERS):
                self._add_other(index, spec.device)
        for index, spec in self.specs:
            if spec.operation == "add" and not isinstance(spec.device, (_Disk, *_CONTROLLERS)):
                self._add_other(index, spec.device)
            elif spec.operation is None:
                raise invalid_spec(index, "virtualDeviceSpec.operation")
        for index, spec in self.specs:
            if spec.operation == "add" and isinstance(spec.device, _Disk):
                self._add_disk(index, spec)
        for index, spec in self.specs:
            if spec.operation == "edit":
                self._edit(index, spec)

    # remove

    def _remove(self, index: int, spec: Any) -> None:
        key = spec.device.key
        attached = self.devices.disk(key)
        if attached is not None:
            self.devices.disks.remove(attached)
            if spec.fileOperation == "destroy":
                self.doomed.append(attached.disk)
            return
        controller = next((c for c in self.devices.controllers if c.key == key), None)
        if controller is not None:
            if self.devices.on_controller(key):
                raise invalid_operation(index, "remove", "The controller has devices.")
            self.devices.controllers.remove(controller)
            return
        other = self.devices.other(key)
        if other is None:
            raise invalid_spec(index, "virtualDeviceSpec.device.key")
        self.devices.others.remove(other)

    # add

    def _add_other(self, index: int, asked: Any) -> None:
        if isinstance(asked, vim.vm.device.VirtualIDEController):
            # A VM has two and cannot have more (vSphere Virtual Machine Administration, "Virtual
            # Machine Hardware"); the spec of a new VM may name them, as govc's does.
            if self.vm.complete or asked.busNumber not in (0, 1):
                raise invalid_spec(index, "virtualDeviceSpec.device.busNumber")
            self._keys[asked.key] = 200 + asked.busNumber
            return
        if isinstance(asked, _DISK_CONTROLLERS):
            self._keys[asked.key] = self.devices.add_controller(asked).key
            return
        wanted = copy.copy(asked)
        wanted.controllerKey = self._keys.get(asked.controllerKey, asked.controllerKey)
        device = other_devices.added(self.vm, self.devices, index, wanted)
        self._keys[asked.key] = device.key
        self.devices.others.append(device)

    def _add_disk(self, index: int, spec: Any) -> None:
        asked = spec.device
        if not isinstance(asked.backing, _FlatVer2):
            raise invalid_backing(index)
        controller_key = self._keys.get(asked.controllerKey, asked.controllerKey)
        if controller_key is None or self.devices.controller(controller_key) is None:
            raise invalid_spec(index, "virtualDeviceSpec.device.controllerKey")
        if spec.fileOperation in ("create", "replace"):
            disk = self._create(index, spec, controller_key)
        else:
            disk = self._open(index, asked)
        attached = self.devices.add_disk(
            disk,
            controller_key,
            asked.unitNumber,
            mode=asked.backing.diskMode or "persistent",
            profile_id=profile_of(spec.profile) or None,
        )
        attached.sharing = asked.backing.sharing or attached.sharing
        self._keys[asked.key] = attached.key

    def _create(self, index: int, spec: Any, controller_key: int) -> VirtualDisk:
        asked = spec.device
        if asked.backing.parent is not None:
            return self._create_child(index, asked)
        size_bytes = asked_capacity(index, asked, current_bytes=0)
        if size_bytes <= 0:
            raise invalid_spec(index, "virtualDeviceSpec.device.capacityInKB")
        datastore, path = self._place(asked.backing)
        require_datastore(datastore, self.vm.host)
        disk = create_disk(
            datastore.storage,
            path,
            size_bytes,
            provisioning=provisioning_of(asked.backing) or "preallocated",
            adapter_type=self.devices.adapter_type(controller_key),
            uuid=asked.backing.uuid or None,
            overwrite=spec.fileOperation == "replace",
        )
        self.created.append(disk)
        return disk

    def _create_child(self, index: int, asked: Any) -> VirtualDisk:
        """A delta on an existing disk."""
        parent = self._open(index, copy_of(asked, backing=asked.backing.parent))
        datastore, path = self._place(asked.backing)
        child = parent.create_child(datastore.storage, path)
        self.created.append(child)
        return child

    def _place(self, backing: Any) -> tuple[Any, str]:
        """Datastore and path of a new disk: those of the backing, or an unused name in the VM's
        directory.
        """
        registry = self.vm.vcenter.registry
        datastore = registry.require(backing.datastore) if backing.datastore else None
        path = ""
        if backing.fileName:
            named = parse_path(self.vm.vcenter, backing.fileName)
            datastore = find_datastore(self.vm.vcenter, named.datastore, self.vm.datacenter)
            path = named.path
        datastore = datastore or self.vm.home_datastore
        assert datastore is not None
        if not path:
            if not datastore.storage.is_directory(self.vm.directory):
                datastore.storage.make_directory(self.vm.directory)
            path = self.vm.new_disk_path(datastore)
        elif not path.endswith(".vmdk"):
            path = self.vm.new_disk_path(datastore, path)
        return datastore, path

    def _open(self, index: int, asked: Any) -> VirtualDisk:
        if not asked.backing.fileName:
            raise invalid_backing(index)
        path = parse_path(self.vm.vcenter, asked.backing.fileName)
        datastore = find_datastore(self.vm.vcenter, path.datastore, self.vm.datacenter)
        require_datastore(datastore, self.vm.host)
        disk = open_disk(datastore.storage, path.path)
        if disk.sparse:
            raise vim.fault.InvalidDiskFormat(
                msg=f"The disk format of {path} is not supported by the host."
            )
        disk.files.file(disk.extent_path)
        if any(attached.disk is disk for attached in self.devices.disks):
            raise invalid_spec(index, "virtualDeviceSpec.device.backing.fileName")
        if asked.backing.uuid and disk.parent is None:
            disk.uuid = asked.backing.uuid
            disk.write_descriptor()
        return disk

    # edit

    def _edit(self, index: int, spec: Any) -> None:
        asked = spec.device
        attached = self.devices.disk(asked.key)
        if attached is None:
            other = self.devices.other(asked.key)
            if other is not None:
                position = self.devices.others.index(other)
                edited = other_devices.edited(self.vm, self.devices, index, other, asked)
                self.devices.others[position] = edited
                return
            if self.devices.controller(asked.key):
                return
            raise invalid_spec(index, "virtualDeviceSpec.device.key")
        disk = attached.disk
        size_bytes = asked_capacity(index, asked, disk.capacity_bytes)
        check_growth(index, size_bytes, disk.capacity_bytes, has_parent=disk.parent is not None)
        self._edit_backing(index, asked, attached)
        self.edits.append((disk, size_bytes, index))
        profile = profile_of(spec.profile)
        if profile is not None:
            attached.profile_id = profile or None

    def _edit_backing(self, index: int, asked: Any, attached: AttachedDisk) -> None:
        backing, disk = asked.backing, attached.disk
        if backing is None:
            return
        if not isinstance(backing, _FlatVer2):
            raise invalid_backing(index)
        if backing.fileName and parse_path(self.vm.vcenter, backing.fileName) != disk.path:
            raise invalid_backing(index)
        if backing.diskMode:
            attached.mode = backing.diskMode
        attached.sharing = backing.sharing or attached.sharing
        if backing.uuid and backing.uuid != disk.uuid:
            if disk.parent is not None:
                raise not_supported("The uuid of a disk with parents cannot be changed.")
            disk.uuid = backing.uuid
            disk.write_descriptor()
        if asked.controllerKey in (None, attached.controller_key):
            return
        wanted = self._keys.get(asked.controllerKey, asked.controllerKey)
        if self.devices.controller(wanted) is None:
            raise invalid_spec(index, "virtualDeviceSpec.device.controllerKey")
        self.devices.disks.remove(attached)
        self.devices.add_disk(
            disk, wanted, asked.unitNumber, mode=attached.mode, profile_id=attached.profile_id
        )


def copy_of(device: Any, *, backing: Any) -> Any:
    """The same device with another backing."""
    copied = copy.copy(device)
    copied.backing = backing
    return copied


def asked_capacity(index: int, asked: Any, current_bytes: int) -> int:
    """The capacity in bytes in a device spec.

    Clients set KB, bytes or both, and leave the other as it was; the one that differs from the
    present capacity counts. Zero KB with a nonzero number of bytes is refused, and so are two
    different new capacities. (govmomi on capacityInKB; community.vmware and packer for what clients
    send)
    """
    kb, size_bytes = asked.capacityInKB, asked.capacityInBytes
    if size_bytes is None:
        return int(kb) * 1024
    if not kb and size_bytes:
        raise invalid_operation(index, "edit" if current_bytes else "add", "capacityInKB is zero.")
    if kb == current_bytes // 1024 or size_bytes // 1024 == kb:
        return int(size_bytes)
    if size_bytes == current_bytes:
        return int(kb) * 1024
    raise invalid_operation(
        index, "edit" if current_bytes else "add", "capacityInKB and capacityInBytes disagree."
    )


def check_growth(index: int, size_bytes: int, current_bytes: int, *, has_parent: bool) -> None:
    """InvalidDeviceOperation for shrinking, and for growing a disk that has parents."""
    if size_bytes // 1024 < current_bytes // 1024:
        raise invalid_operation(index, "edit", "Virtual disks cannot be shrunk.")
    if size_bytes > current_bytes and has_parent:
        raise invalid_operation(index, "edit", "Disks with parents cannot be expanded.")


def provisioning_of(backing: Any) -> Provisioning | None:
    """The provisioning in a flat backing; None without a backing. InvalidDeviceBacking for
    others.
    """
    if backing is None:
        return None
    if not isinstance(backing, _FlatVer2):
        raise invalid_backing(0)
    if backing.thinProvisioned:
        return "thin"
    return "eagerZeroedThick" if backing.eagerlyScrub else "preallocated"
