"""EnvironmentBrowser: what a cluster, or the host of a VM, offers to virtual machines.

The first read creates it, under the number of its owner: envbrowser-35 belongs to domain-c35,
envbrowser-1003 to vm-1003. (recording of 8.0.1) The hardware version, guest operating systems and
their recommended devices are some of those in that recording. One PCI device of each host can be
passed through.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.virtual_machine_devices import standard_devices
from tests.fakes.vcenter.virtual_machine_settings import (
    DEFAULT_VERSION,
    GUEST_NAMES,
    known_versions,
)

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem
    from tests.fakes.vcenter.managed_entity import ManagedEntity

_DISK_CONTROLLERS = [
    "ParaVirtualSCSIController",
    "VirtualLsiLogicController",
    "VirtualAHCIController",
]
_CARDS = ["VirtualE1000", "VirtualE1000e", "VirtualVmxnet3"]
_MAX_DISK_BYTES = 62 << 40


def browser_of(owner: ManagedEntity) -> EnvironmentBrowser:
    """The browser of a cluster or a VM."""
    found = owner.vcenter.registry.get(_moref(owner))
    return found or EnvironmentBrowser(owner)  # type: ignore[return-value]


def forget_browser(owner: ManagedEntity) -> None:
    """Remove the browser of an owner that is being removed."""
    found = owner.vcenter.registry.get(_moref(owner))
    if found is not None:
        found.destroy_object()


def _moref(owner: ManagedEntity) -> str:
    number = re.search(r"\d+$", owner.moref)
    assert number is not None
    return f"envbrowser-{number.group()}"


class EnvironmentBrowser(ManagedObject):
    """See the module's docstring."""

    TYPE = vim.EnvironmentBrowser

    def __init__(self, owner: ManagedEntity) -> None:
        super().__init__(owner.vcenter, _moref(owner))
        self.owner = owner

    def _hosts(self, host: Any) -> list[HostSystem]:
        """The hosts that the query covers; InvalidArgument for one of another cluster."""
        owner: Any = self.owner
        is_vm = issubclass(owner.TYPE, vim.VirtualMachine)
        cluster = owner.host.parent if is_vm else owner
        if host is None:
            return [owner.host] if is_vm else list(cluster.host)
        wanted = self.vcenter.registry.require(host)
        if wanted not in cluster.host:
            raise vmodl.fault.InvalidArgument(invalidProperty="host")
        return [wanted]

    def QueryConfigOptionDescriptor(self, ctx: Context) -> list[Any]:
        """The hardware versions."""
        return [
            vim.vm.ConfigOptionDescriptor(
                key=version,
                description=f"{version} virtual machine",
                host=[host.ref for host in self._hosts(None)],
                createSupported=True,
                defaultConfigOption=version == DEFAULT_VERSION,
                runSupported=True,
                upgradeSupported=True,
            )
            for version in known_versions()
        ]

    def QueryConfigOption(self, ctx: Context, key: str | None, host: Any) -> Any:
        """What a VM of a hardware version may have; InvalidArgument for an unknown version."""
        return self._config_option(key, host, [])

    def QueryConfigOptionEx(self, ctx: Context, spec: Any) -> Any:
        """As QueryConfigOption, for some guest operating systems only."""
        if spec is None:
            return self._config_option(None, None, [])
        return self._config_option(spec.key, spec.host, spec.guestId or [])

    def _config_option(self, key: str | None, host: Any, guests: list[str]) -> Any:
        self._hosts(host)
        version = key or DEFAULT_VERSION
        if version not in known_versions():
            raise vmodl.fault.InvalidArgument(invalidProperty="key")
        return vim.vm.ConfigOption(
            version=version,
            description=f"{version} virtual machine",
            guestOSDescriptor=[
                _guest(name, full_name)
                for name, full_name in GUEST_NAMES.items()
                if not guests or name in guests
            ],
            guestOSDefaultIndex=0,
            hardwareOptions=_hardware(version),
            capabilities=vim.vm.Capability(snapshotOperationsSupported=True),
            datastore=vim.vm.DatastoreOption(),
            defaultDevice=list(standard_devices()),
            supportedMonitorType=["release", "debug", "stats"],
        )

    def QueryConfigTarget(self, ctx: Context, host: Any) -> Any:
        """Datastores, networks and devices of the hosts."""
        hosts = self._hosts(host)
        datastores = {each.moref: each for one in hosts for each in one.datastore}
        networks = {
            each.moref: each for one in hosts for each in one.network if each.TYPE is vim.Network
        }
        cores = [one.CPU_CORES for one in hosts]
        return vim.vm.ConfigTarget(
            numCpus=max(cores),
            numCpuCores=sum(cores),
            numNumaNodes=1,
            maxCpusPerHost=max(cores),
            smcPresent=False,
            datastore=[_datastore(each) for each in datastores.values()],
            network=[
                vim.vm.NetworkInfo(name=each.name, network=each.summary)
                for each in networks.values()
            ],
            maxMemMBOptimalPerf=hosts[0].MEMORY_BYTES >> 20,
            supportedMaxMemMB=hosts[0].MEMORY_BYTES >> 20,
            pciPassthrough=[_pci(one) for one in hosts],
        )

    def QueryTargetCapabilities(self, ctx: Context, host: Any) -> Any:
        """The capabilities of the hosts."""
        self._hosts(host)
        return vim.host.Capability(
            recursiveResourcePoolsSupported=True,
            cpuMemoryResourceConfigurationSupported=True,
            rebootSupported=True,
            shutdownSupported=True,
            vmotionSupported=True,
            maxSupportedVMs=1024,
            nfsSupported=True,
            maintenanceModeSupported=True,
            storageVMotionSupported=True,
            cloneFromSnapshotSupported=True,
            deltaDiskBackingsSupported=True,
            nestedHVSupported=True,
        )


