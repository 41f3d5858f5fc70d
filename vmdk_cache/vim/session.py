"""One vCenter session for all threads of a process: log in, call, log in again, log out.

Life:  new -> open() -> generation 1 -> (session expired) -> generation 2 ... -> close()

- ``__init__`` does no I/O, so that it may run before a fork; ``open`` sends 2 requests.
- A call that vCenter answers with NotAuthenticated had no effect: one thread logs in again, and all
  refused calls are repeated once. Each log-in starts a new ``generation``: collectors, views and
  NFC leases of the old one are gone, and their owners notice and recreate them. An account that
  lacks a privilege may also get NotAuthenticated, so the session is checked before a new log-in.
- A call that got no answer may have taken effect. It is repeated only if it is ``safe``, or if
  connecting failed, so that nothing was sent; for two minutes at most, and for a command no longer
  than its user wants to wait (vmdk_cache/patience.py).
- vCenter ends a session after 30 idle minutes. Nothing breaks (see above), and a running
  :class:`~vmdk_cache.vim.task.TaskWaiter` calls :meth:`Session.keep_alive`, so that this needs no
  separate thread.
"""

from __future__ import annotations

import datetime
import functools
import ssl
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from pyVmomi import vim, vmodl

from vmdk_cache import errors, retry
from vmdk_cache.clock import Clock, SystemClock
from vmdk_cache.quoting import identifier
from vmdk_cache.vim import faults
from vmdk_cache.vim.account import account_of
from vmdk_cache.vim.api_version import OLDEST_VERSION, newest_version
from vmdk_cache.vim.channel import Channel, Cookie
from vmdk_cache.vim.endpoint import Endpoint
from vmdk_cache.vim.reference import managed_type, with_references, without_references

__all__ = ["Endpoint", "Session"]

T = TypeVar("T")

_KEEP_ALIVE_AFTER_S = 600.0
#: How long after the first failure a safe call is retried: a call that hangs takes a whole read
#: timeout each time.
_REPEAT_WITHIN_S = 120.0
#: Duration of a long poll: below the timeouts of proxies (60 s in nginx, 50 s in HAProxy's
#: examples).
LONG_POLL_S = 30


@dataclass(frozen=True)
class _Wire:
    """The connections of one log-in."""

    calls: Channel
    polls: Channel
    cookie: Cookie
    content: Any


