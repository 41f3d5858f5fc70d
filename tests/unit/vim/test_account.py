"""The cache never locks its account in vCenter's Single Sign-On, and recovers when it is
unlocked.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.vcenters import Target
from tests.fakes.vcenter import Clock, Model, VCenter
from tests.unit.vim.conftest import Background, ClientClock
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.vim.account import LOGIN_REFUSED_PAUSE_S
from vmdk_cache.vim.session import Session

USER = "cinder@vsphere.local"


@pytest.fixture
def vc() -> Iterator[VCenter]:
    """With an account that Single Sign-On may lock, unlike the administrator's."""
    with VCenter(Model(), user=USER, clock=Clock(scale=0.0)) as running:
        yield running


def client(target: Target, vc: VCenter, **changes: object) -> Session:
    return Session(target.endpoint(**changes), ClientClock(vc.clock))


def assert_refused(session: Session) -> errors.LoginRefused:
    with pytest.raises(errors.LoginRefused) as caught:
        session.open()
    return caught.value


def test_a_refused_password_is_sent_again_after_the_pause_and_not_before(
    vc: VCenter, target: Target
) -> None:
    session = client(target, vc)
    vc.password = "changed"
    for _ in range(3):
        assert_refused(session)
    assert vc.request_log.count("Login") == 1

    vc.password = target.password
    vc.clock.advance(LOGIN_REFUSED_PAUSE_S - 1)
    assert_refused(session)
    vc.clock.advance(1)
    session.open()

    assert vc.request_log.count("Login") == 2


def test_a_session_that_loses_its_log_in_to_a_changed_password_pauses_as_well(
    vc: VCenter, target: Target
) -> None:
    with client(target, vc) as session:
        vc.sessions.expire_all()
        vc.password = "changed"
        for _ in range(5):
            with pytest.raises(errors.LoginRefused):
                session.invoke("ViewManager", "ViewManager", "CreateListView")

        assert vc.request_log.count("Login") == 2


def test_the_refusal_says_how_long_the_pause_is_and_how_to_end_it(
    vc: VCenter, target: Target
) -> None:
    session = client(target, vc, password="wrong horse")
    assert "tried again" not in str(assert_refused(session))
    vc.clock.advance(100)

    refusal = assert_refused(session)

    assert "not tried again for 200 s" in str(refusal)
    assert "vmware_host_password" in str(refusal)
    assert "restart this process" in str(refusal)
    assert "wrong horse" not in str(refusal)
    assert (refusal.method, refusal.fault) == ("Login", "vim.fault.InvalidLogin")


@pytest.mark.parametrize("user", [USER, USER.upper()])
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST"])
def test_all_sessions_of_an_account_share_a_refusal(
    vc: VCenter, target: Target, user: str, host: str
) -> None:
    first = client(target, vc, password="wrong horse", host="localhost")
    second = client(target, vc, password="wrong horse", host=host, user=user)
    assert_refused(first)
    assert_refused(second)

    assert vc.request_log.count("Login") == 1


def test_sessions_that_log_in_together_send_a_wrong_password_once(
    vc: VCenter, target: Target
) -> None:
    sessions = [client(target, vc, password="wrong horse") for _ in range(8)]
    vc.fault_rules.add("Login", action=lambda: wait_until(lambda: len(waiting(vc)) >= 8))

    for attempt in [Background(session.open) for session in sessions]:
        with pytest.raises(errors.LoginRefused):
            attempt.join()

    assert vc.request_log.count("Login") == 1


def waiting(vc: VCenter) -> list[object]:
    """The sessions that have reached the log-in itself."""
    return [r for r in vc.request_log.recent() if r.method == "RetrieveServiceContent"]


def test_a_wrong_password_never_locks_the_account(vc: VCenter, target: Target) -> None:
    sessions = [client(target, vc, password="wrong horse") for _ in range(3)]
    for _ in range(120):
        for session in sessions:
            assert_refused(session)
        assert not vc.sessions.is_locked(USER)
        vc.clock.advance(10)

    client(target, vc).open()


def test_another_password_is_tried_at_once(vc: VCenter, target: Target) -> None:
    assert_refused(client(target, vc, password="wrong horse"))

    with client(target, vc) as session:
        assert session.generation == 1
    assert_refused(client(target, vc, password="wrong horse"))
    assert vc.request_log.count("Login") == 2


def test_another_account_is_not_held_back(vc: VCenter, target: Target) -> None:
    vc.permissions.add_account("other@vsphere.local", target.password)
    vc.password = "changed"
    assert_refused(client(target, vc))

    with client(target, vc, user="other@vsphere.local") as session:
        assert session.generation == 1


def test_another_vcenter_is_not_held_back(vc: VCenter, target: Target) -> None:
    vc.password = "changed"
    assert_refused(client(target, vc))
    with VCenter(Model(), user=USER, clock=Clock(scale=0.0)) as other:
        endpoint = target.endpoint(port=other.port, ca_file=other.ca_file)
        with Session(endpoint, ClientClock(other.clock)) as session:
            assert session.generation == 1


def test_a_refusal_is_forgotten_once_the_password_is_accepted(vc: VCenter, target: Target) -> None:
    vc.password = "changed"
    assert_refused(client(target, vc))
    vc.password = target.password
    vc.clock.advance(LOGIN_REFUSED_PAUSE_S)
    with client(target, vc), client(target, vc) as second:
        assert second.generation == 1


def test_a_log_in_that_hangs_keeps_others_no_longer_than_a_read_timeout(
    vc: VCenter, target: Target
) -> None:
    hanging = client(target, vc)
    behind = client(target, vc, read_timeout_s=10.0, api_retry_count=1)
    outcome: list[Exception] = []

    def open_the_second() -> None:
        with pytest.raises(errors.Unreachable) as caught:
            behind.open()
        outcome.append(caught.value)

    vc.fault_rules.add("Login", action=open_the_second)
    hanging.open()
    hanging.close()

    assert "another log-in of this account" in str(outcome[0])
    assert vc.request_log.count("Login") == 1
