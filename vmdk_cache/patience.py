"""How long a command waits for a server that does not answer, and when it tells the user.

    Patience           no limit and no message: for services, whose calls have timeouts of their own
    LimitedPatience    of one server, for a person who waits at a terminal

A request that is refused, or whose host has no address, is repeated only if the server has answered
before: at the start of a command the address is wrong or the server is down, and a repetition would
only delay the message.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from vmdk_cache.clock import Clock, SystemClock

#: A server that is silent for this long is announced.
ANNOUNCED_AFTER_S = 2.0
#: How long the next request waits for a server that has been given up.
GIVEN_UP_S = 2.0


class Wait(Protocol):
    """The wait for one answer."""

    def lasts(self, failure: BaseException) -> bool:
        """Whether to send the request again after this failure."""


class Patience:
    """Without a limit; see the module docstring. Thread-safe."""

    @property
    def wait_s(self) -> float:
        """How long one request may take, in seconds."""
        return math.inf

    @contextlib.contextmanager
    def asking(self, grace_s: float = 0.0) -> Iterator[Wait]:
        """Use around a request and its repetitions.

        :param grace_s: how much later the server may answer a request of this kind
        """
        yield _Endless()


class LimitedPatience(Patience):
    """With one server, for the duration of a command. Thread-safe.

    :param server: its name in the message, such as ``vCenter vc.example.com:443``
    :param timeout_s: how long a request and its repetitions may take
    :param tell: prints a line; called once at most
    :param silence: the errors that mean that the server did not answer
    """

    def __init__(
        self,
        server: str,
        timeout_s: float,
        tell: Callable[[str], None],
        silence: tuple[type[Exception], ...],
        clock: Clock | None = None,
    ) -> None:
        self.server = server
        self.timeout_s = timeout_s
        self._tell = tell
        self._silence = silence
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._is_told = False
        self._has_answered = False
        self._is_given_up = False

    @property
    def wait_s(self) -> float:
        return min(GIVEN_UP_S, self.timeout_s) if self._is_given_up else self.timeout_s

    @contextlib.contextmanager
    def asking(self, grace_s: float = 0.0) -> Iterator[Wait]:
        timer = threading.Timer(ANNOUNCED_AFTER_S + grace_s, self._announce)
        timer.daemon = True
        timer.start()
        try:
            yield _Limited(self, self._clock.monotonic() + grace_s + self.wait_s)
        except KeyboardInterrupt:
            self._is_given_up = True  # so that the log-out does not wait
            raise
        except self._silence:
            self._is_given_up = True
            raise
        except Exception:
            self._answered()  # with an error
            raise
        else:
            self._answered()
        finally:
            timer.cancel()

    def lasts(self, ends_at: float, failure: BaseException) -> bool:
        """See :class:`Wait`."""
        if not self._has_answered and is_hopeless(failure):
            return False
        return self._clock.monotonic() < ends_at

    def _answered(self) -> None:
        self._has_answered, self._is_given_up = True, False

    def _announce(self) -> None:
        with self._lock:
            is_told, self._is_told = self._is_told, True
        if not is_told:
            self._tell(
                f"{self.server} has not answered for {ANNOUNCED_AFTER_S:g} s; waiting for up to "
                f"{self.timeout_s:g} s (--timeout)"
            )


class _Endless:
    def lasts(self, failure: BaseException) -> bool:
        return True


class _Limited:
    def __init__(self, patience: LimitedPatience, ends_at: float) -> None:
        self._patience = patience
        self._ends_at = ends_at

    def lasts(self, failure: BaseException) -> bool:
        return self._patience.lasts(self._ends_at, failure)


def is_hopeless(failure: BaseException | None) -> bool:
    """Whether the failure was caused by a refused connection, or by a host without an address."""
    while failure is not None:
        if isinstance(failure, ConnectionRefusedError | socket.gaierror):
            return True
        failure = failure.__cause__ or failure.__context__
    return False
