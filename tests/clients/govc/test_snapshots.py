"""Snapshots of a virtual machine: snapshot.*"""

from __future__ import annotations

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import VCenter


def create(govc: Govc, name: str) -> None:
    govc("vm.create", "-on=false", "-ds=DC0_DS0", "-disk", "10MB", name)
    govc.environment["GOVC_VM"] = name


@holds("snapshot.create", "snapshot.tree", "snapshot.revert", "snapshot.remove")
def test_the_tree_of_snapshots_is_kept(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "tree")
    govc("snapshot.create", "-d", "the first", "one")
    govc("snapshot.create", "two")
    govc("vm.change", "-annotation=later")
    assert govc("snapshot.tree").split() == ["one", "two", "."]
    govc("snapshot.revert", "one")
    assert vcenter.find_vm("tree").settings.annotation == ""
    govc("snapshot.create", "three")
    assert govc("snapshot.tree", "-d").count("the first") == 1
    govc("snapshot.remove", "two")
    assert govc("snapshot.tree").split() == ["one", "three", "."]
    govc("snapshot.remove", "*")
    assert govc("snapshot.tree").split() == []
    assert vcenter.find_vm("tree").disks[0].parent is None


@holds("snapshot.revert")
def test_only_memory_lets_a_vm_run_on(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "memory")
    govc("vm.power", "-on", "memory")
    govc("snapshot.create", "-m=false", "disks")
    govc("snapshot.create", "-m=true", "running")
    govc("snapshot.revert", "disks")
    assert vcenter.find_vm("memory").power_state == "poweredOff"
    govc("snapshot.revert", "running")
    assert vcenter.find_vm("memory").power_state == "poweredOn"


@holds("snapshot.export")
def test_a_snapshot_is_exported(govc: Govc, vcenter: VCenter) -> None:
    create(govc, "export")
    govc("snapshot.create", "now")
    govc("snapshot.export", "-d", str(govc.directory), "now")
    (disk,) = govc.directory.glob("*disk-0.vmdk")
    assert disk.read_bytes()[:4] == b"KDMV"
