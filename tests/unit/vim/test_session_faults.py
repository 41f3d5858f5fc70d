"""What a session does when vCenter does not answer, or answers that it knows nobody."""

from __future__ import annotations

import pytest
from pyVmomi import vim

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import Place
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import ClientClock
from vmdk_cache import errors
from vmdk_cache.vim import properties
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
    rule = vc.fault_rules.add("CreateFolder", drop="after")

    with pytest.raises(errors.Unreachable):
        make_folder(session, place, safe=False)

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


def test_a_refused_log_in_is_not_hammered(vc: VCenter, target: Target, session: Session) -> None:
    vc.sessions.expire_all()
    vc.password = "changed"
    for _ in range(5):
        with pytest.raises(errors.LoginRefused):
            session.invoke("ViewManager", "ViewManager", "CreateListView")

    assert vc.request_log.count("Login") == 2

    vc.password = target.password
    vc.clock.advance(31)
    assert properties.read(session, "Datacenter", ["datacenter-2"], ["name"])


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
