"""Upstream's own client (oslo.vmware with suds) and Cinder's stock driver can work on the fake.

One session serves the whole file, because suds takes seconds to read the WSDL.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from oslo_vmware import api, exceptions, pbm, vim_util

from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.model import Profile


@pytest.fixture(scope="module")
def vcenter() -> Iterator[VCenter]:
    with VCenter(Model(datastores=3, profiles=(Profile("gold", ("DC0_DS1",)),))) as running:
        yield running
        assert running.errors == []


@pytest.fixture(scope="module")
def session(vcenter: VCenter) -> Any:
    """Connects with the CA verified and no WSDL location given."""
    return api.VMwareAPISession(
        vcenter.host,
        vcenter.user,
        vcenter.password,
        api_retry_count=2,
        task_poll_interval=0.05,
        port=vcenter.port,
        cacert=vcenter.ca_file,
        insecure=False,
    )


def properties(content: Any) -> dict[str, Any]:
    return {prop.name: prop.val for prop in content.propSet}


def all_of(session: Any, kind: str, *paths: str, page: int = 100) -> list[Any]:
    result = session.invoke_api(
        vim_util, "get_objects", session.vim, kind, page, properties_to_collect=list(paths)
    )
    found = []
    while result:
        found += result.objects
        result = session.invoke_api(vim_util, "continue_retrieval", session.vim, result)
    return found


def test_recursive_traversal_ends_and_finds_every_object(session: Any) -> None:
    datastores = all_of(session, "Datastore", "host", "summary", page=2)
    assert [properties(each)["summary"].name for each in datastores] == [
        "DC0_DS0",
        "DC0_DS1",
        "DC0_DS2",
    ]
    mounts = properties(datastores[0])["host"].DatastoreHostMount
    assert {mount.mountInfo.accessMode for mount in mounts} == {"readWrite"}
    hosts = all_of(session, "HostSystem", "runtime", "parent")
    assert {properties(each)["runtime"].connectionState for each in hosts} == {"connected"}


def test_empty_traversal_does_not_look_like_a_lost_session(session: Any) -> None:
    assert all_of(session, "VirtualMachine", "name") == []
    assert session.is_current_session_active()


def test_inventory_path_is_correct(session: Any) -> None:
    (datastore, *_) = all_of(session, "Datastore", "name")
    path = vim_util.get_inventory_path(session.vim, datastore.obj, 1)
    assert path == "/DC0/datastore/DC0_DS0"


def test_naive_date_of_an_extension_is_accepted(session: Any) -> None:
    assert vim_util.find_extension(session.vim, "org.example") is None
    vim_util.register_extension(session.vim, "org.example", "volume")
    found = vim_util.find_extension(session.vim, "org.example")
    assert found.lastHeartbeatTime is not None
    with pytest.raises(exceptions.VimFaultException) as caught:
        vim_util.register_extension(session.vim, "org.example", "volume")
    assert caught.value.fault_list == ["InvalidArgument"]


def test_fault_details_arrive(session: Any) -> None:
    (datacenter,) = all_of(session, "Datacenter", "vmFolder")
    folder = properties(datacenter)["vmFolder"]
    made = session.invoke_api(session.vim, "CreateFolder", folder, name="a/b")
    with pytest.raises(exceptions.DuplicateName) as caught:
        session.invoke_api(session.vim, "CreateFolder", folder, name="a/b")
    assert str(caught.value.details["object"]) == made.value
    assert str(caught.value.details["name"]) == "a%2fb"
    task = session.invoke_api(session.vim, "Rename_Task", made, newName="c")
    assert session.wait_for_task(task).state == "success"
    name = session.invoke_api(vim_util, "get_object_property", session.vim, made, "name")
    assert name == "c"


def test_expired_session_is_noticed(session: Any, vcenter: VCenter) -> None:
    # oslo.vmware logs in again, and then sleeps for ten seconds before it retries.
    logins = vcenter.request_log.count("Login")
    vcenter.sessions.expire_all()
    assert len(all_of(session, "Datastore", "name")) == 3
    assert vcenter.request_log.count("Login") == logins + 1


def test_storage_policies_need_no_wsdl_of_the_server(session: Any) -> None:
    session.pbm_wsdl_loc_set(pbm.get_pbm_wsdl_location(vim_util.get_vc_version(session)))
    wanted = pbm.get_profile_id_by_name(session, "gold")
    assert pbm.get_profile_id_by_name(session, "silver") is None
    datastores = [each.obj for each in all_of(session, "Datastore", "name")]
    hubs = pbm.convert_datastores_to_hubs(session.pbm.client.factory, datastores)
    matching = pbm.filter_hubs_by_profile(session, hubs, wanted)
    assert pbm.filter_datastores_by_hubs(matching, datastores) == [datastores[1]]


def test_search_index_gives_suds_the_same_answers(session: Any) -> None:
    index = session.vim.service_content.searchIndex
    assert not session.invoke_api(
        session.vim, "FindAllByUuid", index, uuid="none", vmSearch=True, instanceUuid=True
    )
    found = session.invoke_api(
        session.vim, "FindByInventoryPath", index, inventoryPath="/DC0/host/DC0_C0"
    )
    assert vim_util.get_moref_type(found) == "ClusterComputeResource"
