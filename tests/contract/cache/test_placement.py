"""Where replicas go, and which host reads a template, depending on vCenter's report of its
hosts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from pyVmomi import vim

from tests.contract.vcenters import Target
from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.busy import busy_vcenter
from tests.fakes.vcenter.datastore import Datastore
from tests.fakes.vcenter.host_system import HostSystem
from tests.unit.cache.conftest import volume
from vmdk_cache import errors
from vmdk_cache.adapters.placement import INVENTORY_AGE_S, VCenterPlacement
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.clock import Clock
from vmdk_cache.vim.inventory_index import InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies

GIB = 1 << 30
USER, PASSWORD = "cinder@vsphere.local", "correct horse"
pytestmark = pytest.mark.not_on_a_given_vcenter(
    "sends hosts away, and unmounts, fills and renames datastores: our fake alone"
)


class World:
    """Two clusters of two hosts, three datastores that all hosts mount, and a placement that sees a
    test's changes."""

    def __init__(self, vc: VCenter, session: Session, clock: Clock) -> None:
        self.vc = vc
        self._session = session
        self._clock = clock
        self.placement = self.of()

    def of(self, *clusters: str, regex: str | None = None) -> VCenterPlacement:
        index = InventoryIndex(
            self._session, self._clock, folder=["none"], record_key="none", cluster_names=clusters
        )
        return VCenterPlacement(index, StoragePolicies(self._session), datastore_regex=regex)

    def host(self, name: str) -> HostSystem:
        found = {host.name: host for host in self.vc.registry.of_type(vim.HostSystem)}
        host = found[name]
        assert isinstance(host, HostSystem)
        return host

    def datastore(self, number: int) -> Datastore:
        found = self.vc.datastore(f"DC0_DS{number}")
        assert isinstance(found, Datastore)
        return found

    def entry(self, host: str | None = "DC0_C0_H0", datastore: int = 0) -> CacheEntry:
        """A template on that host."""
        return CacheEntry(
            "vm-1", "image", Phase.READY, None, self.datastore(datastore).moref, 2000, GIB,
            host=host and self.host(host).moref,
        )  # fmt: skip

    def reader(self, **entry: object) -> str | None:
        """Name of the host that reads now."""
        self.vc.clock.advance(INVENTORY_AGE_S + 1)
        found = self.placement.reader(dataclasses.replace(self.entry(), **entry))
        names = {host.moref: host.name for host in self.vc.registry.of_type(vim.HostSystem)}
        return None if found is None else str(names.get(found, found))

    def replica_at(self, size_bytes: int, datastore: int) -> str:
        """Name of the datastore for a replica now."""
        self.vc.clock.advance(INVENTORY_AGE_S + 1)
        with self.placement.for_template(size_bytes, only=self.datastore(datastore).moref) as place:
            return place.datastore_name


@pytest.fixture
def world() -> Iterator[World]:
    model = Model(clusters=2, datastores=3, datastore_bytes=100 * GIB)
    with busy_vcenter(model, user=USER, password=PASSWORD) as vc:
        target = Target("fake", vc.host, vc.port, USER, PASSWORD, vc.ca_file, vc)
        clock = target.clock()
        with Session(target.endpoint(), clock) as session:
            yield World(vc, session, clock)
        assert vc.errors == []


def test_the_regex_is_matched_with_the_name_that_cinders_own_driver_sees(world: World) -> None:
    """So ours and upstream's driver use the same datastores. ``summary.name`` has ``/`` escaped."""
    with world.vc.lock:
        world.datastore(0).rename("fast/0")
    for regex, used in ((r"fast%2f0$", ["fast/0"]), (r"fast/0$", [])):
        placement = world.of(regex=regex)
        assert [datastore.name for datastore in placement.datastores()] == used
        if used:
            with placement.for_template(GIB, near=None) as place:
                assert place.path_names == ("fast%2f0", "fast/0")
        else:
            with pytest.raises(errors.NoPlacement), placement.for_template(GIB, near=None):
                pass


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_replica_goes_to_the_datastore_that_was_requested(world: World, number: int) -> None:
    for other in {0, 1, 2} - {number}:
        world.datastore(number).fill(50 * GIB)
        world.datastore(other).fill(0)  # more attractive
    assert world.replica_at(10 * GIB, number) == f"DC0_DS{number}"


