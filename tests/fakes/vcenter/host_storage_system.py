"""HostStorageSystem: one disk that only this host sees, without a datastore.

The fake's datastores have no disks: the model or HostDatastoreSystem creates them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.host_config_manager import HostPart
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem

_SECTORS = 64 << 21  # of 512 bytes: 64 GiB


class HostStorageSystem(HostPart):
    """For tests: `disk`."""

    TYPE = vim.host.StorageSystem
    NAME = "storageSystem"

    def __init__(self, host: HostSystem) -> None:
        super().__init__(host)
        name = f"naa.{host.uuid.replace('-', '')[:16]}"
        self.disk = vim.host.ScsiDisk(
            deviceName=f"/vmfs/devices/disks/{name}",
            devicePath=f"/vmfs/devices/disks/{name}",
            deviceType="disk",
            key=f"key-vim.host.ScsiDisk-{name}",
            uuid=f"02000000{host.uuid.replace('-', '')}",
            canonicalName=name,
            displayName=f"Local Fake Disk ({name})",
            lunType="disk",
            vendor="Fake",
            model="Fake disk",
            operationalState=["ok"],
            capacity=vim.host.DiskDimensions.Lba(blockSize=512, block=_SECTORS),
            ssd=False,
            localDisk=True,
        )

    @property
    def storageDeviceInfo(self) -> Any:
        """The adapter and its disk."""
        return vim.host.StorageDeviceInfo(
            softwareInternetScsiEnabled=False,
            hostBusAdapter=[
                vim.host.BlockHba(
                    key="key-vim.host.BlockHba-vmhba0",
                    device="vmhba0",
                    bus=0,
                    status="unknown",
                    model="Fake adapter",
                    driver="vmw_ahci",
                    pci="0000:00:1f.2",
                )
            ],
            scsiLun=[self.disk],
        )

    @property
    def fileSystemVolumeInfo(self) -> Any:
        """The NFS and VMFS volumes of the datastores that the host mounts."""
        mounts = []
        for datastore in self.host.datastore:
            info = datastore.info
            volume = getattr(info, "vmfs", None) or getattr(info, "nas", None)
            if volume is not None:
                mount = vim.host.FileSystemMountInfo(
                    mountInfo=datastore.mounts[self.host], volume=volume
                )
                mounts.append(mount)
        kinds = sorted({mount.volume.type for mount in mounts})
        return vim.host.FileSystemVolumeInfo(volumeTypeList=kinds, mountInfo=mounts)

    def RetrieveDiskPartitionInfo(self, ctx: Context, devicePath: list[str]) -> list[Any]:
        """An empty table; InvalidArgument for an unknown disk."""
        if any(path != self.disk.devicePath for path in devicePath):
            raise vmodl.fault.InvalidArgument(invalidProperty="devicePath")
        block = vim.host.DiskDimensions.Lba(blockSize=512, block=0)
        end = vim.host.DiskDimensions.Lba(blockSize=512, block=_SECTORS - 1)
        free = vim.host.DiskPartitionInfo.BlockRange(type="none", start=block, end=end)
        return [
            vim.host.DiskPartitionInfo(
                deviceName=path,
                spec=vim.host.DiskPartitionInfo.Specification(
                    partitionFormat="gpt", totalSectors=_SECTORS
                ),
                layout=vim.host.DiskPartitionInfo.Layout(total=end, partition=[free]),
            )
            for path in devicePath
        ]

    def RescanAllHba(self, ctx: Context) -> None:
        """Does nothing, since no device ever appears."""

    def RescanVmfs(self, ctx: Context) -> None:
        """Does nothing, since no volume ever appears."""

    def RefreshStorageSystem(self, ctx: Context) -> None:
        """Does nothing, since nothing is cached."""

    # Flags of the disk

    def MarkAsSsd_Task(self, ctx: Context, scsiDiskUuid: str) -> Task:
        return self._mark(ctx, "MarkAsSsd_Task", scsiDiskUuid, "ssd", True)

    def MarkAsNonSsd_Task(self, ctx: Context, scsiDiskUuid: str) -> Task:
        return self._mark(ctx, "MarkAsNonSsd_Task", scsiDiskUuid, "ssd", False)

    def MarkAsLocal_Task(self, ctx: Context, scsiDiskUuid: str) -> Task:
        return self._mark(ctx, "MarkAsLocal_Task", scsiDiskUuid, "localDisk", True)

    def MarkAsNonLocal_Task(self, ctx: Context, scsiDiskUuid: str) -> Task:
        return self._mark(ctx, "MarkAsNonLocal_Task", scsiDiskUuid, "localDisk", False)

    def _mark(self, ctx: Context, method: str, uuid: str, name: str, value: bool) -> Task:
        """NotFound for an unknown disk."""

        def body(task: Task) -> None:
            if uuid != self.disk.uuid:
                raise vim.fault.NotFound(msg=f"The disk {uuid} was not found.")
            self.disk = copy.copy(self.disk)
            setattr(self.disk, name, value)
            self.changed("storageDeviceInfo")

        start: Callable[..., Task] = self.vcenter.tasks.start
        action = method[0].lower() + method[1:].removesuffix("_Task")
        return start(self.host, method, f"HostStorageSystem.{action}", body, session=ctx.session)
