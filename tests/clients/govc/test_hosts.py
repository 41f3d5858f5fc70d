"""Hosts: what they say of themselves, and that they are taken out of service."""

from __future__ import annotations

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.host_system import HostSystem

MODEL = Model()


def second_host(vcenter: VCenter) -> HostSystem:
    (found,) = (one for one in vcenter.registry.of_class(HostSystem) if one.name == "DC0_C0_H1")
    return found


@holds("host.info")
def test_a_host_is_described(govc: Govc) -> None:
    described = govc("host.info", "-host", "DC0_C0_H0")
    assert "DC0_C0_H0" in described and "262144MB" in described
    (host,) = govc.json("host.info", "-host", "DC0_C0_H0")["hostSystems"]
    assert host["summary"]["hardware"]["numCpuCores"] == 16


@holds("host.maintenance.enter", "host.maintenance.exit", "host.disconnect", "host.reconnect")
def test_a_host_is_taken_out_of_service(govc: Govc, vcenter: VCenter) -> None:
    host = second_host(vcenter)
    govc("host.maintenance.enter", host.name)
    assert host.in_maintenance
    govc("host.maintenance.exit", host.name)
    assert not host.in_maintenance
    govc("host.disconnect", host.name)
    assert host.connection_state == "disconnected"
    govc("host.reconnect", host.name)
    assert host.connection_state == "connected"


@holds("host.shutdown")
def test_a_host_is_switched_off(govc: Govc, vcenter: VCenter) -> None:
    host = second_host(vcenter)
    booted = host.boot_time
    assert govc.refused("host.shutdown", "-r", host.name)
    vcenter.clock.advance(1)
    govc("host.shutdown", "-r", "-f", host.name)
    assert host.boot_time > booted
    govc("host.shutdown", "-f", host.name)
    assert host.connection_state == "notResponding"
    host.set_connected(True)
