"""Storage policies, which are an API of their own: storage.policy.*, vm.policy.*"""

from __future__ import annotations

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import Model
from tests.fakes.vcenter.model import Profile

MODEL = Model(profiles=(Profile("gold", ("DC0_DS0",)),))


@holds("storage.policy.ls", "storage.policy.info")
def test_a_policy_is_shown_with_its_datastores(govc: Govc) -> None:
    assert "gold" in govc("storage.policy.ls")
    shown = govc("storage.policy.info", "-s", "gold")
    assert "DC0_DS0" in shown
    assert "DC0_DS1" not in shown


@holds("vm.policy.ls")
def test_the_policy_of_a_vm_is_shown(govc: Govc) -> None:
    govc("vm.create", "-on=false", "-ds=DC0_DS0", "-disk=10MB", "-profile=gold", "kept")
    shown = [line.split() for line in govc("vm.policy.ls", "-vm=kept").splitlines()]
    assert shown[0][:4] == ["VM", "home", "gold", "compliant"]
    assert shown[1] == ["disk-1000-0", "None"]
    govc("vm.migrate", "-ds=DC0_DS1", "kept")
    assert "nonCompliant" in govc("vm.policy.ls", "-vm=kept").split()
