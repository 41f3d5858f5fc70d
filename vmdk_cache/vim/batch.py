"""Requests of several threads that arrive together, sent as one.

While one thread's request is under way, the others queue; the next to come takes all that queued
along. So a lone caller waits for nobody, and a hundred at once send a handful of requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Seat(Generic[K, V]):
    def __init__(self, key: K) -> None:
        self.key = key
        self.value: V | None = None
        self.error: BaseException | None = None
        self.served = False


class Batch(Generic[K, V]):
    """Thread-safe.

    :param send: does the work for all keys at once; a key that is absent from its result has None
    :param gather: called before each request; callers that come until it returns are on board
    """

    def __init__(
        self,
        send: Callable[[list[K]], Mapping[K, V]],
        gather: Callable[[], None] = lambda: None,
    ) -> None:
        self._send = send
        self._gather = gather
        self._queue: list[_Seat[K, V]] = []
        self._queue_lock = threading.Lock()
        self._turn = threading.Lock()

    def ask(self, key: K) -> V | None:
        """What ``send`` makes of ``key``.

        :raises BaseException: what ``send`` raised; everybody on board gets it
        """
        seat: _Seat[K, V] = _Seat(key)
        with self._queue_lock:
            self._queue.append(seat)
        with self._turn:
            if not seat.served:
                self._gather()
                self._serve()
        if seat.error is not None:
            raise seat.error
        return seat.value

    def _serve(self) -> None:
        with self._queue_lock:
            seats, self._queue = self._queue, []
        error: BaseException | None = None
        answers: Mapping[K, V] = {}
        try:
            answers = self._send([seat.key for seat in seats])
        except BaseException as failure:
            error = failure
        for seat in seats:
            seat.value, seat.error, seat.served = answers.get(seat.key), error, True
