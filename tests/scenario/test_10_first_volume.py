"""One volume, then another: what they are, what they hold, what they cost."""

from __future__ import annotations

import datetime

import pytest
from pyVmomi import vim

from tests.fakes.images import FakeImageSource, as_stream_optimized
from tests.scenario.conftest import GIB, RECORD_KEY, Lab, volume
from vmdk_cache import errors
from vmdk_cache.conf import Settings


def test_the_second_volume_comes_from_the_template_of_the_first(lab: Lab) -> None:
    assert [lab.create(1), lab.create(2)] == [False, True]
    assert lab.source.opened == 1
    (name,) = lab.templates()
    assert name.startswith(f"b1_image_cache ({lab.image.id}) ")


@pytest.mark.parametrize("disk_type", ["thin", "thick", "eagerZeroedThick"])
def test_a_volume_holds_the_images_bytes(lab: Lab, disk_type: str) -> None:
    lab.create(1, disk_type=disk_type)
    disk = lab.vcenter.read_disk(volume(1).name)
    assert disk.size_bytes == GIB
    content = disk.read(0, lab.disk_image.capacity_bytes)
    assert content == lab.disk_image.disk.ljust(lab.disk_image.capacity_bytes, b"\0")


@pytest.mark.parametrize("disk_type", ["thin", "thick", "eagerZeroedThick"])
def test_a_volume_has_the_disk_type_it_asked_for_whatever_the_first_one_had(
    lab: Lab, disk_type: str
) -> None:
    lab.create(1, disk_type="eagerZeroedThick")
    lab.create(2, disk_type=disk_type)
    (disk,) = disks(lab, 2)
    assert bool(disk.backing.thinProvisioned) == (disk_type == "thin")
    assert bool(disk.backing.eagerlyScrub) == (disk_type == "eagerZeroedThick")


