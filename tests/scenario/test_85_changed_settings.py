"""Settings that change while the cache runs take effect in every part of it, and what is under way
goes on."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
from collections.abc import Iterator

import pytest

from tests.fakes.images import FakeImage
from tests.fakes.vcenter import VCenter
from tests.scenario.conftest import GIB, SETTINGS, Lab, volume
from vmdk_cache import errors
from vmdk_cache.cache.events import Reason
from vmdk_cache.conf import REPLICAS_ON_DEMAND, LiveSettings

PATIENCE_S = 60.0


class ChangingLab(Lab):
    """A lab whose cache has settings that can be changed."""

    def __init__(self, vcenter: VCenter, disk_image: FakeImage, path: pathlib.Path) -> None:
        self.live = LiveSettings(SETTINGS)
        super().__init__(vcenter, disk_image, path)

    def process(self, settings: object = None, **backend: object) -> object:  # type: ignore[override]
        return super().process(self.live, **backend)  # type: ignore[arg-type]

    def change(self, **options: object) -> None:
        self.live.change(dataclasses.replace(self.live(), **options))  # type: ignore[arg-type]

    def refusal(self, number: int) -> Reason:
        with pytest.raises(errors.NotCacheable) as refused:
            self.create(number)
        reason = refused.value.reason
        assert isinstance(reason, Reason)
        return reason


@pytest.fixture
def lab(vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path) -> Iterator[ChangingLab]:
    made = ChangingLab(vcenter, disk_image, tmp_path)
    with made.stack:
        yield made


def test_a_cache_that_is_switched_off_still_purges_and_comes_back(lab: ChangingLab) -> None:
    assert lab.create(1) is False
    lab.change(enabled=False, age_s=3600)
    assert lab.refusal(2) is Reason.DISABLED
    lab.vcenter.clock.advance(3601)
    assert len(lab.cache.purge.run()) == 1
    lab.change(enabled=True)
    assert lab.create(3) is False


def test_a_clone_that_runs_when_the_cache_is_switched_off_ends_in_peace(lab: ChangingLab) -> None:
    lab.create(1)
    began, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        assert goes_on.wait(PATIENCE_S)

    lab.vcenter.fault_rules.add("CloneVM_Task", action=hold)
    hits: list[bool] = []
    cloning = threading.Thread(target=lambda: hits.append(lab.create(2)))
    cloning.start()
    assert began.wait(PATIENCE_S)
    lab.change(enabled=False)
    goes_on.set()
    cloning.join(PATIENCE_S)
    assert hits == [True]
    assert lab.vcenter.find_vm(volume(2).name) is not None


def test_the_largest_image_changes(lab: ChangingLab) -> None:
    lab.change(max_size_bytes=1)
    assert lab.refusal(1) is Reason.IMAGE_TOO_LARGE
    lab.change(max_size_bytes=GIB)
    assert lab.create(1) is False


def test_limits_change_for_imports_and_for_the_purge(lab: ChangingLab) -> None:
    lab.change(max_total_bytes=1)
    assert lab.refusal(1) is Reason.IMAGE_TOO_LARGE
    lab.change(max_total_bytes=0)
    lab.create(1)
    assert lab.cache.purge.run() == []
    lab.change(max_total_bytes=1)
    assert len(lab.cache.purge.run()) == 1


def test_how_long_to_wait_for_another_process_changes(lab: ChangingLab) -> None:
    """It is held for ever, so only the new time-out ends the wait."""
    lab.change(lock_timeout_s=1)
    other = lab.process()
    began, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        assert goes_on.wait(PATIENCE_S)

    lab.vcenter.fault_rules.add("ImportVApp", action=hold)
    importing = threading.Thread(target=lambda: lab.create(1))
    importing.start()
    assert began.wait(PATIENCE_S)
    try:
        with pytest.raises(errors.LockTimeout):
            other.images.create_volume(lab.image, volume(2), lab.source)  # type: ignore[attr-defined]
    finally:
        goes_on.set()
        importing.join(PATIENCE_S)


def test_replicas_are_switched_on(lab: ChangingLab) -> None:
    lab.create(1)
    (template,) = (vm for vm in lab.vcenter.vms() if vm.config.template)
    of_template = template.datastore[0].name
    # Volumes go to the other datastore from now on.
    lab.vcenter.datastore(of_template).fill((1 << 40) - GIB // 2)
    lab.change(replicas=REPLICAS_ON_DEMAND, replicate_after=1)
    for number in range(2, 5):
        lab.create(number)

    def replicated() -> None:
        assert len(lab.templates()) == 2

    lab.eventually(replicated)


def test_more_clones_at_a_time_are_let_through(lab: ChangingLab) -> None:
    lab.change(clones_per_template=1)
    lab.cache = lab.process()  # type: ignore[assignment]
    lab.create(1)
    both, goes_on = threading.Barrier(3), threading.Event()

    def hold() -> None:
        both.wait(PATIENCE_S)
        assert goes_on.wait(PATIENCE_S)

    lab.change(clones_per_template=2)
    lab.vcenter.fault_rules.add("CloneVM_Task", times=2, action=hold)
    threads = [threading.Thread(target=lab.create, args=(number,)) for number in (2, 3)]
    for thread in threads:
        thread.start()
    both.wait(PATIENCE_S)  # two clones at one time
    goes_on.set()
    for thread in threads:
        thread.join(PATIENCE_S)
