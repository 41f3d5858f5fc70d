"""A second opinion on the format: qemu-img reads what we write, and we read what it writes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_flat,
    as_monolithic_sparse,
    as_ova,
    as_stream_optimized,
    filesystem_disk,
    out_of_order_sparse,
    read_stream_optimized,
)
from vmdk_cache.errors import ImageCorrupt
from vmdk_cache.vmdk.transfer import open_disk

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-img") is None and os.environ.get("VMDK_CACHE_REQUIRE_ALL") != "1",
    reason="qemu-img is not installed (Debian: qemu-utils)",
)

DISK = filesystem_disk(40 << 20)
GENUINE = {
    "streamOptimized": as_stream_optimized(DISK),
    "streamOptimized, tables at the end": as_stream_optimized(DISK, tables="end"),
    "monolithicSparse": as_monolithic_sparse(DISK),
    "small grains": as_monolithic_sparse(DISK, grain_sectors=16, redundant=False),
    "out of order": out_of_order_sparse(DISK),
    "tables at end": as_monolithic_sparse(DISK, tables_at_end=True),
}
CONVERTED = {
    "monolithicSparse": as_monolithic_sparse(DISK),
    "preallocated": as_flat(DISK),
    "odd size": as_flat(DISK[: (1 << 20) + 512]),
    "OVA": as_ova(as_monolithic_sparse(DISK)),
}


def qemu_img(*arguments: str | Path) -> None:
    done = subprocess.run(["qemu-img", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def received(image: FakeImage) -> bytes:
    with open_disk(image.image(), FakeImageSource(image)) as disk:
        file = b"".join(disk)
        disk.finish()
    return file


def same(file: bytes, disk: bytes, directory: Path) -> None:
    vmdk, raw = directory / "ours.vmdk", directory / "disk.raw"
    vmdk.write_bytes(file)
    raw.write_bytes(disk)
    qemu_img("check", "-f", "vmdk", vmdk)
    qemu_img("compare", "-f", "raw", "-F", "vmdk", raw, vmdk)


@pytest.mark.parametrize("image", GENUINE.values(), ids=GENUINE.keys())
def test_the_fake_images_are_genuine(image: FakeImage, tmp_path: Path) -> None:
    same(image.file_bytes, DISK, tmp_path)


@pytest.mark.parametrize("image", CONVERTED.values(), ids=CONVERTED.keys())
def test_qemu_reads_what_was_converted(image: FakeImage, tmp_path: Path) -> None:
    same(received(image), image.disk, tmp_path)


@pytest.mark.parametrize("subformat", ["streamOptimized", "monolithicSparse"])
def test_files_of_qemu_are_accepted(subformat: str, tmp_path: Path) -> None:
    image = _written_by_qemu(subformat, tmp_path)
    file = received(image)
    # qemu-img's streamOptimized has neither footer nor end of stream; ours has both.
    assert read_stream_optimized(file) == DISK
    same(file, DISK, tmp_path)


def test_a_grain_missing_from_qemus_stream_is_noticed(tmp_path: Path) -> None:
    image = _written_by_qemu("streamOptimized", tmp_path)
    first = 65536
    size = 12 + int.from_bytes(image.file_bytes[first + 8 : first + 12], "little")
    size += -size % 512
    file = image.file_bytes[:first] + image.file_bytes[first + size :]
    with pytest.raises(ImageCorrupt, match="tables name"):
        received(FakeImage(file, len(DISK), DISK, {"vmware_disktype": "streamOptimized"}))


def _written_by_qemu(subformat: str, directory: Path) -> FakeImage:
    raw, vmdk = directory / "source.raw", directory / "qemu.vmdk"
    raw.write_bytes(DISK)
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={subformat}", raw, vmdk)
    return FakeImage(vmdk.read_bytes(), len(DISK), DISK)
