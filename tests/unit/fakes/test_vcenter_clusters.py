"""Hosts, clusters and pools of the fake are added, changed and removed like vCenter's."""

from __future__ import annotations

from typing import Any

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import VCenter
from tests.unit.fakes.vcenter_client import Client, connect

cluster_api = vim.cluster


@pytest.fixture
def cluster(client: Client) -> Any:
    return client.datacenter.hostFolder.childEntity[0]


def vm_in(client: Client, pool: Any, name: str = "a") -> Any:
    files = vim.vm.FileInfo(vmPathName="[DC0_DS0]")
    task = client.vm_folder.CreateVM_Task(vim.vm.ConfigSpec(name=name, files=files), pool, None)
    WaitForTask(task)
    return task.info.result


def reconfigure(cluster: Any, *, modify: bool = True, **fields: Any) -> None:
    WaitForTask(cluster.ReconfigureComputeResource_Task(cluster_api.ConfigSpecEx(**fields), modify))


def rule(operation: str, info: Any = None, key: int | None = None) -> Any:
    return cluster_api.RuleSpec(operation=operation, info=info, removeKey=key)


def group(operation: str, info: Any = None, name: str | None = None) -> Any:
    return cluster_api.GroupSpec(operation=operation, info=info, removeKey=name)


def test_a_configuration_is_applied_completely_or_not_at_all(client: Client, cluster: Any) -> None:
    vm = vm_in(client, cluster.resourcePool)
    made = cluster_api.VmGroup(name="g", vm=[vm])
    for wrong in (
        {"groupSpec": [group("add", made), group("add", made)]},
        {"groupSpec": [group("edit", made)]},
        {"groupSpec": [group("remove", name="g")]},
        {"groupSpec": [group("add", made), group("add")]},
        {"rulesSpec": [rule("remove", key=1)]},
        {"rulesSpec": [rule("add", cluster_api.VmHostRuleInfo(name="r", vmGroupName="none"))]},
        {"rulesSpec": [rule("add", cluster_api.AffinityRuleSpec(name="", vm=[vm]))]},
    ):
        with pytest.raises(vmodl.fault.InvalidArgument):
            reconfigure(cluster, drsConfig=cluster_api.DrsConfigInfo(enabled=True), **wrong)
        found = cluster.configurationEx
        assert (found.drsConfig.enabled, found.group, found.rule) == (False, [], [])


def test_a_rule_of_existing_groups_is_accepted(client: Client, cluster: Any) -> None:
    vm = vm_in(client, cluster.resourcePool)
    bound = cluster_api.VmHostRuleInfo(name="r", vmGroupName="v", affineHostGroupName="h")
    reconfigure(
        cluster,
        groupSpec=[
            group("add", cluster_api.VmGroup(name="v", vm=[vm])),
            group("add", cluster_api.HostGroup(name="h", host=list(cluster.host))),
        ],
    )
    reconfigure(cluster, rulesSpec=[rule("add", bound)])
    (found,) = cluster.configurationEx.rule
    assert (found.vmGroupName, found.affineHostGroupName) == ("v", "h")


def test_a_change_of_a_rule_leaves_the_rest_alone(client: Client, cluster: Any) -> None:
    vms = [vm_in(client, cluster.resourcePool, name) for name in "ab"]
    other = vm_in(client, cluster.resourcePool, "c")
    reconfigure(
        cluster,
        rulesSpec=[
            rule("add", cluster_api.AffinityRuleSpec(name=name, enabled=False, vm=vms))
            for name in ("one", "two")
        ],
    )
    one, two = cluster.configurationEx.rule
    assert one.key != two.key and one.ruleUuid != two.ruleUuid
    reconfigure(
        cluster,
        rulesSpec=[rule("edit", cluster_api.AffinityRuleSpec(key=one.key, enabled=True, vm=vms))],
    )
    changed = cluster.configurationEx.rule[0]
    assert (changed.name, changed.enabled, changed.vm) == ("one", True, vms)
    assert [each.name for each in cluster.FindRulesForVm(vms[0])] == ["one", "two"]
    assert cluster.FindRulesForVm(other) == []
    reconfigure(cluster, rulesSpec=[rule("remove", key=one.key)])
    assert [each.name for each in cluster.configuration.rule] == ["two"]
    reconfigure(cluster, modify=False, dasConfig=cluster_api.DasConfigInfo(enabled=True))
    found = cluster.configurationEx
    assert (found.rule, found.dasConfig.enabled, found.drsConfig.enabled) == ([], True, False)


