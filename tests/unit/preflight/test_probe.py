"""Probes run in order, and one that needs a failed one is not tried."""

from __future__ import annotations

from collections.abc import Iterator

from vmdk_cache import errors
from vmdk_cache.clock import SystemClock
from vmdk_cache.preflight import probe
from vmdk_cache.preflight.probe import Finding, Probe, Status


def test_probes_that_need_a_failed_one_are_not_tried() -> None:
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


def test_probes_that_do_not_run_say_why() -> None:
    results = list(probe.none_of([Probe("a", lambda target: []), Probe("b", list)], "too early"))
    assert [(each.probe, each.finding) for each in results] == [
        (name, probe.not_tried("too early")) for name in ("a", "b")
    ]


def test_a_probe_without_findings_had_nothing_to_check() -> None:
    [result] = probe.run([Probe("a", lambda target: [])], None, SystemClock())
    assert result.finding == Finding(Status.NOT_TRIED, "nothing to check")
