"""Which answer of vCenter proves what about one-task clones; no vCenter is involved."""

from __future__ import annotations

import itertools

import pytest

from vmdk_cache.cache.one_task import DISK_TYPES, Answer, Answers

UNKNOWN, YES, NO = Answer.UNKNOWN, Answer.YES, Answer.NO
ALL = [Answers(*both) for both in itertools.product(Answer, Answer)]


def test_a_disk_that_is_zeroed_in_advance_never_asks() -> None:
    assert DISK_TYPES == ("thin", "thick")


@pytest.mark.parametrize("known", ALL, ids=str)
def test_a_volume_that_grows_needs_both_and_another_the_uuid_alone(known: Answers) -> None:
    assert known.for_volume(grows=False) is known.uuid
    both = {known.capacity, known.uuid}
    expected = NO if NO in both else UNKNOWN if UNKNOWN in both else YES
    assert known.for_volume(grows=True) is expected


@pytest.mark.parametrize("has_capacity", [True, False])
@pytest.mark.parametrize("has_uuid", [True, False])
def test_each_part_is_found_out_on_its_own(has_capacity: bool, has_uuid: bool) -> None:
    found = Answers().after_reading(grows=True, has_capacity=has_capacity, has_uuid=has_uuid)
    assert (found.capacity is YES, found.uuid is YES) == (has_capacity, has_uuid)
    assert UNKNOWN not in (found.capacity, found.uuid)


@pytest.mark.parametrize("known", ALL, ids=str)
def test_a_volume_of_its_images_size_says_nothing_of_growing(known: Answers) -> None:
    found = known.after_reading(grows=False, has_capacity=True, has_uuid=True)
    assert found.capacity is known.capacity
    assert known.after_refusal(grows=False) == Answers(known.capacity, NO)


@pytest.mark.parametrize("known", ALL, ids=str)
def test_no_is_final_and_yes_is_not(known: Answers) -> None:
    good = known.after_reading(grows=True, has_capacity=True, has_uuid=True)
    assert (good.capacity is NO, good.uuid is NO) == (known.capacity is NO, known.uuid is NO)
    bad = known.after_reading(grows=True, has_capacity=False, has_uuid=False)
    assert bad == known.after_refusal(grows=True) == Answers(NO, NO)
