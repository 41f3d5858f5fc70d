"""A probe checks one thing and reports what it saw and what to do.

ok           as required
warning      the cache works, but something needs attention
failed       the cache, or part of it, will not work
not tried    a probe that this one depends on has not succeeded, or the probe does not apply
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vmdk_cache import errors
from vmdk_cache.clock import Clock

T = TypeVar("T")


class Status(enum.StrEnum):
    """See the module docstring."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Finding:
    """A probe's verdict on one object.

    :ivar subject: the object's name; empty for the backend as a whole
    :ivar to_do: what the operator should do; empty if nothing
    :ivar failure: the error that ended the probe, if any
    """

    status: Status
    seen: str
    to_do: str = ""
    subject: str = ""
    failure: errors.VmdkCacheError | None = None


@dataclass(frozen=True)
class Result:
    """:ivar seconds: duration of the probe, for all its findings together"""

    probe: str
    finding: Finding
    seconds: float


@dataclass(frozen=True)
class Probe(Generic[T]):
    """One or more lines of the checklist: one for each object that the probe examines.

    :ivar id: stable; documents and reports refer to it
    :ivar run: examines the target; a VmdkCacheError becomes a failed finding
    :ivar needs: ids of earlier probes that must not have failed
    """

    id: str
    run: Callable[[T], Iterable[Finding]]
    needs: tuple[str, ...] = ()


def ok(seen: str, subject: str = "", to_do: str = "") -> Finding:
    return Finding(Status.OK, seen, to_do, subject)


def warning(seen: str, to_do: str, subject: str = "") -> Finding:
    return Finding(Status.WARNING, seen, to_do, subject)


def failed(
    seen: str, to_do: str, subject: str = "", failure: errors.VmdkCacheError | None = None
) -> Finding:
    return Finding(Status.FAILED, seen, to_do, subject, failure)


def not_tried(reason: str) -> Finding:
    return Finding(Status.NOT_TRIED, reason)


def run(
    probes: Sequence[Probe[T]],
    target: T,
    clock: Clock,
    started: Callable[[str], None] = lambda probe: None,
) -> Iterator[Result]:
    """Yield the findings of all probes, in order.

    :param started: called with a probe's id before it runs
    """
    unsuccessful: set[str] = set()
    for probe in probes:
        missing = [needed for needed in probe.needs if needed in unsuccessful]
        began = clock.monotonic()
        if missing:
            findings = [not_tried(f"needs {', '.join(missing)}")]
        else:
            started(probe.id)
            findings = _findings(probe, target) or [not_tried("nothing to check")]
        seconds = clock.monotonic() - began
        is_untried = all(each.status is Status.NOT_TRIED for each in findings)
        if is_untried or any(each.status is Status.FAILED for each in findings):
            unsuccessful.add(probe.id)
        for finding in findings:
            yield Result(probe.id, finding, seconds)


def none_of(probes: Sequence[Probe[T]], reason: str) -> Iterator[Result]:
    """Yield results for probes that do not run."""
    for probe in probes:
        yield Result(probe.id, not_tried(reason), 0.0)


def _findings(probe: Probe[T], target: T) -> list[Finding]:
    findings: list[Finding] = []
    try:
        findings.extend(probe.run(target))
    except errors.VmdkCacheError as failure:
        to_do = "correct the problem that the message describes, then run this command again"
        findings.append(failed(str(failure), to_do, failure=failure))
    return findings
