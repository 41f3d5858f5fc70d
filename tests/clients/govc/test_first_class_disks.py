"""Disks that have a name of their own: disk.*, through the VStorageObjectManager."""

from __future__ import annotations

import pytest

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import VCenter

MiB = 1 << 20
STORE = ("-ds", "DC0_DS0")


@pytest.fixture
def govc(govc: Govc) -> Govc:
    govc.environment["GOVC_DATASTORE"] = "DC0_DS0"
    # The VStorageObjectManager, not the VSLM service, which the fake does not have.
    govc.environment["GOVC_GLOBAL_VSLM"] = "false"
    return govc


def _path(govc: Govc, disk: str) -> str:
    return govc("disk.ls", *STORE, "-L", disk).partition("  ")[2].strip()


@holds("disk.create", "disk.ls", "disk.rm")
def test_a_disk_is_made_and_deleted(govc: Govc, vcenter: VCenter) -> None:
    disk = govc("disk.create", *STORE, "-size", "64M", "data").strip()
    (shown,) = govc.json("disk.ls", *STORE)["objects"]
    config = shown["config"]
    assert (config["id"]["id"], config["name"], config["capacityInMB"]) == (disk, "data", 64)
    assert vcenter.read_disk(_path(govc, disk)).size_bytes == 64 * MiB
    govc("disk.rm", *STORE, disk)
    assert govc("disk.ls", *STORE) == ""
    assert vcenter.datastore("DC0_DS0").files() == {}
    assert "could not be found" in govc.refused("disk.rm", *STORE, disk)


@holds("disk.register")
def test_a_disk_that_is_there_gets_a_name(govc: Govc) -> None:
    govc("datastore.mkdir", "own")
    govc("datastore.disk.create", "-size", "1M", "own/a.vmdk")
    disk = govc("disk.register", *STORE, "own/a.vmdk", "mine").strip()
    assert govc("disk.ls", *STORE, disk).split() == [disk, "mine"]
    assert "registered" in govc.refused("disk.register", *STORE, "own/a.vmdk", "again")
    govc("datastore.rm", "own/a.vmdk")
    assert govc("disk.ls", *STORE) == "", "its file has gone"
    assert "not found" in govc("disk.ls", *STORE, "-a")
    govc("disk.ls", *STORE, "-R")
    assert govc("disk.ls", *STORE, "-a") == ""


@holds("disk.attach", "disk.detach")
def test_a_disk_becomes_one_of_a_vm(govc: Govc, vcenter: VCenter) -> None:
    govc("vm.create", "-on=false", "-disk", "1M", "host")
    disk = govc("disk.create", *STORE, "-size", "2M", "data").strip()
    path = _path(govc, disk)
    govc("disk.attach", *STORE, "-vm", "host", disk)
    assert [str(one.path) for one in vcenter.find_vm("host").disks][1:] == [path]
    (shown,) = govc.json("disk.ls", *STORE, disk)["objects"]
    assert len(shown["config"]["consumerId"]) == 1
    assert "attached" in govc.refused("disk.rm", *STORE, disk)
    assert "attached" in govc.refused("disk.attach", *STORE, "-vm", "host", disk)
    govc("disk.detach", "-vm", "host", disk)
    assert len(vcenter.find_vm("host").disks) == 1
    assert "not attached" in govc.refused("disk.detach", "-vm", "host", disk)
    govc("vm.destroy", "host")
    govc("disk.rm", *STORE, disk)


@holds("disk.snapshot.create", "disk.snapshot.ls", "disk.snapshot.rm")
def test_the_snapshots_of_a_disk(govc: Govc) -> None:
    disk = govc("disk.create", *STORE, "-size", "2M", "data").strip()
    snapshot = govc("disk.snapshot.create", *STORE, disk, "before").strip()
    assert govc("disk.snapshot.ls", *STORE, disk).split() == [snapshot, "before"]
    govc("disk.snapshot.rm", *STORE, disk, snapshot)
    assert govc("disk.snapshot.ls", *STORE, disk) == ""
    assert "could not be found" in govc.refused("disk.snapshot.rm", *STORE, disk, snapshot)
    govc("disk.rm", *STORE, disk)
