"""Builds what clients read of a VM from its state: config, summary, runtime, storage and layoutEx.

Sizes are those of the files. `unshared` counts only disks: neither the VM's other files (recording
of 8.0.1: the sum of uniqueSize of type diskDescriptor, on a vSAN, which shows no other file of a
disk), nor disks in another VM's chain (the base of linked clones). With the switch
`stale_vm_storage_s`, vCenter looks at a VM's files only when the VM is that old, or
`storage_look_s` after RefreshStorageInfo. Until then the usage is zero, and its timestamp is the
VM's creation. (Timestamps up to two days old in recordings of 6.7 and 8.0; vSphere API reference,
VirtualMachineStorageInfo.timestamp)
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.virtual_machine_power import guest_summary, heartbeat, question_info
from tests.fakes.vcenter.virtual_machine_settings import merged

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_disk import VirtualDisk
    from tests.fakes.vcenter.virtual_machine import VirtualMachine
    from tests.fakes.vcenter.virtual_machine_snapshot import SnapshotNode

# The value of every recorded VM, in 8.0.1 and 8.0.3.
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_CARD = vim.vm.device.VirtualEthernetCard
_FILE_KINDS = {
    "vmx": "config",
    "vmtx": "config",
    "vmsd": "snapshotList",
    "vmsn": "snapshotData",
}


@dataclass
class Usage:
    """Bytes of one VM on one datastore."""

    committed: int = 0
    uncommitted: int = 0
    unshared: int = 0


def usage(vm: VirtualMachine) -> dict[Any, Usage]:
    """Bytes by datastore; uncommitted is how much thin disks may still grow."""
    found: dict[Any, Usage] = {}
    if vm.home_datastore is not None:
        home = found.setdefault(vm.home_datastore, Usage())
        for path in vm.own_files():
            size_bytes = vm.home_datastore.storage.file(path).charged_bytes
            home.committed += size_bytes
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
    urls = {datastore.path_name: datastore.url for datastore in vm.datastore}
    shown = vim.vm.ConfigInfo(
        changeVersion=f"{vm.modified_at:%Y-%m-%dT%H:%M:%S}.{vm.change_number:06d}Z",
        modified=_NEVER,
        name=vm.name,
        guestFullName=settings.guest_name,
        version=settings.version,
        uuid=settings.uuid,
        createDate=vm.created_at,
        instanceUuid=settings.instance_uuid,
        template=vm.template,
        guestId=settings.guest_id,
        alternateGuestName="",
        annotation=settings.annotation,
        files=_files(vm),
        flags=_flags(),
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
    for name, value in settings.plain.items():
        present = getattr(shown, name)
        setattr(shown, name, merged(present, value))
    return shown


def summary(vm: VirtualMachine) -> Any:
    """The VirtualMachineSummary; that of a shell is almost empty."""
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
            numEthernetCards=sum(isinstance(one, _CARD) for one in vm.devices.others),
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
            timestamp=storage_seen_at(vm),
        )
    return vim.vm.Summary(
        vm=vm.ref,
        runtime=runtime(vm),
        config=short,
        storage=stored,
        guest=guest_summary(vm),
        quickStats=vim.vm.Summary.QuickStats(guestHeartbeatStatus=heartbeat(vm)),
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
        toolsInstallerMounted=vm.tools_mounted,
        question=question_info(vm),
        bootTime=vm.booted_at,
        numMksConnections=0,
        recordReplayState="inactive",
        onlineStandby=False,
        consolidationNeeded=False,
    )


def shown_usage(vm: VirtualMachine) -> dict[Any, Usage]:
    """As `usage`, or zeros until vCenter has looked (switch `stale_vm_storage_s`)."""
    found = usage(vm)
    return {datastore: Usage() for datastore in found} if _is_unseen(vm) else found


def _is_unseen(vm: VirtualMachine) -> bool:
    age_s = vm.vcenter.clock.monotonic() - vm.created_monotonic
    return age_s < vm.vcenter.switches.stale_vm_storage_s and vm.storage_seen_at is None


def storage_seen_at(vm: VirtualMachine) -> datetime:
    """When vCenter last looked at the files: always now, unless a switch says otherwise."""
    if _is_unseen(vm):
        return vm.created_at
    if vm.vcenter.switches.stale_vm_storage_s and vm.storage_seen_at is not None:
        return vm.storage_seen_at
    return vm.vcenter.clock.now()


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
        timestamp=storage_seen_at(vm),
    )


def layout_ex(vm: VirtualMachine) -> Any:
    """The VirtualMachineFileLayoutEx: files with sizes, and the files of each disk."""
    files: list[Any] = []

    def add(storage: Any, path: str, kind: str, size_bytes: int, **more: Any) -> int:
        files.append(
            vim.vm.FileLayoutEx.FileInfo(
                key=len(files),
                name=storage.text(path),
                type=kind,
                size=size_bytes,
                accessible=storage.get(path) is not None,
                **more,
            )
        )
        return len(files) - 1

    for path in vm.own_files():
        assert vm.home_datastore is not None
        storage = vm.home_datastore.storage
        kind = _FILE_KINDS[path.rpartition(".")[2]]
        if vm.home_datastore.is_vsan:
            more = {"backingObjectId": vm.directory} if kind == "config" else {}
            add(storage, path, kind, 0, **more)
        else:
            size_bytes = storage.file(path).charged_bytes
            add(storage, path, kind, size_bytes, uniqueSize=size_bytes)
    keys: dict[VirtualDisk, list[int]] = {}
    for disk in sorted(vm.all_disks(), key=lambda one: str(one.path)):
        alone = disk.users <= {vm}
        keys[disk] = []
        for path, kind, size_bytes in _disk_files(disk):
            more = {"backingObjectId": disk.object_id} if disk.object_id else {}
            unique_bytes = size_bytes if alone else 0
            key = add(disk.files, path, kind, size_bytes, uniqueSize=unique_bytes, **more)
            keys[disk].append(key)
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


def _disk_files(disk: VirtualDisk) -> list[tuple[str, str, int]]:
    """(path, type, size) of the files of a disk; on vSAN, only the descriptor, with the whole
    size.
    """
    if disk.object_id is not None:
        return [(disk.descriptor.path, "diskDescriptor", disk.occupied_bytes)]
    return [
        (disk.descriptor.path, "diskDescriptor", disk.descriptor.charged_bytes),
        (disk.extent_path, "diskExtent", disk.extent_bytes),
    ]


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
            state=node.power_state,
            quiesced=False,
            childSnapshotList=[tree(child) for child in node.children],
            replaySupported=False,
        )

    current = vm.current_snapshot
    return vim.vm.SnapshotInfo(
        currentSnapshot=current.snapshot.ref if current else None,
        rootSnapshotList=[tree(node) for node in vm.snapshots],
    )


@cache
def capability() -> Any:
    """The capabilities of every VM of the fake."""
    return vim.vm.Capability(
        snapshotOperationsSupported=True,
        multipleSnapshotsSupported=True,
        poweredOffSnapshotsSupported=True,
        diskSharesSupported=True,
    )


@cache
def _power_ops() -> Any:
    return vim.vm.DefaultPowerOpInfo(
        powerOffType="soft",
        suspendType="hard",
        resetType="soft",
        defaultPowerOffType="soft",
        defaultSuspendType="hard",
        defaultResetType="soft",
        standbyAction="checkpoint",
    )


@cache
def _flags() -> Any:
    """The flags of every recorded VM."""
    return vim.vm.FlagInfo(
        enableLogging=True,
        useToe=False,
        runWithDebugInfo=False,
        monitorType="release",
        htSharing="any",
        snapshotDisabled=False,
        snapshotLocked=False,
        diskUuidEnabled=False,
        snapshotPowerOffBehavior="powerOff",
        recordReplayEnabled=False,
        faultToleranceType="unset",
        cbrcCacheEnabled=False,
        vvtdEnabled=False,
        vbsEnabled=False,
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
