"""Alarms of the fake are raised, kept and cleared like vCenter's."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import VCenter
from tests.unit.fakes.vcenter_client import Client, object_spec, told

alarm_api = vim.alarm
HOST_ALARM = "alarm.HostConnectionStateAlarm"


@pytest.fixture
def manager(client: Client) -> Any:
    return client.content.alarmManager


@pytest.fixture
def host(client: Client) -> Any:
    return client.datacenter.hostFolder.childEntity[0].host[0]


def spec(expression: Any, name: str = "a", **fields: Any) -> Any:
    return alarm_api.AlarmSpec(
        **{"name": name, "description": "", "enabled": True, "expression": expression, **fields}
    )


def by_event(type_id: str, status: str, kind: Any = vim.Folder) -> Any:
    return alarm_api.EventAlarmExpression(
        eventType=vim.event.EventEx, eventTypeId=type_id, objectType=kind, status=status
    )


def post(client: Client, type_id: str, entity: Any) -> None:
    event = vim.event.EventEx(
        key=0,
        chainId=0,
        createdTime=datetime.datetime.now(datetime.UTC),
        userName="",
        eventTypeId=type_id,
        objectId=entity._moId,
    )
    client.content.eventManager.PostEvent(event, None)


def statuses(states: list[Any]) -> list[tuple[Any, str]]:
    return [(state.entity, state.overallStatus) for state in states]


def test_a_host_that_does_not_respond_triggers_the_alarm(
    vcenter: VCenter, client: Client, manager: Any, host: Any
) -> None:
    root = client.content.rootFolder
    (alarm,) = manager.GetAlarm(None)
    assert (alarm.info.systemName, alarm.info.entity) == (HOST_ALARM, root)
    assert root.triggeredAlarmState == []
    (state,) = host.declaredAlarmState
    assert (state.overallStatus, state.key) == ("green", f"{alarm._moId}.{host._moId}")
    client.collector.CreateFilter(object_spec(client.datacenter, "triggeredAlarmState"), False)
    version = client.known()
    WaitForTask(host.ShutdownHost_Task(True))
    ((_, moref, changes),) = told(client.wait(version))
    assert moref == client.datacenter._moId
    assert statuses(changes["triggeredAlarmState"]) == [(host, "red")]
    for entity in (root, host.parent, host):
        assert statuses(entity.triggeredAlarmState) == [(host, "red")]
    assert client.vm_folder.triggeredAlarmState == []
    assert client.vm_folder.declaredAlarmState == []
    assert client.datacenter.network[0].declaredAlarmState == []
    for entity in (client.datacenter, client.datacenter.hostFolder, host.parent):
        assert entity.declaredAlarmState[0].overallStatus == "gray"
    WaitForTask(host.ReconnectHost_Task(None, None))
    assert root.triggeredAlarmState == []


def test_an_acknowledged_alarm_records_the_user(
    vcenter: VCenter, client: Client, manager: Any, host: Any
) -> None:
    (alarm,) = manager.GetAlarm(None)
    manager.AcknowledgeAlarm(alarm, host)
    assert host.declaredAlarmState[0].acknowledged is False
    WaitForTask(host.ShutdownHost_Task(True))
    manager.AcknowledgeAlarm(alarm, host)
    (state,) = client.content.rootFolder.triggeredAlarmState
    assert (state.acknowledged, state.acknowledgedByUser) == (True, vcenter.user)
    assert state.acknowledgedTime >= state.time
    vcenter.clock.advance(10)
    manager.AcknowledgeAlarm(alarm, host)
    assert host.triggeredAlarmState[0].acknowledgedTime == state.acknowledgedTime
    manager.ClearTriggeredAlarms(alarm_api.AlarmFilterSpec())
    (again,) = host.triggeredAlarmState
    assert (again.overallStatus, again.acknowledged) == ("red", False)


def test_an_event_triggers_only_its_own_alarm(client: Client, manager: Any) -> None:
    expression = alarm_api.OrAlarmExpression(
        expression=[by_event("org.bad", "red"), by_event("org.good", "green")]
    )
    alarm = manager.CreateAlarm(client.datacenter, spec(expression))
    folder = client.vm_folder.CreateFolder("f")
    post(client, "org.other", folder)
    post(client, "org.bad", client.datacenter)
    assert client.datacenter.triggeredAlarmState == []
    post(client, "org.bad", client.content.rootFolder)
    assert client.content.rootFolder.triggeredAlarmState == []
    post(client, "org.bad", folder)
    (state,) = client.datacenter.triggeredAlarmState
    assert (state.entity, state.alarm, state.overallStatus) == (folder, alarm, "red")
    assert state.eventKey == client.content.eventManager.latestEvent.key
    post(client, "org.bad", folder)
    assert folder.triggeredAlarmState[0].eventKey == state.eventKey
    manager.ClearTriggeredAlarms(alarm_api.AlarmFilterSpec(status=["yellow"]))
    assert len(folder.triggeredAlarmState) == 1
    manager.ClearTriggeredAlarms(alarm_api.AlarmFilterSpec())
    assert folder.triggeredAlarmState == []
    post(client, "org.bad", folder)
    post(client, "org.good", folder)
    assert folder.triggeredAlarmState == []
    assert manager.GetAlarmState(folder)[-1].overallStatus == "green"


def test_a_disabled_alarm_is_not_triggered(client: Client, manager: Any) -> None:
    alarm = manager.CreateAlarm(client.vm_folder, spec(by_event("org.bad", "yellow")))
    alarm.ReconfigureAlarm(spec(by_event("org.bad", "yellow"), "b", enabled=False))
    post(client, "org.bad", client.vm_folder)
    assert (alarm.info.name, client.vm_folder.triggeredAlarmState) == ("b", [])
    alarm.ReconfigureAlarm(spec(by_event("org.bad", "yellow"), "b"))
    post(client, "org.bad", client.vm_folder)
    assert statuses(client.datacenter.triggeredAlarmState) == [(client.vm_folder, "yellow")]
    manager.DisableAlarm(alarm, client.vm_folder)
    assert client.vm_folder.triggeredAlarmState[0].disabled
    manager.EnableAlarm(alarm, client.vm_folder)
    assert not client.vm_folder.triggeredAlarmState[0].disabled
    manager.EnableAlarmActions(client.vm_folder, False)
    assert not manager.AreAlarmActionsEnabled(client.vm_folder)
    assert not client.vm_folder.alarmActionsEnabled
    alarm.RemoveAlarm()
    assert client.datacenter.triggeredAlarmState == []
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        print(alarm.info)


def test_alarm_names_are_unique(client: Client, manager: Any) -> None:
    alarm = manager.CreateAlarm(client.datacenter, spec(by_event("x", "red")))
    assert alarm.info.creationEventId == client.content.eventManager.latestEvent.key
    other = manager.CreateAlarm(client.vm_folder, spec(by_event("x", "red"), "other"))
    for call in (
        lambda name: manager.CreateAlarm(client.vm_folder, spec(by_event("x", "red"), name)),
        lambda name: other.ReconfigureAlarm(spec(by_event("x", "red"), name)),
    ):
        with pytest.raises(vim.fault.DuplicateName):
            call("a")
        with pytest.raises(vim.fault.InvalidName):
            call(" ")
    assert manager.GetAlarm(client.vm_folder) == [other]
    kinds = [
        type(each).__name__
        for each in client.content.eventManager.QueryEvents(vim.event.EventFilterSpec(maxCount=2))
    ]
    assert kinds == ["vim.event.AlarmCreatedEvent"] * 2


def test_conditions_are_combined_with_and_and_or(client: Client, manager: Any, host: Any) -> None:
    def state(path: str, operator: str, **wanted: str) -> Any:
        return alarm_api.StateAlarmExpression(
            operator=operator, type=vim.HostSystem, statePath=path, **wanted
        )

    connected = state("runtime.connectionState", "isEqual", red="connected")
    powered_off = state("runtime.powerState", "isUnequal", yellow="poweredOn")
    both = alarm_api.AndAlarmExpression(expression=[connected, powered_off])
    either = alarm_api.OrAlarmExpression(expression=[connected, powered_off])
    manager.CreateAlarm(client.datacenter, spec(both, "both"))
    manager.CreateAlarm(client.datacenter, spec(either, "either"))
    found = {one.alarm.info.name: one.overallStatus for one in host.declaredAlarmState}
    assert (found["both"], found["either"]) == ("green", "red")
