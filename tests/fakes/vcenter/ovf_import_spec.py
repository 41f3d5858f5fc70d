"""Turns an OVF descriptor into a VirtualMachineImportSpec: OvfManager.CreateImportSpec.

Disks keep their order and slots, so that a FileItem's `deviceId` is the `importKey` of the lease's
device URL. A device that a VM of the fake cannot have is an error in the result, with vCenter's
fault; it is never silently dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter import ovf_descriptor as ovf
from tests.fakes.vcenter.managed_entity import check_name

if TYPE_CHECKING:
    from tests.fakes.vcenter.datastore import Datastore
    from tests.fakes.vcenter.ovf_descriptor import OvfDescriptor, OvfItem

_device = vim.vm.device
_SCSI_KINDS = {
    "": _device.VirtualLsiLogicController,
    "lsilogic": _device.VirtualLsiLogicController,
    "virtualscsi": _device.ParaVirtualSCSIController,
    "lsilogicsas": _device.VirtualLsiLogicSASController,
    "buslogic": _device.VirtualBusLogicController,
}
_NETWORK_KINDS = {
    "": _device.VirtualE1000,
    "e1000": _device.VirtualE1000,
    "e1000e": _device.VirtualE1000e,
    "pcnet32": _device.VirtualPCNet32,
    "vmxnet": _device.VirtualVmxnet2,
    "vmxnet2": _device.VirtualVmxnet2,
    "vmxnet3": _device.VirtualVmxnet3,
}
# OvfCreateImportSpecParams.DiskProvisioningType: (thinProvisioned, eagerlyScrub) of the backing.
_PROVISIONING = {
    "": (False, False),
    "thin": (True, False),
    "thick": (False, False),
    "flat": (False, False),
    "monolithicFlat": (False, False),
    "eagerZeroedThick": (False, True),
}
SUPPORTED_PROVISIONING = ("thin", "eagerZeroedThick", "thick")
_SLOT_OF_CONTROLLER = 7


class ImportSpec:
    """Builds `spec` and `files`; `errors` and `warnings` are pyVmomi faults."""

    def __init__(self, descriptor: OvfDescriptor, pool: Any, datastore: Datastore, cisp: Any):
        self.descriptor = descriptor
        self.pool = pool
        self.datastore = datastore
        self.params = cisp
        self.name = check_name(cisp.entityName or descriptor.name)
        self.errors: list[Exception] = []
        self.warnings: list[Exception] = []
        self.files: list[Any] = []
        self._controllers: dict[str, Any] = {}
        self._taken: dict[int, set[int]] = {}
        self._changes: list[Any] = []
        self.spec = self._spec()

    def _spec(self) -> Any:
        described = self.descriptor
        config = vim.vm.ConfigSpec(
            name=self.params.entityName or described.name,
            version=self._version(),
            guestId=described.os_type or "otherGuest",
            annotation=described.annotation or None,
            files=vim.vm.FileInfo(vmPathName=f"[{self.datastore.path_name}]"),
        )
        for item in described.items:
            if item.kind == ovf.CPU:
                config.numCPUs = item.quantity
            elif item.kind == ovf.MEMORY:
                config.memoryMB = item.quantity
            elif item.kind in (ovf.IDE, ovf.SCSI, ovf.SATA):
                self._controller(item)
        for item in described.items:
            if item.kind == ovf.DISK:
                self._disk(item)
            elif item.kind == ovf.NETWORK:
                self._network_card(item)
            elif item.kind in (ovf.CDROM, ovf.DVD, ovf.FLOPPY):
                self._removable(item)
            elif item.kind not in (
                ovf.CPU, ovf.MEMORY, ovf.IDE, ovf.SCSI, ovf.SATA, *ovf.IGNORED
            ):  # fmt: skip
                self._unsupported(item)
        config.deviceChange = self._changes
        return vim.vm.VmImportSpec(configSpec=config, resPoolEntity=self.pool.ref)

    def _version(self) -> str | None:
        """The newest version in the descriptor ("vmx-04 vmx-07"); other families are refused."""
        offered = self.descriptor.hardware_version.replace(",", " ").split()
        known = [one for one in offered if one.startswith("vmx-")]
        if offered and not known:
            self.errors.append(
                vim.fault.OvfNoSupportedHardwareFamily(
                    msg=f"Unsupported hardware family '{' '.join(offered)}'.",
                    lineNumber=1,
                    version=" ".join(offered),
                )
            )
        return max(known) if known else None

    def _controller(self, item: OvfItem) -> None:
        if item.kind == ovf.IDE:  # a VM already has its two
            self._controllers[item.instance_id] = 200 + (item.address or 0) % 2
            return
        if item.kind == ovf.SATA:
            kind = _device.VirtualAHCIController
        else:
            kind = _SCSI_KINDS.get(item.sub_type.lower())
        if kind is None:
            self._unsupported(item)
            return
        key = -101 - len(self._changes)
        number = sum(isinstance(change.device, kind.__mro__[1]) for change in self._changes)
        controller = kind(key=key, busNumber=number)
        if item.kind == ovf.SCSI:
            controller.sharedBus = "noSharing"
        self._add(controller)
        self._controllers[item.instance_id] = controller

    def _disk(self, item: OvfItem) -> None:
        disk = self.descriptor.disks.get((item.host_resource or "").rpartition("/")[2])
        controller = self._controllers.get(item.parent or "")
        if disk is None:
            raise ovf.missing(f"Disk {item.host_resource}")
        if controller is None:
            return self._unsupported(item)
        backing = self._backing()
        if backing is None:
            return None
        key = controller if isinstance(controller, int) else controller.key
        unit = self._unit(key, item.address_on_parent, scsi=not isinstance(controller, int))
        self._add(
            _device.VirtualDisk(
                key=-201 - len(self._changes),
                controllerKey=key,
                unitNumber=unit,
                capacityInKB=-(-disk.capacity_bytes // 1024),
                backing=backing,
            ),
            fileOperation="create",
        )
        if disk.file is not None:
            if isinstance(controller, int):
                slot = f"VirtualIDEController{controller - 200}:{unit}"
            else:
                slot = (
                    f"{type(controller).__name__.rpartition('.')[2]}{controller.busNumber}:{unit}"
                )
            self.files.append(
                vim.OvfManager.FileItem(
                    deviceId=f"/{self.name}/{slot}",
                    path=disk.file.href,
                    size=disk.file.size_bytes or None,
                    cimType=ovf.DISK,
                    create=False,
                )
            )
        return None

    def _backing(self) -> Any:
        wanted = self.params.diskProvisioning or ""
        if wanted not in _PROVISIONING:
            # Sparse types are for hosted products (vSphere API reference, DiskProvisioningType).
            fault = vim.fault.OvfUnsupportedDiskProvisioning(
                msg=f"Disk provisioning type not supported: {wanted}.",
                diskProvisioning=wanted,
                supportedDiskProvisioning=", ".join(SUPPORTED_PROVISIONING),
            )
            if not any(isinstance(error, type(fault)) for error in self.errors):
                self.errors.append(fault)
            return None
        thin, eager = _PROVISIONING[wanted]
        return _device.VirtualDisk.FlatVer2BackingInfo(
            fileName="", diskMode="persistent", thinProvisioned=thin, eagerlyScrub=eager
        )

    def _unit(self, key: int, wanted: int | None, *, scsi: bool) -> int:
        taken = self._taken.setdefault(key, {_SLOT_OF_CONTROLLER} if scsi else set())
        unit = wanted if wanted is not None and wanted not in taken else 0
        while unit in taken:
            unit += 1
        taken.add(unit)
        return unit

    def _network_card(self, item: OvfItem) -> None:
        kind = _NETWORK_KINDS.get(item.sub_type.lower().split(" ")[0])
        if kind is None:
            return self._unsupported(item)
        network = self._network(item.connection or "")
        self._add(
            kind(
                key=-301 - len(self._changes),
                addressType="generated",
                backing=_device.VirtualEthernetCard.NetworkBackingInfo(
                    network=network.ref, deviceName=network.name
                ),
                connectable=_device.VirtualDevice.ConnectInfo(
                    startConnected=True, allowGuestControl=True, connected=False
                ),
            )
        )
        return None

    def _network(self, name: str) -> Any:
        """The mapped network; else the one of this name, else the first (vSphere API reference,
        OvfCreateImportSpecParams.networkMapping: "a default mapping will be used").
        """
        registry = self.pool.vcenter.registry
        for mapping in self.params.networkMapping or []:
            if mapping.name == name:
                return registry.require(mapping.network)
        networks = [
            one for one in registry.of_type(vim.Network) if one.datacenter is self.pool.datacenter
        ]
        return next((one for one in networks if one.name == name), networks[0])

    def _removable(self, item: OvfItem) -> None:
        """A drive without a medium; an image in the package is not simulated."""
        resource = item.host_resource or ""
        if resource.startswith("ovf:/file/"):
            self._unsupported(item)

    def _unsupported(self, item: OvfItem) -> None:
        self.errors.append(
            vim.fault.OvfUnsupportedSubType(
                msg=f"Unsupported virtual hardware device '{item.name}'.",
                lineNumber=1,
                elementName=item.name,
                instanceId=item.instance_id,
                deviceType=item.kind,
                deviceSubType=item.sub_type,
            )
        )

    def _add(self, device: Any, fileOperation: str | None = None) -> None:
        self._changes.append(
            vim.vm.device.VirtualDeviceSpec(
                operation="add", fileOperation=fileOperation, device=device
            )
        )