def test_a_cluster_is_created_only_in_a_host_folder(client: Client, cluster: Any) -> None:
    folder = client.datacenter.hostFolder
    spec = cluster_api.ConfigSpecEx(drsConfig=cluster_api.DrsConfigInfo(enabled=True))
    made = folder.CreateClusterEx("made", spec)
    assert made.configurationEx.drsConfig.enabled and made.host == []
    assert made.resourcePool.owner == made
    with pytest.raises(vim.fault.DuplicateName):
        folder.CreateClusterEx("made", spec)
    with pytest.raises(vmodl.fault.NotSupported):
        client.vm_folder.CreateClusterEx("made", spec)
    with pytest.raises(vmodl.fault.NotSupported):
        client.vm_folder.AddStandaloneHost_Task(vim.host.ConnectSpec(force=False), None, True, None)


def connection(vcenter: VCenter, name: str, **changed: Any) -> Any:
    fields = {
        "hostName": name,
        "userName": "root",
        "password": "secret",
        "sslThumbprint": vcenter.thumbprint,
        "force": False,
        **changed,
    }
    return vim.host.ConnectSpec(**fields)


def test_a_host_is_added_only_with_the_right_thumbprint(
    vcenter: VCenter, client: Client, cluster: Any
) -> None:
    for fault, changed in (
        (vim.fault.SSLVerifyFault, {"sslThumbprint": None}),
        (vim.fault.InvalidLogin, {"userName": "nobody"}),
        (vim.fault.InvalidLogin, {"password": ""}),
        (vim.fault.AlreadyConnected, {"hostName": "DC0_C0_H0"}),
    ):
        for add in (
            lambda spec: cluster.AddHost_Task(spec, True, None, None),
            lambda spec: client.datacenter.hostFolder.AddStandaloneHost_Task(
                spec, None, True, None
            ),
        ):
            with pytest.raises(fault):
                WaitForTask(add(connection(vcenter, "new", **changed)))
    assert len(cluster.host) == 2 and len(client.datacenter.hostFolder.childEntity) == 1
    task = cluster.AddHost_Task(connection(vcenter, "new"), False, None, None)
    WaitForTask(task)
    host = task.info.result
    assert (host.parent, host.runtime.connectionState) == (cluster, "disconnected")
    assert [network.name for network in host.network] == ["VM Network"]


def test_a_removed_host_takes_its_vms_out_of_the_inventory(
    vcenter: VCenter, client: Client, cluster: Any
) -> None:
    host = cluster.host[0]
    vm = vm_in(client, cluster.resourcePool)
    assert vm.runtime.host == host
    with pytest.raises(vim.fault.InvalidState):
        WaitForTask(host.Destroy_Task())
    WaitForTask(host.EnterMaintenanceMode_Task(0))
    WaitForTask(host.Destroy_Task())
    assert len(cluster.host) == 1
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        print(vm.name)
    assert vcenter.datastore("DC0_DS0").storage.get("a/a.vmx") is not None
    assert [mount.key for mount in client.datacenter.datastore[0].host] == [cluster.host[0]]
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        print(host.name)


def test_a_moved_hosts_vms_move_to_the_new_clusters_pool(
    vcenter: VCenter, client: Client, cluster: Any
) -> None:
    host = cluster.host[0]
    vm = vm_in(client, cluster.resourcePool)
    other = client.datacenter.hostFolder.CreateClusterEx("other", cluster_api.ConfigSpecEx())
    with pytest.raises(vim.fault.InvalidState):
        WaitForTask(other.MoveInto_Task([host]))
    WaitForTask(host.EnterMaintenanceMode_Task(0))
    WaitForTask(other.MoveInto_Task([host]))
    assert (host.parent, vm.resourcePool) == (other, other.resourcePool)
    assert (len(cluster.host), other.summary.numHosts) == (1, 1)


def test_a_host_reboots_only_in_maintenance_mode_or_by_force(
    vcenter: VCenter, cluster: Any
) -> None:
    host = cluster.host[0]
    booted = host.runtime.bootTime
    for call in (host.RebootHost_Task, host.ShutdownHost_Task):
        with pytest.raises(vim.fault.InvalidState):
            WaitForTask(call(False))
    vcenter.clock.advance(60)
    WaitForTask(host.RebootHost_Task(True))
    assert host.runtime.bootTime > booted
    WaitForTask(host.ShutdownHost_Task(True))
    assert host.runtime.connectionState == "notResponding"


