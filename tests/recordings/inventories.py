"""A fake vCenter for each recording, with an inventory like the recorded one."""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from pyVmomi import vim

from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.model import Profile
from tests.fakes.vcenter.virtual_machine_create import make_vm
from tests.recordings import recordings, shapes
from tests.recordings.recorded_client import RecordedClient
from tests.recordings.recordings import Exchange, Recording
from tests.recordings.ruby_objects import task_of_event
from tests.unit.fakes.vm_client import MiB, create_spec, disk_changes
from tests.waiting import wait_until

Builder = Callable[[Recording], AbstractContextManager[RecordedClient]]
#: ReadNextTasks of vCenter 5.x.
TASKS = "pyvmomi-read-next-tasks.xml"
#: Types of objects in the recorded SDDC that are compared, and the names of their properties.
SDDC_TYPES = (
    vim.Datacenter,
    vim.Folder,
    vim.Datastore,
    vim.ResourcePool,
    vim.ClusterComputeResource,
    vim.VirtualMachine,
    vim.host.DatastoreBrowser,
    vim.SessionManager,
    vim.CustomFieldsManager,
)


def _vm_spec(name: str) -> Any:
    return create_spec(
        name,
        deviceChange=disk_changes(MiB, controller=vim.vm.device.ParaVirtualSCSIController),
        managedBy=vim.ext.ManagedByInfo(extensionKey="com.example", type="volume"),
        extraConfig=[vim.option.OptionValue(key="answer", value="42")],
        annotation="as recorded",
    )


def _add_vms(vcenter: VCenter, count: int, power_on: bool) -> None:
    """As many VMs in the first datacenter, with no task that anybody remembers."""
    datacenter = vcenter.registry.of_type(vim.Datacenter)[0]
    pool = vcenter.registry.of_type(vim.ResourcePool)[0]
    with vcenter.lock:
        for number in range(count):
            vm = make_vm(datacenter.vmFolder, _vm_spec(f"vm-{number}"), pool, None)
            vm.power_state = "poweredOn" if power_on else "poweredOff"


@contextlib.contextmanager
def _small(recording: Recording) -> Iterator[RecordedClient]:
    """One host and one running VM on a vSAN."""
    model = Model(
        hosts_per_cluster=1,
        datastores=1,
        datastore_type="vsan",
        vcenter_version=recording.vcenter,
    )
    with VCenter(model) as vcenter:
        _add_vms(vcenter, 1, power_on=True)
        yield RecordedClient(vcenter)


@contextlib.contextmanager
def _wrong_password(recording: Recording) -> Iterator[RecordedClient]:
    with _small(recording) as client:
        client.password = "wrong"
        yield client


@contextlib.contextmanager
def _with_profiles(recording: Recording) -> Iterator[RecordedClient]:
    """The recorded profiles, which no datastore satisfies."""
    profiles = re.findall(r"<uniqueId>([^<]+)<", recording.exchanges[4].response)
    model = Model(
        datastores=4,
        vcenter_version=recording.vcenter,
        profiles=tuple(Profile(each, profile_id=each) for each in profiles),
    )
    with VCenter(model) as vcenter:
        yield RecordedClient(vcenter)


@contextlib.contextmanager
def _of_122_objects(recording: Recording) -> Iterator[RecordedClient]:
    """2 datacenters, 4 clusters, 16 hosts, 64 VMs; its vCenter sends the cookie early."""
    model = Model(
        datacenters=2,
        clusters=2,
        hosts_per_cluster=4,
        datastores=2,
        datastore_type="VMFS",
        shared_datastores=1,
        vcenter_version=recording.vcenter,
    )
    with VCenter(model) as vcenter:
        vcenter.switches.cookie_with = "first_answer"
        _add_vms(vcenter, 64, power_on=True)
        yield RecordedClient(vcenter)


BUILDERS: dict[str, Builder] = {
    "pyvmomi-smart-connection.json": _small,
    "pyvmomi-basic-connection-bad-password.json": _wrong_password,
    "pyvmomi-basic-container-view.json": _small,
    "pyvmomi-datacenter-explode.json": _small,
    "pyvmomi-datastore-explode.json": _small,
    "pyvmomi-network-explode.json": _small,
    "pyvmomi-host-explode.json": _small,
    "pyvmomi-vm-explode-type.json": _small,
    "pyvmomi-vm-nic-data.json": _small,
    "pyvmomi-pbm-check-compatibility.json": _with_profiles,
    "manageiq-refresher.json": _of_122_objects,
    "manageiq-metrics-capture-hourly.json": _small,
}


def differences_of_sddc() -> set[str]:
    """How all properties of the fake's objects differ from those of the recorded SDDC."""
    found: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(recordings.unpack_sddc(Path(folder)).glob("*.xml"))
        recorded = [ElementTree.fromstring(file.read_text()) for file in files]
    model = Model(hosts_per_cluster=1, datastores=2, datastore_type="vsan", vcenter_version="8.0.1")
    with VCenter(model) as vcenter:
        _add_vms(vcenter, 2, power_on=True)
        answered = _everything(vcenter)
        assert vcenter.errors == []
    for managed_type in SDDC_TYPES:
        name = managed_type._wsdlName
        theirs, ours = _of_type(recorded, name), _of_type(answered, name)
        assert theirs and ours, name
        for each in shapes.differences(theirs, ours, typed_elements=False):
            kind, path = each.split(" ", 1)
            path = re.sub(r"^/propSet\[(\w+)\](/val)?", r".\1", path)
            found.add(f"{kind} {name}{path}")
    return found


