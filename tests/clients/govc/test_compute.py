"""Clusters, resource pools, datacenters and folders, and the hosts that come and go."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import Model, VCenter

MODEL = Model(hosts_per_cluster=3)
CLUSTER, POOLS = "/DC0/host/DC0_C0", "/DC0/host/DC0_C0/Resources"


def cluster(vcenter: VCenter, name: str = "DC0_C0") -> Any:
    return vcenter.root_folder.child("DC0").hostFolder.child(name)  # type: ignore[union-attr]


def settings(vcenter: VCenter) -> Any:
    return cluster(vcenter).configurationEx


def connection(vcenter: VCenter, name: str) -> list[str]:
    account = ["-username", "root", "-password", "secret"]
    return ["-hostname", name, *account, "-thumbprint", vcenter.thumbprint]


@pytest.fixture(scope="module")
def vms(vcenter: VCenter, home: Any) -> None:
    for name in ("v1", "v2", "v3"):
        Govc(vcenter, home)("vm.create", "-on=false", "-pool", POOLS, "-ds", "DC0_DS0", name)


@holds("cluster.create", "cluster.change", "cluster.usage")
def test_a_cluster_is_made_and_changed(govc: Govc, vcenter: VCenter) -> None:
    govc("cluster.create", "made")
    assert cluster(vcenter, "made").host == []
    assert "already exists" in govc.refused("cluster.create", "made")
    govc("cluster.change", "-drs-enabled", "-drs-mode", "manual", "-ha-enabled", CLUSTER)
    changed = settings(vcenter)
    assert (changed.drsConfig.enabled, changed.dasConfig.enabled) == (True, True)
    assert changed.drsConfig.defaultVmBehavior == "manual"
    govc("cluster.change", "-ha-enabled=false", CLUSTER)
    changed = settings(vcenter)
    assert (changed.drsConfig.enabled, changed.dasConfig.enabled) == (True, False)
    assert govc.json("cluster.usage", CLUSTER)["cpu"]["capacity"] > 0
    govc("object.destroy", "/DC0/host/made")
    assert cluster(vcenter, "made") is None


@holds("host.add", "cluster.add", "cluster.mv", "host.remove")
def test_hosts_come_move_and_go(govc: Govc, vcenter: VCenter) -> None:
    govc("cluster.create", "other")
    govc("host.add", *connection(vcenter, "alone.example.com"))
    govc("cluster.add", "-cluster", "other", *connection(vcenter, "new.example.com"))
    assert [host.name for host in cluster(vcenter, "other").host] == ["new.example.com"]
    wrong = connection(vcenter, "strange.example.com")[:-1]
    assert vcenter.thumbprint in govc.refused("host.add", *wrong, "00:11")
    again = connection(vcenter, "new.example.com")
    assert "is managed by this vCenter" in govc.refused("host.add", *again)

    assert govc.refused("cluster.mv", "-cluster", "other", "DC0_C0_H2")
    govc("host.maintenance.enter", "DC0_C0_H2")
    govc("cluster.mv", "-cluster", "other", "DC0_C0_H2", "alone.example.com")
    names = [host.name for host in cluster(vcenter, "other").host]
    assert names == ["new.example.com", "DC0_C0_H2", "alone.example.com"]
    assert cluster(vcenter, "alone.example.com") is None

    assert govc.refused("host.remove", "new.example.com")
    govc("host.maintenance.enter", "new.example.com")
    govc("host.remove", "new.example.com")
    govc("host.add", *connection(vcenter, "single.example.com"))
    govc("host.remove", "single.example.com")
    found = govc("find", "/DC0/host", "-type", "h").split()
    assert sorted(path.rpartition("/")[2] for path in found) == [
        "DC0_C0_H0",
        "DC0_C0_H1",
        "DC0_C0_H2",
        "alone.example.com",
    ]


@holds("cluster.group.create", "cluster.group.ls", "cluster.group.change", "cluster.group.remove")
def test_groups_are_kept(govc: Govc, vcenter: VCenter, vms: None) -> None:
    group = ("-cluster", "DC0_C0", "-name", "group")
    govc("cluster.group.create", *group, "-vm", "v1", "v2")
    govc("cluster.group.create", "-cluster", "DC0_C0", "-name", "hosts", "-host", "DC0_C0_H0")
    assert govc("cluster.group.ls", "-cluster", "DC0_C0").split() == ["group", "hosts"]
    assert govc("cluster.group.ls", *group).split() == ["v1", "v2"]
    assert govc.refused("cluster.group.create", *group, "-vm", "v3")
    govc("cluster.group.change", *group, "v3")
    assert govc("cluster.group.ls", *group).split() == ["v3"]
    govc("cluster.group.remove", *group)
    assert [one.name for one in settings(vcenter).group] == ["hosts"]
    govc("cluster.group.remove", "-cluster", "DC0_C0", "-name", "hosts")


@holds(
    "cluster.rule.create",
    "cluster.rule.ls",
    "cluster.rule.info",
    "cluster.rule.change",
    "cluster.rule.remove",
)
def test_rules_are_kept(govc: Govc, vcenter: VCenter, vms: None) -> None:
    where = ("-cluster", "DC0_C0")
    govc("cluster.group.create", *where, "-name", "some", "-vm", "v1")
    govc("cluster.group.create", *where, "-name", "there", "-host", "DC0_C0_H0")
    govc("cluster.rule.create", *where, "-name", "apart", "-anti-affinity", "v1", "v2")
    to_host = ("-vm-host", "-vm-group", "some", "-host-affine-group", "there")
    govc("cluster.rule.create", *where, "-name", "bound", "-enable", *to_host)
    assert govc("cluster.rule.ls", *where).split() == ["apart", "bound"]
    assert govc("cluster.rule.ls", *where, "-name", "apart").split() == ["v1", "v2"]
    info = govc("cluster.rule.info", *where)
    assert "ClusterAntiAffinityRuleSpec" in info and "vmGroupName: some" in info
    govc("cluster.rule.change", *where, "-name", "apart", "-enable=true", "v1", "v3")
    assert govc("cluster.rule.ls", *where, "-name", "apart").split() == ["v1", "v3"]
    apart, bound = settings(vcenter).rule
    assert (apart.enabled, bound.enabled, apart.key != bound.key) == (True, True, True)
    nowhere = ("-vm-host", "-vm-group", "none", "-host-affine-group", "there")
    assert govc.refused("cluster.rule.create", *where, "-name", "lost", *nowhere)
    govc("cluster.rule.remove", *where, "-name", "apart")
    assert govc("cluster.rule.ls", *where).split() == ["bound"]


@holds("cluster.override.change", "cluster.override.info", "cluster.override.remove")
def test_exceptions_are_kept(govc: Govc, vcenter: VCenter, vms: None) -> None:
    of_vm = ("-cluster", "DC0_C0", "-vm", "v1")
    govc("cluster.override.change", *of_vm, "-drs-enabled", "-drs-mode", "manual")
    govc("cluster.override.change", *of_vm, "-ha-restart-priority", "high")
    assert govc("cluster.override.info", "-cluster", "DC0_C0").splitlines()[1:3] == [
        "  DRS Automation Level:  Manual",
        "  HA Restart Priority:   High",
    ]
    govc("cluster.override.remove", *of_vm)
    assert "v1" not in govc("cluster.override.info", "-cluster", "DC0_C0")


@holds("pool.create", "pool.change", "pool.info", "pool.destroy")
def test_a_pool_is_made_changed_and_removed(govc: Govc, vcenter: VCenter, vms: None) -> None:
    govc("pool.create", "-cpu.limit", "1000", "-mem.shares", "high", f"{POOLS}/a")
    govc("pool.create", f"{POOLS}/a/b")
    govc("pool.change", "-name", "c", "-mem.limit", "2000", f"{POOLS}/a")
    (info,) = govc.json("pool.info", f"{POOLS}/c")["resourcePools"]
    memory, cpu = info["config"]["memoryAllocation"], info["config"]["cpuAllocation"]
    assert (cpu["limit"], memory["limit"], memory["shares"]["shares"]) == (1000, 2000, 327680)
    assert "Mem Usage:        0MB (0.0%)" in govc("pool.info", f"{POOLS}/c")
    assert govc.refused("pool.change", "-cpu.reservation", "2000", f"{POOLS}/c")
    assert govc.refused("pool.create", f"{POOLS}/c")
    govc("vm.migrate", "-pool", f"{POOLS}/c", "v1")
    govc("pool.destroy", f"{POOLS}/c")
    assert govc("find", POOLS, "-type", "p").split() == [POOLS, f"{POOLS}/b"]
    assert vcenter.find_vm("v1").pool is cluster(vcenter).resourcePool
    govc("pool.create", f"{POOLS}/b/d")
    govc("pool.destroy", "-children", POOLS)
    assert govc("find", POOLS, "-type", "p").split() == [POOLS]


@holds("datacenter.create", "datacenter.info")
def test_a_datacenter_is_made_and_removed(govc: Govc, vcenter: VCenter) -> None:
    govc("datacenter.create", "made")
    assert "Path:              /made" in govc("datacenter.info", "made")
    assert sorted(govc("ls", "/made").split()) == [
        f"/made/{name}" for name in ("datastore", "host", "network", "vm")
    ]
    govc("cluster.create", "-folder", "/made/host", "c")
    govc("cluster.add", "-cluster", "/made/host/c", *connection(vcenter, "far.example.com"))
    govc("folder.create", "/made/vm/f")
    govc("object.destroy", "/made")
    assert "/made" not in govc("ls", "/").split()
    assert "far.example.com" not in govc("find", "/", "-type", "h")
    assert [vm.name for vm in vcenter.vms() if vm.datacenter is None] == []


@holds("folder.create", "folder.info")
def test_folders_are_made(govc: Govc, vcenter: VCenter) -> None:
    govc("folder.create", "/DC0/vm/a", "/DC0/vm/a/b")
    assert "Children:  1" in govc("folder.info", "/DC0/vm/a")
    assert "already exists" in govc.refused("folder.create", "/DC0/vm/a")
    govc("folder.create", "-pod", "/DC0/datastore/pod")
    assert govc("ls", "-t", "StoragePod", "/DC0/datastore").split() == ["/DC0/datastore/pod"]
    govc("object.mv", "/DC0/vm/a/b", "/DC0/vm")
    assert "/DC0/vm/b" in govc("ls", "/DC0/vm").split()
