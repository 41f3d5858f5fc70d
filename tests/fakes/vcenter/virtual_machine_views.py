"""What clients read of a VM: config, summary, runtime, storage and layoutEx, built from its state.

Sizes are those of the files. `unshared` leaves out what another VM's chain needs too (the base of
linked clones). With the switch `stale_vm_storage_s` the usage of a young VM still reads zero, as it
may on a real vCenter until RefreshStorageInfo.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_disk import VirtualDisk
    from tests.fakes.vcenter.virtual_machine import VirtualMachine
    from tests.fakes.vcenter.virtual_machine_snapshot import SnapshotNode

_GUEST_NAMES = {"otherGuest": "Other (32-bit)", "otherGuest64": "Other (64-bit)"}


@dataclass
class Usage:
    """Bytes of one VM on one datastore."""

    committed: int = 0
    uncommitted: int = 0
    unshared: int = 0


def usage(vm: VirtualMachine) -> dict[Any, Usage]:
    """Bytes by datastore; a thin disk's uncommitted part is what it may still grow by."""
    found: dict[Any, Usage] = {}
    if vm.home_datastore is not None:
        home = found.setdefault(vm.home_datastore, Usage())
        for path in vm.own_files():
            size_bytes = vm.home_datastore.storage.file(path).charged_bytes
            home.committed += size_bytes
            home.unshared += size_bytes
    for disk in vm.all_disks():
        one = found.setdefault(disk.datastore, Usage())
        size_bytes = disk.occupied_bytes
        one.committed += size_bytes
        if disk.users <= {vm}:
            one.unshared += size_bytes
    for disk in vm.disks:
        if disk.provisioning == "thin" or disk.parent is not None:
            spare = disk.capacity_bytes - disk.extent_bytes
            found[disk.datastore].uncommitted += max(0, spare)
    return found


def config(vm: VirtualMachine) -> Any:
    """The VirtualMachineConfigInfo."""
    settings = vm.settings
    datastores = {path.datastore: None for path in (vm.home, *(d.path for d in vm.disks))}
    urls = {datastore.name: datastore.url for datastore in vm.datastore}
    return vim.vm.ConfigInfo(
        changeVersion=f"{vm.modified_at:%Y-%m-%dT%H:%M:%S}.{vm.change_number:06d}Z",
        modified=vm.modified_at,
        name=vm.name,
        guestFullName=_GUEST_NAMES.get(settings.guest_id, settings.guest_id),
        version=settings.version,
        uuid=settings.uuid,
        createDate=vm.created_at,
        instanceUuid=settings.instance_uuid,
        template=vm.template,
        guestId=settings.guest_id,
        alternateGuestName="",
        annotation=settings.annotation,
        files=_files(vm),
        flags=vim.vm.FlagInfo(),
        defaultPowerOps=_power_ops(),
        hardware=vim.vm.VirtualHardware(
            numCPU=settings.num_cpus,
            numCoresPerSocket=settings.cores_per_socket,
            memoryMB=settings.memory_mb,
            device=list(vm.devices.all()),
        ),
        extraConfig=[
            vim.option.OptionValue(key=key, value=value)
            for key, value in settings.extra_config.items()
        ],
        datastoreUrl=[
            vim.vm.ConfigInfo.DatastoreUrlPair(name=name, url=urls.get(name, ""))
            for name in datastores
        ],
        managedBy=_managed_by(vm),
        changeTrackingEnabled=False,
        firmware="bios",
    )


def summary(vm: VirtualMachine) -> Any:
    """The VirtualMachineSummary; a shell has hardly any."""
    settings = vm.settings
    if not vm.complete:
        short = vim.vm.Summary.ConfigSummary(name=vm.name, template=False, vmPathName="")
        stored = None
    else:
        short = vim.vm.Summary.ConfigSummary(
            name=vm.name,
            template=vm.template,
            vmPathName=str(vm.home),
            memorySizeMB=settings.memory_mb,
            numCpu=settings.num_cpus,
            numEthernetCards=0,
            numVirtualDisks=len(vm.disks),
            uuid=settings.uuid,
            instanceUuid=settings.instance_uuid,
            guestId=settings.guest_id,
            annotation=settings.annotation,
            managedBy=_managed_by(vm),
            hwVersion=settings.version,
        )
        shown = shown_usage(vm).values()
        stored = vim.vm.Summary.StorageSummary(
            committed=sum(one.committed for one in shown),
            uncommitted=sum(one.uncommitted for one in shown),
            unshared=sum(one.unshared for one in shown),
            timestamp=vm.vcenter.clock.now(),
        )
    return vim.vm.Summary(
        vm=vm.ref,
        runtime=runtime(vm),
        config=short,
        storage=stored,
        quickStats=vim.vm.Summary.QuickStats(guestHeartbeatStatus="gray"),
        overallStatus=vm.overallStatus,
        customValue=vm.customValue,
    )


def runtime(vm: VirtualMachine) -> Any:
    """The VirtualMachineRuntimeInfo; `host` stays set on templates."""
    connected = vm.host.connection_state == "connected"
    seen = "inaccessible" if vm.files_lost else "connected"
    return vim.vm.RuntimeInfo(
        host=vm.host.ref,
        connectionState=seen if connected else "disconnected",
        powerState=vm.power_state,
        faultToleranceState="notConfigured",
        toolsInstallerMounted=False,
        numMksConnections=0,
        recordReplayState="inactive",
        onlineStandby=False,
        consolidationNeeded=False,
    )


