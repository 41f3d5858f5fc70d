"""What a session does when vCenter does not answer, or answers that the session does not exist."""

from __future__ import annotations

import datetime
import threading
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import Place
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import Background, ClientClock
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.vim import properties
from vmdk_cache.vim.api_version import OLDEST_VERSION, newest_version
from vmdk_cache.vim.session import Session


def make_folder(session: Session, place: Place, *, safe: bool) -> object:
    return session.invoke("Folder", place.folder, "CreateFolder", safe=safe, name="x")


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_safe_call_is_repeated_when_the_connection_breaks(
    vc: VCenter, session: Session, drop: str
) -> None:
    vc.fault_rules.add("CurrentTime", drop=drop, times=2)  # type: ignore[arg-type]

    assert session.server_time()
    assert vc.request_log.count("CurrentTime") == 3


def test_a_call_that_may_have_acted_is_not_repeated(
    vc: VCenter, session: Session, place: Place
) -> None:
    """Unless the caller says that a repeat is safe."""
    rule = vc.fault_rules.add("CreateFolder", drop="after")

    with pytest.raises(errors.Unreachable):
        session.invoke("Folder", place.folder, "CreateFolder", name="x")

    assert rule.hits == 1
    with pytest.raises(errors.NameTaken):  # it had acted, once
        make_folder(session, place, safe=False)


def test_a_safe_call_is_given_up_after_the_bound(vc: VCenter, session: Session) -> None:
    rule = vc.fault_rules.add("CurrentTime", drop="before", times=None)

    with pytest.raises(errors.Unreachable):
        session.server_time()

    assert rule.hits == session.endpoint.api_retry_count


def test_a_server_that_hangs_is_not_asked_as_often_as_one_that_refuses(
    vc: VCenter, target: Target
) -> None:
    with Session(target.endpoint(api_retry_count=10), ClientClock(vc.clock)) as session:
        rule = vc.fault_rules.add(
            "CurrentTime", drop="before", times=None, action=lambda: vc.clock.advance(60)
        )

        with pytest.raises(errors.Unreachable):
            session.server_time()

        assert rule.hits == 3


def test_a_busy_server_is_asked_again(vc: VCenter, session: Session) -> None:
    vc.fault_rules.add("CurrentTime", http_status=503)

    assert session.server_time()


def test_a_connection_that_the_server_closed_is_replaced_before_use(
    vc: VCenter, session: Session, place: Place
) -> None:
    vc._server.drop_connections()

    assert make_folder(session, place, safe=False)


def test_all_threads_may_lose_the_session_at_a_restart(vc: VCenter, session: Session) -> None:
    vc.restart()

    assert properties.read(session, "Datacenter", ["datacenter-2"], ["name"])
    assert session.generation == 2


def test_a_missing_privilege_that_looks_like_a_lost_session_costs_no_log_in(
    vc: VCenter, session: Session, place: Place
) -> None:
    vc.fault_rules.add("CreateFolder", vim.fault.NotAuthenticated(), times=None)

    with pytest.raises(errors.NoPermission):
        make_folder(session, place, safe=False)

    assert session.generation == 1
    assert vc.request_log.count("Login") == 1


@pytest.mark.parametrize(
    "fault",
    [
        vim.fault.NotAuthenticated(),
        vmodl.fault.ManagedObjectNotFound(obj=vim.SessionManager("SessionManager")),
    ],
    ids=["not-authenticated", "not-found"],
)
def test_a_session_that_vcenter_refuses_to_describe_is_lost(
    vc: VCenter, session: Session, place: Place, fault: Exception
) -> None:
    """currentSession answers with a fault where it could be unset."""
    vc.sessions.expire_all()
    vc.fault_rules.add("Fetch", fault)

    assert make_folder(session, place, safe=False)
    assert session.generation == 2


def test_a_fault_that_says_nothing_of_the_session_costs_no_log_in(
    vc: VCenter, session: Session, place: Place
) -> None:
    vc.fault_rules.add("CreateFolder", vim.fault.NotAuthenticated())
    vc.fault_rules.add("Fetch", vmodl.fault.SystemError(reason="made up"))

    with pytest.raises(errors.TaskFailed, match="made up"):
        make_folder(session, place, safe=False)
    assert session.generation == 1


