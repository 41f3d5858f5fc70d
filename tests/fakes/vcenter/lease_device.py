"""One disk of an HttpNfcLease: its URL, the transferred bytes, and its entry in the manifest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter import vmdk
from tests.fakes.vcenter.disk import DiskContent

if TYPE_CHECKING:
    from tests.fakes.vcenter.http_nfc_lease import HttpNfcLease
    from tests.fakes.vcenter.virtual_disk import VirtualDisk
    from tests.fakes.vcenter.virtual_machine import VirtualMachine
    from tests.fakes.vcenter.virtual_machine_devices import AttachedDisk, Devices


class LeaseDevice:
    """`is_arriving` while an upload runs, `is_broken` once an upload ended early or was
    unreadable.
    """

    def __init__(
        self, vm: VirtualMachine, devices: Devices, attached: AttachedDisk, number: int
    ) -> None:
        slot = slot_name(devices, attached)
        self.vm = vm
        self.disk: VirtualDisk = attached.disk
        self.declared_bytes = attached.disk.capacity_bytes
        self.key = f"/{vm.moref}/{slot}"
        self.import_key = f"/{vm.name}/{slot}"
        self.target_id = f"disk-{number}.vmdk"
        self.is_arriving = False
        self.is_broken = False
        self.received_bytes = 0
        self.sha1: str | None = None
        self.sha256: str | None = None
        self.checksum_type = "sha1"

    def url_info(self, lease: HttpNfcLease) -> Any:
        """The HttpNfcLeaseDeviceUrl; the URL alone grants access as long as the lease lasts."""
        host, thumbprint = address(lease)
        return vim.HttpNfcLease.DeviceUrl(
            key=self.key,
            importKey=self.import_key,
            url=f"https://{host}/nfc/{lease.uuid}/{self.target_id}",
            sslThumbprint=thumbprint,
            disk=True,
            targetId=self.target_id,
            datastoreKey=f"https://{host}/nfc/{lease.uuid}/",
            fileSize=None if lease.kind == "import" else self.disk.occupied_bytes,
        )

    def manifest(self) -> Any:
        """The manifest entry of a finished transfer."""
        wanted = self.sha256 if self.checksum_type == "sha256" else self.sha1
        return vim.HttpNfcLease.ManifestEntry(
            key=self.key,
            sha1=self.sha1 or "",
            checksum=wanted,
            checksumType=self.checksum_type,
            size=self.received_bytes,
            disk=True,
            capacity=self.disk.capacity_bytes,
            populatedSize=self.disk.content.written_bytes,
        )


def slot_name(devices: Devices, attached: AttachedDisk) -> str:
    """The disk's slot as keys of device URLs name it: "VirtualLsiLogicController0:0"."""
    controller = devices.controller(attached.controller_key)
    kind = type(controller).__name__.rpartition(".")[2]
    return f"{kind}{controller.busNumber}:{attached.unit_number}"


def address(lease: HttpNfcLease) -> tuple[str, str]:
    """Host and thumbprint in a lease's URLs; see the switches."""
    switches = lease.vcenter.switches
    host = lease.host
    if switches.nfc_host is not None:
        host = f"{switches.nfc_host}:{lease.vcenter.port}"
    thumbprint = switches.nfc_thumbprint
    return host, lease.vcenter.thumbprint if thumbprint is None else thumbprint


def nvram_info(lease: HttpNfcLease, number: int) -> Any:
    """The HttpNfcLeaseDeviceUrl of the VM's BIOS settings, which imports of vCenter 6.7 and later
    list after the disks (a recording of vCenter 6.7).
    """
    assert lease.vm is not None
    host, thumbprint = address(lease)
    return vim.HttpNfcLease.DeviceUrl(
        key=f"/{lease.vm.moref}/nvram",
        importKey=f"/{lease.vm.name}/nvram",
        url=f"https://{host}/nfc/{lease.uuid}/disk-{number}.nvram",
        sslThumbprint=thumbprint,
        disk=False,
    )


class DiskUpload:
    """One streamOptimized stream into a device's disk, charged to its datastore as it arrives.

    feed() raises VmdkError for bytes that are not such a stream and NoDiskSpace for bytes that do
    not fit; `end` says whether all of it arrived.
    """

    def __init__(self, device: LeaseDevice) -> None:
        self.device = device
        self._switches = device.vm.vcenter.switches
        self._parser = vmdk.StreamOptimizedParser(self._switches.oldest_stream_version)
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._content: DiskContent | None = None
        device.is_arriving, device.is_broken, device.received_bytes = True, False, 0

    def feed(self, data: bytes) -> None:
        device, disk = self.device, self.device.disk
        device.received_bytes += len(data)
        self._sha1.update(data)
        self._sha256.update(data)
        self._parser.feed(data)
        content = self._parser.content
        if content is None:
            return
        if self._content is None:
            content.extend(max(content.size_bytes, device.declared_bytes))
            self._content = disk.extent.content = content
            disk.capacity_bytes = content.size_bytes
        disk.files.settle(disk.extent)

    def end(self, *, whole: bool) -> None:
        """End the stream; an incomplete disk, or none, marks the device as broken."""
        device = self.device
        device.is_arriving = False
        ended = self._parser.complete
        if not self._switches.stream_end_required:
            ended = ended or self._parser.is_between_grains
        device.is_broken = not whole or not ended or self._content is None
        device.sha1 = self._sha1.hexdigest()
        device.sha256 = self._sha256.hexdigest()
        if not device.is_broken:
            assert self._content is not None
            device.disk.fill(self._content)
        device.vm.sync()
