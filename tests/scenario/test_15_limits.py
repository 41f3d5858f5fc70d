"""Expiry by idle time and limits, on the fake vCenter: what stands on the template decides."""

from __future__ import annotations

import dataclasses

import pytest
from pyVmomi import vim

from tests.fakes.images import FakeImageSource, as_stream_optimized, filesystem_disk
from tests.scenario.conftest import MIB, Lab, volume
from vmdk_cache.cache.pinning import Outcome
from vmdk_cache.cache.record import ATTRIBUTES
from vmdk_cache.conf import Settings

DAY_S = 86400
IDLE = Settings(enabled=True, expiry="idle", age_s=DAY_S)


def test_a_template_that_is_used_does_not_expire_by_idleness(lab: Lab) -> None:
    lab.cache = lab.process(IDLE)
    for number in range(1, 4):
        lab.create(number)
        lab.vcenter.clock.advance(DAY_S * 0.9)
        lab.cache.close()
        lab.cache = lab.process(IDLE)  # what a use left on the template outlives the process
        assert lab.cache.purge.run() == []
    lab.vcenter.clock.advance(DAY_S)
    assert len(lab.cache.purge.run()) == 1


def test_a_use_is_known_to_other_processes(lab: Lab) -> None:
    lab.create(1)
    other = lab.process(IDLE)
    lab.vcenter.clock.advance(DAY_S * 0.9)
    lab.cache.close()
    lab.cache = lab.process(IDLE)
    lab.create(2)
    lab.vcenter.clock.advance(DAY_S * 0.9)
    assert other.purge.run() == []


def test_an_account_without_the_privilege_still_caches(lab: Lab) -> None:
    refusal = vim.fault.NoPermission(privilegeId="Global.ManageCustomFields")
    lab.vcenter.fault_rules.add("AddCustomFieldDef", refusal, times=None)
    lab.cache = lab.process(IDLE)
    assert [lab.create(1), lab.create(2)] == [False, True]
    lab.vcenter.clock.advance(DAY_S * 0.5)
    assert lab.cache.purge.run() == []


def test_no_clone_shows_when_its_template_was_used_or_who_pinned_it(lab: Lab) -> None:
    lab.create(1)
    [pinned] = lab.cache.pinning.pin(lab.image.id, "alice", "ctl1")
    assert pinned.outcome is Outcome.PINNED
    lab.create(2)
    names = {field.key: field.name for field in lab.vcenter.custom_fields.field}
    shown = {
        vm.name: [names[value.key] for value in vm.customValue if value.value]
        for vm in lab.vcenter.vms()
    }
    (template,) = lab.templates()
    assert sorted(shown.pop(template)) == sorted(ATTRIBUTES)
    assert set(map(tuple, shown.values())) == {()}


@pytest.mark.parametrize("limit", [{"max_count": 1}, {"max_total_bytes": 20 * MIB}], ids=str)
def test_a_second_image_takes_the_place_of_the_first(lab: Lab, limit: dict[str, int]) -> None:
    lab.cache = lab.process(Settings(enabled=True, **limit))  # type: ignore[arg-type]
    lab.create(1)
    other = as_stream_optimized(filesystem_disk(16 * MIB, payload_bytes=1 << 20))
    image = dataclasses.replace(other.image(), id="b0000000-0000-4000-8000-000000000002")
    lab.cache.images.create_volume(image, volume(2), FakeImageSource(other))
    (left,) = lab.templates()
    assert image.id in left
    assert lab.vcenter.find_vm(volume(1).name) is not None
