"""Combines concurrent requests of several threads into one.

While one thread's request is in progress, the others queue; the next one sends the requests of all
that queued. So a single caller never waits, and a hundred concurrent callers send a few requests.

An error of the request is raised in all threads that shared it. An exception that ends only the
sending thread (GreenletExit, eventlet.Timeout, KeyboardInterrupt: no ``Exception``) is not shared:
the others return to the head of the queue, and the next of them sends.
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
        self.error: Exception | None = None
        self.served = False


class Batch(Generic[K, V]):
    """Thread-safe.

    :param send: handles all keys at once; keys missing from its result get None
    :param gather: called before each request; callers that arrive before it returns are included
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
        """The result of ``send`` for ``key``.

        :raises Exception: the error of ``send``, raised in all threads that shared the request
        """
        seat: _Seat[K, V] = _Seat(key)
        with self._queue_lock:
            self._queue.append(seat)
        try:
            with self._turn:
                if not seat.served:
                    self._gather()
                    self._serve()
        except BaseException:
            self._leave(seat)
            raise
        if seat.error is not None:
            raise seat.error
        return seat.value

    def _serve(self) -> None:
        with self._queue_lock:
            seats, self._queue = self._queue, []
        error: Exception | None = None
        answers: Mapping[K, V] = {}
        try:
            answers = self._send([seat.key for seat in seats])
        except Exception as failure:
            error = failure
        except BaseException:
            with self._queue_lock:
                self._queue[:0] = seats
            raise
        for seat in seats:
            seat.value, seat.error, seat.served = answers.get(seat.key), error, True

    def _leave(self, seat: _Seat[K, V]) -> None:
        with self._queue_lock:
            if seat in self._queue:
                self._queue.remove(seat)
