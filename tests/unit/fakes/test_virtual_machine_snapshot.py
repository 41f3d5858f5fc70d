"""Snapshots keep and discard the right writes, and leak no files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim

from tests.fakes.vcenter import Model, VCenter
from tests.unit.fakes.vm_client import Client, GiB, MiB, connected, disk_of, wait


@pytest.fixture
def vc() -> Iterator[VCenter]:
    with VCenter(Model(datastore_bytes=10 * GiB)) as vcenter:
        yield vcenter
        assert vcenter.errors == []


@pytest.fixture
def client(vc: VCenter) -> Iterator[Client]:
    with connected(vc) as session:
        yield session


def _snapshot(vm: Any, name: str) -> Any:
    return wait(vm.CreateSnapshot_Task(name, "why", False, False))


def _write(vc: VCenter, data: bytes) -> None:
    vc.find_vm("vm").disks[0].content.write(0, data)


def _read(vc: VCenter) -> bytes:
    data = vc.read_disk("vm").read(0, 5)
    assert isinstance(data, bytes)
    return data


def _disk_files(vc: VCenter) -> list[str]:
    return [name for name in vc.datastore("DC0_DS0").files() if name.endswith(".vmdk")]


def test_reverting_discards_later_writes(vc: VCenter, client: Client) -> None:
    vm = client.create("vm")
    _write(vc, b"first")
    snapshot = _snapshot(vm, "one")
    assert disk_of(vm).backing.fileName == "[DC0_DS0] vm/vm-000001.vmdk"
    assert disk_of(vm).backing.parent.fileName == "[DC0_DS0] vm/vm.vmdk"
    _write(vc, b"later")
    wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="later")))
    wait(snapshot.RevertToSnapshot_Task())
    assert _read(vc) == b"first"
    assert not vm.config.annotation
    assert len(_disk_files(vc)) == 4
    wait(snapshot.RevertToSnapshot_Task())
    assert _read(vc) == b"first"


def test_removing_keeps_later_writes(vc: VCenter, client: Client) -> None:
    vm = client.create("vm")
    _write(vc, b"first")
    snapshot = _snapshot(vm, "one")
    _write(vc, b"later")
    wait(snapshot.RemoveSnapshot_Task(False))
    assert _read(vc) == b"later"
    assert vm.snapshot is None
    assert disk_of(vm).backing.fileName == "[DC0_DS0] vm/vm.vmdk"
    assert _disk_files(vc) == ["vm/vm-flat.vmdk", "vm/vm.vmdk"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_a_chain_is_consolidated_in_any_order(
    vc: VCenter, client: Client, order: tuple[int, ...]
) -> None:
    vm = client.create("vm")
    snapshots = []
    for number in range(3):
        _write(vc, f"step{number}".encode())
        snapshots.append(_snapshot(vm, str(number)))
    _write(vc, b"final")
    wait(snapshots[1].RevertToSnapshot_Task())
    assert _read(vc) == b"step1"
    wait(snapshots[2].RevertToSnapshot_Task())
    assert _read(vc) == b"step2"
    _write(vc, b"final")
    tree = vm.snapshot.rootSnapshotList[0]
    assert (tree.name, tree.childSnapshotList[0].name) == ("0", "1")
    assert vm.snapshot.currentSnapshot == snapshots[2]
    for number in order:
        wait(snapshots[number].RemoveSnapshot_Task(False))
        assert _read(vc) == b"final"
    assert _disk_files(vc) == ["vm/vm-flat.vmdk", "vm/vm.vmdk"]
    assert vm.snapshot is None


def test_a_branch_survives_its_sibling(vc: VCenter, client: Client) -> None:
    vm = client.create("vm")
    _write(vc, b"trunk")
    trunk = _snapshot(vm, "trunk")
    _write(vc, b"left-")
    left = _snapshot(vm, "left")
    wait(trunk.RevertToSnapshot_Task())
    _write(vc, b"right")
    _snapshot(vm, "right")
    wait(trunk.RemoveSnapshot_Task(False))
    assert _read(vc) == b"right"
    assert [node.name for node in vm.snapshot.rootSnapshotList] == ["left", "right"]
    wait(left.RevertToSnapshot_Task())
    assert _read(vc) == b"left-"
    wait(vm.RemoveAllSnapshots_Task())
    assert _read(vc) == b"left-"
    wait(vm.Destroy_Task())
    assert vc.datastore("DC0_DS0").files() == {}


def test_a_disk_with_a_snapshot_cannot_be_extended(client: Client) -> None:
    vm = client.create("vm")
    _snapshot(vm, "one")
    manager = client.content.virtualDiskManager
    with pytest.raises(vim.fault.FileFault):
        wait(
            manager.ExtendVirtualDisk_Task(
                disk_of(vm).backing.fileName, client.datacenter, 4096, False
            )
        )


def test_a_move_with_snapshots_keeps_the_chain(vc: VCenter, client: Client) -> None:
    vm = client.create("vm")
    _write(vc, b"first")
    snapshot = _snapshot(vm, "one")
    _write(vc, b"later")
    wait(vm.RelocateVM_Task(vim.vm.RelocateSpec(datastore=client.datastores[1])))
    assert vc.datastore("DC0_DS0").files() == {}
    assert _read(vc) == b"later"
    wait(snapshot.RevertToSnapshot_Task())
    assert _read(vc) == b"first"
    wait(vm.RelocateVM_Task(vim.vm.RelocateSpec(datastore=client.datastores[0])))
    wait(snapshot.RemoveSnapshot_Task(False))
    assert _disk_files(vc) == ["vm/vm-flat.vmdk", "vm/vm.vmdk"]
    assert vc.datastore("DC0_DS1").files() == {}
    assert disk_of(vm).capacityInBytes == MiB
