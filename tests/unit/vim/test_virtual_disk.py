"""The disks among a VM's devices, and the edit that makes a clone's disk the volume's."""

from __future__ import annotations

import pytest
from pyVmomi import vim

from vmdk_cache import errors
from vmdk_cache.vim.virtual_disk import DEVICES, disks_of, edit, is_same_uuid, only_disk

Backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo


def disk(
    key: int = 2000, capacity_kib: int = 1 << 20, **backing: object
) -> vim.vm.device.VirtualDisk:
    return vim.vm.device.VirtualDisk(
        key=key,
        capacityInKB=capacity_kib,
        capacityInBytes=capacity_kib * 1024,
        backing=Backing(fileName="[ds] vm/vm.vmdk", diskMode="persistent", **backing),
    )


CONTROLLER = vim.vm.device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="noSharing")


def test_a_disk_is_what_vcenter_says_of_it() -> None:
    device = disk(
        uuid="6000C29a", thinProvisioned=True, eagerlyScrub=True, contentId="c1",
        parent=Backing(fileName="[ds] vm/base.vmdk", diskMode="persistent"),
    )  # fmt: skip
    (found,) = disks_of([CONTROLLER, device])
    assert found.device is device
    assert (found.key, found.capacity_bytes, found.uuid) == (2000, 1 << 30, "6000C29a")
    assert (found.file_name, found.content_id) == ("[ds] vm/vm.vmdk", "c1")
    assert found.thin and found.eagerly_zeroed and found.has_parent


def test_a_flag_that_vcenter_omits_is_false() -> None:
    device = disk()
    device.capacityInBytes = None  # as of vCenters before 5.5
    (found,) = disks_of([device])
    assert found.capacity_bytes == 1 << 30
    assert (found.uuid, found.content_id) == (None, None)
    assert not (found.thin or found.eagerly_zeroed or found.has_parent)


def test_the_only_disk_is_found_among_other_devices() -> None:
    device = disk()
    assert only_disk({DEVICES: [CONTROLLER, device]}, "vm-1").device is device


@pytest.mark.parametrize("devices", [[CONTROLLER], [disk(2000), CONTROLLER, disk(2001)]])
def test_a_clone_has_exactly_one_disk(devices: list[object]) -> None:
    with pytest.raises(errors.TaskFailed, match=r"clone vm-1 has [02] disks, not one") as caught:
        only_disk({DEVICES: devices}, "vm-1")
    assert caught.value.moref == "vm-1"


@pytest.mark.parametrize(
    ("capacity_bytes", "kib"), [(2 << 30, 2 << 20), ((2 << 30) + 1, (2 << 20) + 1)]
)
def test_both_fields_of_an_edited_disks_capacity_agree(capacity_bytes: int, kib: int) -> None:
    spec = edit(disk(uuid="old"), capacity_bytes, "new")
    assert spec.operation == "edit"
    assert (spec.device.capacityInKB, spec.device.capacityInBytes) == (kib, kib * 1024)
    assert spec.device.backing.uuid == "new"


def test_an_edit_without_a_uuid_keeps_the_disks() -> None:
    assert edit(disk(uuid="old"), 1 << 30, None).device.backing.uuid == "old"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("6000C294-1234", "6000c294 12-34", True),
        ("6000C294-1234", "6000C294-1235", False),
        ("6000C294", None, False),
        (None, "", True),
    ],
)
def test_uuids_are_compared_by_their_digits(one: str | None, other: str | None, same: bool) -> None:
    assert is_same_uuid(one, other) is same
