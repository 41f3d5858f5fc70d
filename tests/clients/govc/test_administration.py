"""Licences and performance counters."""

from __future__ import annotations

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import Model, VCenter

MODEL = Model()
HOST = "/DC0/host/DC0_C0/DC0_C0_H0"
KEY = "AAAAA-00000-00000-00000-00001"


def rows(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


@holds(
    "license.add",
    "license.assign",
    "license.assigned.ls",
    "license.decode",
    "license.label.set",
    "license.ls",
    "license.remove",
)
def test_a_licence_is_added_used_and_removed(govc: Govc, vcenter: VCenter) -> None:
    assert rows(govc("license.decode", KEY))[1][0] == KEY
    assert KEY not in govc("license.ls")
    govc("license.add", KEY)
    assert govc.refused("license.add", "no key")
    govc("license.label.set", KEY, "team", "storage")
    (found,) = (one for one in govc.json("license.ls") if one["licenseKey"] == KEY)
    assert found["labels"] == [{"key": "team", "value": "storage"}]
    govc("license.assign", "-host", "DC0_C0_H0", KEY)
    used = {row[-2]: row[-1] for row in rows(govc("license.assigned.ls"))[1:]}
    assert (used["DC0_C0_H0"], used["DC0_C0_H1"]) == (KEY, "00000-00000-00000-00000-00000")
    assert govc.refused("license.remove", KEY)
    govc("license.assign", "-host", "DC0_C0_H0", "-remove", KEY)
    govc("license.remove", KEY)
    assert KEY not in govc("license.ls")


@holds("metric.ls", "metric.info", "metric.sample")
def test_counters_are_sampled(govc: Govc) -> None:
    assert "cpu.usage.average" in govc("metric.ls", HOST).split()
    assert ["Unit:", "%"] in rows(govc("metric.info", HOST, "cpu.usage.average"))
    first = govc.json("metric.sample", "-n", "3", HOST, "cpu.usage.average")["sample"][0]
    assert len(first["value"][0]["value"]) == 3
    again = govc.json("metric.sample", "-n", "5", HOST, "cpu.usage.average")["sample"][0]
    known = dict(zip(_times(first), first["value"][0]["value"], strict=True))
    for time, value in zip(_times(again), again["value"][0]["value"], strict=True):
        assert known.get(time, value) == value
    govc("vm.create", "-on=false", "-ds", "DC0_DS0", "idle")
    assert govc("metric.ls", "/DC0/vm/idle") == ""


def _times(sample: dict[str, list[dict[str, str]]]) -> list[str]:
    return [each["timestamp"] for each in sample["sampleInfo"]]


@holds("metric.interval.info", "metric.interval.change", "metric.change", "metric.reset")
def test_levels_are_changed(govc: Govc) -> None:
    govc("metric.interval.change", "-i", "300", "-level", "3")
    assert ["Level:", "3"] in rows(govc("metric.interval.info", "-i", "300"))
    assert ["Level:", "3"] not in rows(govc("metric.interval.info", "-i", "1800"))
    govc("metric.change", "-level", "2", "mem.usage.average")
    assert ["Level:", "2"] in rows(govc("metric.info", HOST, "mem.usage.average"))
    govc("metric.reset", "mem.usage.average")
    assert ["Level:", "1"] in rows(govc("metric.info", HOST, "mem.usage.average"))
