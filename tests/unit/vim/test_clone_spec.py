"""When a clone's disk may be edited during the clone, and which faults may be about the edit."""

from __future__ import annotations

import dataclasses

import pytest
from pyVmomi import vim

from vmdk_cache import errors
from vmdk_cache.vim.clone_spec import CloneRequest, DiskEdit, clone_spec, is_editable
from vmdk_cache.vim.clone_spec import may_be_about_spec as may_be
from vmdk_cache.vim.virtual_disk import VirtualDisk, disks_of

_Disk = vim.vm.device.VirtualDisk
UUID = "5b2f4d3c-0000-4000-8000-000000000001"


def disk(backing: object = None) -> VirtualDisk:
    device = _Disk(
        key=2000,
        controllerKey=1000,
        unitNumber=0,
        capacityInKB=1024,
        capacityInBytes=1 << 20,
        backing=backing
        or _Disk.FlatVer2BackingInfo(
            fileName="[ds1] t/t.vmdk", diskMode="persistent", thinProvisioned=True, uuid="source"
        ),
    )
    (made,) = disks_of([device])
    return made


def test_a_flat_disk_is_edited_and_no_other() -> None:
    assert is_editable(disk())
    assert not is_editable(None)
    assert not is_editable(dataclasses.replace(disk(), device=None))
    assert not is_editable(dataclasses.replace(disk(), has_parent=True))
    sparse = _Disk.SeSparseBackingInfo(fileName="[ds1] t/t.vmdk", diskMode="persistent")
    assert not is_editable(disk(sparse))


@pytest.mark.parametrize(("disk_type", "thin"), [("thin", True), ("thick", False)])
def test_the_whole_device_is_sent_changed_and_the_source_stays(disk_type: str, thin: bool) -> None:
    source = disk()
    request = CloneRequest(
        "v", "group-1", "ds-1", None, "pool-1", 2000, disk_type,
        disk_edit=DiskEdit(source, 3 << 20, UUID),
    )  # fmt: skip
    (change,) = clone_spec(request).config.deviceChange
    sent = change.device
    assert (change.operation, change.fileOperation) == ("edit", None)
    assert (sent.key, sent.controllerKey, sent.unitNumber) == (2000, 1000, 0)
    assert (sent.capacityInKB, sent.capacityInBytes) == (3072, 3 << 20)
    assert (sent.backing.uuid, sent.backing.fileName) == (UUID, "[ds1] t/t.vmdk")
    assert (sent.backing.thinProvisioned, sent.backing.eagerlyScrub) == (thin, False)
    assert (source.device.capacityInKB, source.device.backing.uuid) == (1024, "source")
    assert clone_spec(dataclasses.replace(request, disk_edit=None)).config.deviceChange == []


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (errors.TaskFailed("x", fault="vim.fault.InvalidDeviceBacking"), True),
        (errors.TaskFailed("x", fault="vmodl.fault.InvalidArgument"), True),
        (errors.NotSupported("x", fault="vmodl.fault.NotSupported"), True),
        (errors.NoPermission("x", fault="vim.fault.NoPermission"), True),
        (errors.TaskFailed("x", fault="vmodl.fault.RequestCanceled"), False),
        (errors.TaskFailed("x", fault="vim.fault.NoSuchFault"), False),
        (errors.TaskFailed("tasks could not be watched"), False),
        (errors.NotSupported("x", fault="vim.fault.InvalidPowerState"), False),
        (
            errors.HardwareTooNew("x", fault="vim.fault.VirtualHardwareVersionNotSupported"),
            False,
        ),
    ],
    ids=lambda case: getattr(case, "fault", None) or "",
)
def test_the_faults_type_says_whether_it_may_be_about_the_spec(
    failure: errors.VCenterError, expected: bool
) -> None:
    assert may_be(failure) is expected
