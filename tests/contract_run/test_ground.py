"""Where a run puts things, and the names that it gives: what must not be taken for its own."""

from __future__ import annotations

import dataclasses
import re
import stat
from pathlib import Path

import pytest

from tests.contract.ground import Choice, ground
from tests.contract.journal import Journal, sessions_in
from tests.contract.run import PREFIX, Run, run_of
from vmdk_cache.cache.key import CacheKey, replica_name
from vmdk_cache.vim.endpoint import Exchange
from vmdk_cache.vim.inventory import Datacenter, Datastore, Host, Inventory, Mount


def host(name: str, cluster: str = "c1", datacenter: str = "dc1", **changes: object) -> Host:
    made = Host(name, name, cluster, f"pool of {cluster}", datacenter, True, False)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def datastore(name: str, *hosts: str, **changes: object) -> Datastore:
    mounts = tuple(Mount(each, True, True, True) for each in hosts)
    made = Datastore(
        name, name, "nfs", 100, 50, True, "normal", mounts, "dc1", f"ds:///{name}", name, (name,)
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def chosen(
    hosts: list[Host], datastores: list[Datastore], choice: Choice | None = None
) -> tuple[list[str], list[str]] | None:
    """Names of hosts and datastores."""
    datacenters = tuple(Datacenter(f"dc{n}", f"DC{n}", f"vm of dc{n}") for n in (1, 2))
    found = ground(Inventory(datacenters, tuple(hosts), tuple(datastores)), choice or Choice())
    if found is None:
        return None
    assert found.datacenter.moref == found.hosts[0].datacenter
    return [each.name for each in found.hosts], [each.name for each in found.datastores]


def test_the_first_two_hosts_of_one_cluster_that_share_two_datastores_are_taken() -> None:
    hosts = [host("a"), host("b", "c2"), host("c"), host("d", "c2"), host("e", "c2")]
    datastores = [datastore("x", "a", "c", "b"), datastore("y", "b", "d"), datastore("z", "b", "d")]
    assert chosen(hosts, datastores) == (["b", "d"], ["y", "z"])


def test_two_datastores_count_for_more_than_two_hosts() -> None:
    hosts = [host("a"), host("b")]
    datastores = [datastore("x", "a"), datastore("y", "a"), datastore("z", "a", "b")]
    assert chosen(hosts, datastores) == (["a"], ["x", "y", "z"])
    assert chosen(hosts, datastores[2:]) == (["a", "b"], ["z"])


@pytest.mark.parametrize("away", [{"connected": False}, {"in_maintenance": True}])
def test_a_host_that_is_away_is_not_taken(away: dict[str, bool]) -> None:
    both = [datastore("x", "a", "b")]
    assert chosen([host("a", **away), host("b")], both) == (["b"], ["x"])
    assert chosen([host("a", **away)], both) is None


@pytest.mark.parametrize(
    "fault",
    [
        {"accessible": False},
        {"maintenance": "inMaintenance"},
        {"type": "other"},
        {"mounts": (Mount("a", False, True, True),)},
        {"mounts": (Mount("a", True, False, True),)},
        {"mounts": (Mount("a", True, True, False),)},
    ],
)
def test_a_datastore_that_cannot_be_written_to_is_not_taken(fault: dict[str, object]) -> None:
    good, bad = datastore("good", "a"), datastore("bad", "a", **fault)
    assert chosen([host("a")], [bad, good]) == (["a"], ["good"])
    assert chosen([host("a")], [bad]) is None


def test_datastores_whose_directories_have_names_come_first() -> None:
    kinds = [
        datastore("a", "h", type="vsan"),
        datastore("b", "h", type="vvol"),
        datastore("c", "h"),
    ]
    assert chosen([host("h")], kinds) == (["h"], ["c", "a", "b"])


def test_what_is_chosen_by_name_is_all_that_is_taken() -> None:
    hosts = [host("a"), host("b", "c2", "dc2")]
    datastores = [datastore(name, "a", "b") for name in ("x", "y", "z")]
    assert chosen(hosts, datastores, Choice(datacenter="DC2")) == (["b"], ["x", "y", "z"])
    assert chosen(hosts, datastores, Choice(datastores=("z", "x"))) == (["a"], ["x", "z"])
    assert chosen(hosts, datastores, Choice(datastores=("w",))) is None
    assert chosen(hosts, datastores, Choice(datacenter="DC3")) is None


def test_a_choice_is_said_as_cinders_options() -> None:
    free, made = Choice(), Choice("DC0", "C0", ("a.b", "c"))
    assert (free.clusters, free.datastore_regex) == ((), None)
    assert made.clusters == ("C0",)
    regex = made.datastore_regex
    assert regex is not None
    taken = [name for name in ("a.b", "c", "axb", "a.bc", "xc") if re.match(regex, name)]
    assert taken == ["a.b", "c"]


def test_a_run_knows_its_own_names_and_no_others() -> None:
    run, other = Run("01234", "56789"), Run("01234", "56780")
    key = CacheKey("11111111-2222-3333-4444-555555555555", "fingerprint", "ide")
    own = (
        run.id,
        run.folder,
        run.named("image"),
        replica_name(run.new_backend(), key, "datastore-1"),
    )
    for name in own:
        assert run_of(name) == run != other, name
    for name in ("vct", "vct of somebody", "vct-owner", "OpenStack", f"x{run.id}", "VCT0123456789"):
        assert run_of(name) is None, name


def test_backends_of_a_run_differ_and_are_not_cut_in_the_names_of_templates() -> None:
    run = Run.new()
    key = CacheKey("11111111-2222-3333-4444-555555555555", "fingerprint", "ide")
    names = {replica_name(run.new_backend(), key, "datastore-1") for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith(run.id) and len(name) <= 80 for name in names)
    assert run.id.startswith(PREFIX)


def test_runs_of_a_checkout_have_its_digits_and_differ() -> None:
    first, second = Run.new(), Run.new()
    assert first.machine == second.machine
    assert first != second
    assert run_of(first.folder) == first
    assert first.path("tests", "a") == (first.folder, "tests", "a")


def exchange(response: str) -> Exchange:
    return Exchange("/sdk", {}, "<Login>secret</Login>", 200, {}, response)


def test_only_log_ins_are_kept_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "of-a-run"
    assert sessions_in(path) == []
    journal = Journal(path)
    session = "<key>52-{}</key><userName>VSPHERE.LOCAL\\a b</userName>"
    journal(exchange(f"<LoginResponse><returnval>{session.format(1)}</returnval></LoginResponse>"))
    journal(exchange(f"<FetchResponse>{session.format(2)}</FetchResponse>"))
    journal(exchange("<LoginResponse>a fault</LoginResponse>"))
    journal(exchange(f"<LoginResponse>{session.format(3)}</LoginResponse>"))
    assert sessions_in(path) == [("52-1", "VSPHERE.LOCAL\\a b"), ("52-3", "VSPHERE.LOCAL\\a b")]
    assert "secret" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
