"""SessionManager: sessions, their expiry, and the objects that end with them.

A session ends by Logout, by TerminateSession, after `idle_timeout_s` seconds without a request, or
by `expire_all`. Its objects (property collectors and filters, views, NFC leases) end with it. A new
login of one thread never revives the session of another.

A cookie names an HTTP session, which exists before the log-in: vCenter 6.0 to 9.0 sends it with the
answer of Login, even of one that fails, and 5.5 with its first answer (switch `cookie_with`;
recordings). Its value is quoted. Morefs of a session's objects contain an id that is not the
session's key (recordings of 5.5 to 8.0.3).

Single Sign-On locks an account for LOCKOUT_S after LOCKOUT_FAILURES wrong passwords within
LOCKOUT_WITHIN_S, and then refuses even the right password. Those are the policy's defaults; it
exempts administrator@vsphere.local. (vSphere Authentication, "Edit the vCenter Single Sign-On
Lockout Policy"; VMware Cloud Foundation 4.5, "Configure the Account Lockout Policy", names 5 and
180 s. That a locked account gets InvalidLogin, as a wrong password does, is unconfirmed.)
"""

from __future__ import annotations

import math
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.event import Place
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

COOKIE = "vmware_soap_session"
LOCKOUT_FAILURES = 5
LOCKOUT_WITHIN_S = 180.0
LOCKOUT_S = 300.0
ANONYMOUS_KEPT = 1000
_NEVER_LOCKED = "administrator@vsphere.local"


class OutOfSessions(Exception):
    """The server has its maximum of sessions; it answers HTTP 503, not a SOAP fault."""


class Session:
    """One login; `objects` end with it."""

    def __init__(self, vcenter: VCenter, user: str, locale: str | None, context: Context) -> None:
        self.vcenter = vcenter
        self.user = user
        self.locale = locale or "en"
        self.client_address = context.client_address
        self.user_agent = context.user_agent
        self.key = str(uuid.uuid4())
        self.cookie = context.cookie
        self.pbm_cookie = str(uuid.uuid4())
        self._objects_id = str(uuid.uuid4())
        self.login_time = vcenter.clock.now()
        self.last_active = vcenter.clock.monotonic()
        self.last_active_time = self.login_time
        self.calls = 0
        self.outstanding = 0
        self.ended = False
        self.objects: dict[str, ManagedObject] = {}
        self.property_collector: Any = None

    def new_moref(self) -> str:
        """A moref for an object of this session: "session[<uuid>]<uuid>", vCenter's form."""
        return f"session[{self._objects_id}]{uuid.uuid4()}"

    def own(self, obj: ManagedObject) -> None:
        """Let `obj` end with this session, which calls its `session_ended`, or else
        `destroy_object`.
        """
        self.objects[obj.moref] = obj

    def disown(self, obj: ManagedObject) -> None:
        """Release `obj`, which has ended by itself."""
        self.objects.pop(obj.moref, None)

    def touch(self) -> None:
        """Reset the idle time, because a request arrived."""
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
            userAgent=self.user_agent,
            callCount=self.calls,
        )


def not_authenticated(vcenter: VCenter) -> Exception:
    """The fault for a request without a live session."""
    return vim.fault.NotAuthenticated(
        object=vcenter.root_folder.ref,
        privilegeId="System.View",
        msg="The session is not authenticated.",
    )


def unreadable(vcenter: VCenter, privilege_id: str | None) -> Exception:
    """The fault for a property that needs a session. It names the property's privilege and has no
    message (govmomi, vim25/mo/fixtures/not_authenticated_fault.xml).
    """
    return vim.fault.NotAuthenticated(
        object=vcenter.root_folder.ref, privilegeId=privilege_id or "System.View", msg=""
    )


