"""vCenter's options."""

from __future__ import annotations

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import Model, VCenter

MODEL = Model()


def rows(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


@holds("option.ls", "option.set")
def test_an_option_is_set(govc: Govc, vcenter: VCenter) -> None:
    govc("option.set", "config.vmacore.soap.sessionTimeout", "60")
    assert vcenter.sessions.idle_timeout_s == 3600
    govc("option.set", "event.maxAge", "30")
    assert rows(govc("option.ls", "event.")) == [["event.maxAge:", "30"]]
    assert ["event.maxAge:", "30"] in rows(govc("option.ls"))
    assert govc.refused("option.ls", "no.such")
