"""Places for templates and replicas on a vCenter whose hosts do not change, and the properties of a
replica there. For hosts that go away, see test_placement.py and test_template_host.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim

from tests.contract import second_opinion
from tests.contract.cache.conftest import Subject, on_vcenter
from tests.contract.cache.test_template_store import import_, named
from tests.contract.ground import Ground
from tests.contract.vcenters import Target
from tests.contract.vim.conftest import MIB, content_of
from tests.fakes.images import noise
from vmdk_cache import errors
from vmdk_cache.adapters.placement import VCenterPlacement
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.vim import inventory
from vmdk_cache.vim.inventory_index import InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies


@pytest.fixture
def session(target: Target) -> Iterator[Session]:
    with Session(target.endpoint()) as opened:
        yield opened


@pytest.fixture
def ground(target: Target, session: Session) -> Ground:
    return target.ground(inventory.snapshot(session, target.choice.clusters))


def placement_of(target: Target, session: Session, *datastores: str) -> VCenterPlacement:
    """The placement of a backend with these datastores, by default all."""
    index = InventoryIndex(
        session,
        target.clock(),
        folder=target.run.path("none"),
        record_key="none",
        cluster_names=target.choice.clusters,
    )
    regex = f"({'|'.join(map(re.escape, datastores))})$" if datastores else None
    return VCenterPlacement(index, StoragePolicies(session), datastore_regex=regex)


def test_a_replica_goes_to_the_datastore_that_was_requested(
    target: Target, session: Session, ground: Ground
) -> None:
    placement = placement_of(target, session)
    for datastore in ground.datastores:
        with placement.for_template(MIB, only=datastore.moref) as place:
            assert (place.datastore, place.datastore_name) == (datastore.moref, datastore.name)


def test_a_replica_keeps_to_the_backends_datastores(
    target: Target, session: Session, ground: Ground
) -> None:
    ours, *others = ground.datastores
    placement = placement_of(target, session, ours.summary_name)
    with placement.for_template(MIB, only=ours.moref) as place:
        assert place.datastore == ours.moref
    for other in others:
        with pytest.raises(errors.NoPlacement):
            placement.for_template(MIB, only=other.moref).__enter__()


def test_a_replica_that_no_datastore_could_hold_goes_nowhere(
    target: Target, session: Session, ground: Ground
) -> None:
    placement = placement_of(target, session)
    datastore = ground.datastores[0]
    with pytest.raises(errors.NoPlacement):
        placement.for_template(datastore.capacity_bytes + MIB, only=datastore.moref).__enter__()


def test_a_template_on_a_healthy_host_is_read_there(
    target: Target, session: Session, ground: Ground
) -> None:
    for host in ground.hosts:
        entry = CacheEntry(
            "vm-1", "image", Phase.READY, None, ground.datastores[0].moref, 2000, MIB,
            host=host.moref,
        )  # fmt: skip
        assert placement_of(target, session).reader(entry) == host.moref


@pytest.fixture
def store(target: Target) -> Iterator[Subject]:
    with on_vcenter(target) as made:
        yield made


def test_a_replica_is_a_template_of_ours_in_all_that_vcenter_shows(
    target: Target, session: Session, store: Subject
) -> None:
    made = import_(store)
    replica = store.replicate(made, store.elsewhere)
    with second_opinion.of(target) as seen:
        first, second = (seen.refer(vim.VirtualMachine, one.moref) for one in (made, replica))
        assert second.config.template
        assert second.name == replica.name
        assert second.parent._moId == first.parent._moId
        assert second.config.instanceUuid != first.config.instanceUuid
        assert [one._moId for one in second.datastore] == [store.elsewhere.datastore]
        if not target.is_vcsim:  # whose clones inherit nothing, and show no runtime
            assert second.runtime.host._moId == store.elsewhere.host
            assert second.config.annotation == first.config.annotation
            assert manager_of(second) == manager_of(first)


def manager_of(machine: Any) -> tuple[str, str] | None:
    manager = machine.config.managedBy
    return None if manager is None else (manager.extensionKey, manager.type)


def test_a_volume_of_a_replica_has_the_images_bytes(
    target: Target, session: Session, store: Subject
) -> None:
    if target.is_vcsim:
        pytest.skip("vcsim keeps no content")
    replica = store.replicate(import_(store), store.elsewhere)
    volume = named(store, 1)
    store.store.clone(replica, volume, store.elsewhere)
    with second_opinion.of(target) as seen:
        found = seen.content.searchIndex.FindAllByUuid(None, volume.instance_uuid, True, True)
        (moref,) = [one._moId for one in found]
    assert content_of(session, moref) == noise(MIB)
