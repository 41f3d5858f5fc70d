"""Locks between processes, by tooz.

Inside Cinder they come from Cinder's own coordinator (``[coordination] backend_url``); elsewhere
from a coordinator opened here. With the default, ``file://``, they bind the processes of one host;
between hosts without a shared coordinator vCenter's DuplicateName is the guard (cache/importer.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import tenacity
from oslo_log import log as logging

from vmdk_cache import errors

LOG = logging.getLogger(__name__)


class Locks(Protocol):
    """Named locks, each held by one process and one thread at a time."""

    def hold(self, name: str, timeout_s: float) -> contextlib.AbstractContextManager[None]:
        """Hold the lock ``name`` for the block.

        :param timeout_s: how long to wait for it; 0 tries once
        :raises LockTimeout: another still holds it after that time
        :raises LockUnavailable: the coordinator failed
        """


class ToozLocks:
    """Locks of a tooz coordinator.

    :param get_lock: a started coordinator's ``get_lock``: name to :class:`tooz.locking.Lock`
    :param scope: what the names are unique in, e.g. vCenter host and backend
    """

    def __init__(self, get_lock: Callable[[str], Any], scope: str) -> None:
        self._get_lock = get_lock
        self._scope = scope

    @contextlib.contextmanager
    def hold(self, name: str, timeout_s: float) -> Iterator[None]:
        try:
            lock = self._get_lock(_safe_name(self._scope, name))
            acquired = lock.acquire(blocking=timeout_s if timeout_s > 0 else False)
        except errors.VmdkCacheError:
            raise  # of a coordinator that is opened by its first lock
        except tenacity.RetryError:
            acquired = False  # tooz's word for it with etcd, where other drivers return False
        except Exception as failure:
            # tooz's drivers raise tooz's, their client's and the system's errors.
            raise errors.LockUnavailable(
                f"no lock {name!r} to be had, see [coordination] backend_url: {failure}"
            ) from failure
        if not acquired:
            raise errors.LockTimeout(
                f"another process has held the lock {name!r} for more than {timeout_s:g} s"
            )
        try:
            yield
        finally:
            _release(lock, name)


def _release(lock: Any, name: str) -> None:
    """The work under the lock is done; that its lock was lost or is stuck cannot undo it."""
    try:
        if not lock.release():
            LOG.warning("The lock %s was lost while it was held.", name)
    except Exception as failure:
        LOG.warning("The lock %s could not be released: %s", name, failure)


@contextlib.contextmanager
def coordinator(backend_url: str, prefix: str = "") -> Iterator[Callable[[str], Any]]:
    """A coordinator of our own, for processes that are not Cinder; yields its ``get_lock``.

    :param backend_url: as Cinder's ``[coordination] backend_url``, e.g. ``file:///var/lib/x``
    :param prefix: of every lock's name; ``cinder-`` makes them the locks of Cinder's coordinator
    :raises LockUnavailable: it cannot be reached; the text keeps the URL, which may hold a
        password, to itself
    """
    # Here, since it takes as long to import as the rest of the engine, and a third of the memory;
    # who uses Cinder's coordinator, or holds no lock, does without.
    from tooz import coordination

    member = f"vmdk-cache-{socket.gethostname()}-{os.getpid()}".encode()
    try:
        opened = coordination.get_coordinator(backend_url, member)
        opened.start(start_heart=True)
    except Exception as failure:
        # tooz's drivers raise tooz's, their client's and the system's errors.
        raise errors.LockUnavailable(
            f"no coordinator of locks, see [coordination] backend_url: "
            f"{str(failure).replace(backend_url, '<backend_url>')}"
        ) from failure
    try:
        yield lambda name: opened.get_lock(f"{prefix}{name}".encode("ascii"))
    finally:
        try:
            opened.stop()
        except Exception as failure:
            # What was done under its locks is done; the server drops who has gone by itself.
            LOG.warning("The coordinator of locks could not be left: %s", type(failure).__name__)


def _safe_name(scope: str, name: str) -> str:
    """A name every tooz driver takes (file:// makes it a file's name), still readable."""
    digest = hashlib.sha256(f"{scope}\0{name}".encode()).hexdigest()[:16]
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:60]
    return f"vmdk-cache-{readable}-{digest}"
