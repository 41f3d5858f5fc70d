"""In what the fake vCenter differs from the recordings, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Named:
    """Differences with one reason, as `shapes.differences` writes them; ``*`` is any text."""

    reason: str
    differences: tuple[str, ...]


_MANAGERS = (
    "certificateManager clusterProfileManager complianceManager cryptoManager "
    "customizationSpecManager datastoreNamespaceManager dvSwitchManager "
    "failoverClusterConfigurator failoverClusterManager "
    "guestCustomizationManager guestOperationsManager healthUpdateManager hostProfileManager "
    "hostSpecManager ioFilterManager ipPoolManager localizationManager "
    "overheadMemoryManager scheduledTaskManager serviceManager "
    "siteInfoManager snmpSystem storageQueryManager tenantManager "
    "userDirectory vmCompatibilityChecker vmProvisioningChecker"
)
_RUNTIME = (
    "bootTime dasVmProtection featureMask featureRequirement instantCloneFrozen maxCpuUsage "
    "maxMemoryUsage minRequiredEVCModeKey offlineFeatureRequirement paused snapshotInBackground "
    "suspendInterval"
)
_HOST_RUNTIME = (
    "cryptoState healthSystemRuntime hostMaxVirtualDiskCapacity inQuarantineMode "
    "networkRuntimeInfo standbyMode stateEncryption vsanRuntimeInfo"
)
_UPDATE = "WaitForUpdatesEx/filterSet/objectSet[[]%s]/changeSet[[]%s]"


def _lacks(where: str, names: str) -> tuple[str, ...]:
    """The recordings have these elements of an element, or of a property, and the fake has not."""
    return tuple(f"- {where}{name}" for name in names.split())


def _unset(managed_type: str, path: str) -> str:
    """An update tells no value of a path, or that what the path is a part of is unset."""
    return f"[-@] {_update(managed_type, path)}/[ov]*"


def _update(managed_type: str, path: str) -> str:
    return _UPDATE % (managed_type, path)


NAMED = (
    Named(
        "Managers that no client of the fake calls; to name one would promise that it works.",
        (
            *_lacks("RetrieveServiceContent/", f"{_MANAGERS} directPathProfileManager"),
            *_lacks("ServiceInstance.content/", _MANAGERS),
            "- PbmRetrieveServiceContent/replicationManager",
            "- WaitForUpdatesEx/filterSet/objectSet[[]CustomizationSpecManager]",
        ),
    ),
    Named(
        "The fake has one alarm, and no events, extensions or permissions on a VM unless told.",
        (
            "- *.declaredAlarmState/AlarmState",
            "- Datacenter.triggeredAlarmState/AlarmState",
            "- HostSystem.configIssue/Event[[]RemoteTSMEnabledEvent]",
            "- VirtualMachine.permission/Permission",
            "- " + _update("ExtensionManager", "extensionList") + "/val/Extension",
        ),
    ),
    Named(
        "The fake tells what is disabled by refusing it; it keeps no list.",
        ("- *.disabledMethod/string",),
    ),
    Named(
        "Custom attributes that this vCenter happened to have.",
        (
            "- CustomFieldsManager.field/CustomFieldDef",
            "- HostSystem.availableField/CustomFieldDef",
        ),
    ),
    Named(
        "The fake has no distributed switches and network cards unless told.",
        (
            "- VirtualMachine.network/ManagedObjectReference",
            "- VirtualMachine.runtime/device",
            "- VirtualMachine.summary/runtime/device",
            "- VirtualMachine.config/hardware/device[[]VirtualVmxnet3]",
            "- " + _update("VirtualMachine", "config.hardware.device") + "/*VirtualE1000]",
            "- WaitForUpdatesEx/filterSet/objectSet[[]DistributedVirtualPortgroup]",
            "- WaitForUpdatesEx/filterSet/objectSet[[]VmwareDistributedVirtualSwitch]",
            "@ ClusterComputeResource.network/*",
        ),
    ),
    Named(
        "No guest runs in the fake's VMs, and no VMware Tools.",
        (
            *_lacks(
                "VirtualMachine.guest/",
                "customizationInfo disk guestDetailedData guestFamily guestFullName guestId "
                "hostName ipStack screen",
            ),
            *_lacks(
                "VirtualMachine.summary/guest/",
                "guestFullName guestId hostName",
            ),
            "- VirtualMachine.config/tools",
            "- " + _update("VirtualMachine", "guest.net") + "/val/GuestNicInfo",
        ),
    ),
    Named(
        "vpxd 5.5 says nothing of this one path, not even indirectRemove; why is unknown.",
        ("+ " + _update("VirtualMachine", "summary.guest.guestFullName"),),
    ),
    Named(
        "Of a VM's settings the fake keeps those that concern disks and identity.",
        (
            *_lacks(
                "VirtualMachine.capability/",
                "changeModeDisksSupported diskOnlySnapshotOnSuspendedVMSupported "
                "perVmEvcSupported pmemFailoverSupported requireSgxAttestationSupported "
                "secureBootSupported sevSupported suspendToMemorySupported "
                "toolsSyncTimeAllowSupported vendorDeviceGroupSupported virtualExecUsageIgnored "
                "virtualMmuUsageIgnored",
            ),
            *_lacks(
                "VirtualMachine.config/",
                "bootOptions cpuAllocation cpuHotAddEnabled cpuHotRemoveEnabled deviceGroups "
                "deviceSwap fixedPassthruHotPlugEnabled ftEncryptionMode guestAutoLockEnabled "
                "guestIntegrityInfo guestMonitoringModeInfo hotPlugMemoryIncrementSize "
                "hotPlugMemoryLimit initialOverhead latencySensitivity locationId "
                "maxMksConnections memoryAllocation memoryHotAddEnabled "
                "memoryReservationLockedToMax messageBusTunnelEnabled migrateEncryption "
                "nestedHVEnabled npivTemporaryDisabled numaInfo pmemFailoverEnabled "
                "rebootPowerOff scheduledHardwareUpgradeInfo sevEnabled sgxInfo swapPlacement "
                "swapStorageObjectId vAppConfig vAssertsEnabled vPMCEnabled "
                "vmOpNotificationTimeout vmOpNotificationToAppEnabled vmStorageObjectId "
                "vmxConfigChecksum vmxStatsCollectionEnabled",
            ),
            "- VirtualMachine.config/hardware/autoCoresPerSocket",
            "- VirtualMachine.config/hardware/motherboardLayout",
            "- VirtualMachine.config/hardware/simultaneousThreads",
            "- VirtualMachine.config/hardware/virtual*Present",
            "- VirtualMachine.resourceConfig",
            *_lacks(
                "VirtualMachine.summary/config/",
                "cpuReservation guestFullName installBootRequired memoryReservation "
                "numVmiopBackings product tpmPresent",
            ),
            _unset("VirtualMachine", "resourceConfig.*"),
            _unset("VirtualMachine", "summary.config.guestFullName"),
        ),
    ),
    Named(
        "Devices other than disks and their controllers are there, without their details.",
        (
            "- VirtualMachine.config/hardware/device[[]VirtualMachineVideoCard]/*",
            "- VirtualMachine.config/hardware/device[[]VirtualMachineVMCIDevice]",
            "- VirtualMachine.config/hardware/device[[]VirtualP*Controller]/device",
            "- VirtualMachine.config/hardware/device[[]ParaVirtualSCSIController]/hotAddRemove",
            "- VirtualMachine.config/hardware/device[[]ParaVirtualSCSIController]/slotInfo*",
            "- VirtualMachine.config/hardware/device[[]VirtualDisk]/storageIOAllocation",
            "- " + _update("VirtualMachine", "config.hardware.device") + "/*VideoCard]/*",
            "- " + _update("VirtualMachine", "config.hardware.device") + "/*VMCIDevice]",
            "- " + _update("VirtualMachine", "config.hardware.device") + "/*Controller]/device",
        ),
    ),
    Named(
        "The fake measures no performance and has no features of processors, HA or memory.",
        (
            *_lacks("VirtualMachine.runtime/", _RUNTIME),
            *_lacks("VirtualMachine.summary/runtime/", _RUNTIME),
            "- VirtualMachine.summary/quickStats/*",
            "- HostSystem.summary/quickStats/*",
            "- ResourcePool.summary/quickStats",
        ),
    ),
    Named(
        "A running VM of the fake has no swap file and no log.",
        ("- VirtualMachine.layout/logFile", "- VirtualMachine.layout/swapFile"),
    ),
    Named(
        "Of a host the fake has what placement, transfers and govc's commands need.",
        (
            "- HostSystem.capability",
            "- HostSystem.config",
            *_lacks(
                "HostSystem.configManager/",
                "assignableHardwareManager authenticationManager bootDeviceSystem "
                "cacheConfigurationManager cpuScheduler cryptoManager diagnosticSystem "
                "esxAgentHostManager firmwareSystem "
                "graphicsManager healthStatusSystem hostAccessManager imageConfigManager "
                "iscsiManager kernelModuleSystem memoryManager messageBusProxy nvdimmSystem "
                "patchManager pciPassthruSystem powerSystem snmpSystem userDirectory "
                "vFlashManager vmotionSystem vsanInternalSystem vsanSystem",
            ),
            "- HostSystem.datastoreBrowser",
            "- HostSystem.hardware",
            "- HostSystem.licensableResource",
            *_lacks("HostSystem.runtime/", _HOST_RUNTIME),
            *_lacks("HostSystem.summary/runtime/", _HOST_RUNTIME),
            *_lacks(
                "HostSystem.summary/",
                "config/product/licenseProductName config/product/licenseProductVersion "
                "config/product/localeBuild config/product/localeVersion "
                "config/product/patchLevel hardware/otherIdentifyingInfo managementServerIp "
                "maxEVCModeKey",
            ),
            "- HostSystem.systemResources",
            "- RetrieveProperties[[]HostSystem]/propSet[[]config.storageDevice.*]",
            _unset("HostSystem", "config.*"),
            _unset("HostSystem", "hardware.*"),
        ),
    ),
    Named(
        "Of a cluster, a pool, a datacenter and a datastore the fake has what placement needs: no "
        "DRS, no HA, no shares, no Storage I/O Control.",
        (
            "- ClusterComputeResource.actionHistory/ClusterActionHistory",
            "- ClusterComputeResource.configManagerEnabled",
            "- ClusterComputeResource.configuration/*",
            "- ClusterComputeResource.configurationEx/*",
            "- ClusterComputeResource.lifecycleManaged",
            *_lacks(
                "ClusterComputeResource.summary",
                "Ex /admissionControlInfo /clusterMaintenanceModeStatus /dasData /drsScore "
                "/numVmsPerDrsScoreBucket /targetBalance /usageSummary /vcsHealthStatus /vcsSlots",
            ),
            "- Datacenter.configuration/maximumHardwareVersionKey",
            "- Datastore.iormConfiguration",
            "- ResourcePool.childConfiguration/ResourceConfigSpec",
            "- ResourcePool.*/sharesScalable",
            "- ResourcePool.summary/configuredMemoryMB",
            _unset("ClusterComputeResource", "configuration.*"),
            "- " + _update("ResourcePool", "resourcePool") + "/val/ManagedObjectReference",
        ),
    ),
    Named(
        "The hosts of this vCenter are simulated by VMware, and tell less of a VM's hardware.",
        (
            "+ " + _update("VirtualMachine", "config.hardware.device") + "/*",
            "+ " + _update("VirtualMachine", "config.hardware.numCoresPerSocket") + "/val",
            "+ " + _update("VirtualMachine", "config.firmware") + "/val",
            "+ " + _update("Datastore", "summary.uncommitted") + "/val",
            "+ " + _update("Datastore", "info") + "/val/maxVirtualDiskCapacity",
        ),
    ),
    Named(
        "The compared VM is unlike some recorded ones: it has a note, an owner, a PVSCSI adapter.",
        (
            "+ VirtualMachine.config/managedBy",
            "+ VirtualMachine.summary/config/managedBy",
            "+ VirtualMachine.config/hardware/device[[]VirtualDisk]/vDiskVersion",
            "+ " + _update("VirtualMachine", "summary.config.annotation") + "/val",
            "- " + _update("VirtualMachine", "config.hardware.device") + "/*SASController]",
        ),
    ),
    Named(
        "Which objects a page of updates holds depends on the order of the walk.",
        (
            "+ WaitForUpdatesEx/filterSet/objectSet[[]Folder]",
            "[+-] WaitForUpdatesEx/filterSet/objectSet[[]LicenseManager]",
            "+ WaitForUpdatesEx/filterSet/objectSet[[]Network]",
            "+ " + _update("ResourcePool", "vm") + "/val/ManagedObjectReference",
        ),
    ),
    Named(
        "The running task was made by an extension, which described it in place of a name.",
        ("- Task.info[[]running]/description", "+ Task.info[[]running]/name"),
    ),
    Named(
        "Fetch tells no root snapshots, unlike any other empty array; RetrieveProperties does.",
        ("+ VirtualMachine.rootSnapshot",),
    ),
    Named(
        "The recording account may not list sessions; the fake lets every account read all.",
        ("+ SessionManager.sessionList",),
    ),
    Named(
        "Storage policies of the fake have one rule and one fault for all that does not fit.",
        (
            "- PbmCheckCompatibility/error/fault/*",
            "@ PbmCheckCompatibility/error*",
        ),
    ),
    Named(
        "Whether an answer comes in chunks depends on its size, and for PBM on more; of some "
        "answers the recorder kept neither header.",
        (
            "[+-] Pbm* header content-length",
            "[+-] Pbm* header transfer-encoding",
            "+ RetrieveProperties header content-length",
            "- RetrieveProperties header transfer-encoding",
        ),
    ),
)
