"""A client gets a session exactly when a real vCenter would grant one."""

from __future__ import annotations

import ssl
import urllib.request
from typing import Any, Literal

import pytest
from pyVim.connect import SmartConnect
from pyVmomi import SoapStubAdapter, vim, vmodl

from tests.fakes.vcenter import VCenter, recorded_headers
from tests.unit.fakes.vcenter_client import PC, Client, connect, object_spec


def test_wrong_password_is_refused(vcenter: VCenter) -> None:
    with pytest.raises(vim.fault.InvalidLogin):
        SmartConnect(
            host=vcenter.host,
            port=vcenter.port,
            user=vcenter.user,
            pwd="wrong",
            sslContext=ssl.create_default_context(cafile=vcenter.ca_file),
        )
    assert vcenter.sessions.active() == []


def test_certificate_is_not_trusted_without_the_ca(vcenter: VCenter) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        SmartConnect(
            host=vcenter.host,
            port=vcenter.port,
            user=vcenter.user,
            pwd=vcenter.password,
            sslContext=ssl.create_default_context(),
        )


def test_cookie_is_quoted_as_by_a_real_vcenter(client: Client) -> None:
    name, _, value = client.instance._stub.cookie.split(";")[0].partition("=")
    assert name == "vmware_soap_session"
    assert value.startswith('"') and value.endswith('"')


@pytest.mark.parametrize("cookie_with", ["login", "first_answer"])
def test_cookie_comes_with_the_recorded_answer(
    vcenter: VCenter, cookie_with: Literal["login", "first_answer"]
) -> None:
    vcenter.switches.cookie_with = cookie_with
    context = ssl.create_default_context(cafile=vcenter.ca_file)
    stub = SoapStubAdapter(vcenter.host, vcenter.port, sslContext=context)
    content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
    first = stub.cookie
    assert bool(first) == (cookie_with == "first_answer")
    with pytest.raises(vim.fault.InvalidLogin):
        content.sessionManager.Login(vcenter.user, "wrong", None)
    refused = stub.cookie
    assert refused and refused == (first or refused)
    content.sessionManager.Login(vcenter.user, vcenter.password, None)
    assert stub.cookie == refused
    assert content.rootFolder.name == "Datacenters"


@pytest.mark.parametrize(
    ("release", "action", "headers"),
    [
        ("6.0.0", "", {"Cache-Control", "Connection"}),
        ("6.7.0", "", {"Cache-Control", "Connection", "X-Frame-Options"}),
        ("7.0.3", "", {"Cache-Control", "Vary", "X-Envoy-Upstream-Service-Time"}),
        ("9.0.1", "Login", {"Cache-Control", "Vary", "X-Applied-Soapaction"}),
        ("9.0.1", '"urn:vim25/8.0.2.0"', {"Cache-Control", "Vary"}),
    ],
)
def test_answers_have_the_headers_of_their_release(
    release: str, action: str, headers: set[str]
) -> None:
    assert set(recorded_headers.of_sdk(release, "9.0.0.0", action)) == headers


def test_morefs_of_a_session_do_not_contain_its_key(client: Client) -> None:
    view = client.content.viewManager.CreateListView([])
    key = client.content.sessionManager.currentSession.key
    assert view._moId.startswith("session[") and key not in view._moId


def test_expired_session_cannot_read(client: Client) -> None:
    datacenter = client.datacenter
    assert client.vcenter.sessions.expire_all() == 1
    with pytest.raises(vim.fault.NotAuthenticated) as caught:
        datacenter.name  # noqa: B018 - the read itself is tested
    assert caught.value.privilegeId == "System.View"
    assert caught.value.msg == "The session is not authenticated."


def test_retrieve_without_session_reports_missing_properties(
    client: Client,
) -> None:
    spec = object_spec(client.datacenter, "name")
    collector = client.collector
    client.vcenter.sessions.expire_all()
    result = collector.RetrievePropertiesEx([spec], PC.RetrieveOptions())
    (missing,) = result.objects[0].missingSet
    assert missing.path == "name"
    assert isinstance(missing.fault, vim.fault.NotAuthenticated)
    assert missing.fault.msg == ""
    assert not result.objects[0].propSet


def test_retrieve_without_session_shows_public_properties(client: Client) -> None:
    spec = object_spec(client.content.sessionManager, all_paths=True)
    collector = client.collector
    client.vcenter.sessions.expire_all()
    (manager,) = collector.RetrievePropertiesEx([spec], PC.RetrieveOptions()).objects
    assert [entry.name for entry in manager.propSet] == [
        "defaultLocale",
        "messageLocaleList",
        "supportedLocaleList",
    ]
    assert {each.path: each.fault.privilegeId for each in manager.missingSet} == {
        "message": "System.View",
        "sessionList": "Sessions.TerminateSession",
    }


def test_filter_needs_a_session(client: Client) -> None:
    spec, collector = object_spec(client.datacenter, "name"), client.collector
    client.vcenter.sessions.expire_all()
    with pytest.raises(vim.fault.NotAuthenticated):
        collector.CreateFilter(spec, True)


