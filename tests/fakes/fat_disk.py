"""A disk with a real FAT file system, made with pyfatfs; every call returns the same bytes.

Only pyfatfs' low-level part (PyFat) is used, because its PyFilesystem2 layer needs pkg_resources,
which current setuptools no longer ships. `read_files` reads such a disk back.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from pathlib import Path

from pyfatfs.EightDotThree import EightDotThree
from pyfatfs.FATDirectoryEntry import FATDirectoryEntry
from pyfatfs.PyFat import PyFat

_FAT16_FROM_BYTES = 16 << 20
_FAT32_FROM_BYTES = 2 << 30
_DATE = (2024 - 1980) << 9 | 1 << 5 | 1


def filesystem_disk(size_bytes: int = 32 << 20, *, payload_bytes: int = 3 << 20) -> bytes:
    """Raw bytes of a disk of size_bytes (a multiple of 512, at least 1 MiB) with a FAT file system.

    It holds README.TXT, ZEROS.BIN (allocated zeros) and RANDOM.BIN, about payload_bytes of
    incompressible data (at most a quarter of the disk).
    """
    if size_bytes % 512 or size_bytes < 1 << 20:
        raise ValueError(f"a disk of {size_bytes} bytes: want a multiple of 512, at least 1 MiB")
    payload_bytes = min(payload_bytes, size_bytes // 4)
    files = {
        "README.TXT": b"This disk stands in for a cloud image.\r\n" * 100,
        "ZEROS.BIN": bytes(min(1 << 20, size_bytes // 16)),
        "RANDOM.BIN": noise(payload_bytes),
    }
    fat_type = PyFat.FAT_TYPE_FAT12
    if size_bytes >= _FAT16_FROM_BYTES:
        fat_type = PyFat.FAT_TYPE_FAT16
    if size_bytes >= _FAT32_FROM_BYTES:
        fat_type = PyFat.FAT_TYPE_FAT32
    with tempfile.NamedTemporaryFile(suffix=".img") as image:
        fat = PyFat()
        fat.mkfs(image.name, fat_type, size=size_bytes, label="VMDK CACHE", volume_id=0x20240101)
        fat.close()
        fat = PyFat()
        fat.open(image.name)
        for label in fat.root_dir.get_entries()[2]:
            label.crttime = label.wrttime = 0
            label.crtdate = label.wrtdate = label.lstaccessdate = _DATE
        for name, content in files.items():
            _add_file(fat, name, content)
        fat.update_directory_entry(fat.root_dir)
        fat.flush_fat()
        fat.close()
        return Path(image.name).read_bytes()


def read_files(disk: bytes) -> dict[str, bytes]:
    """The files in the root directory of such a disk, keyed by name."""
    fat = PyFat()
    fat.set_fp(io.BytesIO(disk))
    files = {}
    for entry in fat.root_dir.get_entries()[1]:
        content = b"".join(
            fat.read_cluster_contents(cluster)
            for cluster in fat.get_cluster_chain(entry.get_cluster())
        )
        files[entry.get_short_name()] = content[: entry.filesize]
    return files


def noise(size_bytes: int, seed: bytes = b"vmdk") -> bytes:
    """Incompressible bytes, the same for the same seed."""
    return hashlib.shake_128(seed).digest(size_bytes)


def _add_file(fat: PyFat, name: str, content: bytes) -> None:
    short_name = EightDotThree(encoding=fat.encoding)
    short_name.set_str_name(name)
    cluster = fat.allocate_bytes(len(content))[0]
    fat.write_data_to_cluster(content, cluster, extend_cluster=True)
    # Fixed dates, because FATDirectoryEntry.new() would write the current time into the disk.
    entry = FATDirectoryEntry(
        DIR_Name=short_name, DIR_Attr=0x20, DIR_NTRes=0, DIR_CrtTimeTenth=0, DIR_CrtTime=0,
        DIR_CrtDate=_DATE, DIR_LstAccessDate=_DATE, DIR_FstClusHI=0, DIR_WrtTime=0,
        DIR_WrtDate=_DATE, DIR_FstClusLO=0, DIR_FileSize=len(content), encoding=fat.encoding,
    )  # fmt: skip
    entry.set_cluster(cluster)
    fat.root_dir.add_subdirectory(entry)