def test_a_replica_goes_nowhere_rather_than_elsewhere(world: World) -> None:
    world.datastore(1).fill(95 * GIB)
    with pytest.raises(errors.NoPlacement):
        world.replica_at(10 * GIB, 1)


def test_a_replica_needs_a_datastore_that_is_in_order(world: World) -> None:
    for host in list(world.datastore(1).mounts):
        world.datastore(1).unmount(host)
    with pytest.raises(errors.NoPlacement):
        world.replica_at(GIB, 1)


def test_a_replica_keeps_to_the_backends_datastores(world: World) -> None:
    world.placement = world.of(regex="DC0_DS[02]")
    with pytest.raises(errors.NoPlacement):
        world.replica_at(GIB, 1)
    assert world.replica_at(GIB, 2) == "DC0_DS2"


def test_a_replica_keeps_to_the_backends_clusters(world: World) -> None:
    world.placement = world.of("DC0_C1")
    with world.placement.for_template(GIB, only=world.datastore(1).moref) as place:
        assert place.host in {world.host(f"DC0_C1_H{n}").moref for n in (0, 1)}


def test_a_replica_needs_a_host_that_is_there(world: World) -> None:
    for name in ("DC0_C0_H0", "DC0_C0_H1", "DC0_C1_H0"):
        world.host(name).set_maintenance(True)
    with world.placement.for_template(GIB, only=world.datastore(1).moref) as place:
        assert place.host == world.host("DC0_C1_H1").moref


def test_a_volume_counts_what_was_reserved_for_a_replica(world: World) -> None:
    """Otherwise both would go to the datastore that looks emptiest, and one would not fit."""
    world.datastore(0).fill(30 * GIB)
    world.datastore(2).fill(90 * GIB)
    emptiest = world.datastore(1)
    with (
        world.placement.for_template(60 * GIB, only=emptiest.moref),
        world.placement.for_volume(volume(), 60 * GIB) as place,
    ):
        assert place.datastore_name == "DC0_DS0"
    with world.placement.for_volume(volume(), 60 * GIB) as place:
        assert place.datastore == emptiest.moref


def test_a_template_on_a_healthy_host_stays_there(world: World) -> None:
    assert world.reader() == "DC0_C0_H0"


def test_a_template_on_a_host_in_maintenance_is_read_by_a_neighbour(world: World) -> None:
    world.host("DC0_C0_H0").set_maintenance(True)
    assert world.reader() == "DC0_C0_H1"
    world.host("DC0_C0_H0").set_maintenance(False)
    assert world.reader() == "DC0_C0_H0"


def test_a_template_on_a_disconnected_host_is_read_by_a_neighbour(world: World) -> None:
    world.host("DC0_C0_H0").set_connected(False)
    assert world.reader() == "DC0_C0_H1"


def test_another_cluster_reads_a_template_when_its_own_cannot(world: World) -> None:
    world.host("DC0_C0_H0").set_connected(False)
    world.host("DC0_C0_H1").set_maintenance(True)
    world.host("DC0_C1_H0").set_maintenance(True)
    assert world.reader() == "DC0_C1_H1"


def test_a_host_without_the_templates_datastore_does_not_read_it(world: World) -> None:
    world.host("DC0_C0_H0").set_connected(False)
    world.datastore(0).unmount(world.host("DC0_C0_H1"))
    assert world.reader() in ("DC0_C1_H0", "DC0_C1_H1")
    world.datastore(0).unmount(world.host("DC0_C1_H0"))
    world.datastore(0).unmount(world.host("DC0_C1_H1"))
    assert world.reader() is None


def test_no_host_reads_when_all_are_away(world: World) -> None:
    for host in world.vc.registry.of_type(vim.HostSystem):
        host.set_connected(False)
    assert world.reader() is None


def test_vcenter_decides_about_hosts_that_the_backend_does_not_see(world: World) -> None:
    world.placement = world.of("DC0_C1")
    world.host("DC0_C0_H0").set_maintenance(True)
    assert world.reader() == "DC0_C0_H0"
    assert world.reader(host=None) is None
    assert world.reader(host="host-9999") == "host-9999"