def test_a_volume_is_what_cinder_expects_a_backing_to_be(lab: Lab) -> None:
    lab.create(1)
    wanted = volume(1)
    config = lab.vcenter.find_vm(wanted.name).config
    assert config.template is False
    assert config.instanceUuid == wanted.instance_uuid
    assert (config.managedBy.extensionKey, config.managedBy.type) == wanted.managed_by
    (disk,) = disks(lab, 1)
    assert disk.backing.uuid.replace("-", "").replace(" ", "") == wanted.id.replace("-", "")
    assert isinstance(disk.backing, vim.vm.device.VirtualDisk.FlatVer2BackingInfo)
    assert (disk.capacityInKB, disk.capacityInBytes) == (GIB // 1024, GIB)
    folder = lab.vcenter.find_vm(wanted.name).parent
    assert [folder.name, folder.parent.name, folder.parent.parent.name] == [
        "Volumes",
        "Project (p1)",
        "OpenStack",
    ]


def test_nothing_of_the_template_reaches_a_volume(lab: Lab) -> None:
    lab.create(1)
    (template,) = (vm for vm in lab.vcenter.vms() if vm.config.template)
    assert RECORD_KEY in {option.key for option in template.config.extraConfig}
    config = lab.vcenter.find_vm(volume(1).name).config
    keys = {option.key: option.value for option in config.extraConfig}
    assert keys.get("cinder.volume.id") == volume(1).id
    assert not [key for key in keys if key.startswith("vmdk_cache")]
    assert not config.annotation


def test_nothing_of_the_first_requester_stays_on_the_template(lab: Lab) -> None:
    lab.create(1)
    (template,) = (vm for vm in lab.vcenter.vms() if vm.config.template)
    told = " ".join(
        [template.name, template.config.annotation or "", template.config.instanceUuid or ""]
        + [f"{option.key}={option.value}" for option in template.config.extraConfig]
    )
    assert volume(1).id not in told
    assert "p1" not in told


def test_a_template_stands_in_its_own_project_folder_and_directory(lab: Lab) -> None:
    lab.create(1)
    (template,) = (vm for vm in lab.vcenter.vms() if vm.config.template)
    assert template.parent.parent.name == "Project (b1_image_cache)"
    assert f"] {template.name}/" in template.config.files.vmPathName


def test_an_adapter_is_the_images_or_the_types_and_never_the_first_requesters(lab: Lab) -> None:
    lab.create(1, adapter_type="paraVirtual")
    lab.create(2, adapter_type="lsiLogic")
    kinds = [
        {type(device) for device in lab.vcenter.find_vm(volume(n).name).config.hardware.device}
        for n in (1, 2)
    ]
    assert vim.vm.device.ParaVirtualSCSIController in kinds[0]
    assert vim.vm.device.VirtualLsiLogicController in kinds[1]
    assert vim.vm.device.ParaVirtualSCSIController not in kinds[1]


def test_a_volume_of_exactly_the_images_size_is_not_touched(lab: Lab) -> None:
    lab.create(1, size_bytes=lab.disk_image.capacity_bytes)
    (disk,) = disks(lab, 1)
    assert disk.capacityInBytes == lab.disk_image.capacity_bytes


def test_a_volume_smaller_than_the_image_is_refused_and_leaves_nothing(lab: Lab) -> None:
    with pytest.raises(errors.VolumeTooSmall):
        lab.create(1, size_bytes=lab.disk_image.capacity_bytes // 2)
    assert lab.vcenter.find_vm(volume(1).name) is None


def test_what_the_cache_holds_is_counted_and_purged_when_it_expires(lab: Lab) -> None:
    lab.create(1)
    assert lab.cache.reporter.latest().extra_provisioned_gib == 1  # 16 MiB, rounded up
    assert lab.cache.purge.run() == []
    lab.vcenter.clock.advance(86401)
    (gone,) = lab.cache.purge.run()
    assert lab.templates() == []
    assert lab.cache.reporter.latest().extra_provisioned_gib == 0
    assert lab.vcenter.find_vm(volume(1).name) is not None
    assert gone.record is not None
    assert gone.record.created_at.tzinfo is not None


def test_sizes_that_vcenter_shows_late_do_not_fail_an_import(lab: Lab) -> None:
    lab.vcenter.switches.stale_vm_storage_s = 3600
    lab.create(1)
    assert len(lab.templates()) == 1


def test_a_disk_of_zeros_is_a_disk(lab: Lab) -> None:
    zeros = as_stream_optimized(b"", capacity_bytes=GIB)
    made = lab.cache.images.create_volume(zeros.image(), volume(1), FakeImageSource(zeros))
    assert not made.hit
    assert lab.vcenter.read_disk(volume(1).name).size_bytes == GIB


def test_a_disabled_cache_still_counts_and_purges(lab: Lab) -> None:
    lab.create(1)
    off = lab.process(Settings(enabled=False))
    assert off.reporter.latest().extra_provisioned_gib == 1
    lab.vcenter.clock.advance(86401)
    assert len(off.purge.run()) == 1


def test_the_age_is_vcenters_not_this_hosts(lab: Lab) -> None:
    lab.vcenter.clock.advance(10 * 86400)
    lab.create(1)
    (entry,) = lab.cache.store.entries()
    assert entry.record is not None
    assert abs(entry.record.created_at - lab.vcenter.clock.now()) < datetime.timedelta(hours=1)
    assert lab.cache.purge.run() == []


def test_no_folder_is_made_by_looking(lab: Lab) -> None:
    lab.vcenter.request_log.reset()
    assert lab.cache.store.entries() == []
    assert lab.cache.reporter.latest().extra_provisioned_gib == 0
    assert lab.cache.purge.run() == []
    assert lab.vcenter.request_log.count("CreateFolder") == 0


def disks(lab: Lab, number: int) -> list[vim.vm.device.VirtualDisk]:
    return [
        device
        for device in lab.vcenter.find_vm(volume(number).name).config.hardware.device
        if isinstance(device, vim.vm.device.VirtualDisk)
    ]
