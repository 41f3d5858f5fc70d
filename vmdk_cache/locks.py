"""Locks between processes, by tooz.

Inside Cinder they come from Cinder's own coordinator (``[coordination] backend_url``); elsewhere
from a coordinator opened here. With the default, ``file://``, they bind the processes of one host;
between hosts without a shared coordinator vCenter's DuplicateName is the guard (cache/importer.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import tenacity
from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.quoting import identifier, quoted, sentence

LOG = logging.getLogger(__name__)

#: Another one each time that the kernel starts (random(4)).
_BOOT_ID: Final = pathlib.Path("/proc/sys/kernel/random/boot_id")


class Locks(Protocol):
    """Named locks, each held by one process and one thread at a time."""

    @property
    def domain(self) -> str:
        """Equal in processes that these locks keep apart from each other; empty if that is not
        known. Who gets a lock of the domain knows that its last holder has released or lost it."""

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
    :param backend_url: tells the coordinator's, by which processes recognize that they share it;
        empty if that is not known
    """

    def __init__(
        self,
        get_lock: Callable[[str], Any],
        scope: str,
        backend_url: Callable[[], str] = lambda: "",
    ) -> None:
        self._get_lock = get_lock
        self._scope = scope
        self._backend_url = backend_url

    @property
    def domain(self) -> str:
        shared = _shared_by(self._backend_url())
        return _digest(self._scope, shared) if shared else ""

    def hold(self, name: str, timeout_s: float) -> contextlib.AbstractContextManager[None]:
        return held(lambda: self._get_lock(_safe_name(self._scope, name)), name, timeout_s)


@contextlib.contextmanager
def held(get_lock: Callable[[], Any], name: str, timeout_s: float) -> Iterator[None]:
    """Hold a coordinator's lock for the block; parameters and errors as of :meth:`Locks.hold`.

    :param get_lock: gets it from its coordinator
    :param name: for the errors
    """
    try:
        lock = get_lock()
        acquired = lock.acquire(blocking=timeout_s if timeout_s > 0 else False)
    except errors.VmdkCacheError:
        raise  # of a coordinator that is opened by its first lock
    except tenacity.RetryError:
        acquired = False  # tooz's word for it with etcd, where other drivers return False
    except Exception as failure:
        # tooz's drivers raise tooz's, their client's and the system's errors.
        raise errors.LockUnavailable(
            f"no lock {quoted(name)} to be had, see [coordination] backend_url: {sentence(failure)}"
        ) from failure
    if not acquired:
        raise errors.LockTimeout(
            f"another process has held the lock {quoted(name)} for more than {timeout_s:g} s"
        )
    try:
        yield
    finally:
        _release(lock, name)


def _release(lock: Any, name: str) -> None:
    """The work under the lock is done; that its lock was lost or is stuck cannot undo it."""
    try:
        if not lock.release():
            LOG.warning("The lock %s was lost while it was held.", identifier(name))
    except Exception as failure:
        LOG.warning("The lock %s could not be released: %s", identifier(name), sentence(failure))


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
            f"{sentence(_missing(backend_url))}, see [coordination] backend_url: "
            f"{sentence(_reason(failure, backend_url))}"
        ) from failure
    try:
        yield lambda name: opened.get_lock(f"{prefix}{name}".encode("ascii"))
    finally:
        try:
            opened.stop()
        except Exception as failure:
            # What was done under its locks is done; the server drops who has gone by itself.
            LOG.warning("The coordinator of locks could not be left: %s", type(failure).__name__)


def server_of(backend_url: str) -> tuple[str, int | None] | None:
    """The host and the port that the URL names, None if it names none."""
    try:
        parts = urlsplit(backend_url)
        # Else the URL is cut within the user name or the password.
        is_whole = ("@" in parts.netloc) == ("@" in backend_url)
        return (parts.hostname, parts.port) if is_whole and parts.hostname else None
    except ValueError:
        return None


def _missing(backend_url: str) -> str:
    server = server_of(backend_url)
    if server is None:
        return "no coordinator of locks"
    host, port = server
    return f"no coordinator of locks at {host}" + ("" if port is None else f":{port:d}")


def _reason(failure: BaseException, backend_url: str) -> str:
    """What failed, unless the text quotes the password in the URL.

    A driver quotes a part of the password if it holds a character that ends a part of the URL.
    """
    causes = list(_chain(failure))
    text = str(failure).strip()
    # tooz's drivers often say less than what they caught.
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno is not None and str(cause) not in text:
            text = f"{text}: {cause}" if text else str(cause)
            break
    text = text or next(filter(None, map(str, causes)), type(failure).__name__)
    if backend_url:
        text = text.replace(backend_url, "<backend_url>")
    secrets = filter(None, re.split(r"[:/?#\[\]@]", _password(backend_url)))
    if any(re.search(rf"(?<!\w){re.escape(each)}(?!\w)", text) for each in secrets):
        return (
            f"{type(failure).__name__}, whose text quotes the password. Write '/', '?', '#', '[', "
            f"']' and '@' in a password percent-encoded, such as %2F for '/'"
        )
    return text


def _chain(failure: BaseException | None) -> Iterator[BaseException]:
    while failure is not None:
        yield failure
        failure = failure.__cause__ or failure.__context__


def _password(backend_url: str) -> str:
    """The password in the URL as it is written; all before the ``@`` if there is no ``:``."""
    before = backend_url.rpartition("@")[0].partition("://")[2]
    return before.partition(":")[2] or before


def _shared_by(backend_url: str) -> str:
    """What names the coordinator among all, without the password that its URL may hold.

    Files lock processes of one host. A name of the host is no proof, for containers may have the
    same; the number of the kernel's start and the directory's device and inode are.
    """
    parts = urlsplit(backend_url)
    if parts.scheme != "file":
        server = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{server}{parts.path}" if server else ""
    try:
        directory = os.stat(parts.path)
        return f"{_BOOT_ID.read_text()}{directory.st_dev}:{directory.st_ino}"
    except OSError:
        return ""


def _safe_name(scope: str, name: str) -> str:
    """A name every tooz driver takes (file:// makes it a file's name), still readable."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:60]
    return f"vmdk-cache-{readable}-{_digest(scope, name)}"


def _digest(scope: str, text: str) -> str:
    return hashlib.sha256(f"{scope}\0{text}".encode()).hexdigest()[:16]
