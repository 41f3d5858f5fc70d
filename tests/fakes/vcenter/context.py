"""The caller of a request: `dispatch` passes it to every handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fakes.vcenter.session_manager import Session
    from tests.fakes.vcenter.vcenter import VCenter


@dataclass
class Context:
    """One request.

    :param session: the live session, or None (only for methods that need no session)
    :param host: the "host:port" under which the client called the fake; returned URLs should use it
    :param cookie: value of the cookie of the HTTP session, "" without one
    :param user_agent: the client's User-Agent
    :param set_cookies: cookies to send with the answer, as complete Set-Cookie values
    """

    vcenter: VCenter
    session: Session | None = None
    host: str = ""
    client_address: str = "127.0.0.1"
    cookie: str = ""
    user_agent: str = ""
    set_cookies: list[str] | None = None

    @property
    def user(self) -> str:
        """The user of the session, or "" without a session."""
        return self.session.user if self.session else ""
