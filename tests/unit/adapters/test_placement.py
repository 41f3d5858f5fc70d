"""Where volumes and templates go, by an inventory in memory and what is reserved meanwhile."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from tests.unit.cache.conftest import volume
from tests.unit.datastore.test_selection import GIB, datastore, host, world
from vmdk_cache import errors
from vmdk_cache.adapters.placement import VCenterPlacement, compiled
from vmdk_cache.cache.ports import Place
from vmdk_cache.vim.inventory import Inventory

TWO_EQUAL = world(datastore(1), datastore(2))


class Index:
    """Two hosts and some datastores, and templates on the hosts."""

    def __init__(self, inventory: Inventory, template_hosts: Iterable[str] = ()) -> None:
        self._inventory = inventory
        self._vms = {
            f"vm-{number}": SimpleNamespace(host=host) for number, host in enumerate(template_hosts)
        }

    def inventory(self, max_age_s: float) -> Inventory:
        return self._inventory

    def vms(self, max_age_s: float) -> dict[str, SimpleNamespace]:
        return self._vms


class Policies:
    """One policy, gold, that only the second datastore complies with."""

    def profile_id(self, name: str) -> str:
        return {"gold": "profile-1"}[name]

    def compliant_datastores(self, profile_id: str, morefs: list[str]) -> list[str]:
        return [moref for moref in morefs if moref == "datastore-2"]


def placement(
    inventory: Inventory = TWO_EQUAL,
    template_hosts: Iterable[str] = (),
    regex: str | None = None,
) -> VCenterPlacement:
    index = Index(inventory, template_hosts)
    return VCenterPlacement(index, Policies(), datastore_regex=regex)  # type: ignore[arg-type]


def test_a_burst_of_volumes_spreads_over_equal_datastores_and_hosts() -> None:
    placed = placement()
    with contextlib.ExitStack() as burst:
        places = [
            burst.enter_context(placed.for_volume(volume(number), 10 * GIB)) for number in range(8)
        ]
    assert Counter(place.datastore for place in places) == {"datastore-1": 4, "datastore-2": 4}
    assert Counter(place.host for place in places) == {"host-1": 4, "host-2": 4}


def test_space_is_reserved_only_while_the_volume_is_made() -> None:
    placed = placement(world(datastore(1, free_gib=100), datastore(2, free_gib=99)))
    for number in range(3):
        with placed.for_volume(volume(number), 50 * GIB) as place:
            assert place.datastore == "datastore-1"


def test_reservations_steer_a_volume_but_refuse_none() -> None:
    placed = placement(world(datastore(1, free_gib=100)))
    with placed.for_volume(volume(1), 80 * GIB), placed.for_volume(volume(2), 80 * GIB) as second:
        assert second.datastore == "datastore-1"


def test_a_policy_and_full_datastores_narrow_the_choice() -> None:
    gold = volume(storage_profile="gold")
    with placement().for_volume(gold, 10 * GIB) as place:
        assert (place.datastore, place.profile_id) == ("datastore-2", "profile-1")
    with (
        pytest.raises(errors.NoPlacement),
        placement().for_volume(gold, 10 * GIB, excluded=["datastore-2"]),
    ):
        pass


def test_a_template_stays_near_its_volume_if_it_fits() -> None:
    placed = placement(world(datastore(1, free_gib=100), datastore(2, free_gib=30)))
    with placed.for_volume(volume(storage_profile="gold"), GIB) as near:
        for size_bytes, moref in ((20 * GIB, "datastore-2"), (40 * GIB, "datastore-1")):
            with placed.for_template(size_bytes, near.datastore) as place:
                assert place.datastore == moref


def test_templates_spread_over_the_hosts_for_good() -> None:
    """A host with a template is used again only after all others have one."""
    placed = placement(template_hosts=["host-1"])
    with contextlib.ExitStack() as volumes:
        for number in range(20):
            volumes.enter_context(placed.for_volume(volume(number), GIB))
        with placed.for_template(GIB, near=None) as place:
            assert place.host == "host-2"


def test_a_replica_goes_to_its_datastore_alone() -> None:
    placed = placement(world(datastore(1, free_gib=100), datastore(2, free_gib=10)))
    with placed.for_template(5 * GIB, only="datastore-2") as place:
        assert isinstance(place, Place)
        assert (place.datastore, place.datastore_name) == ("datastore-2", "ds2")
    with pytest.raises(errors.NoPlacement), placed.for_template(20 * GIB, only="datastore-2"):
        pass


def test_no_template_goes_to_a_datastore_that_is_evacuated() -> None:
    placed = placement(world(datastore(1, free_gib=100), datastore(2, free_gib=10)))
    with placed.for_template(GIB, excluded=["datastore-1"]) as place:
        assert place.datastore == "datastore-2"
    with (
        pytest.raises(errors.NoPlacement, match="excluded"),
        placed.for_template(GIB, excluded=["datastore-1", "datastore-2"]),
    ):
        pass


def test_only_datastores_that_the_regex_matches_are_used() -> None:
    placed = placement(regex="ds2$")
    assert list(placed.spaces()) == ["datastore-2"]
    assert placed.in_reach() == {"datastore-1", "datastore-2"}
    with placed.for_volume(volume(), GIB) as place:
        assert place.datastore == "datastore-2"


def test_a_regex_that_cannot_be_read_is_a_configuration_error() -> None:
    assert compiled(None) is None
    with pytest.raises(errors.ConfigError, match=r"vmware_datastore_regex '\(' is not a regular"):
        placement(regex="(")


def test_a_backend_without_a_datastore_starts_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    placement().check()
    assert not caplog.records
    placement(world(hosts=(host(1),))).check()
    assert "No datastore of the configured clusters matches" in caplog.text