class _NoRoom:
    """Admission of a task that stays queued."""

    def request(self, admitted: Callable[[], None]) -> None:
        """Never."""

    def release(self) -> None:
        """Nothing is held."""


def _runs_on(task: Any) -> Iterator[float]:
    yield math.inf


def differences_of_tasks() -> set[str]:
    """How the fake's TaskInfo differs from recorded ones, for tasks that are queued or running."""
    recorded = list(shapes.body(recordings.path_of(TASKS).read_text())[0])
    found: set[str] = set()
    with _one_vm() as (vcenter, entity):
        for state, admission in (("queued", _NoRoom()), ("running", None)):
            task = vcenter.tasks.start(
                entity, "Rename_Task", "Folder.rename", _runs_on, admission=admission
            )
            theirs = [each for each in recorded if each.findtext("{*}state") == state]
            found |= _of_task(theirs, _info(vcenter, task, state), state)
    return found


def differences_of_event() -> set[str]:
    """How the fake's TaskInfo differs from that of an event: of a queued Destroy_Task."""
    envelope = (
        '<event xmlns="urn:vim25" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"{task_of_event('info')}</event>"
    )
    (recorded,) = ElementTree.fromstring(envelope)
    with _one_vm() as (vcenter, entity):
        vcenter.cost_model.enabled = True
        vcenter.cost_model.operations_at_a_time = 0
        client = RecordedClient(vcenter)
        client.send(_call("Login", "SessionManager", "<userName/><password/>"))
        client.send(_call("Destroy_Task", entity.moref, "", "VirtualMachine"))
        (task,) = vcenter.registry.of_type(vim.Task)
        ours = _info(vcenter, task, "queued")
    found = _of_task([recorded], ours, "queued, of an event")
    for word in ("name", "descriptionId", "state", "cancelled", "cancelable", "eventChainId"):
        theirs = recorded.findtext(f"{{*}}{word}")
        if ours.findtext(f"{{*}}{word}") != theirs:
            found.add(f"@ Task.info[queued, of an event]/{word}: {theirs} is recorded")
    return found


@contextlib.contextmanager
def _one_vm() -> Iterator[tuple[VCenter, Any]]:
    with VCenter() as vcenter:
        _add_vms(vcenter, 1, power_on=False)
        (entity,) = vcenter.vms()
        yield vcenter, entity


def _info(vcenter: VCenter, task: Any, state: str) -> Element:
    """The task's info as a client reads it, once it is in that state."""
    wait_until(lambda: task.info.state == state)
    client = RecordedClient(vcenter, references={"task-0": task.moref})
    client.send(_call("Login", "SessionManager", "<userName/><password/>"))
    answer = client.send(_call("Fetch", "task-0", "<prop>info</prop>", "Task"))
    (info,) = shapes.body(answer.body)[0]
    del info.attrib[shapes.XSI_TYPE]  # of the property, not of the info
    return info


def _of_task(recorded: list[Element], ours: Element, state: str) -> set[str]:
    found = set()
    for each in shapes.differences(recorded, [ours]):
        kind, path = each.split(" ", 1)
        found.add(f"{kind} Task.info[{state}]{path}")
    return found


def _of_type(objects: list[Element], name: str) -> list[Element]:
    return [each for each in objects if any(one.get("type") == name for one in each[:1])]


def _everything(vcenter: VCenter) -> list[Element]:
    """Every property of all objects of those types."""
    client = RecordedClient(vcenter)
    client.send(_call("Login", "SessionManager", "<userName/><password/>"))
    found: list[Element] = []
    for managed_type in SDDC_TYPES:
        name = managed_type._wsdlName
        objects = "".join(
            f'<objectSet><obj type="{name}">{obj.moref}</obj></objectSet>'
            for obj in vcenter.registry.of_type(managed_type)
        )
        spec = f"<propSet><type>{name}</type><all>true</all></propSet>{objects}"
        answer = client.send(
            _call("RetrieveProperties", "propertyCollector", f"<specSet>{spec}</specSet>")
        )
        assert answer.status == 200, answer.body
        (response,) = shapes.body(answer.body)
        found += list(response)
    return found


def _call(method: str, moref: str, arguments: str, this_type: str = "") -> Exchange:
    """A call that no recording has; its answer is compared with something else."""
    this_type = this_type or moref[0].upper() + moref[1:]
    request = (
        '<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>'
        f'<{method} xmlns="urn:vim25"><_this type="{this_type}">{moref}</_this>{arguments}'
        f"</{method}></Body></Envelope>"
    )
    headers = {"SOAPAction": '"urn:vim25/8.0.1.0"'}
    return Exchange(0, "/sdk", method, request, headers, 200, {}, "")
