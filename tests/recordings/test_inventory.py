"""The inventory of a vCenter 8.0.1, as it was recorded object by object."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.recordings import leaves, object_files, recordings
from tests.recordings.conftest import Tally
from tests.recordings.object_files import RecordedMethod, RecordedObject, row_of
from tests.recordings.replay import Replay, replaying
from vmdk_cache import errors
from vmdk_cache.vim import inventory, properties, virtual_machine
from vmdk_cache.vim.properties import Table
from vmdk_cache.vim.session import Session

VCENTER = "8.0.1"
#: Its ``description`` names a type, DisableAlarmExpression, that no pyvmomi knows.
UNREADABLE = "AlarmManager"
#: Values that pyVmomi adds to an answer: numSupportedFloppyDevices is required, and 0 where 13 of
#: the guest systems leave it out.
ADDED = {"QueryConfigOption": 13}


@dataclass(frozen=True)
class World:
    """:ivar values: property values by type and moref, as our client read them"""

    session: Session
    objects: list[RecordedObject]
    methods: list[RecordedMethod]
    values: dict[tuple[str, str], dict[str, Any]]

    def table(self, paths: dict[str, list[str]]) -> Table:
        """What vCenter says of the objects of these types when asked for the paths."""
        return {
            (kind, moref): row_of(values, paths[_base(kind)])
            for (kind, moref), values in self.values.items()
            if _base(kind) in paths
        }


def _base(kind: str) -> str:
    return "ComputeResource" if kind == "ClusterComputeResource" else kind


@pytest.fixture(scope="module")
def world(tally: Tally) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        unpacked = recordings.unpack_sddc(Path(folder))
        objects = object_files.objects_in(unpacked)
        methods = object_files.methods_in(unpacked, len(objects))
        replay = Replay(
            [*object_files.session_of(objects), *(one.exchange for one in [*objects, *methods])]
        )
        session = stack.enter_context(Session(stack.enter_context(replaying(replay))))
        values = {
            (one.type_name, one.moref): properties.read_one(
                session, one.type_name, one.moref, one.paths
            )
            for one in objects
            if one.moref != UNREADABLE
        }
        tally.setdefault(VCENTER, Counter())["objects"] = len(values)
        yield World(session, objects, methods, values)


def test_every_recorded_object_is_read_and_nothing_of_it_is_lost(world: World) -> None:
    assert world.session.content.about.version == VCENTER
    assert (len(world.objects), len(world.values)) == (102, 101)
    for one in world.objects:
        values = world.values.get((one.type_name, one.moref))
        if values is None:
            continue
        names = 1 + len(one.paths)  # the object's, and each property's
        read = leaves.in_value(list(values.values()))
        assert leaves.in_answer(one.exchange.response) == read + names, one.moref


def test_a_type_that_pyvmomi_does_not_know_is_an_error_that_names_it(world: World) -> None:
    (recorded,) = (one for one in world.objects if one.moref == UNREADABLE)
    with pytest.raises(errors.TaskFailed, match=r"DisableAlarmExpression.*newer pyvmomi"):
        properties.read_one(world.session, UNREADABLE, UNREADABLE, recorded.paths)


def test_recorded_methods_are_read(world: World, tally: Tally) -> None:
    assert len(world.methods) == 2
    for one in world.methods:
        found = world.session.invoke(one.type_name, one.moref, str(one.exchange.method))
        added = ADDED.get(str(one.exchange.method), 0)
        assert leaves.in_answer(one.exchange.response) + added == leaves.in_value(found)
    tally.setdefault(VCENTER, Counter())["answers"] = len(world.methods)


def test_an_inventory_is_assembled_of_the_objects(world: World) -> None:
    paths = {
        spec.type._wsdlName: list(spec.pathSet)
        for spec in inventory.filter_spec(world.session).propSet
    }
    found = inventory.assembled(world.table(paths), ["Cluster-1"])

    (datacenter,) = found.datacenters
    assert (datacenter.name, datacenter.vm_folder) == ("SDDC-Datacenter", "group-v4")
    (host,) = found.hosts
    assert (host.name, host.pool, host.datacenter) == ("10.2.32.4", "resgroup-36", "datacenter-3")
    assert host.connected and not host.in_maintenance
    assert [one.name for one in found.datastores] == ["WorkloadDatastore", "vsanDatastore"]
    for datastore in found.datastores:
        assert datastore.type == "vsan"
        assert datastore.accessible and datastore.maintenance == "normal"
        assert datastore.capacity_bytes > datastore.free_bytes > 0
        assert datastore.url.startswith("ds:///vmfs/volumes/vsan:")
        (mount,) = datastore.mounts
        assert mount.host == host.moref and mount.read_write and mount.accessible


def test_every_vm_is_described(world: World) -> None:
    paths = virtual_machine.paths(world.session, "key", ["attribute"])
    assert "config.createDate" in paths
    table = world.table({"VirtualMachine": paths})
    vms = {
        moref: virtual_machine.info_of(world.session, moref, row, "key", ())
        for (_, moref), row in table.items()
    }

    assert len(vms) == 7
    for vm in vms.values():
        assert vm.has_config and not vm.is_template
        assert vm.host == "host-14"
        assert vm.connection_state == "connected"
        assert vm.instance_uuid and vm.created_at and vm.created_at.utcoffset() is not None
        assert vm.committed_bytes >= vm.unshared_bytes > 0
        for disk in vm.disks:
            assert disk.capacity_bytes > 0 and disk.uuid and disk.content_id
    with_snapshots = vms["vm-1003"]
    assert with_snapshots.committed_bytes == 16_630_415_360
    assert with_snapshots.unshared_bytes == 7_587_495_936
    assert all(disk.has_parent for disk in with_snapshots.disks)


def test_sizes_tell_when_vcenter_looked_at_the_files(world: World) -> None:
    values = world.values["VirtualMachine", "vm-1003"]
    seen_at = virtual_machine.in_utc(values["storage"].timestamp)
    assert seen_at is not None and seen_at.isoformat() == "2023-10-06T13:51:29.881000+00:00"


def test_definitions_of_custom_attributes_have_types_that_are_known(world: World) -> None:
    fields = world.values["CustomFieldsManager", "CustomFieldsManager"]["field"]
    kinds = [field.managedObjectType._wsdlName for field in fields]
    assert kinds == ["HostSystem", *["ScheduledTask"] * 3, "ClusterComputeResource"]