class Session:
    """Thread-safe; see the module docstring. Use as a context manager, or ``open`` and
    ``close``."""

    def __init__(self, endpoint: Endpoint, clock: Clock | None = None) -> None:
        self.endpoint = endpoint
        self.clock: Clock = clock or SystemClock()
        #: Inventory paths of folders -> moref; see ``folder.find_folder``.
        self.folders: dict[tuple[str, ...], str] = {}
        self._shared: dict[Hashable, Any] = {}
        self._shared_lock = threading.Lock()
        self._login_lock = threading.Lock()
        self._wire: _Wire | None = None
        self._closed = False
        self._generation = 0
        self._last_call = 0.0

    def open(self) -> None:
        """Log in, unless already logged in.

        :raises ConfigError: ``vmware_ca_file`` cannot be used
        :raises CertificateRefused, LoginRefused, Unreachable: the text says what to check
        """
        self._closed = False
        if self._wire is None:
            self._persistently(lambda: self._renew(self._generation), safe=True)

    def close(self) -> None:
        """Log out, which ends everything bound to the session; errors of the log-out are ignored.

        Later calls raise SessionExpired until ``open``.
        """
        self._closed = True
        with self._login_lock:
            wire, self._wire = self._wire, None
        if wire is None:
            return
        try:
            wire.content.sessionManager.Logout()
        except Exception:  # noqa: S110  # vCenter ends an idle session by itself
            pass
        wire.calls.close()
        wire.polls.close()

    def __enter__(self) -> Session:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def generation(self) -> int:
        """Incremented by each log-in; 0 before the first."""
        return self._generation

    @property
    def content(self) -> Any:
        """vSphere's ServiceContent; opens the session if needed."""
        return self._open_wire().content

    @functools.cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """The SSL context that verifies vCenter's own certificate."""
        return self.endpoint.ssl_context()

    @property
    def request_count(self) -> int:
        """Approximate number of requests since the last log-in."""
        wire = self._wire
        return 0 if wire is None else wire.calls.request_count + wire.polls.request_count

    def cookie(self) -> str:
        """``vmware_soap_session=...`` for HTTP requests other than SOAP; changes with each
        log-in."""
        return self._open_wire().cookie.value.split(";")[0]

    def server_time(self) -> datetime.datetime:
        """vCenter's clock, aware, UTC."""
        now = self.invoke("ServiceInstance", "ServiceInstance", "CurrentTime", safe=True)
        assert isinstance(now, datetime.datetime)
        if now.tzinfo is None:
            return now.replace(tzinfo=datetime.UTC)
        return now.astimezone(datetime.UTC)

    def shared(self, name: Hashable, make: Callable[[], T]) -> T:
        """The object of that name, shared by all users of this session."""
        with self._shared_lock:
            if name not in self._shared:
                self._shared[name] = make()
            found: T = self._shared[name]
        return found

    def keep_alive(self) -> None:
        """Send a cheap call if there was none for 10 minutes; does nothing on a closed session."""
        idle_s = self.clock.monotonic() - self._last_call
        if self._wire is not None and idle_s > _KEEP_ALIVE_AFTER_S:
            self.server_time()

    def invoke(
        self,
        type_name: str,
        moref: str,
        method: str,
        /,
        *,
        safe: bool = False,
        poll: bool = False,
        **args: Any,
    ) -> Any:
        """Call a method of the vSphere API.

        :param type_name: managed object type, e.g. ``VirtualMachine``
        :param method: e.g. ``CloneVM_Task``
        :param safe: the call may be sent twice, so it is repeated if there is no answer
        :param poll: vCenter answers up to LONG_POLL_S late, so separate connections are used
        :param args: by the API's parameter names; morefs may be given as ``str``
        :returns: the result; managed objects in it, at the top or in a list, as morefs (``str``)
        :raises VCenterError: see :mod:`vmdk_cache.vim.faults`
        """
        kind = managed_type(type_name)
        args = with_references(kind, method, args)

        def once() -> Any:
            wire = self._open_wire()
            self._last_call = self.clock.monotonic()
            target = kind(moref, wire.polls if poll else wire.calls)
            return without_references(getattr(target, method)(**args))

        try:
            return self.guarded(once, method=method, moref=moref, safe=safe, poll=poll)
        except errors.ObjectNotFound as error:
            self.forget_folder(error.moref)
            raise

    def guarded(
        self,
        function: Callable[[], T],
        *,
        method: str,
        moref: str | None = None,
        safe: bool,
        poll: bool = False,
    ) -> T:
        """Run ``function()`` under the session's rules: translate errors, log in again, retry.

        For other SOAP services that use the session's cookie.
        """

        def once() -> T:
            with faults.translated(method=method, moref=moref, server=self.endpoint.server):
                return function()

        def logged_in() -> T:
            generation = self._generation
            try:
                return once()
            except errors.SessionExpired as refused:
                self.renew(generation, refused)
            return once()

        return self._persistently(logged_in, safe=safe, poll=poll)

    def renew(self, generation: int, refused: errors.SessionExpired | None = None) -> None:
        """Log in again, because vCenter no longer knows the session of this generation.

        :param refused: vCenter's refusal; None if the response was only incomplete
        :raises NoPermission: the session is alive, so the refused call lacks a privilege
        """
        try:
            self._renew(generation, unless_alive=True)
        except errors.NoPermission as denied:
            if refused is None:
                raise
            raise errors.NoPermission(
                str(refused), method=refused.method, moref=refused.moref, fault=refused.fault
            ) from denied

    def forget_folder(self, moref: str | None) -> None:
        """Have the folder looked up anew next time; see vim/folder.py."""
        for path, folder in list(self.folders.items()):
            if folder == moref:
                self.folders.pop(path, None)

    def _persistently(self, function: Callable[[], T], *, safe: bool, poll: bool = False) -> T:
        with self.endpoint.patience.asking(LONG_POLL_S if poll else 0) as wait:

            def again(error: BaseException) -> bool:
                return (
                    isinstance(error, errors.Unreachable)
                    and (safe or isinstance(error.__cause__, faults.NotSent))
                    and wait.lasts(error)
                )

            return retry.call(
                function,
                attempts=self.endpoint.api_retry_count,
                when=again,
                within_s=_REPEAT_WITHIN_S,
                clock=self.clock,
            )

    def _open_wire(self) -> _Wire:
        wire = self._wire
        if wire is None:
            self._renew(self._generation)
            wire = self._wire
        if wire is None:
            raise errors.SessionExpired("the session has been closed")
        return wire

    def _is_alive(self) -> bool:
        """Whether vCenter knows our session; uses a call that requires no privilege."""
        wire = self._wire
        if wire is None:
            return False
        with faults.translated(method="Fetch", server=self.endpoint.server):
            try:
                return getattr(wire.content.sessionManager, "currentSession", None) is not None
            except (vim.fault.NotAuthenticated, vmodl.fault.ManagedObjectNotFound):
                return False

    def _renew(self, generation: int, *, unless_alive: bool = False) -> None:
        """Log in, unless another thread has done so since ``generation``."""
        with self._login_lock:
            if self._closed:
                raise errors.SessionExpired("the session has been closed")
            if self._wire is not None and self._generation != generation:
                return
            if unless_alive and self._is_alive():
                raise errors.NoPermission("the account is logged in but may not do this")
            old = self._wire
            self._wire = self._log_in()
            self._generation += 1
        if old is not None:
            old.calls.close()
            old.polls.close()

    def _log_in(self) -> _Wire:
        """Send 2 requests on a new connection: RetrieveContent for the API version, and Login."""
        cookie = Cookie()
        calls = self._channel(cookie)
        polls = self._channel(cookie, grace_s=LONG_POLL_S)
        instance: Any = vim.ServiceInstance("ServiceInstance", calls)
        with faults.translated(method="Login", server=self.endpoint.server):
            content = instance.RetrieveContent()
            if content is None:  # XML, but not SOAP
                raise errors.Unreachable(
                    f"{identifier(self.endpoint.server)} sent a response that is not SOAP: is it a "
                    "vCenter? Check vmware_host_ip and proxies",
                    method="Login",
                )
            version = newest_version(str(content.about.apiVersion))
            calls.ComputeVersionInfo(version)
            polls.ComputeVersionInfo(version)

        def login() -> None:
            with faults.translated(method="Login", server=self.endpoint.server):
                manager = content.sessionManager
                manager.Login(self.endpoint.user, self.endpoint.password, None)

        account_of(self.endpoint).log_in(self.endpoint, self.clock, login)
        cookie.sealed = True
        self._last_call = self.clock.monotonic()
        return _Wire(calls, polls, cookie, content)

    def _channel(self, cookie: Cookie, grace_s: float = 0.0) -> Channel:
        return Channel(
            self.endpoint,
            cookie=cookie,
            version=OLDEST_VERSION,
            ssl_context=self.ssl_context,
            read_timeout_s=self.endpoint.read_timeout_s,
            grace_s=grace_s,
        )