def test_idle_session_expires(client: Client) -> None:
    datacenter, manager = client.datacenter, client.content.sessionManager
    client.vcenter.clock.advance(1799)
    assert manager.currentSession is not None
    client.vcenter.clock.advance(1799)
    assert datacenter.name == "DC0"
    client.vcenter.clock.advance(1801)
    assert manager.currentSession is None
    with pytest.raises(vim.fault.NotAuthenticated):
        datacenter.name  # noqa: B018 - the read itself is tested


def test_objects_of_a_session_end_with_it(client: Client) -> None:
    view = client.content.viewManager.CreateContainerView(
        client.content.rootFolder, [vim.Folder], True
    )
    collector = client.collector.CreatePropertyCollector()
    client.content.sessionManager.Logout()
    client.content.sessionManager.Login(client.vcenter.user, client.vcenter.password, None)
    for gone in (view.DestroyView, collector.DestroyPropertyCollector):
        with pytest.raises(vmodl.fault.ManagedObjectNotFound):
            gone()


def test_objects_of_a_session_are_hidden_from_others(client: Client) -> None:
    collector = client.collector.CreatePropertyCollector()
    other = connect(client.vcenter)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        type(collector)(collector._moId, other.instance._stub).DestroyPropertyCollector()


def test_login_on_a_live_session_is_refused(client: Client) -> None:
    with pytest.raises(vim.fault.InvalidLogin):
        client.content.sessionManager.Login(client.vcenter.user, client.vcenter.password, None)


def test_cookie_of_an_ended_session_is_replaced(client: Client) -> None:
    before = client.instance._stub.cookie
    client.vcenter.sessions.expire_all()
    client.content.sessionManager.Login(client.vcenter.user, client.vcenter.password, None)
    assert client.instance._stub.cookie != before
    assert client.datacenter.name == "DC0"


def test_session_is_active_needs_the_exact_user(client: Client) -> None:
    manager = client.content.sessionManager
    key = manager.currentSession.key
    assert manager.SessionIsActive(key, client.vcenter.user)
    assert not manager.SessionIsActive(key, client.vcenter.user.upper())
    assert not manager.SessionIsActive("no-such-key", client.vcenter.user)


def test_clone_ticket_works_once(client: Client) -> None:
    manager = client.content.sessionManager
    ticket = manager.AcquireCloneTicket()
    client.instance._stub.cookie = ""
    assert manager.CloneSession(ticket).userName == client.vcenter.user
    client.instance._stub.cookie = ""
    with pytest.raises(vim.fault.InvalidLogin):
        manager.CloneSession(ticket)
    assert len(client.vcenter.sessions.active()) == 2


def test_restart_drops_sessions_and_tasks(client: Client) -> None:
    task = client.vm_folder.CreateFolder("a").Rename_Task("b")
    moref = task._moId
    client.vcenter.restart()
    again = connect(client.vcenter)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        vim.Task(moref, again.instance._stub).info  # noqa: B018 - the read itself is tested


def test_session_limit_is_enforced(vcenter: VCenter) -> None:
    vcenter.sessions.max_sessions = 1
    connect(vcenter)
    with pytest.raises(Exception, match="503"):
        connect(vcenter)


def test_unknown_path_is_not_found(vcenter: VCenter) -> None:
    trust = ssl.create_default_context(cafile=vcenter.ca_file)

    def get(path: str) -> Any:
        return urllib.request.urlopen(f"https://127.0.0.1:{vcenter.port}{path}", context=trust)

    with get("/sdk/vimServiceVersions.xml") as answer:
        assert b"<version>8.0.2.0</version>" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get("/ui")


def log_in(vcenter: VCenter, user: str, password: str) -> None:
    SmartConnect(
        host=vcenter.host,
        port=vcenter.port,
        user=user,
        pwd=password,
        sslContext=ssl.create_default_context(cafile=vcenter.ca_file),
    )


def fail_to_log_in(vcenter: VCenter, user: str, times: int, password: str = "wrong") -> None:
    for _ in range(times):
        with pytest.raises(vim.fault.InvalidLogin):
            log_in(vcenter, user, password)


def test_wrong_passwords_lock_an_account(vcenter: VCenter) -> None:
    vcenter.permissions.add_account("cinder@vsphere.local", "right")
    fail_to_log_in(vcenter, "cinder@vsphere.local", 4)
    vcenter.clock.advance(181)
    fail_to_log_in(vcenter, "CINDER@vsphere.local", 4)
    assert not vcenter.sessions.is_locked("cinder@vsphere.local")
    fail_to_log_in(vcenter, "cinder@vsphere.local", 1)
    assert vcenter.sessions.is_locked("cinder@vsphere.local")
    fail_to_log_in(vcenter, "cinder@vsphere.local", 1, "right")
    vcenter.clock.advance(300)
    log_in(vcenter, "cinder@vsphere.local", "right")


def test_the_administrator_is_never_locked_out(vcenter: VCenter) -> None:
    fail_to_log_in(vcenter, "administrator@vsphere.local", 6)
    log_in(vcenter, vcenter.user, vcenter.password)