def test_a_call_that_is_refused_again_after_a_new_log_in_is_given_up(
    vc: VCenter, session: Session, place: Place
) -> None:
    rule = vc.fault_rules.add(
        "CreateFolder", vim.fault.NotAuthenticated(), times=None, action=vc.sessions.expire_all
    )

    with pytest.raises(errors.SessionExpired):
        make_folder(session, place, safe=False)
    assert (rule.hits, session.generation) == (2, 2)


def test_long_polls_and_calls_do_not_wait_for_each_others_connections(
    vc: VCenter, target: Target
) -> None:
    gate = threading.Event()
    with Session(target.endpoint(pool_size=1), ClientClock(vc.clock)) as session:
        collector = session.content.propertyCollector._GetMoId()

        def poll() -> object:
            return session.invoke(
                "PropertyCollector", collector, "WaitForUpdatesEx", poll=True, version=""
            )

        vc.fault_rules.add(
            "WaitForUpdatesEx", vmodl.fault.RequestCanceled(), action=lambda: gate.wait(60)
        )
        polling = Background(poll)
        wait_until(lambda: vc.request_log.count("WaitForUpdatesEx"))

        answered = Background(session.server_time)
        assert answered.join()
        assert not gate.is_set()

        vc.fault_rules.add("CurrentTime", action=lambda: gate.wait(60))
        calling = Background(session.server_time)
        wait_until(lambda: vc.request_log.count("CurrentTime") == 2)
        vc.fault_rules.add("WaitForUpdatesEx", vmodl.fault.RequestCanceled())
        gate.set()
        calling.join()
        with pytest.raises(errors.VCenterError):
            polling.join()


def test_requests_of_both_kinds_are_counted(vc: VCenter, session: Session) -> None:
    before = session.request_count
    collector = session.content.propertyCollector._GetMoId()
    vc.fault_rules.add("WaitForUpdatesEx", vmodl.fault.RequestCanceled())
    with pytest.raises(errors.VCenterError):
        session.invoke("PropertyCollector", collector, "WaitForUpdatesEx", poll=True, version="")
    session.server_time()

    assert session.request_count == before + 2
    session.close()
    assert session.request_count == 0


def wires(session: Session) -> tuple[Any, Any]:
    """The pools of connections for calls and for long polls, each with an idle connection."""
    collector = session.content.propertyCollector._GetMoId()
    options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=0)
    session.invoke(
        "PropertyCollector",
        collector,
        "WaitForUpdatesEx",
        poll=True,
        version="",
        options=options,
    )
    wire = session._wire
    assert wire is not None
    assert wire.calls.pool and wire.polls.pool
    return wire.calls, wire.polls


def test_both_kinds_of_calls_speak_the_newest_api(session: Session) -> None:
    calls, polls = wires(session)
    newest = newest_version(str(session.content.about.apiVersion))
    assert calls.version == polls.version == newest != OLDEST_VERSION


def test_no_connection_outlives_its_session(vc: VCenter, session: Session) -> None:
    first = wires(session)
    vc.sessions.expire_all()
    second = wires(session)
    assert [channel.pool for channel in first] == [[], []]

    session.close()

    assert [channel.pool for channel in second] == [[], []]


def test_a_long_poll_has_time_for_its_answer_beyond_that_of_a_call(session: Session) -> None:
    calls, polls = wires(session)
    timeouts = [channel.pool[0][0].sock.gettimeout() for channel in (calls, polls)]
    assert timeouts == [session.endpoint.read_timeout_s, session.endpoint.read_timeout_s + 30]


def test_a_late_answer_to_an_old_session_does_not_replace_the_cookie(session: Session) -> None:
    """pyVmomi accepts every Set-Cookie; only that of the log-in counts."""
    before = session.cookie()
    for channel in wires(session):
        channel.cookie = 'vmware_soap_session="of an old session"'

    assert session.cookie() == before
    assert {channel.cookie.split(";")[0] for channel in wires(session)} == {before}


def test_users_of_a_session_share_one_object_of_a_name(session: Session) -> None:
    made: list[object] = []

    def make() -> object:
        threading.Event().wait(0.01)
        made.append(object())
        return made[-1]

    users = [Background(lambda: session.shared("x", make)) for _ in range(8)]

    assert {user.join() for user in users} == {made[0]}
    assert len(made) == 1
    assert session.shared("y", make) is made[1]


