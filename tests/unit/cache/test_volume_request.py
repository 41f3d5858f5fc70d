"""Every class of error in every situation."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import pytest

from tests.fakes.entries import entry
from tests.fakes.memory import MemorySource
from tests.unit.cache.conftest import IMAGE, volume
from vmdk_cache import errors
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.volume_request import (
    FILES_LOST,
    PAUSES_WITHIN_S,
    PLACES,
    Next,
    VolumeRequest,
    next_step,
)

COPY = "vm-1"


def leaves(base: type[errors.VCenterError] = errors.VCenterError) -> Iterator[type]:
    """The class and all its subclasses."""
    yield base
    for derived in base.__subclasses__():
        yield from leaves(derived)


@dataclasses.dataclass(frozen=True)
class Situation:
    """What is known of a failure besides the error.

    :ivar copy: moref of the copy that the clone was made from; None: the failure is the importer's
    """

    copy: str | None = COPY
    copy_stays: bool = False
    readable_elsewhere: bool = False
    has_another_copy: bool = False
    may_wait: bool = True
    may_move: bool = True

    def next_step(self, failure: errors.VCenterError) -> Next:
        request = VolumeRequest(
            CacheKey.of(IMAGE, "lsiLogic"),
            IMAGE,
            volume(),
            MemorySource(),
            copy=entry(self.copy) if self.copy else None,
            paused_s=0.0 if self.may_wait else PAUSES_WITHIN_S,
            places=PLACES - self.may_move,
        )
        return next_step(
            failure,
            request,
            [entry(COPY), entry("vm-2")] if self.has_another_copy else [entry(COPY)],
            copy_stays=self.copy_stays,
            readable_elsewhere=self.readable_elsewhere,
        )


def situations(**known: object) -> Iterator[Situation]:
    """All situations in which ``known`` holds."""
    names = ["copy_stays", "readable_elsewhere", "has_another_copy", "may_wait", "may_move"]
    free = [name for name in names if name not in known]
    for values in itertools.product([False, True], repeat=len(free)):
        facts = {**known, **dict(zip(free, values, strict=True))}
        yield Situation(**facts)  # type: ignore[arg-type]


#: What a failed clone leads to while every limit leaves room; any other class leads to GIVE_UP.
WANTED = {
    errors.NoSpace: Next.ANOTHER_PLACE,
    errors.HostUnavailable: Next.ANOTHER_PLACE,
    errors.HardwareTooNew: Next.ANOTHER_COPY,
    errors.InUse: Next.LOOK_AGAIN,
    errors.FileLocked: Next.LOOK_AGAIN,
}
BOUND_OF = {
    Next.ANOTHER_COPY: "has_another_copy",
    Next.LOOK_AGAIN: "may_wait",
    Next.ANOTHER_PLACE: "may_move",
}


def bounded(step: Next, now: Situation) -> Next:
    bound = BOUND_OF.get(step)
    return step if bound is None or getattr(now, bound) else Next.GIVE_UP


def test_each_step_has_a_bound() -> None:
    assert BOUND_OF.keys() | {Next.GIVE_UP} == set(Next)


@pytest.mark.parametrize("kind", sorted(set(leaves()), key=lambda kind: kind.__name__))
def test_a_failed_clone_has_the_next_step_of_its_class(kind: type[errors.VCenterError]) -> None:
    step = WANTED.get(kind, Next.GIVE_UP)
    for now in situations(readable_elsewhere=False):
        assert now.next_step(kind("x", moref="task-7")) is bounded(step, now)


@pytest.mark.parametrize("kind", sorted(set(leaves()), key=lambda kind: kind.__name__))
def test_a_failed_import_is_repeated_only_elsewhere_and_only_if_a_host_was_away(
    kind: type[errors.VCenterError],
) -> None:
    for now in situations(copy=None, readable_elsewhere=False):
        for failure in (kind("x"), kind("x", fault=FILES_LOST)):
            away = isinstance(failure, errors.HostUnavailable)
            step = Next.ANOTHER_PLACE if away else Next.GIVE_UP
            assert now.next_step(failure) is bounded(step, now)


def test_a_host_that_went_away_costs_no_place_when_another_reads_the_copy() -> None:
    for now in situations(readable_elsewhere=True, may_wait=True):
        step = now.next_step(errors.HostUnavailable("in maintenance", moref="host-1"))
        assert step is Next.LOOK_AGAIN


def test_a_host_that_went_away_after_the_last_pause_costs_a_place() -> None:
    for now in situations(readable_elsewhere=True, may_wait=False):
        step = now.next_step(errors.HostUnavailable("in maintenance", moref="host-1"))
        assert step is bounded(Next.ANOTHER_PLACE, now)


@pytest.mark.parametrize("kind", [errors.ObjectNotFound, errors.TaskFailed])
def test_a_copy_whose_files_are_lost_is_going_unless_it_stays(
    kind: type[errors.VCenterError],
) -> None:
    failure = kind("no such file", moref="task-7", fault=FILES_LOST)
    for now in situations(copy_stays=False):
        assert now.next_step(failure) is bounded(Next.LOOK_AGAIN, now)
    for now in situations(copy_stays=True):
        assert now.next_step(failure) is bounded(Next.ANOTHER_COPY, now)


def test_a_copy_that_is_gone_is_looked_for_again_and_another_object_is_not() -> None:
    for now in situations():
        gone = errors.ObjectNotFound("deleted", moref=COPY)
        assert now.next_step(gone) is bounded(Next.LOOK_AGAIN, now)
        for moref in (None, "resgroup-8"):
            assert now.next_step(errors.ObjectNotFound("gone", moref=moref)) is Next.GIVE_UP
