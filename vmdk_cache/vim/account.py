"""Serializes the log-ins of all sessions of this process with one vCenter account.

vCenter Single Sign-On locks an account after five wrong passwords within three minutes (the default
lockout policy), and it counts the attempts of all clients together. So the sessions of a process
share the result: after vCenter has refused a password, no session sends it again for
:data:`LOGIN_REFUSED_PAUSE_S`. This is kept only in memory, so after a restart of the process, which
a changed password requires anyway, the next log-in is sent at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from vmdk_cache import errors
from vmdk_cache.clock import Clock
from vmdk_cache.vim.endpoint import Endpoint

#: How long a refused password is not sent again: well above the three minutes of the lockout
#: policy.
LOGIN_REFUSED_PAUSE_S = 300.0


class Account:
    """Thread-safe; see :func:`account_of`."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        #: password -> when vCenter refused it, and how
        self._refusals: dict[str, tuple[float, errors.LoginRefused]] = {}

    def log_in(self, endpoint: Endpoint, clock: Clock, login: Callable[[], object]) -> None:
        """Send ``login`` with the endpoint's password, unless vCenter has just refused that.

        Only one log-in is sent at a time: of several with a wrong password, only the first is sent.

        :raises LoginRefused: vCenter refuses it now, or did so less than
            :data:`LOGIN_REFUSED_PAUSE_S` ago; the text says which
        :raises Unreachable: another session's log-in got no answer within a read timeout
        :raises VCenterError: errors of ``login``
        """
        if not self._turn.acquire(timeout=endpoint.read_timeout_s):
            raise errors.Unreachable(
                f"{endpoint.server} did not answer another log-in of this account in time",
                method="Login",
            )
        try:
            self._check(endpoint, clock)
            try:
                login()
            except errors.LoginRefused as error:
                self._refusals[endpoint.password] = (clock.monotonic(), error)
                raise
            self._refusals.pop(endpoint.password, None)
        finally:
            self._turn.release()

    def _check(self, endpoint: Endpoint, clock: Clock) -> None:
        refused_at, error = self._refusals.get(endpoint.password, (0.0, None))
        left_s = refused_at + LOGIN_REFUSED_PAUSE_S - clock.monotonic()
        if error is not None and left_s > 0:
            raise errors.LoginRefused(
                f"{error}; the password is not tried again for {left_s:.0f} s, so that vCenter "
                "does not lock the account: correct the password and restart this process",
                method=error.method,
                fault=error.fault,
            )


_accounts: dict[tuple[str, int, str], Account] = {}
_accounts_lock = threading.Lock()


def account_of(endpoint: Endpoint) -> Account:
    """The one Account of this process for the endpoint's vCenter and user."""
    key = (endpoint.host.strip("[]").lower(), endpoint.port, endpoint.user.lower())
    with _accounts_lock:
        return _accounts.setdefault(key, Account())
