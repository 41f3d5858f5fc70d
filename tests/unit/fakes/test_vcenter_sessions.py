"""What would let a client work with a session that a real vCenter would have refused."""

from __future__ import annotations

import ssl
import urllib.request
from typing import Any

import pytest
from pyVim.connect import SmartConnect
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import VCenter
from tests.unit.fakes.vcenter_client import PC, Client, connect, object_spec


def test_wrong_password_is_accepted(vcenter: VCenter) -> None:
    with pytest.raises(vim.fault.InvalidLogin):
        SmartConnect(
            host=vcenter.host,
            port=vcenter.port,
            user=vcenter.user,
            pwd="wrong",
            sslContext=ssl.create_default_context(cafile=vcenter.ca_file),
        )
    assert vcenter.sessions.active() == []


def test_certificate_is_trusted_without_the_ca(vcenter: VCenter) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        SmartConnect(
            host=vcenter.host,
            port=vcenter.port,
            user=vcenter.user,
            pwd=vcenter.password,
            sslContext=ssl.create_default_context(),
        )


def test_cookie_is_not_quoted_as_a_real_vcenter_writes_it(client: Client) -> None:
    name, _, value = client.instance._stub.cookie.split(";")[0].partition("=")
    assert name == "vmware_soap_session"
    assert value.startswith('"') and value.endswith('"')


def test_expired_session_still_reads(client: Client) -> None:
    datacenter = client.datacenter
    assert client.vcenter.sessions.expire_all() == 1
    with pytest.raises(vim.fault.NotAuthenticated) as caught:
        datacenter.name  # noqa: B018 - the read itself is tested
    assert caught.value.privilegeId == "System.View"
    assert caught.value.msg == "The session is not authenticated."


def test_retrieve_without_session_is_a_soap_fault_instead_of_missing_properties(
    client: Client,
) -> None:
    spec = object_spec(client.datacenter, "name")
    collector = client.collector
    client.vcenter.sessions.expire_all()
    result = collector.RetrievePropertiesEx([spec], PC.RetrieveOptions())
    (missing,) = result.objects[0].missingSet
    assert missing.path == "name"
    assert isinstance(missing.fault, vim.fault.NotAuthenticated)
    assert not result.objects[0].propSet


def test_filter_without_session_is_made(client: Client) -> None:
    spec, collector = object_spec(client.datacenter, "name"), client.collector
    client.vcenter.sessions.expire_all()
    with pytest.raises(vim.fault.NotAuthenticated):
        collector.CreateFilter(spec, True)


def test_idle_session_lives_on(client: Client) -> None:
    datacenter, manager = client.datacenter, client.content.sessionManager
    client.vcenter.clock.advance(1799)
    assert manager.currentSession is not None
    client.vcenter.clock.advance(1799)
    assert datacenter.name == "DC0"
    client.vcenter.clock.advance(1801)
    assert manager.currentSession is None
    with pytest.raises(vim.fault.NotAuthenticated):
        datacenter.name  # noqa: B018 - the read itself is tested


def test_objects_of_a_session_survive_it(client: Client) -> None:
    view = client.content.viewManager.CreateContainerView(
        client.content.rootFolder, [vim.Folder], True
    )
    collector = client.collector.CreatePropertyCollector()
    client.content.sessionManager.Logout()
    client.content.sessionManager.Login(client.vcenter.user, client.vcenter.password, None)
    for gone in (view.DestroyView, collector.DestroyPropertyCollector):
        with pytest.raises(vmodl.fault.ManagedObjectNotFound):
            gone()


def test_objects_of_a_session_are_found_by_another(client: Client) -> None:
    collector = client.collector.CreatePropertyCollector()
    other = connect(client.vcenter)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        type(collector)(collector._moId, other.instance._stub).DestroyPropertyCollector()


def test_login_on_a_live_session_opens_a_second(client: Client) -> None:
    with pytest.raises(vim.fault.InvalidLogin):
        client.content.sessionManager.Login(client.vcenter.user, client.vcenter.password, None)


def test_cookie_of_an_ended_session_keeps_its_value(client: Client) -> None:
    before = client.instance._stub.cookie
    client.vcenter.sessions.expire_all()
    client.content.sessionManager.Login(client.vcenter.user, client.vcenter.password, None)
    assert client.instance._stub.cookie != before
    assert client.datacenter.name == "DC0"


def test_session_is_active_accepts_another_spelling_of_the_user(client: Client) -> None:
    manager = client.content.sessionManager
    key = manager.currentSession.key
    assert manager.SessionIsActive(key, client.vcenter.user)
    assert not manager.SessionIsActive(key, client.vcenter.user.upper())
    assert not manager.SessionIsActive("no-such-key", client.vcenter.user)


def test_clone_ticket_serves_twice(client: Client) -> None:
    manager = client.content.sessionManager
    ticket = manager.AcquireCloneTicket()
    client.instance._stub.cookie = ""
    assert manager.CloneSession(ticket).userName == client.vcenter.user
    client.instance._stub.cookie = ""
    with pytest.raises(vim.fault.InvalidLogin):
        manager.CloneSession(ticket)
    assert len(client.vcenter.sessions.active()) == 2


def test_restart_keeps_sessions_or_tasks(client: Client) -> None:
    task = client.vm_folder.CreateFolder("a").Rename_Task("b")
    moref = task._moId
    client.vcenter.restart()
    again = connect(client.vcenter)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        vim.Task(moref, again.instance._stub).info  # noqa: B018 - the read itself is tested


def test_session_limit_is_not_kept(vcenter: VCenter) -> None:
    vcenter.sessions.max_sessions = 1
    connect(vcenter)
    with pytest.raises(Exception, match="503"):
        connect(vcenter)


def test_unknown_path_is_served(vcenter: VCenter) -> None:
    trust = ssl.create_default_context(cafile=vcenter.ca_file)

    def get(path: str) -> Any:
        return urllib.request.urlopen(f"https://127.0.0.1:{vcenter.port}{path}", context=trust)

    with get("/sdk/vimServiceVersions.xml") as answer:
        assert b"<version>8.0.3.0</version>" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get("/ui")
