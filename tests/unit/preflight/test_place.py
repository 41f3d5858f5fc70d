"""What the probes report of clusters, hosts, datastores and storage policies."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable

import pytest

from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.host_system import HostSystem
from tests.unit.preflight.conftest import Bench
from vmdk_cache import errors
from vmdk_cache.preflight.probe import Finding, Status
from vmdk_cache.vim import session

pytestmark = pytest.mark.usefixtures("documented_account")


def host(vcenter: VCenter, name: str) -> HostSystem:
    [found] = [each for each in vcenter.registry.of_class(HostSystem) if each.name == name]
    return found


def about(findings: list[Finding], subject: str) -> Finding:
    [found] = [each for each in findings if each.subject == subject]
    return found


def test_each_datastore_is_listed_with_placements_reason(bench: Bench, vcenter: VCenter) -> None:
    bench.change(datastore_regex="DC0_DS[01]")
    vcenter.datastore("DC0_DS1").reachable = False
    found = bench.run()["inventory.datastores"]
    assert about(found, "DC0_DS0").seen.startswith("used: nfs, ")
    lost = about(found, "DC0_DS1")
    assert (lost.status, "not accessible" in lost.seen) == (Status.WARNING, True)
    other = about(found, "DC0_DS2")
    assert (other.status, "vmware_datastore_regex" in other.seen) == (Status.OK, True)


def test_no_usable_datastore_is_a_failure(bench: Bench) -> None:
    bench.change(datastore_regex="nothing")
    last = bench.run()["inventory.datastores"][-1]
    assert last.status is Status.FAILED and "vmware_datastore_regex" in last.to_do


def test_a_cluster_that_does_not_exist_is_named(bench: Bench) -> None:
    bench.change(clusters=("Nowhere",))
    found = bench.run()
    [missing] = found["inventory.clusters"]
    assert isinstance(missing.failure, errors.ConfigError) and "Nowhere" in missing.seen
    assert found["privileges.vcenter"][0].status is Status.NOT_TRIED


def test_a_host_that_cannot_be_used_is_named(bench: Bench, vcenter: VCenter) -> None:
    host(vcenter, "localhost").set_connected(False)
    host(vcenter, "127.0.0.1").set_maintenance(True)
    found = bench.run()
    assert about(found["hosts.connection"], "localhost").status is Status.WARNING
    assert "maintenance" in about(found["hosts.connection"], "127.0.0.1").seen
    assert found["inventory.datastores"][-1].status is Status.FAILED


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda host: setattr(host, "name", "127.0.0.2"), "cannot be reached from this host"),
        (
            lambda host: setattr(host, "name", "no-such-host.invalid"),
            "cannot be reached from this host",
        ),
        (lambda host: setattr(host, "ssl_thumbprint", "AA:" * 19 + "AA"), "not the one that"),
    ],
    ids=["refused", "no-address", "another-certificate"],
)
def test_a_host_that_takes_no_images_from_here_is_named(
    bench: Bench, vcenter: VCenter, spoil: Callable[[HostSystem], None], says: str
) -> None:
    spoiled = host(vcenter, "localhost")
    spoil(spoiled)
    found = bench.run()["hosts.transfer"]
    assert about(found, "127.0.0.1").status is Status.OK
    bad = about(found, spoiled.name)
    assert bad.status is Status.FAILED and says in bad.seen and bad.to_do
    assert "vmware_host_ip" not in bad.seen, "that is vCenter's address"


def test_a_host_that_never_answers_is_given_up(bench: Bench, vcenter: VCenter) -> None:
    with socket.create_server(("127.0.0.3", vcenter.port)):
        host(vcenter, "localhost").name = "127.0.0.3"
        bench.change(connect_timeout_s=10.0)
        assert "no answer in time" in about(bench.run()["hosts.transfer"], "127.0.0.3").seen


@pytest.mark.parametrize("name", ["vmdk_cache.usage", "vmdk_cache.pin"])
def test_an_attribute_of_another_type_is_a_warning(
    bench: Bench, vcenter: VCenter, name: str
) -> None:
    with session.Session(bench.endpoint) as opened:
        manager = opened.content.customFieldsManager
        manager.AddCustomFieldDef(name, type(opened.content.rootFolder))
    found = bench.run()["storage.attribute"]
    bad = {each.seen.split()[0] for each in found if each.status is Status.WARNING}
    assert bad == {name}
    assert len(found) == 2


@pytest.mark.parametrize(
    ("wanted", "stats", "bad", "says"),
    [
        ((), True, {}, "is unset"),
        (("gold",), True, {}, "vCenter has 'gold'"),
        (("glod",), True, {"'glod'": "failed"}, "no capacity is reported"),
        (("glod", "gold"), True, {"'glod'": "warning"}, "does not count"),
        (("glod", "Gold"), True, {"'glod'": "failed", "'Gold'": "failed"}, "no capacity"),
        (("glod",), False, {"'glod'": "warning"}, "no effect"),
    ],
)
def test_a_storage_profile_that_does_not_exist_is_named(
    bench: Bench, wanted: tuple[str, ...], stats: bool, bad: dict[str, str], says: str
) -> None:
    scheduling = dataclasses.replace(bench.surroundings.scheduling, stats=stats)
    bench.change(storage_profiles=wanted, scheduling=scheduling)
    found = bench.run()["storage.profiles"]
    assert {each.subject: each.status.value for each in found if each.subject} == bad
    assert all(says in each.seen for each in found)
    for each in found:
        assert not each.subject or "did you mean 'gold'?" in each.to_do
        assert each.subject or each.status is Status.OK


def test_storage_profiles_that_cannot_be_read_are_not_looked_at(
    bench: Bench, vcenter: VCenter
) -> None:
    vcenter.fault_rules.add("PbmQueryProfile", http_status=403, times=None)
    bench.change(storage_profiles=("gold",))
    found = bench.run()
    assert found["storage.policies"][0].status is Status.WARNING
    assert found["storage.profiles"][0].status is Status.NOT_TRIED