def _guest(name: str, full_name: str) -> Any:
    return vim.vm.GuestOsDescriptor(
        id=name,
        family="linuxGuest" if "linux" in full_name.lower() else "otherGuestFamily",
        fullName=full_name,
        supportedMaxCPUs=128,
        numSupportedPhysicalSockets=128,
        numSupportedCoresPerSocket=64,
        supportedMinMemMB=64,
        supportedMaxMemMB=6275072,
        recommendedMemMB=512,
        recommendedColorDepth=8,
        supportedDiskControllerList=[_type(one) for one in _DISK_CONTROLLERS],
        recommendedSCSIController=_type("VirtualLsiLogicController"),
        recommendedDiskController=_type("VirtualLsiLogicController"),
        supportedNumDisks=16,
        recommendedDiskSizeMB=8192,
        recommendedCdromController=_type("VirtualIDEController"),
        supportedEthernetCard=[_type(one) for one in _CARDS],
        recommendedEthernetCard=_type("VirtualE1000e"),
        supportedFirmware=["bios", "efi"],
        recommendedFirmware="bios",
        supportLevel="supported",
        supportedForCreate=True,
        vRAMSizeInKB=_whole(2048, 16384, 4096),
        numSupportedFloppyDevices=2,
    )


def _type(name: str) -> type:
    kind: type = getattr(vim.vm.device, name)
    return kind


def _whole(least: int, most: int, default: int) -> Any:
    return vim.option.IntOption(min=least, max=most, defaultValue=default, valueIsReadonly=False)


def _hardware(version: str) -> Any:
    shares = vim.SharesOption(sharesOption=_whole(1, 1000000, 1000), defaultLevel="normal")
    allocation = vim.ResourceConfigOption(
        cpuAllocationOption=vim.ResourceAllocationOption(sharesOption=shares),
        memoryAllocationOption=vim.ResourceAllocationOption(sharesOption=shares),
    )
    memory = vim.option.LongOption(min=4, max=6275072, defaultValue=32, valueIsReadonly=False)
    return vim.vm.VirtualHardwareOption(
        hwVersion=int(version.removeprefix("vmx-")),
        virtualDeviceOption=[
            vim.vm.device.VirtualDeviceOption(type=_type(one)) for one in _DISK_CONTROLLERS
        ],
        deviceListReadonly=False,
        numCPU=list(range(1, 129)),
        numCoresPerSocket=_whole(1, 64, 1),
        memoryMB=memory,
        numPCIControllers=_whole(1, 1, 1),
        numIDEControllers=_whole(2, 2, 2),
        numUSBControllers=_whole(0, 1, 0),
        numUSBXHCIControllers=_whole(0, 1, 0),
        numSIOControllers=_whole(1, 1, 1),
        numPS2Controllers=_whole(1, 1, 1),
        resourceConfigOption=allocation,
    )


def _datastore(datastore: Any) -> Any:
    return vim.vm.DatastoreInfo(
        name=datastore.name,
        datastore=datastore.summary,
        capability=datastore.capability,
        maxFileSize=_MAX_DISK_BYTES,
        maxVirtualDiskCapacity=_MAX_DISK_BYTES,
        mode="readWrite",
    )


def _pci(host: HostSystem) -> Any:
    device = vim.host.PciDevice(
        id="0000:3b:00.0",
        classId=0x0302,
        bus=0x3B,
        slot=0,
        function=0,
        vendorId=0x10DE,
        subVendorId=0x10DE,
        vendorName="Fake",
        deviceId=0x1EB8,
        subDeviceId=0x12A2,
        deviceName="Fake accelerator",
    )
    return vim.vm.PciPassthroughInfo(name=device.deviceName, pciDevice=device, systemId=host.uuid)
