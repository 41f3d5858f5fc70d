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
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


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
        self._queue: dict[Future[V | None], K] = {}
        self._queue_lock = threading.Lock()
        self._turn = threading.Lock()

    def ask(self, key: K) -> V | None:
        """The result of ``send`` for ``key``.

        :raises Exception: the error of ``send``, raised in all threads that shared the request
        """
        answer: Future[V | None] = Future()
        with self._queue_lock:
            self._queue[answer] = key
        try:
            with self._turn:
                if not answer.done():
                    self._gather()
                    self._serve()
        except BaseException:
            with self._queue_lock:
                self._queue.pop(answer, None)
            raise
        return answer.result()

    def _serve(self) -> None:
        with self._queue_lock:
            served, self._queue = self._queue, {}
        try:
            values = self._send(list(served.values()))
        except Exception as error:
            for answer in served:
                answer.set_exception(error)
        except BaseException:
            with self._queue_lock:
                self._queue = {**served, **self._queue}
            raise
        else:
            for answer, key in served.items():
                answer.set_result(values.get(key))
