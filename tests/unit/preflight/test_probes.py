"""What each probe reports of a vCenter, a host or a configuration that is not as required."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.fakes import account as page
from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.host_system import HostSystem
from tests.unit.preflight.conftest import Bench, not_ok
from vmdk_cache import errors
from vmdk_cache.clock import SystemClock
from vmdk_cache.conf import Settings
from vmdk_cache.preflight import configuration, probe
from vmdk_cache.preflight.checklist import READ_ONLY
from vmdk_cache.preflight.live import LIVE
from vmdk_cache.preflight.probe import Finding, Probe, Status
from vmdk_cache.vim import session

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def account(vcenter: VCenter) -> None:
    page.add_documented_account(vcenter)


def host(vcenter: VCenter, name: str) -> HostSystem:
    [found] = [each for each in vcenter.registry.of_class(HostSystem) if each.name == name]
    return found


def about(findings: list[Finding], subject: str) -> Finding:
    [found] = [each for each in findings if each.subject == subject]
    return found


# -- the order -------------------------------------------------------------------------------------


def test_what_builds_upon_a_failed_probe_is_not_tried() -> None:
    def refuse(target: None) -> Iterator[Finding]:
        yield probe.ok("so far")
        raise errors.Unreachable("no answer")

    def see(target: None) -> Iterator[Finding]:
        yield probe.warning("seen", "look")

    probes = [
        Probe("a", refuse),
        Probe("b", see, ("a",)),
        Probe("c", see, ("b",)),
        Probe("d", see),
        Probe("e", see, ("d",)),
    ]
    began: list[str] = []
    results = list(probe.run(probes, None, SystemClock(), began.append))
    assert [(each.probe, each.finding.status.value) for each in results] == [
        ("a", "ok"),
        ("a", "failed"),
        ("b", "not tried"),
        ("c", "not tried"),
        ("d", "warning"),
        ("e", "warning"),
    ]
    assert began == ["a", "d", "e"]
    assert isinstance(results[1].finding.failure, errors.Unreachable)
    assert results[2].finding.seen == "needs a"


def test_each_probe_has_its_own_id_and_runs_after_those_that_it_needs() -> None:
    known: set[str] = set()
    for each in READ_ONLY:
        assert each.id not in known
        assert set(each.needs) <= known, each.id
        known.add(each.id)


def test_the_page_lists_the_probes() -> None:
    rows = (ROOT / "docs" / "preflight.rst").read_text().partition("Probes\n======\n")[2]
    names = re.findall(r"``([a-z]+\.[a-z-]+)``", rows)
    assert [name for name in names if not name.startswith("live.")] == [e.id for e in READ_ONLY]
    assert [name for name in names if name.startswith("live.")] == [each.id for each in LIVE]


# -- vCenter ---------------------------------------------------------------------------------------


def test_a_wrong_password_is_sent_once(bench: Bench, vcenter: VCenter) -> None:
    bench.change(password="wrong")
    found = bench.run()
    [refused] = found["vcenter.log-in"]
    assert refused.status is Status.FAILED and "vmware_host_password" in refused.seen
    assert isinstance(refused.failure, errors.LoginRefused)
    assert {each.status for each in found["privileges.folder"]} == {Status.NOT_TRIED}
    assert vcenter.request_log.count("Login") == 1
    # The process remembers the refusal of this account.
    bench.change(password=page.PASSWORD)


def test_a_certificate_of_another_issuer_is_refused_before_the_password_is_sent(
    bench: Bench, vcenter: VCenter
) -> None:
    bench.change(ca_file=None)
    found = bench.run()
    assert "vmware_ca_file" in found["vcenter.tls"][0].seen
    assert found["vcenter.log-in"][0].status is Status.NOT_TRIED
    assert vcenter.request_log.total() == 0


def test_an_unchecked_certificate_is_a_warning(bench: Bench) -> None:
    bench.change(ca_file=None, insecure=True)
    found = not_ok(bench.run())
    assert set(found) == {"vcenter.tls"}
    assert found["vcenter.tls"][0].status is Status.WARNING


def test_clocks_that_are_apart_are_a_warning(bench: Bench, vcenter: VCenter) -> None:
    vcenter.clock.advance(300)
    found = bench.only("vcenter.clock")
    assert found.status is Status.WARNING and "ahead" in found.seen


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_vcenter_that_never_answers_is_given_up(bench: Bench, silent: int) -> None:
    bench.change(port=silent, connect_timeout_s=0.2)
    found = bench.run()
    assert "did not answer in time" in found["vcenter.tls"][0].seen
    assert found["vcenter.log-in"][0].status is Status.NOT_TRIED


def test_the_session_is_logged_out(bench: Bench, vcenter: VCenter) -> None:
    bench.run()
    assert vcenter.sessions.active() == []


# -- hosts and datastores --------------------------------------------------------------------------


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


def test_a_cluster_that_is_not_there_is_named(bench: Bench) -> None:
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


def test_an_attribute_of_another_type_is_a_warning(bench: Bench, vcenter: VCenter) -> None:
    with session.Session(bench.endpoint) as opened:
        manager = opened.content.customFieldsManager
        manager.AddCustomFieldDef("vmdk_cache.usage", type(opened.content.rootFolder))
    assert bench.only("storage.attribute").status is Status.WARNING


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


# -- the configuration -----------------------------------------------------------------------------


KNOWN = frozenset({"image_cache_max_count", "enable_image_cache", "vmware_host_ip"})


def strange(**sections: set[str]) -> list[tuple[str, str]]:
    findings = configuration.strange_options("b1", sections, KNOWN)
    return [(each.seen, each.to_do) for each in findings]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("image_cache_max_cuont", "image_cache_max_count"),
        ("vmware_hostip", "vmware_host_ip"),
        ("enabel_image_cache", "enable_image_cache"),
        ("image_cache_maxcount", "image_cache_max_count"),
    ],
)
@pytest.mark.parametrize("section", ["b1", "backend_defaults"])
def test_a_misspelt_option_is_named_with_the_nearest_known(
    wrong: str, right: str, section: str
) -> None:
    [(seen, to_do)] = strange(**{section: {wrong, "image_cache_max_count"}})
    assert wrong in seen and section in seen
    assert f"did you mean {right}?" in to_do


def test_an_unknown_option_of_ours_is_named_and_others_are_let_be() -> None:
    [(seen, to_do)] = strange(b1={"vmware_zzz", "volume_driver", "nfs_shares_config"})
    assert "vmware_zzz" in seen and "did you mean" not in to_do
    assert strange(other={"image_cache_nonsense"}) == []


def test_an_option_of_a_backend_in_default_is_a_warning() -> None:
    [(seen, to_do)] = strange(DEFAULT={"enable_image_cache", "image_cache_weight_multiplier"})
    assert seen.startswith("enable_image_cache ") and "[b1]" in to_do


def test_a_cache_that_is_switched_off_is_a_warning(bench: Bench) -> None:
    bench.settings = Settings(enabled=False)
    assert bench.only("configuration.enabled").status is Status.WARNING


def test_a_ledger_that_is_none_is_named(bench: Bench, tmp_path: object) -> None:
    path = bench.surroundings.ledger_path
    assert path is not None
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE somebody_elses (x)")
    found = bench.only("configuration.ledger")
    assert found.status is Status.FAILED and path in found.seen


@pytest.mark.parametrize(("path", "status"), [(None, "ok"), ("/nowhere/ledger", "warning")])
def test_a_ledger_that_cannot_be_made_is_a_warning(
    bench: Bench, path: str | None, status: str
) -> None:
    bench.change(ledger_path=path)
    assert bench.only("configuration.ledger").status.value == status


def test_a_read_leaves_no_ledger_behind(bench: Bench) -> None:
    assert bench.only("configuration.ledger").status is Status.OK
    with pytest.raises(FileNotFoundError):
        open(bench.surroundings.ledger_path or "").close()


@pytest.mark.parametrize(
    ("auto_warm", "every", "failure", "status"),
    [
        (False, True, None, "ok"),
        (False, False, None, "warning"),
        (True, False, None, "failed"),
        (False, True, errors.SourceUnavailable("out of reach"), "warning"),
        (True, True, errors.SourceUnavailable("out of reach"), "failed"),
        (True, True, errors.ConfigError("nobody to ask as"), "failed"),
    ],
)
def test_glance_must_show_all_images_where_images_are_kept_warm(
    bench: Bench, auto_warm: bool, every: bool, failure: errors.VmdkCacheError, status: str
) -> None:
    bench.settings = Settings(enabled=True, auto_warm=auto_warm)
    bench.images.every, bench.images.failure = every, failure
    assert bench.only("glance.service-user").status.value == status


@pytest.mark.parametrize(
    ("count", "status", "says"),
    [
        (None, "ok", "unset"),
        (64, "warning", "= 64: "),
        (563, "warning", "= 563: "),
        (564, "ok", "up to 500 volumes"),
        (1064, "ok", "up to 1000 volumes"),
    ],
)
def test_too_few_workers_for_a_burst_are_a_warning(
    bench: Bench, count: int | None, status: str, says: str
) -> None:
    bench.change(workers=count)
    found = bench.only("configuration.workers")
    assert (found.status.value, says in found.seen) == (status, True)
    assert ("set it to 564 or more" in found.to_do) == (status == "warning")


def test_no_thread_is_left(bench: Bench) -> None:
    before = set(threading.enumerate())
    bench.run()
    mine = {each for each in threading.enumerate() if "ThreadPool" in each.name}
    assert mine <= before
