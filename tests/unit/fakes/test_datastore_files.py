"""The fake's datastores count bytes and names exactly."""

from __future__ import annotations

import os

import pytest
from pyVmomi import vim

from tests.fakes.vcenter.datastore_files import DatastoreFiles
from tests.fakes.vcenter.datastore_path import DatastorePath
from tests.fakes.vcenter.disk import GRAIN_BYTES, DiskContent
from tests.fakes.vcenter.virtual_disk import create_disk, open_disk, spaced, unspaced

MiB = 1 << 20


@pytest.fixture
def files() -> DatastoreFiles:
    return DatastoreFiles("ds", 100 * MiB)


def _sum_holds(files: DatastoreFiles) -> bool:
    return sum(files.files().values()) == files.used_bytes == 100 * MiB - files.free_bytes


def test_thick_disks_are_charged_in_full_and_thin_ones_by_their_data(files: DatastoreFiles) -> None:
    thick = create_disk(files, "thick.vmdk", 10 * MiB, provisioning="preallocated")
    thin = create_disk(files, "thin.vmdk", 90 * MiB)
    assert files.files()["thick-flat.vmdk"] == 10 * MiB
    assert files.files()["thin-flat.vmdk"] == 0
    thin.content.write(0, b"data")
    files.settle(thin.extent)
    assert files.files()["thin-flat.vmdk"] == GRAIN_BYTES
    assert _sum_holds(files)
    thick.delete()
    thin.delete()
    assert files.used_bytes == 0


def test_a_disk_that_does_not_fit_leaves_no_files(files: DatastoreFiles) -> None:
    with pytest.raises(vim.fault.NoDiskSpace):
        create_disk(files, "big.vmdk", 101 * MiB, provisioning="eagerZeroedThick")
    assert files.files() == {}
    assert files.used_bytes == 0


def test_a_thin_disk_cannot_outgrow_its_datastore(files: DatastoreFiles) -> None:
    files.foreign_bytes = 99 * MiB
    disk = create_disk(files, "thin.vmdk", 90 * MiB)
    disk.content.write(0, os.urandom(2 * MiB))
    with pytest.raises(vim.fault.NoDiskSpace):
        files.settle(disk.extent)
    disk.delete()
    assert files.used_bytes == 99 * MiB


def test_extending_a_thick_disk_is_charged(files: DatastoreFiles) -> None:
    disk = create_disk(files, "d.vmdk", 10 * MiB, provisioning="preallocated")
    disk.extend(20 * MiB)
    assert files.files()["d-flat.vmdk"] == 20 * MiB
    with pytest.raises(vim.fault.NoDiskSpace):
        disk.extend(200 * MiB)
    assert disk.capacity_bytes == 20 * MiB
    assert _sum_holds(files)


def test_two_vms_never_share_a_directory(files: DatastoreFiles) -> None:
    assert [files.make_unique_directory("vm") for _ in range(3)] == ["vm", "vm_1", "vm_2"]


def test_a_deleted_tree_frees_its_bytes(files: DatastoreFiles) -> None:
    files.make_directory("a/b", parents=True)
    files.create("a/b/x", DiskContent.of(b"123"))
    files.create("a/y", DiskContent(5 * MiB), thick=True)
    files.delete("a")
    assert (files.files(), files.used_bytes, files.listing("")) == ({}, 0, [])


def test_names_are_checked(files: DatastoreFiles) -> None:
    files.make_directory("d")
    files.create("d/f")
    with pytest.raises(vim.fault.FileAlreadyExists):
        files.create("d/f")
    with pytest.raises(vim.fault.FileAlreadyExists):
        files.make_directory("d")
    with pytest.raises(vim.fault.FileNotFound):
        files.create("nowhere/f")
    with pytest.raises(vim.fault.FileNotFound):
        files.make_directory("x/y")
    with pytest.raises(vim.fault.FileNotFound):
        files.delete("d/g")


def test_a_moved_disk_is_charged_once(files: DatastoreFiles) -> None:
    other = DatastoreFiles("other", 100 * MiB)
    disk = create_disk(files, "d.vmdk", 10 * MiB, provisioning="preallocated")
    disk.content.write(5, b"hello")
    disk.move_to(other, "e.vmdk")
    assert files.used_bytes == 0
    assert sorted(other.files()) == ["e-flat.vmdk", "e.vmdk"]
    assert open_disk(other, "e.vmdk").content.read(5, 5) == b"hello"


def test_a_delta_is_charged_without_its_parent(files: DatastoreFiles) -> None:
    base = create_disk(files, "d.vmdk", 10 * MiB)
    base.content.write(0, os.urandom(4 * MiB))
    files.settle(base.extent)
    child = base.create_child(files, "d-000001.vmdk")
    assert files.files()["d-000001-delta.vmdk"] == 0
    child.content.write(0, b"new")
    files.settle(child.extent)
    assert files.files()["d-000001-delta.vmdk"] == GRAIN_BYTES
    assert base.content.read(0, 3) != b"new"
    full = child.copy_to(files, "copy.vmdk")
    assert full.parent is None
    assert files.files()["copy-flat.vmdk"] == 4 * MiB


def test_an_uploaded_descriptor_is_parsed(files: DatastoreFiles) -> None:
    disk = create_disk(files, "d.vmdk", 10 * MiB, provisioning="preallocated")
    text = disk.descriptor.content.read()
    files.create("up.vmdk", DiskContent.of(text.replace(b"d-flat", b"up-flat")))
    files.create("up-flat.vmdk", DiskContent.of(b"x" * (10 * MiB)), thick=True)
    opened = open_disk(files, "up.vmdk")
    assert opened.capacity_bytes == 10 * MiB
    assert opened.provisioning == "preallocated"
    assert opened.content.read(0, 3) == b"xxx"
    files.create("bad.vmdk", DiskContent.of(b"not a disk"))
    with pytest.raises(vim.fault.InvalidDiskFormat):
        open_disk(files, "bad.vmdk")


def test_paths_cannot_escape_their_datastore() -> None:
    assert DatastorePath.parse("[ds] a//b/") == ("ds", "a/b")
    assert str(DatastorePath.parse("[my ds]x.vmdk")) == "[my ds] x.vmdk"
    for bad in ("", None, "a/b", "[] x", "[ds] ../x", "[ds] a/../../x"):
        with pytest.raises(vim.fault.InvalidDatastorePath):
            DatastorePath.parse(bad)


def test_spellings_of_disk_uuids_convert_without_loss() -> None:
    uuid = "6000c298-595b-f457-5739-e9105b2c0c2d"
    assert spaced(uuid) == "60 00 c2 98 59 5b f4 57-57 39 e9 10 5b 2c 0c 2d"
    assert unspaced(spaced(uuid)) == unspaced(uuid) == uuid
