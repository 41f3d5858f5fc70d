"""Can this machine take a lock, and do all hosts of the backend share their locks?"""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Iterator

from vmdk_cache import errors
from vmdk_cache.locks import server_of
from vmdk_cache.preflight.probe import Finding, failed, ok, warning
from vmdk_cache.preflight.target import Target
from vmdk_cache.quoting import identifier, sentence

#: A lock of its own: nothing holds it but another preflight.
_LOCK = "preflight"
_CONNECT_TIMEOUT_S = 5.0
#: Coordinators whose locks end at the machine.
_OF_ONE_MACHINE = frozenset({"file", "ipc"})


def connection(target: Target) -> Iterator[Finding]:
    """A lock is taken and released, as the driver does it."""
    timeout_s = target.session.endpoint.read_timeout_s
    attempt = _Attempt(target)
    if not attempt.ends_within(timeout_s):
        failure = errors.LockUnavailable(
            f"no lock was given within {timeout_s:g} s: "
            f"{sentence(_why(target.surroundings.coordination_url))}"
        )
        found = failed(
            str(failure),
            "correct [coordination] backend_url, or let this machine reach the coordinator: "
            "cinder-volume takes its locks there",
        )
        yield dataclasses.replace(found, failure=failure)
        return
    attempt.check()
    scheme = target.surroundings.coordination_url.partition(":")[0]
    yield ok(f"a lock was taken and released by {sentence(scheme)}")


def coordinator(target: Target) -> Iterator[Finding]:
    """Whether hosts that share the backend share locks."""
    scheme = target.surroundings.coordination_url.partition(":")[0]
    if scheme not in _OF_ONE_MACHINE:
        yield ok(f"locks are shared between hosts by {sentence(scheme)}")
        return
    others = _other_hosts(target)
    if others:
        yield warning(
            f"locks are files of this machine, and templates were made by {', '.join(others)}",
            "set [coordination] backend_url to a coordinator that all cinder-volume hosts of the "
            "backend share, or an image may be imported once by each",
        )
    else:
        yield ok(
            "locks are files of this machine, which suffices for one cinder-volume host",
            to_do="with several hosts, set [coordination] backend_url to a shared coordinator",
        )


class _Attempt:
    """Takes a lock in a thread of its own, since some of tooz's drivers wait without an end."""

    def __init__(self, target: Target) -> None:
        self._locks = target.surroundings.locks
        self._failure: Exception | None = None
        # Not the thread's join(): that never returns for a thread which imports eventlet first, as
        # tooz's drivers do, since eventlet's copy of the module threading takes the thread for its
        # main thread.
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="preflight-lock", daemon=True).start()

    def ends_within(self, timeout_s: float) -> bool:
        return self._ended.wait(timeout_s)

    def check(self) -> None:
        """Raise what the attempt has ended with, if anything."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with self._locks() as locks, locks.hold(_LOCK, 0):
                pass
        except errors.LockTimeout:
            pass  # another preflight holds it, so the coordinator gives locks
        except Exception as failure:
            self._failure = failure
        finally:
            self._ended.set()


def _why(backend_url: str) -> str:
    """What is known of a coordinator that does not answer."""
    host, port = server_of(backend_url) or (None, None)
    if host is None or port is None:
        return "the coordinator does not answer"
    try:
        socket.create_connection((host, port), _CONNECT_TIMEOUT_S).close()
    except OSError as failure:
        return f"{host}:{port} cannot be reached from here: {failure}"
    return f"{host}:{port} accepts a connection and does not answer"


def _other_hosts(target: Target) -> list[str]:
    """Names of the hosts that other processes have imported templates on."""
    others = target.importers() - {target.surroundings.host_name}
    return sorted(identifier(name) for name in others)
