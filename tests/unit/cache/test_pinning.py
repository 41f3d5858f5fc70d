"""An operator pins an image and takes the pin away, while other processes work."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest

from tests.fakes.clock import ManualClock
from tests.fakes.memory import PLACE, MemoryLocks, MemoryStore, memory_context
from tests.unit.cache.conftest import GIB, IMAGE
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.key import CacheKey, lock_name
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cache.pinning import Outcome, Pinning

KEY = CacheKey.of(IMAGE, "lsiLogic")
SECOND = dataclasses.replace(PLACE, datastore="datastore-2")


class _LocksInUse(MemoryLocks):
    """Waits for no lock."""

    @contextlib.contextmanager
    def hold(self, name: str, timeout_s: float) -> Iterator[None]:
        with super().hold(name, 0):
            yield


class Lab:
    """A pinning, and an image with a template and a replica."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.locks = _LocksInUse()
        self.pinning = Pinning(memory_context(store=self.store, clock=self.clock, locks=self.locks))
        self.template = self.store.finish_import(self.store.put_import(KEY, GIB))
        self.replica = self.store.replicate(self.template, SECOND)

    def pin(self, user: str = "alice") -> list[str]:
        return [each.outcome.value for each in self.pinning.pin(IMAGE.id, user, "ctl1")]

    def unpin(self) -> list[str]:
        return [each.outcome.value for each in self.pinning.unpin(IMAGE.id)]

    def pins(self) -> set[Pin | None]:
        return {entry.pinned for entry in self.store.vms.values()}

    def change(self, entry: CacheEntry, phase: Phase) -> None:
        now = self.store.vms[entry.moref]
        self.store.vms[entry.moref] = dataclasses.replace(now, phase=phase)


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_every_copy_of_the_image_is_pinned_and_unpinned(lab: Lab) -> None:
    assert lab.pin() == ["pinned", "pinned"]
    assert lab.pins() == {Pin("alice@ctl1", lab.clock.now())}
    assert lab.unpin() == ["unpinned", "unpinned"]
    assert lab.pins() == {None}
    assert lab.unpin() == ["was not pinned", "was not pinned"]


def test_the_first_pin_stays(lab: Lab) -> None:
    """Also on a copy that a second operator pins, because it had no pin yet."""
    lab.pin()
    first = lab.pins()
    lab.store.set_pin(lab.replica, None)
    lab.clock.advance(60)
    assert lab.pin("bob") == ["already pinned", "pinned"]
    assert lab.pins() == first


def test_an_image_without_a_template_has_no_rows(lab: Lab) -> None:
    assert lab.pinning.pin("another", "alice", "ctl1") == lab.pinning.unpin("another") == []
    lab.change(lab.template, Phase.ALTERED)
    lab.change(lab.replica, Phase.ADOPTED)
    assert lab.pin() == []


def test_a_template_that_is_being_removed_is_not_pinned(lab: Lab) -> None:
    with lab.locks.hold(lock_name(lab.replica.name), 0):
        assert lab.pin() == ["pinned", "failed"]
    assert lab.store.vms[lab.replica.moref].pinned is None


def test_a_template_that_has_gone_is_no_failure(lab: Lab) -> None:
    lab.store.during["look_again"] = lambda: lab.store.vms.pop(lab.replica.moref, None)
    assert lab.pin() == ["pinned", "gone"]


def test_a_refusal_is_in_the_row(lab: Lab) -> None:
    lab.store.faults["set_pin"] = [errors.NoPermission("requires Global.SetCustomField")]
    refused, done = lab.pinning.pin(IMAGE.id, "alice", "ctl1")
    assert (refused.outcome, done.outcome) == (Outcome.FAILED, Outcome.PINNED)
    assert "Global.SetCustomField" in refused.says


def test_a_pin_that_was_copied_meanwhile_is_removed_too(lab: Lab) -> None:
    """Another process made a replica of the pinned template in this moment."""
    lab.pin()
    third = dataclasses.replace(PLACE, datastore="datastore-3")
    copied: list[CacheEntry] = []

    def copy() -> None:
        if not copied:
            pin = lab.store.vms[lab.template.moref].pinned
            copied.append(lab.store.replicate(lab.template, third))
            made = lab.store.vms[copied[0].moref]
            lab.store.vms[made.moref] = dataclasses.replace(made, pinned=pin)

    lab.store.during["set_pin"] = copy
    assert lab.unpin() == ["unpinned"] * 3
    assert lab.pins() == {None}


def test_an_altered_template_loses_its_pin_too(lab: Lab) -> None:
    lab.pin()
    lab.change(lab.template, Phase.ALTERED)
    assert lab.unpin() == ["unpinned", "unpinned"]
    assert lab.pins() == {None}
