"""Patience with a server: how long it lasts, and what ends it early."""

from __future__ import annotations

import math
import socket

import pytest

from tests.fakes.clock import ManualClock
from vmdk_cache.errors import Unreachable
from vmdk_cache.patience import GIVEN_UP_S, LimitedPatience, Patience


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def patience(clock: ManualClock) -> LimitedPatience:
    return LimitedPatience("the server", 60, pytest.fail, (Unreachable,), clock)


def refused() -> Unreachable:
    failure = Unreachable("nothing listens")
    failure.__cause__ = ConnectionRefusedError(111, "Connection refused")
    return failure


def nameless() -> Unreachable:
    failure = Unreachable("no address")
    failure.__cause__ = socket.gaierror(-2, "Name or service not known")
    return failure


def give_up(patience: LimitedPatience) -> None:
    with pytest.raises(Unreachable), patience.asking():
        raise Unreachable("no answer")


def test_a_service_has_no_limit() -> None:
    assert Patience().wait_s == math.inf
    with Patience().asking() as wait:
        assert wait.lasts(refused())


def test_it_lasts_for_its_time_over_all_attempts(
    patience: LimitedPatience, clock: ManualClock
) -> None:
    with patience.asking() as wait:
        clock.sleep(59)
        assert wait.lasts(Unreachable("no answer"))
        clock.sleep(1)
        assert not wait.lasts(Unreachable("no answer"))


def test_a_long_poll_has_its_duration_on_top(patience: LimitedPatience, clock: ManualClock) -> None:
    with patience.asking(grace_s=30) as wait:
        clock.sleep(89)
        assert wait.lasts(Unreachable("no answer"))
        clock.sleep(1)
        assert not wait.lasts(Unreachable("no answer"))


@pytest.mark.parametrize("failure", [refused(), nameless()], ids=["refused", "no address"])
def test_a_wrong_address_is_not_tried_again(
    patience: LimitedPatience, failure: Unreachable
) -> None:
    with patience.asking() as wait:
        assert not wait.lasts(failure)


def test_a_server_that_has_answered_may_restart(patience: LimitedPatience) -> None:
    with patience.asking():
        pass
    with patience.asking() as wait:
        assert wait.lasts(refused())


def test_an_error_is_an_answer(patience: LimitedPatience) -> None:
    with pytest.raises(ValueError, match="not this"), patience.asking():
        raise ValueError("not this")
    with patience.asking() as wait:
        assert wait.lasts(refused())


def test_the_next_request_waits_only_briefly_until_there_is_an_answer(
    patience: LimitedPatience,
) -> None:
    give_up(patience)
    assert patience.wait_s == GIVEN_UP_S
    with patience.asking():
        pass
    assert patience.wait_s == 60


def test_the_log_out_after_ctrl_c_waits_only_briefly(patience: LimitedPatience) -> None:
    with pytest.raises(KeyboardInterrupt), patience.asking():
        raise KeyboardInterrupt
    assert patience.wait_s == GIVEN_UP_S
