"""What the probes report of an old vCenter, a host, clocks and an expiring certificate."""

from __future__ import annotations

import datetime
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import account as page
from tests.fakes.clock import ManualClock
from tests.fakes.vcenter import VCenter
from tests.unit.preflight.conftest import Bench, not_ok
from vmdk_cache import errors
from vmdk_cache.preflight import connection
from vmdk_cache.preflight.probe import Status
from vmdk_cache.preflight.target import Target


def of_about(**about: str) -> Any:
    """A target whose vCenter reports these values of AboutInfo."""
    whole = {"fullName": "VMware vCenter Server 8", "apiType": "VirtualCenter", **about}
    return SimpleNamespace(session=SimpleNamespace(content=SimpleNamespace(
        about=SimpleNamespace(**whole))))  # fmt: skip


@pytest.mark.parametrize(
    ("about", "status", "to_do"),
    [
        ({"apiVersion": "6.0"}, Status.OK, ""),
        ({"apiVersion": "8.0.3.0"}, Status.OK, ""),
        ({"apiVersion": "5.5"}, Status.FAILED, "upgrade vCenter to 6.0"),
        ({"apiVersion": "8.0.3.0", "apiType": "HostAgent"}, Status.FAILED, "vmware_host_ip"),
    ],
)
def test_an_old_vcenter_and_a_host_are_distinguished_from_a_vcenter(
    about: dict[str, str], status: Status, to_do: str
) -> None:
    [found] = connection.version(of_about(**about))
    assert found.status is status and to_do in found.to_do
    assert "VMware vCenter Server 8, API " + about["apiVersion"] in found.seen


@pytest.mark.parametrize(
    ("ahead_s", "status", "says"),
    [
        (0.0, Status.OK, "0 s behind"),
        (60.0, Status.OK, "60 s ahead"),
        (-60.0, Status.OK, "60 s behind"),
        (61.0, Status.WARNING, "61 s ahead"),
        (-61.0, Status.WARNING, "61 s behind"),
    ],
)
def test_clocks_may_be_a_minute_apart(ahead_s: float, status: Status, says: str) -> None:
    clock = ManualClock()

    def server_time() -> datetime.datetime:
        clock.advance(10)  # half of which has passed when vCenter reads its clock
        return clock.now() + datetime.timedelta(seconds=ahead_s - 5)

    target: Any = SimpleNamespace(clock=clock, session=SimpleNamespace(server_time=server_time))
    [found] = connection.clock(target)
    assert found.status is status and says in found.seen
    assert ("time server" in found.to_do) == (status is Status.WARNING)


@pytest.mark.parametrize(
    ("today", "status"), [("2999-11-15", Status.OK), ("2999-12-15", Status.WARNING)]
)
def test_a_certificate_that_ends_within_a_month_is_a_warning(
    bench: Bench, today: str, status: Status
) -> None:
    clock = ManualClock(f"{today}T00:00:00+00:00")
    with Target(bench.backend, bench.settings, bench.surroundings, clock) as target:
        [found] = connection.tls(target)
    assert found.status is status and "valid until 3000-01-01" in found.seen
    assert ("renew" in found.to_do) == (status is Status.WARNING)


@pytest.mark.usefixtures("documented_account")
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


@pytest.mark.usefixtures("documented_account")
def test_an_unchecked_certificate_is_a_warning(bench: Bench) -> None:
    bench.change(ca_file=None, insecure=True)
    found = not_ok(bench.run())
    assert set(found) == {"vcenter.tls"}
    assert found["vcenter.tls"][0].status is Status.WARNING


@pytest.mark.usefixtures("documented_account")
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