def test_a_destroyed_pool_leaves_its_content_to_its_parent(client: Client, cluster: Any) -> None:
    root = cluster.resourcePool
    spec = vim.ResourceConfigSpec(
        cpuAllocation=vim.ResourceAllocationInfo(limit=100),
        memoryAllocation=vim.ResourceAllocationInfo(shares=vim.SharesInfo(level="low", shares=0)),
    )
    a = root.CreateResourcePool("a", spec)
    b = a.CreateResourcePool("b", spec)
    vm = vm_in(client, a)
    cpu, memory = a.config.cpuAllocation, a.config.memoryAllocation
    assert (cpu.limit, cpu.shares.shares, memory.limit) == (100, 4000, -1)
    assert (memory.shares.level, memory.shares.shares) == ("low", 81920)
    assert a.runtime.memory.maxUsage == cluster.summary.effectiveMemory << 20 > 0
    with pytest.raises(vmodl.fault.InvalidArgument):
        a.UpdateConfig(
            None,
            vim.ResourceConfigSpec(
                cpuAllocation=vim.ResourceAllocationInfo(reservation=101),
                memoryAllocation=vim.ResourceAllocationInfo(),
            ),
        )
    with pytest.raises(vim.fault.DuplicateName):
        root.CreateResourcePool("a", spec)
    with pytest.raises(vmodl.fault.NotSupported):
        WaitForTask(root.Destroy_Task())
    root.CreateResourcePool("b", spec)
    with pytest.raises(vim.fault.DuplicateName):
        WaitForTask(a.Destroy_Task())
    assert (vm.resourcePool, b.parent) == (a, a)
    b.UpdateConfig("c", None)
    WaitForTask(a.Destroy_Task())
    assert (vm.resourcePool, b.parent, b.name) == (root, root, "c")
    assert sorted(pool.name for pool in root.resourcePool) == ["b", "c"]
    root.DestroyChildren()
    assert root.resourcePool == []


def test_a_destroyed_datacenter_leaves_nothing(
    vcenter: VCenter, client: Client, cluster: Any
) -> None:
    vm_in(client, cluster.resourcePool)
    client.vm_folder.CreateFolder("f").CreateFolder("g")
    before = set(vcenter.registry._objects)
    made = client.content.rootFolder.CreateDatacenter("made")
    WaitForTask(made.Destroy_Task())
    assert {
        moref
        for moref in set(vcenter.registry._objects) - before
        if not moref.startswith(("task", "session"))
    } == set()
    WaitForTask(client.datacenter.Destroy_Task())
    assert client.content.rootFolder.childEntity == []
    assert vcenter.registry.of_type(vim.ManagedEntity) == [vcenter.root_folder]


def test_the_privilege_is_that_of_the_objects_type(vcenter: VCenter, client: Client) -> None:
    account = vcenter.permissions.add_account("a@vsphere.local", "secret")
    mine = connect(vcenter, account.user, account.password)
    datacenter = mine.datacenter
    cluster = datacenter.hostFolder.childEntity[0]
    pool = cluster.resourcePool
    for privilege, call in (
        ("Datacenter.Delete", datacenter.Destroy_Task),
        ("Datacenter.Rename", lambda: datacenter.Rename_Task("x")),
        ("Folder.Delete", datacenter.vmFolder.Destroy_Task),
        ("Host.Inventory.DeleteCluster", cluster.Destroy_Task),
        ("Host.Inventory.RenameCluster", lambda: cluster.Rename_Task("x")),
        ("Host.Inventory.RemoveHostFromCluster", cluster.host[0].Destroy_Task),
        ("Resource.DeletePool", pool.Destroy_Task),
        ("Resource.RenamePool", lambda: pool.UpdateConfig("x", None)),
        ("Resource.EditPool", lambda: pool.UpdateConfig(None, pool.config)),
        ("Datastore.Rename", lambda: datacenter.datastore[0].Rename_Task("x")),
        (
            "Host.Inventory.MoveCluster",
            lambda: datacenter.hostFolder.MoveIntoFolder_Task([cluster]),
        ),
        (
            "Global.Settings",
            lambda: mine.content.setting.UpdateOptions(
                [vim.option.OptionValue(key="a.b", value="c")]
            ),
        ),
    ):
        with pytest.raises(vim.fault.NoPermission) as caught:
            call()
        assert caught.value.privilegeId == privilege
