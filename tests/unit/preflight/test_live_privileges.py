"""A live run with an account that lacks a privilege: it is named before anything is changed."""

from __future__ import annotations

import pytest

from tests.fakes import account as page
from tests.fakes.memory import MemoryLocks
from tests.fakes.vcenter import VCenter
from tests.unit.preflight.conftest import Bench
from tests.unit.preflight.test_live import is_empty
from tests.unit.preflight.test_privileges import READ_ONLY_METHODS
from vmdk_cache import wiring
from vmdk_cache.cache import events
from vmdk_cache.clock import SystemClock
from vmdk_cache.preflight import probe
from vmdk_cache.preflight.checklist import READ_ONLY
from vmdk_cache.preflight.live import LIVE, obstacle
from vmdk_cache.preflight.live_target import SETTINGS, LiveNames, LiveTarget, live_backend
from vmdk_cache.preflight.privileges import PRIVILEGES, Privilege, Without
from vmdk_cache.preflight.probe import Status
from vmdk_cache.preflight.target import Target

CLOCK = SystemClock()
#: The other forms of image need the same.
STEPS = [each for each in LIVE if each.id not in ("live.import-raw", "live.import-ova")]
#: Without these, a live run does not begin.
NEEDED = {
    *(each.id for each in PRIVILEGES if each.without is Without.BYPASS),
    "VirtualMachine.Inventory.Delete",
}


@pytest.mark.parametrize("privilege", PRIVILEGES, ids=lambda each: each.id)
def test_a_missing_privilege_is_named_before_anything_is_changed_and_nothing_stays(
    bench: Bench, vcenter: VCenter, privilege: Privilege
) -> None:
    page.add_documented_account(vcenter, without=privilege.id)
    with Target(bench.backend, bench.settings, bench.surroundings, CLOCK) as target:
        looked = [each.finding for each in probe.run(READ_ONLY, target, CLOCK)]
        named = [each for each in looked if each.seen.startswith(f"{privilege.id} is missing")]
        assert named and all(each.subject for each in named)
        assert set(vcenter.request_log.by_method()) <= READ_ONLY_METHODS
        has_failed = any(each.status is Status.FAILED for each in looked)
        reason = obstacle(target, has_failed=has_failed)
        assert (reason is not None) == (privilege.id in NEEDED)
        if reason is not None:
            return
        cache = wiring.build(
            SETTINGS, live_backend(bench.backend), MemoryLocks(), events=events.log, clock=CLOCK
        )
        try:
            with LiveTarget(target, cache, LiveNames.new("here"), "lsiLogic") as made:
                results = list(probe.run(STEPS, made, CLOCK))
        finally:
            cache.close()
    assert [each for each in results if each.finding.status is Status.FAILED] == []
    untried = [each for each in results if each.finding.status is Status.NOT_TRIED]
    assert all(privilege.id in each.finding.seen for each in untried), untried
    assert is_empty(vcenter)
