"""Probes: can this host take a lock, and do all hosts of the backend share their locks?"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent import futures

from vmdk_cache import errors
from vmdk_cache.locks import server_of
from vmdk_cache.preflight.probe import Finding, failed, ok, warning
from vmdk_cache.preflight.target import Target
from vmdk_cache.quoting import identifier, sentence

#: A separate lock: only another preflight can hold it.
_LOCK = "preflight"
_CONNECT_TIMEOUT_S = 5.0
#: Coordinators whose locks are local to one host.
_OF_ONE_MACHINE = frozenset({"file", "ipc"})


def connection(target: Target) -> Iterator[Finding]:
    """Take a lock and release it, as the driver does."""
    timeout_s = target.session.endpoint.read_timeout_s
    attempt = _attempt(target)
    if not futures.wait([attempt], timeout_s).done:
        failure = errors.LockUnavailable(
            f"no lock was granted within {timeout_s:g} s: "
            f"{sentence(_why(target.surroundings.coordination_url))}"
        )
        yield failed(
            str(failure),
            "correct [coordination] backend_url, or make the coordinator reachable from this host: "
            "cinder-volume takes its locks there",
            failure=failure,
        )
        return
    attempt.result()
    scheme = target.surroundings.coordination_url.partition(":")[0]
    yield ok(f"took and released a lock with {sentence(scheme)}")


def coordinator(target: Target) -> Iterator[Finding]:
    """Check whether hosts that share the backend share locks."""
    scheme = target.surroundings.coordination_url.partition(":")[0]
    if scheme not in _OF_ONE_MACHINE:
        yield ok(f"hosts share locks through {sentence(scheme)}")
        return
    others = target.importers() - {target.surroundings.host_name}
    if others:
        yield warning(
            "locks are files on this host, but other hosts imported templates: "
            f"{', '.join(sorted(map(identifier, others)))}",
            "set [coordination] backend_url to a coordinator that all cinder-volume hosts of the "
            "backend share; otherwise each host may import an image once",
        )
    else:
        yield ok(
            "locks are files on this host, which suffices for a single cinder-volume host",
            to_do="with several hosts, set [coordination] backend_url to a shared coordinator",
        )


def _attempt(target: Target) -> futures.Future[None]:
    """Take and release a lock in a separate thread, because some of tooz's drivers wait forever."""
    # Not the thread's join(), which never returns if the thread is the first to import eventlet, as
    # with tooz's drivers: eventlet's copy of the threading module takes it for the main thread.
    attempt: futures.Future[None] = futures.Future()

    def run() -> None:
        try:
            with target.surroundings.locks() as locks, locks.hold(_LOCK, 0):
                pass
            attempt.set_result(None)
        except errors.LockTimeout:
            attempt.set_result(None)  # another preflight holds the lock: the coordinator works
        except Exception as failure:
            attempt.set_exception(failure)

    threading.Thread(target=run, name="preflight-lock", daemon=True).start()
    return attempt


def _why(backend_url: str) -> str:
    """Describe a coordinator that does not answer."""
    host, port = server_of(backend_url) or (None, None)
    if host is None or port is None:
        return "the coordinator does not answer"
    try:
        socket.create_connection((host, port), _CONNECT_TIMEOUT_S).close()
    except OSError as failure:
        return f"{host}:{port} cannot be reached from this host: {failure}"
    return f"{host}:{port} accepts connections but does not answer"
