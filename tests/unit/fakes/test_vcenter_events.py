"""Events and the history of tasks report what happened."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from pyVim.connect import Disconnect
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.event_manager import KEPT
from tests.unit.fakes.vcenter_client import Client, connect, object_spec, told

Filter = vim.event.EventFilterSpec
TaskFilter = vim.TaskFilterSpec


@pytest.fixture
def manager(client: Client) -> Any:
    return client.content.eventManager


def config(name: str) -> Any:
    return vim.vm.ConfigSpec(name=name, files=vim.vm.FileInfo(vmPathName="[DC0_DS0]"))


@pytest.fixture
def vm(client: Client) -> Any:
    pool = client.datacenter.hostFolder.childEntity[0].resourcePool
    task = client.vm_folder.CreateVM_Task(config("a"), pool, None)
    WaitForTask(task)
    return task.info.result


def kinds(events: list[Any]) -> list[str]:
    return [type(event).__name__.rpartition(".")[2] for event in events]


def of(entity: Any, recursion: str = "self", **also: Any) -> Any:
    return Filter(entity=Filter.ByEntity(entity=entity, recursion=recursion), **also)


def oldest_first(manager: Any, spec: Any) -> list[Any]:
    return list(reversed(manager.QueryEvents(spec)))


def test_the_life_of_a_vm_is_in_the_events(client: Client, manager: Any, vm: Any) -> None:
    for begin in (
        lambda: vm.PowerOnVM_Task(None),
        vm.PowerOffVM_Task,
        lambda: vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="note")),
        lambda: vm.Rename_Task("b"),
        vm.Destroy_Task,
    ):
        WaitForTask(begin())
    found = oldest_first(manager, of(client.datacenter, "all"))
    assert [kind for kind in kinds(found) if kind != "TaskEvent"] == [
        "VmCreatedEvent",
        "VmPoweredOnEvent",
        "VmPoweredOffEvent",
        "VmReconfiguredEvent",
        "VmRenamedEvent",
        "VmRemovedEvent",
    ]
    created, removed = found[1], found[-1]
    assert created.fullFormattedMessage == (
        "Created virtual machine a on DC0_C0_H0, DC0_DS0 in DC0"
    )
    assert (created.vm.vm, created.vm.name, created.ds.name) == (vm, "a", "DC0_DS0")
    assert created.computeResource.name == "DC0_C0"
    assert created.userName == "VSPHERE.LOCAL\\administrator"
    assert removed.fullFormattedMessage == "Removed b on DC0_C0_H0 from DC0"
    renamed = found[-3]
    assert (renamed.oldName, renamed.newName) == ("a", "b")
    assert [event.key for event in found] == sorted(event.key for event in found)
    assert manager.latestEvent.key == found[-1].key


def test_the_events_of_a_task_have_its_chain_id(client: Client, manager: Any, vm: Any) -> None:
    task = vm.PowerOnVM_Task(None)
    WaitForTask(task)
    chain = task.info.eventChainId
    begun, done = oldest_first(manager, Filter(eventChainId=chain))
    assert kinds([begun, done]) == ["TaskEvent", "VmPoweredOnEvent"]
    assert (begun.key, begun.chainId, done.chainId) == (chain, chain, chain)
    assert begun.info.key == task.info.key
    assert (begun.info.state, begun.info.eventChainId, begun.info.startTime) == ("queued", 0, None)
    assert begun.fullFormattedMessage == "Task: VirtualMachine.powerOn"
    created = manager.QueryEvents(of(client.vm_folder))[0]
    assert created.fullFormattedMessage == "Task: Create virtual machine"


def test_a_failed_task_posts_no_event_of_success(client: Client, manager: Any, vm: Any) -> None:
    task = vm.PowerOffVM_Task()
    with pytest.raises(vim.fault.InvalidPowerState):
        WaitForTask(task)
    assert kinds(manager.QueryEvents(Filter(eventChainId=task.info.eventChainId))) == ["TaskEvent"]


def test_the_event_of_a_clone_names_the_clone(client: Client, manager: Any, vm: Any) -> None:
    pool = client.datacenter.hostFolder.childEntity[0].resourcePool
    spec = vim.vm.CloneSpec(location=vim.vm.RelocateSpec(pool=pool), powerOn=False, template=False)
    task = vm.CloneVM_Task(client.vm_folder, "copy", spec)
    WaitForTask(task)
    (cloned,) = manager.QueryEvents(Filter(type=[vim.event.VmClonedEvent]))
    assert (cloned.vm.vm, cloned.sourceVm.vm) == (task.info.result, vm)
    assert (cloned.template, cloned.chainId) == (False, task.info.eventChainId)


def test_a_log_in_posts_an_event(vcenter: VCenter, client: Client, manager: Any) -> None:
    other = connect(vcenter)
    key = other.content.sessionManager.currentSession.key
    Disconnect(other.instance)
    spec = of(client.content.rootFolder, "all")
    logged_out, logged_in = manager.QueryEvents(spec)[:2]
    assert kinds([logged_in, logged_out]) == ["UserLoginSessionEvent", "UserLogoutSessionEvent"]
    assert (logged_in.sessionId, logged_out.sessionId) == (key, key)
    assert logged_in.userAgent and logged_out.callCount > 0
    assert logged_in.fullFormattedMessage.startswith("User VSPHERE.LOCAL\\administrator@127.0.0.1")


def test_a_filter_finds_only_matching_events(client: Client, manager: Any, vm: Any) -> None:
    def found(spec: Any) -> list[str]:
        return kinds(oldest_first(manager, spec))

    assert found(of(vm)) == ["VmCreatedEvent"]
    assert found(of(vm, "children")) == []
    assert found(of(client.vm_folder)) == ["TaskEvent"]
    assert found(of(client.vm_folder, "children")) == ["VmCreatedEvent"]
    cluster = client.datacenter.hostFolder.childEntity[0]
    assert found(of(cluster, "all")) == ["VmCreatedEvent"]
    assert found(of(cluster.host[1], "all")) == []
    by_user = Filter.ByUsername
    assert found(of(vm, userName=by_user(systemUser=False, userList=["nobody"]))) == []
    assert found(
        of(vm, userName=by_user(systemUser=False, userList=["VSPHERE.LOCAL\\Administrator"]))
    ) == ["VmCreatedEvent"]
    assert found(of(vm, userName=by_user(systemUser=True))) == []
    assert found(of(vm, category=["error"])) == []
    assert found(of(vm, category=["error", "info"])) == ["VmCreatedEvent"]
    assert found(of(vm, eventTypeId=["VmCreatedEvent"])) == ["VmCreatedEvent"]
    assert found(of(vm, eventTypeId=["vim.event.VmRemovedEvent"])) == []
    now = client.instance.CurrentTime()
    hour = datetime.timedelta(hours=1)
    assert found(of(vm, time=Filter.ByTime(beginTime=now - hour, endTime=now))) == [
        "VmCreatedEvent"
    ]
    assert found(of(vm, time=Filter.ByTime(beginTime=now + hour))) == []
    assert found(of(vm, time=Filter.ByTime(endTime=now - hour))) == []
    assert found(of(vm, tag=["x"])) == []
    assert len(found(Filter(maxCount=2))) == 2
    with pytest.raises(vmodl.fault.InvalidArgument):
        manager.QueryEvents(Filter(maxCount=0))
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        manager.QueryEvents(of(vim.VirtualMachine("vm-999")))


def test_a_clients_event_is_kept_with_the_servers_key_time_and_user(
    client: Client, manager: Any, vm: Any
) -> None:
    manager.LogUserEvent(vm, "seen")
    event = vim.event.EventEx(
        key=7,
        chainId=7,
        createdTime=datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC),
        userName="somebody else",
        eventTypeId="org.example.happened",
        message="it happened",
        objectId=vm._moId,
    )
    manager.PostEvent(event, None)
    logged, posted = oldest_first(manager, of(vm))[-2:]
    assert logged.fullFormattedMessage == "User logged event: seen"
    assert logged.entity.entity == vm
    assert posted.fullFormattedMessage == "it happened"
    assert posted.key == logged.key + 1
    assert posted.userName == "VSPHERE.LOCAL\\administrator"
    assert posted.createdTime.year > 2000
    assert kinds(manager.QueryEvents(Filter(eventTypeId=["org.example.happened"]))) == ["EventEx"]


def test_only_the_newest_events_are_kept(vcenter: VCenter, client: Client, manager: Any) -> None:
    for number in range(KEPT + 5):
        manager.LogUserEvent(client.datacenter, str(number))
    found = manager.QueryEvents(Filter())
    assert len(found) == KEPT
    assert (found[0].message, found[-1].message) == (str(KEPT + 4), "5")


def numbers(events: list[Any]) -> list[int]:
    return [int(event.message) for event in events]


def test_a_collector_neither_skips_nor_repeats(client: Client, manager: Any) -> None:
    for number in range(25):
        manager.LogUserEvent(client.datacenter, str(number))
    collector = manager.CreateCollectorForEvents(Filter(type=[vim.event.GeneralUserEvent]))
    assert numbers(collector.latestPage) == list(range(24, 14, -1))
    assert numbers(collector.ReadNextEvents(10)) == list(range(10))
    assert numbers(collector.ReadNextEvents(10)) == list(range(10, 20))
    assert numbers(collector.ReadPreviousEvents(3)) == [19, 18, 17]
    assert numbers(collector.ReadNextEvents(10)) == list(range(17, 25))
    assert collector.ReadNextEvents(10) == []
    collector.RewindCollector()
    assert collector.ReadPreviousEvents(10) == []
    collector.ResetCollector()
    assert numbers(collector.ReadPreviousEvents(10)) == list(range(14, 4, -1))
    collector.SetCollectorPageSize(2)
    assert numbers(collector.latestPage) == [24, 23]
    for wrong in (0, -1, 1001):
        for call in (collector.ReadNextEvents, collector.SetCollectorPageSize):
            with pytest.raises(vmodl.fault.InvalidArgument):
                call(wrong)


def test_a_collector_follows_new_events(client: Client, manager: Any) -> None:
    collector = manager.CreateCollectorForEvents(Filter(type=[vim.event.GeneralUserEvent]))
    client.collector.CreateFilter(object_spec(collector, "latestPage"), False)
    version = client.known()
    manager.LogUserEvent(client.datacenter, "1")
    ((kind, moref, changes),) = told(client.wait(version))
    assert (kind, moref) == ("modify", collector._moId)
    assert numbers(changes["latestPage"]) == [1]
    manager.LogUserEvent(client.datacenter, "2")
    version = client.known()
    collector.SetCollectorPageSize(1)
    ((_, _, changes),) = told(client.wait(version))
    assert numbers(changes["latestPage"]) == [2]


def test_collectors_end_with_their_session_and_are_limited(
    vcenter: VCenter, client: Client, manager: Any
) -> None:
    collectors = [manager.CreateCollectorForEvents(Filter()) for _ in range(manager.maxCollector)]
    with pytest.raises(vim.fault.InvalidState):
        manager.CreateCollectorForEvents(Filter())
    collectors[0].DestroyCollector()
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        collectors[0].ReadNextEvents(1)
    manager.CreateCollectorForEvents(Filter())
    client.content.taskManager.CreateCollectorForTasks(TaskFilter())
    Disconnect(client.instance)
    assert vcenter.registry.of_type(vim.HistoryCollector) == []


def test_the_kinds_of_events_are_described(client: Client, manager: Any) -> None:
    described = {each.key: each for each in manager.description.eventInfo}
    created = described[vim.event.VmCreatedEvent]
    assert (created.category, created.description) == ("info", "VM created")
    assert {each.category for each in described.values()} <= {
        each.key for each in manager.description.category
    }


def test_posting_an_event_needs_a_privilege(vcenter: VCenter, client: Client) -> None:
    account = vcenter.permissions.add_account("a@vsphere.local", "secret")
    other = connect(vcenter, account.user, account.password).content
    with pytest.raises(vim.fault.NoPermission) as caught:
        other.eventManager.LogUserEvent(other.rootFolder, "x")
    assert caught.value.privilegeId == "Global.LogEvent"


def test_the_history_of_tasks_is_complete(vcenter: VCenter, client: Client, vm: Any) -> None:
    WaitForTask(vm.PowerOnVM_Task(None))
    vcenter.clock.advance(1200)
    failed = vm.PowerOnVM_Task(None)
    with pytest.raises(vim.fault.InvalidPowerState):
        WaitForTask(failed)
    manager = client.content.taskManager

    def found(**spec: Any) -> list[str]:
        collector = manager.CreateCollectorForTasks(TaskFilter(**spec))
        names = [info.descriptionId for info in collector.ReadNextTasks(10)]
        collector.DestroyCollector()
        return names

    by = TaskFilter.ByEntity
    create, power_on = "Folder.createVm", "VirtualMachine.powerOn"
    assert found() == [create, power_on, power_on]
    assert found(entity=by(entity=vm, recursion="self")) == [power_on, power_on]
    assert found(entity=by(entity=client.datacenter, recursion="children")) == [
        create,
        power_on,
        power_on,
    ]
    assert found(state=["success"]) == [create, power_on]
    assert found(state=["error"]) == [power_on]
    assert found(eventChainId=[failed.info.eventChainId]) == [power_on]
    assert found(parentTaskKey=["task-1"]) == []
    by_time = TaskFilter.ByTime
    before = client.instance.CurrentTime() - datetime.timedelta(minutes=10)
    for kind in ("queuedTime", "startedTime", "completedTime"):
        assert found(time=by_time(timeType=kind, beginTime=before)) == [power_on]
        assert found(time=by_time(timeType=kind, endTime=before)) == [create, power_on]
    by_user = TaskFilter.ByUsername
    assert found(userName=by_user(systemUser=False, userList=["nobody"])) == []
    collector = manager.CreateCollectorForTasks(TaskFilter())
    assert [info.state for info in collector.latestPage] == ["error", "success", "success"]
    assert [info.state for info in collector.ReadPreviousTasks(1)] == []
    assert manager.description.state[0].key == "queued"
