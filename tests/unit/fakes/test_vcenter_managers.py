"""The small managers accept and find what a real vCenter does, and no more."""

from __future__ import annotations

import datetime
import html
import http.client
import ssl
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import VCenter
from tests.unit.fakes.vcenter_client import Client, object_spec


def extension(key: str) -> Any:
    return vim.Extension(
        key=key,
        version="1.0",
        description=vim.Description(label="a", summary="b"),
        lastHeartbeatTime=datetime.datetime.now(datetime.UTC),
    )


def test_extension_cannot_be_registered_twice(client: Client) -> None:
    manager = client.content.extensionManager
    assert manager.FindExtension("org.example") is None
    manager.RegisterExtension(extension("org.example"))
    with pytest.raises(vmodl.fault.InvalidArgument):
        manager.RegisterExtension(extension("org.example"))
    assert manager.FindExtension("org.example").version == "1.0"
    manager.UnregisterExtension("org.example")
    with pytest.raises(vim.fault.NotFound):
        manager.UnregisterExtension("org.example")


def test_custom_attribute_name_belongs_to_one_type(client: Client) -> None:
    manager = client.content.customFieldsManager
    manager.AddCustomFieldDef("last_used", vim.Folder)
    with pytest.raises(vim.fault.DuplicateName):
        manager.AddCustomFieldDef("last_used", vim.VirtualMachine)


def test_custom_value_of_another_type_is_refused(client: Client) -> None:
    manager = client.content.customFieldsManager
    definition = manager.AddCustomFieldDef("last_used", vim.VirtualMachine)
    for key in (definition.key, 9999):
        with pytest.raises(vmodl.fault.InvalidArgument):
            manager.SetField(client.vm_folder, key, "now")


def test_custom_value_is_visible_until_its_definition_is_removed(client: Client) -> None:
    manager = client.content.customFieldsManager
    definition = manager.AddCustomFieldDef("last_used", None)
    manager.SetField(client.vm_folder, definition.key, "now")
    path = f"customValue[{definition.key}]"
    (content,) = client.retrieve(object_spec(client.vm_folder, path)).objects
    assert content.propSet[0].val.value == "now"
    client.vm_folder.setCustomValue("last_used", "later")
    assert [(each.key, each.value) for each in client.vm_folder.value] == [
        (definition.key, "later")
    ]
    manager.RemoveCustomFieldDef(definition.key)
    assert client.vm_folder.customValue == []
    assert manager.field == []


def test_session_timeout_option_takes_effect(client: Client) -> None:
    option = vim.option.OptionValue(key="config.vmacore.soap.sessionTimeout", value=1)
    client.content.setting.UpdateOptions([option])
    client.vcenter.clock.advance(61)
    with pytest.raises(vim.fault.NotAuthenticated):
        client.instance.CurrentTime()


def test_search_finds_only_existing_objects(client: Client) -> None:
    index = client.content.searchIndex
    assert index.FindAllByUuid(None, "4c4c4544-0000", True, True) == []
    assert index.FindByUuid(None, "4c4c4544-0000", True, True) is None
    assert index.FindByInventoryPath("DC0/vm/none") is None
    host = client.datacenter.hostFolder.childEntity[0].host[0]
    assert index.FindByUuid(None, host.summary.hardware.uuid, False) == host
    assert index.FindByDnsName(None, "DC0_C0_H1", False).name == "DC0_C0_H1"
    pool = host.parent.resourcePool
    assert index.FindByInventoryPath("/DC0/host/DC0_C0/Resources") == pool


def test_host_in_maintenance_is_not_usable(client: Client) -> None:
    host = client.datacenter.hostFolder.childEntity[0].host[0]
    fake = client.vcenter.registry.get(host._moId)
    client.collector.CreateFilter(object_spec(host, "runtime.inMaintenanceMode"), True)
    version = client.wait("").version
    fake.set_maintenance(True)
    assert client.wait(version) is not None
    assert host.runtime.inMaintenanceMode
    with pytest.raises(vim.fault.InvalidHostState):
        fake.check_usable()
    fake.set_connected(False)
    assert host.summary.runtime.connectionState == "disconnected"
    with pytest.raises(vmodl.fault.HostNotConnected):
        fake.check_usable()


def test_method_that_is_not_simulated_fails_and_is_recorded(client: Client) -> None:
    with pytest.raises(vmodl.fault.NotImplemented):
        client.vm_folder.CreateCluster("x", vim.cluster.ConfigSpec())
    assert "Folder.CreateCluster is not simulated" in client.vcenter.errors.pop().traceback


def test_method_of_another_type_is_not_found(client: Client) -> None:
    wrong = vim.VirtualMachine(client.vm_folder._moId, client.instance._stub)
    with pytest.raises(vmodl.fault.MethodNotFound):
        wrong.MarkAsTemplate()


def post(vcenter: VCenter, body: str, cookie: str = "") -> tuple[int, str]:
    """Status and answer of a request that no client library would send."""
    trust = ssl.create_default_context(cafile=vcenter.ca_file)
    connection = http.client.HTTPSConnection(vcenter.host, vcenter.port, context=trust)
    envelope = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:v="urn:vim25">'
        f"<e:Body>{body}</e:Body></e:Envelope>"
    )
    connection.request("POST", "/sdk", envelope, {"Cookie": cookie})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            '<v:RetrievePropertiesEx><v:_this type="PropertyCollector">propertyCollector'
            "</v:_this></v:RetrievePropertiesEx>",
            "Required parameter specSet is missing",
        ),
        (
            '<v:CurrentTime><v:_this type="ServiceInstance">ServiceInstance</v:_this>'
            "<v:more>1</v:more></v:CurrentTime>",
            "Unexpected element more",
        ),
        (
            '<v:CancelRetrievePropertiesEx><v:_this type="PropertyCollector">propertyCollector'
            "</v:_this><v:token><v:deep/></v:token></v:CancelRetrievePropertiesEx>",
            "Unable to parse",
        ),
        ("", "the SOAP body holds no call"),
        ("<v:unclosed>", "Unable to parse"),
        (
            '<v:Fly><v:_this type="ServiceInstance">ServiceInstance</v:_this></v:Fly>',
            "MethodNotFound",
        ),
        (
            '<v:Destroy_Task><v:_this type="VirtualMachine">vm-999</v:_this></v:Destroy_Task>',
            "vim.VirtualMachine:vm-999' has already been deleted",
        ),
    ],
)
def test_malformed_call_is_refused(client: Client, body: str, said: str) -> None:
    cookie = client.instance._stub.cookie.split(";")[0]
    status, answer = post(client.vcenter, body, cookie)
    assert status == 500
    assert said in html.unescape(answer)


def test_type_attributes_of_suds_do_not_change_a_value(client: Client) -> None:
    # suds writes xsi:type="xsd:string" on every element named `value`, whatever its type.
    definition = client.content.customFieldsManager.AddCustomFieldDef("a", None)
    status, _ = post(
        client.vcenter,
        '<v:SetField><v:_this type="CustomFieldsManager">CustomFieldsManager</v:_this>'
        f'<v:entity type="Folder">{client.vm_folder._moId}</v:entity>'
        f'<v:key>{definition.key}</v:key><v:value xsi:type="xsd:string">x</v:value></v:SetField>',
        client.instance._stub.cookie.split(";")[0],
    )
    assert status == 200
    assert client.vm_folder.customValue[0].value == "x"
