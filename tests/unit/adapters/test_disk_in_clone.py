"""What a clone asks of vCenter, what the answer proves, and what is remembered; without vCenter."""

from __future__ import annotations

import contextlib
import itertools
import threading

import pytest

from vmdk_cache.adapters.disk_in_clone import (
    DISK_TYPES,
    MAX_FAILED,
    MAX_UNANSWERED,
    Answer,
    Answers,
    Trial,
    Trials,
)

UNKNOWN, YES, NO = Answer.UNKNOWN, Answer.YES, Answer.NO
ALL = [Answers(*both) for both in itertools.product(Answer, Answer)]


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


def ask(trials: Trials, volume: str = "v1", disk_type: str = "thin", grows: bool = True) -> bool:
    """Whether a volume tries; it gets no answer, and does not fail either."""
    with trials.trial(volume, disk_type, grows=grows) as trial:
        return trial.asks


def show(trials: Trials, volume: str = "v1", *, capacity: bool = True, uuid: bool = True) -> None:
    with trials.trial(volume, "thin", grows=True) as trial:
        assert trial.asks
        trial.read(has_capacity=capacity, has_uuid=uuid)


def test_one_volume_asks_and_the_others_do_not_wait_for_it() -> None:
    trials = Trials()
    with trials.trial("v1", "thin", grows=True) as first:
        assert first.asks
        assert not any(ask(trials, f"v{number}") for number in range(2, 9))
        first.read(has_capacity=True, has_uuid=True)
        assert ask(trials, "v9")
    assert trials.answers("thin") == Answers(YES, YES)


def test_of_a_burst_exactly_one_asks() -> None:
    trials = Trials()
    barrier, asked = threading.Barrier(50), []

    def volume(number: int) -> None:
        barrier.wait(60)
        with trials.trial(f"v{number}", "thin", grows=True) as trial:
            if trial.asks:
                asked.append(number)
            barrier.wait(60)

    threads = [threading.Thread(target=volume, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert ask(trials, "v99")


def test_after_a_yes_all_ask_and_after_a_no_none() -> None:
    trials = Trials()
    show(trials)
    assert ask(trials) and ask(trials, grows=False)
    show(trials, capacity=False)
    assert trials.answers("thin") == Answers(NO, YES)
    assert not ask(trials)
    assert ask(trials, grows=False)


def test_only_the_first_reading_counts() -> None:
    """A later reading may show what ReconfigVM_Task did."""
    trials = Trials()
    with trials.trial("v1", "thin", grows=True) as trial:
        trial.read(has_capacity=True, has_uuid=False)
        trial.read(has_capacity=True, has_uuid=True)
    assert trials.answers("thin") == Answers(YES, NO)


def test_each_type_of_disk_is_found_out_on_its_own() -> None:
    trials = Trials()
    with trials.trial("v1", "thin", grows=True) as thin:
        assert thin.asks and ask(trials, disk_type="thick")
    show(trials, uuid=False)
    assert trials.answers("thick") == Answers()
    assert ask(trials, disk_type="thick") and not ask(trials)


def test_a_disk_that_is_zeroed_in_advance_never_asks() -> None:
    assert DISK_TYPES == ("thin", "thick")
    assert not ask(Trials(), disk_type="eagerZeroedThick")


@pytest.mark.parametrize("grows", [True, False])
def test_a_refusal_is_a_no(grows: bool) -> None:
    trials = Trials()
    with trials.trial("v1", "thin", grows=grows) as trial:
        trial.disturbed()
        trial.refused()
        trial.read(has_capacity=True, has_uuid=True)
    assert trials.answers("thin") == Answers(NO if grows else UNKNOWN, NO)


def test_a_reading_after_a_failure_proves_nothing() -> None:
    trials = Trials()
    with trials.trial("v1", "thin", grows=True) as trial:
        trial.disturbed()
        assert not trial.asks
        trial.read(has_capacity=False, has_uuid=False)
        trial.disturbed()
    assert trials.answers("thin") == Answers()
    assert not ask(trials), "the volume asks again"


def fail(trials: Trials, volume: str) -> Trial:
    with contextlib.suppress(KeyboardInterrupt), trials.trial(volume, "thin", grows=True) as trial:
        raise KeyboardInterrupt  # like a thread that is ended
    return trial


def test_a_volume_that_failed_does_not_ask_again_and_another_does() -> None:
    trials = Trials()
    assert fail(trials, "v1").failed
    assert not ask(trials, "v1")
    show(trials, "v2")
    assert not ask(trials, "v1")
    assert ask(trials, "v3")


@pytest.mark.parametrize("grows", [False, True])
def test_trials_that_fail_again_and_again_end(grows: bool) -> None:
    """Otherwise a vCenter that fails such clones with an unexpected error would cost one volume
    after another.
    """
    trials = Trials()
    for number in range(MAX_UNANSWERED):
        assert trials.answers("thin") == Answers()
        with (
            contextlib.suppress(KeyboardInterrupt),
            trials.trial(f"v{number}", "thin", grows=grows) as trial,
        ):
            assert trial.asks
            raise KeyboardInterrupt
    assert trials.answers("thin") == Answers(NO if grows else UNKNOWN, NO)
    assert trials.answers("thick") == Answers()
    assert not ask(trials, "v99", grows=grows)


def test_failures_after_a_yes_do_not_end_it() -> None:
    trials = Trials()
    show(trials)
    for number in range(MAX_UNANSWERED):
        assert fail(trials, f"f{number}").failed
    assert trials.answers("thin") == Answers(YES, YES)


def test_a_volume_that_did_not_ask_is_not_remembered() -> None:
    trials = Trials()
    with trials.trial("v1", "thin", grows=True):
        assert not fail(trials, "v2").failed
    assert ask(trials, "v2")


def test_a_volume_that_fails_after_its_disk_was_read_may_ask_again() -> None:
    trials = Trials()
    with contextlib.suppress(ValueError), trials.trial("v1", "thin", grows=True) as trial:
        trial.read(has_capacity=True, has_uuid=True)
        raise ValueError
    assert ask(trials, "v1")


def test_the_oldest_failures_are_forgotten() -> None:
    trials = Trials()
    show(trials, "before")
    for number in range(MAX_FAILED + 1):
        fail(trials, f"v{number}")
    assert ask(trials, "v0") and not ask(trials, "v1")


def test_where_no_volume_may_ask_none_does_and_one_lookup_suffices() -> None:
    looked: list[bool] = []

    def may_ask() -> bool:
        looked.append(True)
        return False

    trials = Trials(may_ask)
    assert looked == []
    assert not ask(trials, disk_type="eagerZeroedThick") and looked == []
    assert not ask(trials) and not ask(trials, "v2", grows=False)
    assert len(looked) == 1
    assert trials.answers("thin") == Answers(NO, NO)


def test_a_lookup_that_fails_leaves_the_turn_to_another() -> None:
    answers = iter([False, True])

    def may_ask() -> bool:
        if not next(answers):
            raise ConnectionError
        return True

    trials = Trials(may_ask)
    with pytest.raises(ConnectionError):
        ask(trials)
    assert ask(trials, "v2")
