"""Locks between processes, with tooz.

Inside Cinder they come from Cinder's own coordinator (``[coordination] backend_url``); elsewhere a
coordinator is opened here. With the default, ``file://``, they work between the processes of one
host; between hosts without a shared coordinator, vCenter's DuplicateName prevents a second import
(cache/importer.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import tenacity
from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.clock import SystemClock
from vmdk_cache.patience import Patience, is_hopeless
from vmdk_cache.quoting import identifier, quoted, sentence

LOG = logging.getLogger(__name__)

#: A new id at each start of the kernel (random(4)).
_BOOT_ID: Final = pathlib.Path("/proc/sys/kernel/random/boot_id")
#: A command looks why a coordinator has not answered after this time.
_LOOKED_AT_AFTER_S: Final = 1.0
#: How long it looks at least: a host that refuses the connection does so at once.
_LOOK_S: Final = 0.1
#: tooz's redis driver tries a refused connection for a minute.
_REDIS_PORT: Final = 6379


class Locks(Protocol):
    """Named locks; one thread of one process can hold each at a time."""

    @property
    def domain(self) -> str:
        """Equal in processes that share these locks; empty if that is unknown. A process that gets
        a lock knows that the previous holder in the same domain has released or lost it."""

    def hold(self, name: str, timeout_s: float) -> contextlib.AbstractContextManager[None]:
        """Hold the lock ``name`` for the block.

        :param timeout_s: how long to wait for it; 0 tries once
        :raises LockTimeout: the lock is still held after that time
        :raises LockUnavailable: the coordinator failed
        """


class ToozLocks:
    """Locks of a tooz coordinator.

    :param get_lock: a started coordinator's ``get_lock``: name to :class:`tooz.locking.Lock`
    :param scope: scope in which the names are unique, e.g. vCenter host and backend
    :param backend_url: returns the coordinator's URL, by which processes recognize that they share
        it; empty if unknown
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
    """Hold a coordinator's lock for the block; parameters and errors as for :meth:`Locks.hold`.

    :param get_lock: gets the lock from its coordinator
    :param name: name of the lock, for errors
    """
    try:
        lock = get_lock()
        acquired = lock.acquire(blocking=timeout_s if timeout_s > 0 else False)
    except errors.VmdkCacheError:
        raise  # the coordinator is opened with its first lock
    except tenacity.RetryError:
        acquired = False  # tooz's etcd driver raises this where others return False
    except Exception as failure:
        # tooz's drivers raise errors of tooz, of their clients and of the system.
        raise errors.LockUnavailable(
            f"cannot get the lock {quoted(name)}, see [coordination] backend_url: "
            f"{sentence(failure)}"
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
    """Release the lock. Errors are only logged, because the work under the lock is done."""
    try:
        if not lock.release():
            LOG.warning("The lock %s was lost before it was released.", identifier(name))
    except Exception as failure:
        LOG.warning("The lock %s could not be released: %s", identifier(name), sentence(failure))


@contextlib.contextmanager
def coordinator(
    backend_url: str, prefix: str = "", patience: Patience | None = None
) -> Iterator[Callable[[str], Any]]:
    """Open a coordinator, for processes other than Cinder's; yields its ``get_lock``.

    :param backend_url: as Cinder's ``[coordination] backend_url``, e.g. ``file:///var/lib/x``
    :param prefix: prefix of every lock's name; with ``cinder-`` they are the locks of Cinder's
        coordinator
    :param patience: None: tooz's drivers alone decide how long to wait
    :raises LockUnavailable: it cannot be reached; the text does not quote the URL, which may
        contain a password
    """
    # Imported here because it takes as long as importing the rest of the engine and a third of the
    # memory; processes with Cinder's coordinator or without locks do not need it.
    from tooz import coordination

    member = f"vmdk-cache-{socket.gethostname()}-{os.getpid()}".encode()

    def start() -> Any:
        started = coordination.get_coordinator(backend_url, member)
        started.start(start_heart=True)
        return started

    if patience is None:
        with _naming(backend_url):
            opened = start()
    else:
        with patience.asking(), _naming(backend_url):
            opened = _in_time(start, backend_url, patience.wait_s)
    try:
        yield lambda name: opened.get_lock(f"{prefix}{name}".encode("ascii"))
    finally:
        try:
            opened.stop()
        except Exception as failure:
            # The work under its locks is done, and the server drops members that are gone.
            LOG.warning("Could not leave the lock coordinator: %s", type(failure).__name__)


@contextlib.contextmanager
def _naming(backend_url: str) -> Iterator[None]:
    """Translate errors of tooz's drivers: they raise errors of tooz, of their clients and of the
    system.

    :raises LockUnavailable: any error of the block
    """
    try:
        yield
    except Exception as failure:
        raise errors.LockUnavailable(
            f"cannot reach {sentence(named_coordinator(backend_url))}, "
            f"see [coordination] backend_url: {sentence(_reason(failure, backend_url))}"
        ) from failure


def _in_time(start: Callable[[], Any], backend_url: str, within_s: float) -> Any:
    """What ``start`` returns, in a thread of its own: some of tooz's drivers wait for minutes.

    :raises OSError: nothing listens at the coordinator's address, or it does not answer in time
    :raises Exception: errors of ``start``
    """
    # Not the thread's join(), which never returns if the thread is the first to import eventlet, as
    # with tooz's drivers: eventlet's copy of the threading module takes it for the main thread.
    attempt: futures.Future[Any] = futures.Future()

    def run() -> None:
        try:
            attempt.set_result(start())
        except BaseException as failure:
            attempt.set_exception(failure)

    threading.Thread(target=run, name="coordinator", daemon=True).start()
    clock = SystemClock()
    ends_at = clock.monotonic() + within_s
    if not futures.wait([attempt], min(_LOOKED_AT_AFTER_S, within_s)).done:
        obstacle = _obstacle(backend_url, max(_LOOK_S, ends_at - clock.monotonic()))
        if obstacle is not None:
            raise obstacle
        if not futures.wait([attempt], max(0.0, ends_at - clock.monotonic())).done:
            raise TimeoutError(f"it did not answer within {within_s:g} s")
    return attempt.result()


def _obstacle(backend_url: str, within_s: float) -> OSError | None:
    """Why no connection to the coordinator can be made; None if that is unknown."""
    host, port = server_of(backend_url) or (None, None)
    if port is None and backend_url.startswith("redis"):
        port = _REDIS_PORT
    if host is None or port is None or "sentinel_fallback" in backend_url:
        return None
    try:
        socket.create_connection((host, port), within_s).close()
    except OSError as failure:
        return failure if is_hopeless(failure) else None
    return None


def server_of(backend_url: str) -> tuple[str, int | None] | None:
    """The host and port in the URL, None if there are none."""
    try:
        parts = urlsplit(backend_url)
        # Otherwise the URL is split within the user name or the password.
        is_whole = ("@" in parts.netloc) == ("@" in backend_url)
        return (parts.hostname, parts.port) if is_whole and parts.hostname else None
    except ValueError:
        return None


def named_coordinator(backend_url: str) -> str:
    """The coordinator in messages, with its host and port if the URL has them."""
    server = server_of(backend_url)
    if server is None:
        return "the lock coordinator"
    host, port = server
    return f"the lock coordinator at {host}" + ("" if port is None else f":{port:d}")


def _reason(failure: BaseException, backend_url: str) -> str:
    """The error's text, unless it quotes the password in the URL.

    A driver may quote a part of the password if the password contains a URL delimiter.
    """
    causes = list(_chain(failure))
    text = str(failure).strip()
    # tooz's drivers often say less than the error that they caught.
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
    """The password as written in the URL; everything before the ``@`` if there is no ``:``."""
    before = backend_url.rpartition("@")[0].partition("://")[2]
    return before.partition(":")[2] or before


def _shared_by(backend_url: str) -> str:
    """A unique name of the coordinator, without the password that its URL may contain.

    Files lock the processes of one host. The host's name does not identify it, because containers
    may share names; the kernel's boot id and the directory's device and inode do.
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
    """A readable name that every tooz driver accepts (file:// uses it as a file name)."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:60]
    return f"vmdk-cache-{readable}-{_digest(scope, name)}"


def _digest(scope: str, text: str) -> str:
    return hashlib.sha256(f"{scope}\0{text}".encode()).hexdigest()[:16]
