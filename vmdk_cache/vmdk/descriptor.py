"""The text descriptor inside a VMDK: parses, checks and writes it.

A descriptor can name other files (extents, a parent, a change-tracking file). A program that opens
the VMDK opens those files too, so that an image could read a hypervisor's own disk
(CVE-2022-47951, CVE-2024-32498). A VMDK that names another file is therefore refused; it is
accepted only if its one extent is the file itself. Readers differ in how they read odd lines: if
one of them might see the name of a file, the VMDK falls back to the plain import. Other lines are
ignored.
Source: VMware "Virtual Disk Format 5.0", "The Descriptor File".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from vmdk_cache.errors import ImageFormatError, UnusualFormat
from vmdk_cache.quoting import identifier, quoted
from vmdk_cache.vmdk.sparse_extent import SECTOR

CONVERT: Final = "convert it with 'qemu-img convert -O vmdk -o subformat=streamOptimized'"
TEXT_MAGIC: Final = b"# Disk DescriptorFile"
MAX_DESCRIPTOR_BYTES: Final = 128 << 10
"""VMware's tools write 10 KiB; a streamOptimized VMDK has space for 64 KiB before its first
grain."""
MAX_LINES: Final = 2000
CREATE_TYPES: Final = frozenset({"streamoptimized", "monolithicsparse"})

_NO_PARENT: Final = "ffffffff"
_EXTENT: Final = re.compile(
    r'(rw|rdonly|noaccess)\s+(\d+)\s+(\w+)\s+"([^"]*)"(?:\s+(\d+))?', re.IGNORECASE
)
_ACCESS: Final = re.compile(r"(rw|rdonly|noaccess)\b(?!\s*=)", re.IGNORECASE)
_SETTING: Final = re.compile(r'([\w.-]+)\s*=\s*(?:"([^"]*)"|([^\s#"]*))')
_CONTROL: Final = re.compile(r"[^\t\x20-\x7e\ufffd]")
_FILE_SETTINGS: Final = ("parentfilenamehint", "changetrackpath", "digestfilename")
_NO_FILE: Final = re.compile(rf'(?:{"|".join(_FILE_SETTINGS)})\s*=\s*(?:"")?', re.IGNORECASE)
_ONCE: Final = frozenset({"createtype", "parentcid"})
_ADAPTERS: Final = {
    "lsilogic": "lsiLogic",
    "buslogic": "busLogic",
    "lsisas1068": "lsiLogicsas",
    "pvscsi": "paraVirtual",
    "ide": "ide",
}


@dataclass(frozen=True)
class Descriptor:
    """The parsed text.

    :ivar settings: names in lower case, values without quotes
    :ivar extents: (sectors, type, file name) of each
    :ivar odd_line: what is wrong with the first line that readers may interpret differently, None
        if there is none
    """

    settings: dict[str, str]
    extents: tuple[tuple[int, str, str], ...]
    odd_line: str | None = None

    @classmethod
    def parse(cls, data: bytes) -> Descriptor:
        """Parse the descriptor in `data`, which may be padded with zeros.

        :raises ImageFormatError: a line names another file
        :raises NotCacheable: too many lines
        """
        settings: dict[str, str] = {}
        extents = []
        odd_line = None
        text = data.partition(b"\0")[0].decode("ascii", "replace")
        lines = re.split(r"[\r\n]+", text)
        if len(lines) > MAX_LINES:
            raise UnusualFormat(f"the VMDK's descriptor has {len(lines)} lines: {CONVERT}")
        for line in (line.strip() for line in lines):
            if not line or line.startswith("#"):
                continue
            for name in _FILE_SETTINGS:  # wherever it is in the line: readers differ
                if name in line.lower() and not _NO_FILE.fullmatch(line):
                    raise ImageFormatError(f"the VMDK's descriptor names another file by {name}")
            if match := _EXTENT.fullmatch(line):
                extents.append((int(match[2][:20]), match[3].upper(), match[4]))
            elif _ACCESS.match(line) or _CONTROL.search(line):
                odd_line = odd_line or f"has a strange line: {quoted(line)}"
            elif match := _SETTING.match(line):
                key, value = match[1].lower(), match[2] if match[2] is not None else match[3]
                if settings.setdefault(key, value) != value and key in _ONCE:
                    odd_line = odd_line or f"has two values of {identifier(match[1])}"
        return cls(settings, tuple(extents), odd_line)

    @property
    def adapter(self) -> str | None:
        """The adapter that it requests, as a ``vmware_adaptertype`` value; None if there is
        none."""
        return _ADAPTERS.get(self.settings.get("ddb.adaptertype", "").lower())

    def check(self, capacity_bytes: int, grain_bytes: int) -> None:
        """Check that the VMDK consists of this file only.

        :raises ImageFormatError: it names another file
        :raises NotCacheable: it names no other file, but differs from usual single-extent VMDKs
        """
        for _, kind, name in self.extents:
            if kind != "SPARSE" or not name or {"/", "\\"} & set(name) or ".." in name:
                raise ImageFormatError(
                    f"the VMDK's descriptor names another file, {identifier(kind)} {quoted(name)}: "
                    f"{CONVERT}"
                )
        if len(self.extents) > 1:
            raise ImageFormatError(
                f"the VMDK's descriptor has {len(self.extents)} extents, so names other files: "
                f"{CONVERT}"
            )
        oddity = self._oddity(capacity_bytes, grain_bytes)
        if oddity is not None:
            raise UnusualFormat(f"the VMDK's descriptor {oddity}; {CONVERT}")

    def _oddity(self, capacity_bytes: int, grain_bytes: int) -> str | None:
        """What is unusual about the descriptor; None if nothing is."""
        if self.odd_line:
            return self.odd_line
        create_type = self.settings.get("createtype", "")
        if create_type.lower() not in CREATE_TYPES:
            return (
                f"has createType {quoted(create_type)}, neither streamOptimized nor "
                f"monolithicSparse"
            )
        if self.settings.get("parentcid", "").lower() != _NO_PARENT:
            return "is that of a snapshot of another disk"
        if not self.extents:
            return "has no extent"
        sectors = self.extents[0][0]
        if sectors * SECTOR > -(-capacity_bytes // grain_bytes) * grain_bytes:
            return f"claims {sectors} sectors, the header {capacity_bytes // SECTOR}"
        return None


def stream_descriptor(capacity_bytes: int, adapter: str | None) -> bytes:
    """The descriptor of a streamOptimized VMDK of that capacity; lsiLogic if the adapter is
    unknown."""
    sectors = capacity_bytes // SECTOR
    names = {value: key for key, value in _ADAPTERS.items()}
    # ESXi's geometry of a SCSI disk; guests that boot by LBA ignore it.
    heads, per_track = (255, 63) if capacity_bytes >= 1 << 30 else (64, 32)
    return f"""# Disk DescriptorFile
version=1
CID=fffffffe
parentCID={_NO_PARENT}
createType="streamOptimized"

# Extent description
RW {sectors} SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "{names.get(adapter or "", "lsilogic")}"
ddb.geometry.cylinders = "{max(1, sectors // (heads * per_track))}"
ddb.geometry.heads = "{heads}"
ddb.geometry.sectors = "{per_track}"
ddb.virtualHWVersion = "4"
""".encode("ascii")
