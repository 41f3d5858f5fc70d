"""Placement: upstream's rules, the spread of a burst, and refusals that explain themselves."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from vmdk_cache.datastore.selection import Requirements, Target, choose
from vmdk_cache.errors import NoPlacement
from vmdk_cache.vim.inventory import Datacenter, Datastore, Host, Inventory, Mount

GIB = 1 << 30


def host(number: int, *, connected: bool = True, in_maintenance: bool = False) -> Host:
    return Host(
        f"host-{number}", f"esx{number}", "domain-c1", "resgroup-1", "datacenter-1",
        connected, in_maintenance,
    )  # fmt: skip


def datastore(number: int, hosts: tuple[int, ...] = (1, 2), *, free_gib: int = 100) -> Datastore:
    mounts = tuple(Mount(f"host-{host}", True, True, True) for host in hosts)
    return Datastore(
        f"datastore-{number}", f"ds{number}", "vmfs", 200 * GIB, free_gib * GIB, True,
        "normal", mounts, "datacenter-1", f"ds:///vmfs/volumes/{number}/",
        f"ds{number}", (f"ds{number}",),
    )  # fmt: skip


def world(*datastores: Datastore, hosts: tuple[Host, ...] = (host(1), host(2))) -> Inventory:
    return Inventory((Datacenter("datacenter-1", "DC", "group-v1"),), hosts, datastores)


def chosen(
    inventory: Inventory, need: Requirements, pending: dict[str, int] | None = None
) -> Target:
    return choose(inventory, need, pending=pending or {}, rng=random.Random(7))


TEN_GIB = Requirements(10 * GIB)


def test_most_mounts_win_over_more_space() -> None:
    inventory = world(datastore(1, (1,), free_gib=190), datastore(2, (1, 2), free_gib=20))
    assert chosen(inventory, TEN_GIB).datastore.moref == "datastore-2"


def test_of_equal_mounts_the_least_used_wins() -> None:
    small = replace(datastore(2, free_gib=30), capacity_bytes=40 * GIB)
    target = chosen(world(datastore(1, free_gib=100), small), TEN_GIB)
    assert target.datastore == small


def test_the_target_names_pool_and_datacenter() -> None:
    target = chosen(world(datastore(1)), TEN_GIB)
    assert target.host in (host(1), host(2))
    assert (target.pool, target.datacenter) == ("resgroup-1", "datacenter-1")


def test_every_usable_host_gets_its_turn_and_no_other() -> None:
    mounts = (
        Mount("host-1", True, True, True),
        Mount("host-2", True, True, True),
        Mount("host-3", False, True, True),
        Mount("host-4", True, False, True),
        Mount("host-5", True, True, False),
        Mount("host-6", True, True, True),
        Mount("host-7", True, True, True),
        Mount("host-elsewhere", True, True, True),
    )
    hosts = (
        *(host(number) for number in range(1, 6)),
        host(6, connected=False),
        host(7, in_maintenance=True),
    )
    inventory = world(replace(datastore(1), mounts=mounts), hosts=hosts)
    rng = random.Random(1)
    seen = {choose(inventory, TEN_GIB, pending={}, rng=rng).host.moref for _ in range(100)}
    assert seen == {"host-1", "host-2"}


def test_the_host_that_has_least_to_do_is_taken() -> None:
    inventory = world(datastore(1, (1, 2, 3)), hosts=(host(1), host(2), host(3)))
    busy = {"host-1": 2, "host-2": 1, "host-3": 1}
    rng = random.Random(1)
    seen = {choose(inventory, TEN_GIB, pending=busy, rng=rng).host.moref for _ in range(100)}
    assert seen == {"host-2", "host-3"}


def test_a_datastore_without_a_usable_host_makes_way_for_the_next() -> None:
    inventory = world(datastore(1, (2,), free_gib=190), datastore(2, (1,)),
                      hosts=(host(1), host(2, connected=False)))  # fmt: skip
    assert chosen(inventory, TEN_GIB).datastore.moref == "datastore-2"


def test_a_burst_spreads_by_what_is_promised() -> None:
    inventory = world(*(datastore(number) for number in range(1, 5)))
    pending: Counter[str] = Counter()
    for _ in range(36):
        target = chosen(inventory, TEN_GIB, pending)
        pending[target.datastore.moref] += TEN_GIB.size_bytes
    assert set(pending.values()) == {90 * GIB}


def test_promised_space_cannot_be_promised_again() -> None:
    inventory = world(datastore(1, free_gib=19))
    with pytest.raises(NoPlacement, match="1 not enough free space"):
        chosen(inventory, TEN_GIB, {"datastore-1": 10 * GIB})


def test_exactly_enough_is_enough() -> None:
    assert chosen(world(datastore(1, free_gib=10)), TEN_GIB)


@pytest.mark.parametrize("kind", ["nfs", "nfs41", "vmfs", "vsan", "vvol", "VMFS"])
def test_types_of_upstream_are_taken(kind: str) -> None:
    assert chosen(world(replace(datastore(1), type=kind)), TEN_GIB)


@pytest.mark.parametrize(
    ("change", "need", "reason"),
    [
        ({"type": "vsanD"}, {}, "type vsand not supported"),
        ({"accessible": False}, {}, "not accessible"),
        ({"maintenance": "inMaintenance"}, {}, "in maintenance"),
        ({"maintenance": "enteringMaintenance"}, {}, "in maintenance"),
        ({"capacity_bytes": 0}, {}, "not enough free space"),
        ({"free_bytes": 10 * GIB - 1}, {}, "not enough free space"),
        ({"mounts": ()}, {}, "no connected host"),
        ({}, {"name_regex": "ssd.*"}, "vmware_datastore_regex"),
        ({}, {"name_regex": "s1"}, "vmware_datastore_regex"),
        ({}, {"allowed_datastores": frozenset({"datastore-9"})}, "storage policy"),
        ({}, {"allowed_datastores": frozenset()}, "storage policy"),
        ({}, {"excluded": frozenset({"datastore-1"})}, "excluded"),
    ],
)
def test_a_volume_that_does_not_fit_is_refused_with_the_reason(
    change: dict[str, object], need: dict[str, object], reason: str
) -> None:
    assert chosen(world(datastore(1)), TEN_GIB)  # without the change it fits
    unfit = replace(datastore(1), **change)  # type: ignore[arg-type]
    with pytest.raises(NoPlacement, match=f"refused: 1 .*{reason}"):
        chosen(world(unfit), replace(TEN_GIB, **need))  # type: ignore[arg-type]


def test_the_refusal_counts_each_reason() -> None:
    inventory = world(
        datastore(1, free_gib=1),
        datastore(2, free_gib=2),
        replace(datastore(3), maintenance="inMaintenance"),
    )
    with pytest.raises(NoPlacement) as refused:
        chosen(inventory, TEN_GIB)
    assert str(refused.value) == (
        "no datastore and host can take a request for 10.00 GiB; "
        "datastores refused: 1 in maintenance, 2 not enough free space"
    )


def test_an_empty_inventory_says_so() -> None:
    with pytest.raises(NoPlacement, match="have no datastore"):
        chosen(world(), TEN_GIB)


def test_regex_matches_at_the_start_as_upstreams_does() -> None:
    assert chosen(world(datastore(1)), replace(TEN_GIB, name_regex="ds"))
