"""SessionManager: who is logged in, for how long, and what dies with a session.

A session ends by Logout, by TerminateSession, after `idle_timeout_s` seconds without a request, or
by `expire_all`. What belongs to it (property collectors and filters, views, NFC leases) ends with
it. The cookie's value is quoted, as a real vCenter writes it. One thread's new login never revives
another's session.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

COOKIE = "vmware_soap_session"


class OutOfSessions(Exception):
    """There are as many sessions as the server allows; it answers HTTP 503, not a SOAP fault."""


class Session:
    """One login; `objects` end with it."""

    def __init__(self, vcenter: VCenter, user: str, locale: str | None, context: Context) -> None:
        self.vcenter = vcenter
        self.user = user
        self.locale = locale or "en"
        self.client_address = context.client_address
        self.key = str(uuid.uuid4())
        self.cookie = uuid.uuid4().hex + uuid.uuid4().hex[:8]
        self.login_time = vcenter.clock.now()
        self.last_active = vcenter.clock.monotonic()
        self.last_active_time = self.login_time
        self.calls = 0
        self.outstanding = 0
        self.ended = False
        self.objects: dict[str, ManagedObject] = {}
        self.property_collector: Any = None

    def new_moref(self) -> str:
        """A moref for an object of this session: "session[<key>]<uuid>", as vCenter writes them."""
        return f"session[{self.key}]{uuid.uuid4()}"

    def own(self, obj: ManagedObject) -> None:
        """Let `obj` end with this session (its `session_ended`, or else `destroy_object`, is
        called).
        """
        self.objects[obj.moref] = obj

    def disown(self, obj: ManagedObject) -> None:
        """`obj` ended by itself."""
        self.objects.pop(obj.moref, None)

    def touch(self) -> None:
        """A request arrived: the idle time starts anew."""
        self.calls += 1
        self.last_active = self.vcenter.clock.monotonic()
        self.last_active_time = self.vcenter.clock.now()

    def describe(self, current: Session | None) -> Any:
        """The UserSession that clients see."""
        return vim.UserSession(
            key=self.key,
            userName=self.user,
            fullName=self.user,
            loginTime=self.login_time,
            lastActiveTime=self.last_active_time,
            locale=self.locale,
            messageLocale=self.locale,
            extensionSession=False,
            ipAddress=self.client_address,
            userAgent="",
            callCount=self.calls,
        )


def not_authenticated(vcenter: VCenter) -> Exception:
    """The fault for a request without a live session."""
    return vim.fault.NotAuthenticated(
        object=vcenter.root_folder.ref,
        privilegeId="System.View",
        msg="The session is not authenticated.",
    )


class SessionManager(ManagedObject):
    """Sessions by cookie; also the test's handle (`vc.sessions`)."""

    TYPE = vim.SessionManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="SessionManager")
        self.idle_timeout_s = 1800.0
        self.max_sessions = 2000
        self._sessions: dict[str, Session] = {}
        self._tickets: dict[str, tuple[Session, float]] = {}

    # -- for the fake and its tests

    def active(self) -> list[Session]:
        """Live sessions, oldest first."""
        with self.vcenter.lock:
            for session in list(self._sessions.values()):
                self._drop_if_idle(session)
            return list(self._sessions.values())

    def by_cookie(self, cookie: str | None) -> Session | None:
        """The live session with this cookie value (with or without quotes), its idle time started
        anew.
        """
        if not cookie:
            return None
        session = self._sessions.get(cookie.strip().strip('"'))
        if session is None:
            return None
        with self.vcenter.lock:
            self._drop_if_idle(session)
            if session.ended:
                return None
            session.touch()
            return session

    def expire_all(self) -> int:
        """End every session now, as if all had been idle too long; returns how many there were."""
        with self.vcenter.lock:
            sessions = list(self._sessions.values())
            for session in sessions:
                self.end(session)
            return len(sessions)

    def end(self, session: Session) -> None:
        """End one session and what belongs to it."""
        with self.vcenter.lock:
            if session.ended:
                return
            session.ended = True
            self._sessions.pop(session.cookie, None)
            for obj in list(session.objects.values()):
                end = getattr(obj, "session_ended", obj.destroy_object)
                end()
            session.objects.clear()

    def _drop_if_idle(self, session: Session) -> None:
        # A request that is being served (a long poll) keeps its session from being idle.
        idle_s = self.vcenter.clock.monotonic() - session.last_active
        if session.outstanding == 0 and idle_s > self.idle_timeout_s:
            self.end(session)

    def _open(self, ctx: Context, user: str, locale: str | None) -> Session:
        if len(self.active()) >= self.max_sessions:
            raise OutOfSessions(f"Out of HTTP sessions: Limited to {self.max_sessions}")
        session = Session(self.vcenter, user, locale, ctx)
        self._sessions[session.cookie] = session
        if ctx.set_cookies is not None:
            ctx.set_cookies.append(f'{COOKIE}="{session.cookie}"; Path=/; HttpOnly; Secure')
        ctx.session = session
        return session

    # -- the vSphere API

    def read(self, name: str, ctx: Context) -> Any:
        """`currentSession` is the caller's own, unset when it has none."""
        if name == "currentSession":
            return ctx.session.describe(ctx.session) if ctx.session else None
        return super().read(name, ctx)

    @property
    def sessionList(self) -> list[Any]:
        """All sessions."""
        return [session.describe(None) for session in self.active()]

    @property
    def defaultLocale(self) -> str:
        """The server's language."""
        return "en"

    @property
    def supportedLocaleList(self) -> list[str]:
        """Languages of messages."""
        return ["en"]

    @property
    def messageLocaleList(self) -> list[str]:
        """Languages of messages."""
        return ["en"]

    def Login(
        self, ctx: Context, userName: str, password: str | None, locale: str | None = None
    ) -> Any:
        """Open a session.

        InvalidLogin for a wrong user or password, and for a connection that has a session.
        """
        if ctx.session is not None:
            raise vim.fault.InvalidLogin(msg="Cannot complete login: a session is already open.")
        user = self.vcenter.permissions.authenticate(userName, password)
        if user is None:
            raise vim.fault.InvalidLogin(
                msg="Cannot complete login due to an incorrect user name or password."
            )
        return self._open(ctx, user, locale).describe(None)

    def Logout(self, ctx: Context) -> None:
        """End the caller's session."""
        if ctx.session is None:
            raise not_authenticated(self.vcenter)
        self.end(ctx.session)

    def TerminateSession(self, ctx: Context, sessionId: list[str]) -> None:
        """End other sessions by their keys.

        NotFound for a key that no session has, InvalidArgument for the own.
        """
        by_key = {session.key: session for session in self.active()}
        for key in sessionId:
            if ctx.session is not None and key == ctx.session.key:
                raise vmodl.fault.InvalidArgument(invalidProperty="sessionId")
            if key not in by_key:
                raise vim.fault.NotFound(msg=f"No session with key '{key}'.")
            self.end(by_key[key])

    def SessionIsActive(self, ctx: Context, sessionID: str, userName: str) -> bool:
        """Whether a session with this key and exactly this user is open."""
        return any(
            session.key == sessionID and session.user == userName for session in self.active()
        )

    def AcquireCloneTicket(self, ctx: Context) -> str:
        """A one-time ticket for a second session of the same user."""
        assert ctx.session is not None
        ticket = "cst-VCT-" + str(uuid.uuid4())
        self._tickets[ticket] = (ctx.session, self.vcenter.clock.monotonic())
        return ticket

    def CloneSession(self, ctx: Context, cloneTicket: str) -> Any:
        """Open a second session by a ticket; the ticket dies with its session."""
        source, _ = self._tickets.pop(cloneTicket, (None, 0.0))
        if source is None or source.ended:
            raise vim.fault.InvalidLogin(msg="The clone ticket is not valid.")
        return self._open(ctx, source.user, source.locale).describe(None)

    def SetLocale(self, ctx: Context, locale: str) -> None:
        """Change the session's language."""
        assert ctx.session is not None
        ctx.session.locale = locale

    def AcquireGenericServiceTicket(self, ctx: Context, spec: Any) -> Any:
        """A one-time ticket for one HTTP request to a host."""
        assert ctx.session is not None
        ticket = str(uuid.uuid4())
        self.vcenter.http_tickets[ticket] = getattr(spec, "url", "")
        return vim.SessionManager.GenericServiceTicket(id=ticket)