def test_a_long_poll_is_not_repeated(vc: VCenter, session: Session) -> None:
    collector = session.content.propertyCollector._GetMoId()
    rule = vc.fault_rules.add("WaitForUpdatesEx", drop="before", times=None)

    with pytest.raises(errors.Unreachable):
        session.invoke("PropertyCollector", collector, "WaitForUpdatesEx", poll=True, version="")
    assert rule.hits == 1


def test_a_folder_that_is_gone_is_not_remembered(
    vc: VCenter, session: Session, place: Place
) -> None:
    session.folders[("a",)] = "group-v999999"
    session.folders[("b",)] = place.folder

    with pytest.raises(errors.ObjectNotFound):
        session.invoke("Folder", "group-v999999", "CreateFolder", name="x")

    assert ("a",) not in session.folders
    assert session.folders[("b",)] == place.folder


def test_a_call_keeps_a_session_alive_and_saves_a_request(
    vc: VCenter, session: Session, place: Place
) -> None:
    vc.clock.advance(601)
    make_folder(session, place, safe=False)
    vc.request_log.reset()
    session.keep_alive()

    assert vc.request_log.total() == 0


def test_a_session_that_was_never_opened_is_not_kept_alive(vc: VCenter, target: Target) -> None:
    Session(target.endpoint(), ClientClock(vc.clock)).keep_alive()

    assert vc.request_log.total() == 0


def test_a_closed_session_is_not_kept_alive(vc: VCenter, session: Session) -> None:
    session.close()
    vc.request_log.reset()
    vc.clock.advance(601)
    session.keep_alive()

    assert vc.request_log.total() == 0


def test_an_idle_session_is_kept_alive_and_a_busy_one_not_asked(
    vc: VCenter, session: Session
) -> None:
    vc.request_log.reset()
    session.keep_alive()
    assert vc.request_log.total() == 0

    for _ in range(6):
        vc.clock.advance(601)
        session.keep_alive()

    assert vc.request_log.by_method() == {"CurrentTime": 6}
    assert len(vc.sessions.active()) == 1


@pytest.mark.parametrize("told", ["2026-06-01T12:00:00", "2026-06-01T14:00:00+02:00"])
def test_vcenters_time_is_utc_however_vcenter_writes_it(target: Target, told: str) -> None:
    """A time without a zone is UTC."""

    class Answering(Session):
        def invoke(
            self, type_name: str, moref: str, method: str, /, *, safe: bool = False, **args: Any
        ) -> Any:
            return datetime.datetime.fromisoformat(told)

    assert Answering(target.endpoint()).server_time().isoformat() == "2026-06-01T12:00:00+00:00"


def test_the_end_of_a_sessions_block_logs_out(vc: VCenter, target: Target) -> None:
    with Session(target.endpoint()):
        assert len(vc.sessions.active()) == 1

    assert vc.sessions.active() == []


def test_closing_logs_out(vc: VCenter, session: Session) -> None:
    session.close()

    assert vc.sessions.active() == []


def test_a_read_starts_again_when_the_session_is_lost_between_pages(
    vc: VCenter, session: Session, place: Place
) -> None:
    for number in range(5):
        session.invoke("Folder", place.folder, "CreateFolder", name=f"f{number}")
    vc.switches.retrieve_page_limit = 2
    vc.fault_rules.add("ContinueRetrievePropertiesEx", action=vc.sessions.expire_all)

    found = properties.read_through(
        session, "Folder", place.folder, [("Folder", "childEntity")], "Folder", ["name"]
    )

    assert len(found) == 5
    assert session.generation == 2


def test_a_read_that_fails_between_pages_gives_its_token_back(
    vc: VCenter, session: Session, place: Place
) -> None:
    for number in range(5):
        session.invoke("Folder", place.folder, "CreateFolder", name=f"f{number}")
    vc.switches.retrieve_page_limit = 2
    vc.fault_rules.add("ContinueRetrievePropertiesEx", vim.fault.FileFault())

    with pytest.raises(errors.TaskFailed):
        properties.read_through(
            session, "Folder", place.folder, [("Folder", "childEntity")], "Folder", ["name"]
        )

    assert vc.request_log.count("CancelRetrievePropertiesEx") == 1
