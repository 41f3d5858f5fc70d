"""The preflight on each vCenter that we have: without --live it changes nothing, with it it leaves
nothing.
"""

from __future__ import annotations

import pathlib
import socket

import pytest

from tests.contract.vcenters import Target as VCenterTarget
from tests.fakes.memory import MemoryLocks
from tests.unit.preflight.conftest import Bench
from vmdk_cache import wiring
from vmdk_cache.backend import MANAGED_BY
from vmdk_cache.cache import events
from vmdk_cache.clock import SystemClock
from vmdk_cache.preflight import probe
from vmdk_cache.preflight.checklist import READ_ONLY
from vmdk_cache.preflight.live import LIVE
from vmdk_cache.preflight.live_target import SETTINGS, LiveNames, LiveTarget, live_backend
from vmdk_cache.preflight.probe import Result, Status
from vmdk_cache.preflight.target import Target
from vmdk_cache.vim import inventory
from vmdk_cache.vim.session import Session

CLOCK = SystemClock()
#: Fails if hosts have names that do not resolve, such as those of a fake.
PAPER_HOSTS = "hosts.transfer"


@pytest.fixture
def bench(target: VCenterTarget, tmp_path: pathlib.Path) -> Bench:
    made = Bench(target, tmp_path)  # type: ignore[arg-type]  # it reads the address alone
    made.change(
        user=target.user,
        password=target.password,
        managed_by=MANAGED_BY,
        folder=target.run.path("Project (b1_image_cache)", "Volumes"),
        clusters=target.choice.clusters,
        datastore_regex=target.choice.datastore_regex,
        listener=target.listener,
    )
    return made


def failed(results: list[Result]) -> list[Result]:
    return [each for each in results if each.finding.status is Status.FAILED]


def are_on_paper(target: VCenterTarget) -> bool:
    """Whether no host of the vCenter has a name that resolves."""
    with Session(target.endpoint()) as session:
        hosts = inventory.snapshot(session, target.choice.clusters).hosts
    return not any(has_address(host.name) for host in hosts)


def has_address(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, 443))
    except OSError:
        return False


def test_a_check_finds_a_usable_vcenter(bench: Bench, target: VCenterTarget) -> None:
    with Target(bench.backend, bench.settings, bench.surroundings, CLOCK) as looked:
        results = list(probe.run(READ_ONLY, looked, CLOCK))
        assert looked.is_simulator == target.is_vcsim
    seen = {each.finding.status for each in results if each.probe == PAPER_HOSTS}
    if target.is_vcsim:
        assert (failed(results), seen) == ([], {Status.NOT_TRIED})
    elif are_on_paper(target):
        assert {each.probe for each in failed(results)} == {PAPER_HOSTS}
    else:
        assert failed(results) == []


def test_a_live_run_says_what_it_could_not_try_and_leaves_nothing(
    bench: Bench, target: VCenterTarget
) -> None:
    with Target(bench.backend, bench.settings, bench.surroundings, CLOCK) as looked:
        list(probe.run(READ_ONLY, looked, CLOCK))
        cache = wiring.build(
            SETTINGS, live_backend(bench.backend), MemoryLocks(), events=events.log, clock=CLOCK
        )
        try:
            with LiveTarget(looked, cache, LiveNames.new(target.run.id), "lsiLogic") as live:
                results = list(probe.run(LIVE, live, CLOCK))
                assert live.left_behind() == []
        finally:
            cache.close()
    assert failed(results) == []
    untried = {each.probe: each.finding.seen for each in results
               if each.finding.status is Status.NOT_TRIED}  # fmt: skip
    assert all(untried.values())
    if target.fake is not None:
        assert untried == {}
