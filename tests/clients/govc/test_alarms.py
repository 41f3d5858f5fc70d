"""Alarms that are declared, raised and acknowledged."""

from __future__ import annotations

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import Model, VCenter

MODEL = Model()
NAME = "alarm.HostConnectionStateAlarm"


@holds("alarms", "alarm.info")
def test_a_host_that_is_off_raises_an_alarm(govc: Govc, vcenter: VCenter) -> None:
    (alarm,) = govc.json("alarm.info", "-n", NAME)
    assert alarm["info"]["systemName"] == NAME
    assert "Host connection" in govc("alarms", "-d", "/DC0")
    assert "DC0_C0_H1" not in govc("alarms")
    govc("host.shutdown", "-f", "DC0_C0_H1")
    raised = govc("alarms")
    assert "Host connection and power state" in raised and "Alert" in raised
    assert vcenter.user not in raised
    govc("alarms", "-ack")
    assert vcenter.user in govc("alarms")
    govc("host.reconnect", "DC0_C0_H1")
    assert "Alert" not in govc("alarms")
