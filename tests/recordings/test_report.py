"""A preflight's report is a recording: our client reads all of it again, and it tells no secret."""

from __future__ import annotations

import pathlib
from collections import Counter

import pytest

from tests.contract.vcenters import STARTS
from tests.contract.vcenters import Target as VCenterTarget
from tests.fakes.clock import HastyClock
from tests.fakes.memory import MemoryLocks
from tests.recordings import leaves, recordings
from tests.recordings.exchange_replay import repeat
from tests.recordings.replay import Replay, replaying
from tests.unit.preflight.conftest import Bench
from vmdk_cache import errors, wiring
from vmdk_cache.cache import events
from vmdk_cache.preflight import probe
from vmdk_cache.preflight.live import LIVE
from vmdk_cache.preflight.live_target import SETTINGS, LiveNames, LiveTarget, live_backend
from vmdk_cache.preflight.redaction import Redaction
from vmdk_cache.preflight.report import Exchanges, report
from vmdk_cache.preflight.target import Target
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies

#: Where no machine of an aborted import goes, the wait for that takes a moment.
CLOCK = HastyClock()
#: What a live run on every vCenter that we have has to say.
SPOKEN = {"Login", "ImportVApp", "MarkAsTemplate", "CloneVM_Task", "ReconfigVM_Task", "ExportVm",
          "Destroy_Task", "WaitForUpdatesEx", "Logout"}  # fmt: skip


def report_of(vcenter: VCenterTarget, directory: pathlib.Path) -> tuple[str, list[str]]:
    """The report's text, and what must not be in it."""
    bench = Bench(vcenter, directory)  # type: ignore[arg-type]  # it reads the address alone
    bench.change(user=vcenter.user, password=vcenter.password, read_timeout_s=60.0)
    exchanges = Exchanges()
    backend = live_backend(bench.backend, exchanges)
    with Target(bench.backend, bench.settings, bench.surroundings, CLOCK) as looked:
        looked.session.open()
        cache = wiring.build(SETTINGS, backend, MemoryLocks(), events=events.log, clock=CLOCK)
        try:
            cookie = cache.session.cookie().partition("=")[2].strip('"')
            with LiveTarget(looked, cache, LiveNames.new("here"), "lsiLogic") as live:
                rows = [{"Probe": each.probe, "Seen": each.finding.seen}
                        for each in probe.run(LIVE, live, CLOCK)]  # fmt: skip
        finally:
            cache.close()
        redaction = Redaction(looked.machines(), [vcenter.user])
        text = report({"vmdk-cache": "1"}, looked.product, rows, exchanges, redaction)
    hosts = [host.name for host in looked.inventory.hosts]
    return text, [vcenter.host, vcenter.user, vcenter.password, cookie, *hosts]


@pytest.mark.parametrize("name", ["fake", pytest.param("vcsim", marks=pytest.mark.vcsim)])
def test_a_report_is_read_again_in_full_and_tells_no_secret(
    name: str, tmp_path: pathlib.Path
) -> None:
    with STARTS[name]() as vcenter:
        text, secrets = report_of(vcenter, tmp_path)
    for secret in secrets:
        assert secret not in text, secret
    recording = recordings.parse("report", text)
    said = Counter(exchange.method for exchange in recording.exchanges)
    assert set(said) >= SPOKEN
    lost = {}
    refused = 0
    replay = Replay(recording.exchanges)
    with replaying(replay) as endpoint, Session(endpoint) as session:
        policies = StoragePolicies(session)
        for exchange in recording.exchanges:
            if exchange.method in ("Login", "Logout"):  # opening and closing the session send them
                continue
            try:
                found = repeat(session, policies, exchange)
            except errors.VCenterError:
                assert exchange.status == 500, exchange.method
                refused += 1
                continue
            sizes = leaves.in_answer(exchange.response), leaves.in_value(found)
            if sizes[0] != sizes[1]:
                lost[exchange.number] = (exchange.method, *sizes)
    assert lost == {}
    assert replay.unanswered == []
    assert refused <= said.total() // 10
