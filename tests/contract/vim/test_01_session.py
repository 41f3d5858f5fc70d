"""Logging in, losing the session, and the messages for operators when it fails."""

from __future__ import annotations

import datetime
import pathlib
import threading

import pytest
import trustme

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import NO_VM, end_session
from vmdk_cache import errors
from vmdk_cache.vim.api_version import newest_version
from vmdk_cache.vim.session import Session


def test_making_a_session_connects_nowhere() -> None:
    from vmdk_cache.vim.session import Endpoint

    made = Session(Endpoint("192.0.2.1", "user", "password"))

    assert made.generation == 0
    made.close()


def test_opening_takes_two_requests(target: Target) -> None:
    with Session(target.endpoint()) as session:
        assert session.request_count == 2
        assert session.generation == 1


def test_server_time_is_aware(session: Session) -> None:
    assert session.server_time().utcoffset() == datetime.timedelta(0)


def test_a_lost_session_is_replaced_and_the_call_answered(session: Session) -> None:
    old_cookie = session.cookie()
    end_session(session)

    assert session.server_time() is not None  # needs no session on a real vCenter
    assert session.invoke("ViewManager", session.content.viewManager._GetMoId(), "CreateListView")
    assert session.generation == 2
    assert session.cookie() != old_cookie


def test_threads_that_lose_the_session_together_log_in_once(session: Session) -> None:
    end_session(session)
    views = session.content.viewManager._GetMoId()
    made: list[str] = []
    failures: list[BaseException] = []

    def call() -> None:
        try:
            made.append(session.invoke("ViewManager", views, "CreateListView"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert not failures
    assert len(made) == 20
    assert session.generation == 2


def test_a_wrong_password_names_the_options_and_not_the_password(target: Target) -> None:
    """On a given vCenter, with an account that does not exist, since wrong passwords lock one."""
    user = f"{target.run.id}@vsphere.local" if target.is_given else target.user
    with pytest.raises(errors.LoginRefused) as caught:
        Session(target.endpoint(user=user, password="wrong horse")).open()

    assert "vmware_host_password" in str(caught.value)
    assert f"{target.host}:{target.port}" in str(caught.value)
    assert "wrong horse" not in str(caught.value)
    assert "wrong horse" not in repr(target.endpoint(password="wrong horse"))


def test_an_unknown_issuer_is_refused_and_names_the_option(
    target: Target, tmp_path: pathlib.Path
) -> None:
    other = tmp_path / "another-ca.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(errors.CertificateRefused, match="vmware_ca_file"):
        Session(target.endpoint(ca_file=str(other))).open()


def test_insecure_checks_no_certificate(target: Target) -> None:
    with Session(target.endpoint(ca_file=None, insecure=True)) as session:
        assert session.generation == 1


def test_a_refused_connection_names_the_address(target: Target) -> None:
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:1: .*vmware_host_ip"):
        Session(target.endpoint(host="127.0.0.1", port=1, api_retry_count=1)).open()


def test_a_ca_file_that_is_no_pem_names_the_option(target: Target) -> None:
    with pytest.raises(errors.ConfigError, match="vmware_ca_file"):
        Session(target.endpoint(ca_file=__file__)).open()


def test_a_closed_session_stays_closed(target: Target) -> None:
    session = Session(target.endpoint())
    session.open()
    session.close()
    session.close()

    with pytest.raises(errors.SessionExpired):
        session.server_time()


def test_an_object_that_is_gone_is_named(session: Session) -> None:
    with pytest.raises(errors.ObjectNotFound) as caught:
        session.invoke("VirtualMachine", NO_VM, "MarkAsTemplate")

    assert caught.value.moref == NO_VM
    assert caught.value.method == "MarkAsTemplate"


@pytest.mark.parametrize(
    ("api_version", "spoken"),
    [
        ("6.5", "vim.version.version11"),
        ("8.0.2.0", "vim.version.v8_0_2_0"),
        ("8.0.2.7", "vim.version.v8_0_2_0"),
        ("5.5", "vim.version.version10"),
    ],
)
def test_the_newest_api_that_both_know_is_spoken(api_version: str, spoken: str) -> None:
    assert newest_version(api_version) == spoken
