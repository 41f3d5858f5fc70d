"""The virtual machines of volumes in vCenter, and those that only look like one."""

from __future__ import annotations

import pytest
from pyVmomi import vim

from tests.scenario.conftest import Lab, volume
from vmdk_cache.vim import inventory
from vmdk_cache.vim.inventory import Datacenter
from vmdk_cache.vim.volume_backing import VOLUME_ID_KEY, Backing, backings_in, still_there


@pytest.fixture
def datacenter(lab: Lab) -> Datacenter:
    return inventory.snapshot(lab.cache.session).datacenters[0]


def found(lab: Lab, datacenter: Datacenter, folder: str = "Volumes") -> list[Backing]:
    return backings_in(lab.cache.session, datacenter, folder)


def change(lab: Lab, backing: str, **config: object) -> None:
    moref = lab.vcenter.find_vm(backing).moref
    spec = vim.vm.ConfigSpec(**config)
    task = lab.cache.session.invoke("VirtualMachine", moref, "ReconfigVM_Task", spec=spec)
    lab.cache.waiter.wait(task, timeout_s=60)


def with_id(value: str) -> dict[str, object]:
    return {"extraConfig": [vim.option.OptionValue(key=VOLUME_ID_KEY, value=value)]}


def test_volumes_are_found_and_templates_of_the_cache_are_not(
    lab: Lab, datacenter: Datacenter
) -> None:
    assert found(lab, datacenter) == []
    lab.create(1)
    lab.create(2)
    backings = found(lab, datacenter)
    assert {each.name for each in backings} == {volume(1).name, volume(2).name}
    assert {each.project for each in backings} == {"p1"}
    assert {each.volume_ids for each in backings} == {
        frozenset({volume(number).id}) for number in (1, 2)
    }
    assert still_there(lab.cache.session, backings) == backings


def test_a_listing_costs_one_request_and_another_look_one(lab: Lab, datacenter: Datacenter) -> None:
    for number in range(1, 6):
        lab.create(number)
    backings = found(lab, datacenter)
    lab.vcenter.request_log.reset()
    assert found(lab, datacenter) == backings
    assert still_there(lab.cache.session, backings) == backings
    requests = lab.vcenter.request_log.by_method()
    requests.pop("WaitForUpdatesEx", None)  # the task waiter's last look may come late
    assert requests == {"RetrievePropertiesEx": 2}


@pytest.mark.parametrize(
    "folder",
    [
        ("OpenStack", "Project (p1)", "Another"),
        ("OpenStack", "Project (p1)", "Volumes", "Snapshots"),
        ("OpenStack", "p1", "Volumes"),
        ("OpenStack", "Project (p1)"),
        ("Elsewhere", "Project (p1)", "Volumes"),
    ],
)
def test_only_what_is_in_a_projects_volume_folder_is_a_backing(
    lab: Lab, datacenter: Datacenter, folder: tuple[str, ...]
) -> None:
    lab.create(1, folder=folder)
    assert found(lab, datacenter) == []


def test_a_vm_without_a_volumes_id_is_none(lab: Lab, datacenter: Datacenter) -> None:
    """Cinder takes the id off a volume that it no longer manages; temporary VMs have none."""
    lab.create(1)
    change(lab, volume(1).name, **with_id(""))
    assert found(lab, datacenter) == []
    change(lab, volume(1).name, **with_id("no uuid"))
    assert found(lab, datacenter) == []


def test_a_snapshot_in_template_format_is_none(lab: Lab, datacenter: Datacenter) -> None:
    lab.create(1)
    moref = lab.vcenter.find_vm(volume(1).name).moref
    lab.cache.session.invoke("VirtualMachine", moref, "MarkAsTemplate")
    assert found(lab, datacenter) == []


def test_every_id_that_a_backing_bears_is_known(lab: Lab, datacenter: Datacenter) -> None:
    lab.create(1)
    other, third = volume(2).id, volume(3).id.replace("8000", "800A")
    change(lab, volume(1).name, instanceUuid=other, name=f"volume-{third}")
    (backing,) = found(lab, datacenter)
    assert backing.volume_ids == {volume(1).id, other, third.lower()}


def test_what_changed_or_was_removed_no_longer_exists(lab: Lab, datacenter: Datacenter) -> None:
    for number in (1, 2, 3):
        lab.create(number)
    backings = found(lab, datacenter)
    change(lab, volume(1).name, **with_id(volume(9).id))
    task = lab.cache.session.invoke(
        "VirtualMachine", lab.vcenter.find_vm(volume(2).name).moref, "Destroy_Task"
    )
    lab.cache.waiter.wait(task, timeout_s=60)
    assert [each.name for each in still_there(lab.cache.session, backings)] == [volume(3).name]