def shown_usage(vm: VirtualMachine) -> dict[Any, Usage]:
    """As `usage`, or zeros while the vCenter has not looked yet (switch `stale_vm_storage_s`)."""
    found = usage(vm)
    age_s = vm.vcenter.clock.monotonic() - vm.created_monotonic
    if age_s < vm.vcenter.switches.stale_vm_storage_s and not vm.storage_refreshed:
        return {datastore: Usage() for datastore in found}
    return found


def storage(vm: VirtualMachine) -> Any:
    """The VirtualMachineStorageInfo."""
    return vim.vm.StorageInfo(
        perDatastoreUsage=[
            vim.vm.StorageInfo.UsageOnDatastore(
                datastore=datastore.ref,
                committed=one.committed,
                uncommitted=one.uncommitted,
                unshared=one.unshared,
            )
            for datastore, one in shown_usage(vm).items()
        ],
        timestamp=vm.vcenter.clock.now(),
    )


def layout_ex(vm: VirtualMachine) -> Any:
    """The VirtualMachineFileLayoutEx: files with sizes, and which files a disk is made of."""
    files: list[Any] = []

    def add(storage: Any, path: str, kind: str, unique: bool = True) -> int:
        file = storage.get(path)
        size_bytes = file.charged_bytes if file is not None else 0
        files.append(
            vim.vm.FileLayoutEx.FileInfo(
                key=len(files),
                name=storage.text(path),
                type=kind,
                size=size_bytes,
                uniqueSize=size_bytes if unique else 0,
                accessible=file is not None,
            )
        )
        return len(files) - 1

    kinds = {"vmx": "config", "vmtx": "config", "vmsd": "snapshotList", "vmsn": "snapshotData"}
    for path in vm.own_files():
        assert vm.home_datastore is not None
        add(vm.home_datastore.storage, path, kinds[path.rpartition(".")[2]])
    keys: dict[VirtualDisk, list[int]] = {}
    for disk in sorted(vm.all_disks(), key=lambda one: str(one.path)):
        alone = disk.users <= {vm}
        keys[disk] = [
            add(disk.files, disk.descriptor.path, "diskDescriptor", alone),
            add(disk.files, disk.extent_path, "diskExtent", alone),
        ]
    return vim.vm.FileLayoutEx(
        file=files,
        disk=[
            vim.vm.FileLayoutEx.DiskLayout(
                key=attached.key,
                chain=[
                    vim.vm.FileLayoutEx.DiskUnit(fileKey=keys[disk])
                    for disk in reversed(attached.disk.chain)
                ],
            )
            for attached in vm.devices.disks
        ],
        timestamp=vm.vcenter.clock.now(),
    )


def layout(vm: VirtualMachine) -> Any:
    """The older VirtualMachineFileLayout."""
    return vim.vm.FileLayout(
        configFile=[posixpath.basename(path) for path in vm.own_files()],
        disk=[
            vim.vm.FileLayout.DiskLayout(
                key=attached.key, diskFile=[str(disk.path) for disk in attached.disk.chain]
            )
            for attached in vm.devices.disks
        ],
    )


def snapshot_info(vm: VirtualMachine) -> Any:
    """The VirtualMachineSnapshotInfo."""

    def tree(node: SnapshotNode) -> Any:
        return vim.vm.SnapshotTree(
            snapshot=node.snapshot.ref,
            vm=vm.ref,
            name=node.name,
            description=node.description,
            id=node.number,
            createTime=node.created_at,
            state="poweredOff",
            quiesced=False,
            childSnapshotList=[tree(child) for child in node.children],
            replaySupported=False,
        )

    current = vm.current_snapshot
    return vim.vm.SnapshotInfo(
        currentSnapshot=current.snapshot.ref if current else None,
        rootSnapshotList=[tree(node) for node in vm.snapshots],
    )


def guest(vm: VirtualMachine) -> Any:
    """No tools run in any guest."""
    return vim.vm.GuestInfo(
        toolsStatus="toolsNotInstalled",
        toolsRunningStatus="guestToolsNotRunning",
        guestState="notRunning",
    )


@cache
def capability() -> Any:
    """What every VM of the fake can do."""
    return vim.vm.Capability(
        snapshotOperationsSupported=True,
        multipleSnapshotsSupported=True,
        poweredOffSnapshotsSupported=True,
        diskSharesSupported=True,
    )


@cache
def _power_ops() -> Any:
    return vim.vm.DefaultPowerOpInfo(
        powerOffType="soft", suspendType="hard", resetType="soft", standbyAction="checkpoint"
    )


def _files(vm: VirtualMachine) -> Any:
    directory = vm.home.parent
    folder = f"{directory}/" if directory.path else str(directory)
    return vim.vm.FileInfo(
        vmPathName=str(vm.home),
        snapshotDirectory=folder,
        suspendDirectory=folder,
        logDirectory=folder,
    )


def _managed_by(vm: VirtualMachine) -> Any:
    if vm.settings.managed_by is None:
        return None
    key, kind = vm.settings.managed_by
    return vim.ext.ManagedByInfo(extensionKey=key, type=kind)
