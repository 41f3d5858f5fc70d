"""Reservations neither leak nor are made twice."""

from __future__ import annotations

import contextlib
import threading

import pytest

from vmdk_cache.datastore.selection import Reservations


def reserve(
    reservations: Reservations, moref: str, amount: int
) -> contextlib.AbstractContextManager[str]:
    return reservations.reserve(lambda pending: moref, lambda chosen: {chosen: amount})


def reserved(reservations: Reservations) -> dict[str, int]:
    """The reservations that the next choice would see."""
    with reservations.reserve(lambda pending: pending, lambda pending: {}) as seen:
        return {moref: amount for moref, amount in seen.items() if amount}


def test_a_reservation_ends_with_its_block_even_on_error() -> None:
    reservations = Reservations()
    with pytest.raises(RuntimeError), reserve(reservations, "ds-1", 10):
        with reserve(reservations, "ds-1", 5), reserve(reservations, "ds-2", 1):
            assert reserved(reservations) == {"ds-1": 15, "ds-2": 1}
        assert reserved(reservations) == {"ds-1": 10}
        raise RuntimeError
    assert reserved(reservations) == {}


def test_a_negative_promise_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"), reserve(Reservations(), "ds-1", -1):
        pass


def test_choosing_sees_every_promise_made_before_it() -> None:
    """100 threads, two datastores with room for 50 each: no datastore is reserved twice over."""
    reservations = Reservations()
    most: list[int] = []
    held = threading.Barrier(100)

    def emptiest(pending: dict[str, int]) -> str:
        return min(("ds-1", "ds-2"), key=lambda moref: pending.get(moref, 0))

    def create() -> None:
        with reservations.reserve(emptiest, lambda moref: {moref: 1}):
            held.wait(timeout=60)
            most.append(max(reserved(reservations).values(), default=0))
            held.wait(timeout=60)

    threads = [threading.Thread(target=create) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [50] * 100
    assert reserved(reservations) == {}


def test_a_refused_choice_promises_nothing() -> None:
    def refuse(pending: dict[str, int]) -> str:
        raise LookupError("nothing fits")

    reservations = Reservations()
    with pytest.raises(LookupError), reservations.reserve(refuse, lambda moref: {moref: 1}):
        pass
    assert reserved(reservations) == {}
