"""The hardware in an import's spec."""

from __future__ import annotations

import pytest
from pyVmomi import vim

from vmdk_cache.vim.import_spec import ImportRequest, config_spec


def devices(adapter: str) -> list[object]:
    request = ImportRequest("image", ("ds1",), 1 << 20, adapter_type=adapter)
    return [change.device for change in config_spec(request, "ds1").deviceChange]


def test_an_ide_disk_goes_to_the_controller_that_every_vm_has() -> None:
    """A VM always has two IDE controllers and cannot have a third."""
    (disk,) = devices("ide")

    assert isinstance(disk, vim.vm.device.VirtualDisk)
    assert (disk.controllerKey, disk.unitNumber) == (200, 0)


@pytest.mark.parametrize("adapter", ["lsiLogic", "busLogic", "lsiLogicsas", "paraVirtual"])
def test_new_devices_have_placeholders_for_keys(adapter: str) -> None:
    """The VM may already have a device with a key that is not negative."""
    controller, disk = devices(adapter)

    assert isinstance(controller, vim.vm.device.VirtualSCSIController)
    assert isinstance(disk, vim.vm.device.VirtualDisk)
    assert disk.controllerKey == controller.key
    assert controller.key != disk.key
    assert max(controller.key, disk.key) < 0


def test_an_unknown_adapter_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'sata'.*ide"):
        devices("sata")