class SessionManager(ManagedObject):
    """Sessions by cookie; also the test's handle (`vc.sessions`)."""

    TYPE = vim.SessionManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="SessionManager")
        self.message = ""  # the administrator's message to all users
        self.idle_timeout_s = 1800.0
        self.max_sessions = 2000
        self._sessions: dict[str, Session] = {}
        self._anonymous: OrderedDict[str, None] = OrderedDict()  # cookies without a log-in
        self._pbm_cookie = str(uuid.uuid4())
        self._tickets: dict[str, tuple[Session, float]] = {}
        self._failures: dict[str, list[float]] = {}  # user -> times of wrong passwords
        self._locked_until: dict[str, float] = {}

    # -- for the fake and its tests

    def active(self) -> list[Session]:
        """Live sessions, oldest first."""
        with self.vcenter.lock:
            for session in list(self._sessions.values()):
                self._drop_if_idle(session)
            return list(self._sessions.values())

    def by_cookie(self, cookie: str | None) -> Session | None:
        """The live session with this cookie value (with or without quotes); resets its idle
        time.
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

    def answer_with_cookie(self, ctx: Context, method: str) -> None:
        """Start an HTTP session for a client that has none, if this answer is the one that sets the
        cookie.
        """
        with self.vcenter.lock:
            if ctx.session is not None or ctx.cookie in self._anonymous:
                return
            ctx.cookie = ""
            if method in ("Login", "CloneSession") or (
                self.vcenter.switches.cookie_with == "first_answer"
            ):
                is_old = self.vcenter.switches.cookie_with == "first_answer"
                ctx.cookie = (
                    str(uuid.uuid4()) if is_old else uuid.uuid4().hex + uuid.uuid4().hex[:8]
                )
                self._anonymous[ctx.cookie] = None
                if len(self._anonymous) > ANONYMOUS_KEPT:
                    self._anonymous.popitem(last=False)
                assert ctx.set_cookies is not None
                ctx.set_cookies.append(f'{COOKIE}="{ctx.cookie}"; Path=/; HttpOnly; Secure;')

    def answer_with_pbm_cookie(self, ctx: Context) -> None:
        """Set the unquoted cookie that every answer of /pbm/sdk has (recordings of 5.5 and 6.5); no
        client needs it.
        """
        assert ctx.set_cookies is not None
        value = ctx.session.pbm_cookie if ctx.session is not None else self._pbm_cookie
        ctx.set_cookies.append(f"{COOKIE}={value}; HttpOnly")

    def expire_all(self) -> int:
        """End every session now, as if each had been idle too long; returns how many there were."""
        with self.vcenter.lock:
            sessions = list(self._sessions.values())
            for session in sessions:
                self.end(session)
            return len(sessions)

    def end(self, session: Session) -> None:
        """End one session and its objects."""
        with self.vcenter.lock:
            if session.ended:
                return
            session.ended = True
            self._sessions.pop(session.cookie, None)
            for obj in list(session.objects.values()):
                end = getattr(obj, "session_ended", obj.destroy_object)
                end()
            session.objects.clear()
            self.vcenter.events.post(
                "UserLogoutSessionEvent",
                session.user,
                Place(),
                ipAddress=session.client_address,
                userAgent=session.user_agent,
                callCount=session.calls,
                sessionId=session.key,
                loginTime=session.login_time,
            )

    def is_locked(self, user: str) -> bool:
        """Whether too many wrong passwords have locked this account."""
        return self.vcenter.clock.monotonic() < self._locked_until.get(user.lower(), -math.inf)

    def _password_failed(self, user: str) -> None:
        user, now = user.lower(), self.vcenter.clock.monotonic()
        recent = [at for at in self._failures.get(user, ()) if now - at <= LOCKOUT_WITHIN_S]
        self._failures[user] = [*recent, now]
        if len(self._failures[user]) >= LOCKOUT_FAILURES and user != _NEVER_LOCKED:
            self._locked_until[user] = now + LOCKOUT_S

    def _drop_if_idle(self, session: Session) -> None:
        # A running request (a long poll) keeps its session alive.
        idle_s = self.vcenter.clock.monotonic() - session.last_active
        if session.outstanding == 0 and idle_s > self.idle_timeout_s:
            self.end(session)

    def _open(self, ctx: Context, user: str, locale: str | None) -> Session:
        if len(self.active()) >= self.max_sessions:
            raise OutOfSessions(f"Out of HTTP sessions: Limited to {self.max_sessions}")
        session = Session(self.vcenter, user, locale, ctx)
        self._anonymous.pop(session.cookie, None)
        self._sessions[session.cookie] = session
        ctx.session = session
        self.vcenter.events.post(
            "UserLoginSessionEvent",
            user,
            Place(),
            ipAddress=session.client_address,
            userAgent=session.user_agent,
            locale=session.locale,
            sessionId=session.key,
        )
        return session

    # -- the vSphere API

    def read(self, name: str, ctx: Context) -> Any:
        """Read a property; `currentSession` is the caller's own, or unset."""
        if name == "currentSession":
            return ctx.session.describe(ctx.session) if ctx.session else None
        return super().read(name, ctx)

    @property
    def sessionList(self) -> list[Any]:
        """All sessions."""
        return [session.describe(None) for session in self.active()]

    def UpdateServiceMessage(self, ctx: Context, message: str) -> None:
        """Set the message that users see at log-in."""
        self.message = message
        self.changed("message")

    @property
    def defaultLocale(self) -> str:
        """The server's locale."""
        return "en"

    @property
    def supportedLocaleList(self) -> list[str]:
        """Locales of messages."""
        return ["en"]

    @property
    def messageLocaleList(self) -> list[str]:
        """Locales of messages."""
        return ["en"]

    def Login(
        self, ctx: Context, userName: str, password: str | None, locale: str | None = None
    ) -> Any:
        """Open a session.

        InvalidLogin for a wrong user or password, and for a connection that already has a session.
        """
        if ctx.session is not None:
            raise vim.fault.InvalidLogin(msg="Cannot complete login: a session is already open.")
        user = self.vcenter.permissions.authenticate(userName, password)
        locked = self.is_locked(userName)
        if user is None and not locked:
            self._password_failed(userName)
        if user is None or locked:
            raise vim.fault.InvalidLogin(
                msg="Cannot complete login due to an incorrect user name or password."
            )
        self._failures.pop(user.lower(), None)
        return self._open(ctx, user, locale).describe(None)

    def Logout(self, ctx: Context) -> None:
        """End the caller's session."""
        if ctx.session is None:
            raise not_authenticated(self.vcenter)
        self.end(ctx.session)

    def TerminateSession(self, ctx: Context, sessionId: list[str]) -> None:
        """End other sessions by their keys.

        NotFound for an unknown key, InvalidArgument for the caller's own.
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
        """Open a second session by a ticket; the ticket is valid as long as its session."""
        source, _ = self._tickets.pop(cloneTicket, (None, 0.0))
        if source is None or source.ended:
            raise vim.fault.InvalidLogin(msg="The clone ticket is not valid.")
        return self._open(ctx, source.user, source.locale).describe(None)

    def SetLocale(self, ctx: Context, locale: str) -> None:
        """Change the session's locale."""
        assert ctx.session is not None
        ctx.session.locale = locale

    def AcquireGenericServiceTicket(self, ctx: Context, spec: Any) -> Any:
        """A one-time ticket for one HTTP request to a host."""
        assert ctx.session is not None
        ticket = str(uuid.uuid4())
        self.vcenter.http_tickets[ticket] = getattr(spec, "url", "")
        return vim.SessionManager.GenericServiceTicket(id=ticket)
