"""The privileges that vCenter 8 has, by group.

The ids are those of govmomi's simulator, from a recorded Admin role of vSphere 8 (govmomi v0.56.0,
simulator/esx/authorization_manager.go). VMware lists them as well ("Defined Privileges", vSphere
Security). A role cannot contain any other.
"""

from __future__ import annotations

from functools import cache

_IDS_BY_GROUP = """
Alarm: Acknowledge Create Delete DisableActions Edit SetStatus ToggleEnableOnEntity
Authorization: ModifyPermissions ModifyPrivileges ModifyRoles ModifyVTContainerMappings
  ModifyVTContainers ReassignRolePermissions
AutoDeploy.Host: AssociateMachine
AutoDeploy.Profile: Create Edit
AutoDeploy.Rule: Create Delete Edit
AutoDeploy.RuleSet: Activate Edit
Certificate: Manage
CertificateAuthority: Administer Manage
CertificateManagement: Administer Manage
CertificateManagementSubscriptions: Create Delete Update
Cns: Searchable
ComputePolicy: Manage
ContentLibrary: AddCertToTrustStore AddLibraryItem AddSubscription CheckInTemplate
  CheckOutTemplate CreateLocalLibrary CreateSubscribedLibrary DeleteCertFromTrustStore
  DeleteLibraryItem DeleteLocalLibrary DeleteSubscribedLibrary DeleteSubscription DownloadSession
  EvictLibraryItem EvictSubscribedLibrary GetConfiguration ImportStorage
  ManageClusterRegistryResource ManageRegistry ManageRegistryProject MigrateLibrary
  ProbeSubscription PublishLibrary PublishLibraryItem ReadStorage SyncLibrary SyncLibraryItem
  TypeIntrospection UpdateConfiguration UpdateLibrary UpdateLibraryItem UpdateLocalLibrary
  UpdateSession UpdateSubscribedLibrary UpdateSubscription
Cryptographer: Access AddDisk Clone Decrypt Encrypt EncryptNew ManageEncryptionPolicy
  ManageKeyServers ManageKeys Migrate ReadKeyServersInfo Recrypt RegisterHost RegisterVM
DVPortgroup: Create Delete Modify PolicyOp ScopeOp
DVSwitch: Create Delete HostOp Modify Move PolicyOp PortConfig PortSetting ResourceManagement
  Vspan
Datacenter: Create Delete IpPoolConfig IpPoolQueryAllocations IpPoolReleaseIp Move Reconfigure
  Rename UpdateCarbonInfo
Datastore: AllocateSpace Browse Config ConfigIOManagement Delete DeleteFile FileManagement Move
  Rename UpdateVirtualMachineFiles UpdateVirtualMachineMetadata
DirectPathProfileManager: Manage
DrProxy.Host: Configure ManageService View
DrProxy.License: Update View
DrProxy.Progress: Control
DrProxy.Vm: Configure
EAM: Config Modify View
Extension: Register Unregister Update
ExternalStatsProvider: Register Unregister Update
Folder: Create Delete ExternalFolderManagement Move Rename
FoundationLoadBalancers: Manage
Global: CancelTask CapacityPlanning Diagnostics DisableMethods EnableMethods GlobalTag Health
  Licenses LogEvent ManageCustomFields Proxy ScriptAction ServiceManagers SetCustomField Settings
  SystemTag VCServer
GuestDataPublisher: GetData
HLM: Create Manage
HealthUpdateProvider: Register Unregister Update
Host.Cim: CimInteraction
Host.Config: AdvancedConfig AuthenticationStore AutoStart Connection DateTime Firmware GuestStore
  HyperThreading Image Maintenance Memory NetService Network Nvdimm Patch PciPassthru Power
  ProductLocker Quarantine Resources Settings Snmp Storage SystemFirewallRuleSet SystemManagement
Host.Entropy: Read Write
Host.Hbr: HbrDaemonManagement HbrManagement
Host.Inventory: AddHostToCluster AddStandaloneHost CreateCluster DeleteCluster EditCluster
  ManageClusterLifecyle MoveCluster MoveHost RemoveHostFromCluster RenameCluster
Host.Local: CreateVM DeleteVM InstallAgent ManageUserGroups ReconfigVM
Host.Sgx: Register
Host.Stats: Query
Host.Tpm: Read Unseal
Infraprofile: Read Write
IntercomNamespace: Read Write
InventoryService.Tagging: AttachTag CreateCategory CreateTag DeleteCategory DeleteTag EditCategory
  EditTag ModifyUsedByForCategory ModifyUsedByForTag ObjectAttachable
Namespaces: Backup Configure ListAccess Manage ManageCapabilities ManageDisks SelfServiceManage
  Upgrade
Network: Assign Config Delete Move
Nsx: Manage ModifyAll Read
Observability: Admin
Observability.StatsProvider: Manage
OvfManager: OvfConsumerAccess
PartnerRestDaemon: Read Write
Performance: ModifyIntervals
Plugin: Management
Profile: Clear Create Delete Edit Export View
ReplicationService: Administer
Resource: ApplyRecommendation AssignVAppToPool AssignVMToPool ColdMigrate CreatePool DeletePool
  EditPool HotMigrate MovePool QueryVMotion RenamePool
ScheduledTask: Create Delete Edit Run
ServiceAccount: Administer ManageAccount ManagePassword
Sessions: CollectPrivilegeChecks GlobalMessage ImpersonateUser TerminateSession ValidateSession
SettingsStore: Manage
StoragePod: Config
StorageProfile: Apply Update View
StorageViews: ConfigureService View
SupervisorServices: Install Manage
System: Anonymous Read View
Task: Create Update
Task.Update.Task: Update
TenantManager: Query Update
TokenService: PersistableTokenExchange
TransferService: Manage Monitor
Trust: Administer Manage
TrustedAdmin: ConfigureHostCertificates ConfigureHostMetadata ConfigureTokenConversionPolicy
  ManageAttestingSSO ManageKMSTrust ManageTrustedHosts ReadAttestingSSO ReadKMSTrust ReadStsInfo
  ReadTrustedHosts RetrieveHostMetadata RetrieveTPMHostCertificates
VApp: ApplicationConfig AssignResourcePool AssignVApp AssignVM Clone Create Delete Export
  ExtractOvfEnvironment Import InstanceConfig ManagedByConfig Move PowerOff PowerOn PullFromUrls
  Rename ResourceConfig Suspend Unregister
VcIdentityProviders: Create Manage Read
VcIntegrity.Baseline.com.vmware.vcIntegrity: AssignBaselines ManageBaselines
VcIntegrity.ClusterConfiguration: Export Modify Remediate View
VcIntegrity.FileUpload.com.vmware.vcIntegrity: ImportFile
VcIntegrity.General.com.vmware.vcIntegrity: Configure
VcIntegrity.HardwareCompatibility: Read Write
VcIntegrity.Updates.com.vmware.vcIntegrity: Remediate Scan Stage ViewStatus
VcIntegrity.lifecycleDepots: Delete
VcIntegrity.lifecycleGeneral: Read Write
VcIntegrity.lifecycleHealth: Read Write
VcIntegrity.lifecycleSettings: Read Write
VcIntegrity.lifecycleSoftwareRemediation: Read Write
VcIntegrity.lifecycleSoftwareSpecification: Read Write
VcIntegrity.systemVM: Read Write
VcLifecycle: Upgrade View
VirtualMachine.Config: AddExistingDisk AddNewDisk AddRemoveDevice AdvancedConfig Annotation
  CPUCount ChangeTracking DiskExtend DiskLease EditDevice HostUSBDevice ManagedBy Memory
  MksControl QueryFTCompatibility QueryUnownedFiles RawDevice ReloadFromPath RemoveDisk Rename
  ResetGuestInfo Resource Settings SwapPlacement ToggleForkParent UpgradeVirtualHardware
VirtualMachine.DataSets: DataSetCreate DataSetDelete DataSetEntryDelete DataSetEntryGet
  DataSetEntryList DataSetEntrySet DataSetGet DataSetList DataSetUpdate Export
VirtualMachine.GuestOperations: Execute Modify ModifyAliases Query QueryAliases
VirtualMachine.Hbr: ConfigureReplication MonitorReplication ReplicaManagement
VirtualMachine.Interact: AnswerQuestion Backup ConsoleInteract CreateScreenshot CreateSecondary
  DefragmentAllDisks DeviceConnection DisableSecondary DnD EnableSecondary GuestControl
  MakePrimary Pause PowerOff PowerOn PutUsbScanCodes Record Replay Reset SESparseMaintenance
  SetCDMedia SetFloppyMedia Suspend SuspendToMemory TerminateFaultTolerantVM ToolsInstall
  TurnOffFaultTolerance
VirtualMachine.Inventory: Create CreateFromExisting Delete Move Register Unregister
VirtualMachine.Namespace: Event EventNotify Management ModifyContent Query ReadContent
VirtualMachine.Provisioning: Clone CloneTemplate CreateTemplateFromVM Customize DeployTemplate
  DiskRandomAccess DiskRandomRead FileRandomAccess GetVmFiles MarkAsTemplate MarkAsVM
  ModifyCustSpecs PromoteDisks PutVmFiles ReadCustSpecs
VirtualMachine.State: CreateSnapshot RemoveSnapshot RenameSnapshot RevertToSnapshot
VirtualMachineClasses: Manage
VmCam: Administer
VmResourceProfiles: Manage
Vsan.Cluster: ShallowRekey
Vsan.Xvc: UpdateClientInfo
Zone: Manage ObjectAttachable
vSANStats: Access
vService: CreateDependency DestroyDependency ReconfigureDependency UpdateDependency
vSphereClient: UtilizeVerificationCode
vSphereDataProtection: Protection Recovery
vStats: CollectAny QueryAny Settings
"""


@cache
def all_ids() -> tuple[str, ...]:
    """Every id, such as "Folder.Create", sorted."""
    ids = []
    for line in _IDS_BY_GROUP.replace("\n  ", " ").split("\n"):
        group, _, names = line.partition(": ")
        ids += [f"{group}.{name}" for name in names.split()]
    return tuple(sorted(ids))
