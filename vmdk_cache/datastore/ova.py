"""The disk inside an OVA, as the tar passes.

An OVA is a tar whose first member is the OVF descriptor; that names the files and disks. The
disk's bytes are handed out as they come, and what follows is read to the end, so that the hash of
the whole file is checked. Taken are OVAs with exactly one disk, not compressed and not in chunks.

Python's tarfile is not used to walk the archive: it reads extended headers of any claimed size
into memory. Sources: DMTF DSP0243 (OVF), POSIX pax "ustar" and "pax" interchange formats.
"""

from __future__ import annotations

import re
import tarfile
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vmdk_cache.datastore.byte_stream import ByteStream
from vmdk_cache.errors import ImageCorrupt, ImageFormatError

_BLOCK: Final = 512
_MAX_OVF_BYTES: Final = 1 << 20  # as a tree, the worst of them takes 30 times as much
_MAX_EXTENDED_BYTES: Final = 64 << 10
_MAX_MEMBERS: Final = 1000
_FILE_TYPES: Final = (tarfile.REGTYPE, tarfile.AREGTYPE)
_EXTENDED_TYPES: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)
_SHOWN: Final = 80  # characters of a name in a text
_PAX_RECORD: Final = re.compile(rb"\d+ ([^=]+)=([^\n]*)\n")


@dataclass(frozen=True)
class Member:
    """A file in the archive; `size_bytes` follow in the stream."""

    name: str
    size_bytes: int

    @property
    def is_disk(self) -> bool:
        return self.name.lower().endswith(".vmdk")


class Ova:
    """One pass over an OVA: `open_disk`, then read that stream, then `finish`."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._members = 0
        self._next_header = 0

    def open_disk(self) -> tuple[ByteStream, Member]:
        """The bytes of its disk, and the member that holds them.

        :raises ImageFormatError: no OVA, or one of a kind that is not taken
        :raises ImageCorrupt: the archive is damaged or cut off
        """
        first = self._next_member()
        if first is None or not first.name.lower().endswith(".ovf"):
            raise ImageFormatError(
                "the first file in an OVA must be its .ovf descriptor; this archive has "
                f"{_shown(first.name) if first else 'no file'}"
            )
        if first.size_bytes > _MAX_OVF_BYTES:
            raise ImageFormatError(
                f"the OVA's descriptor has {first.size_bytes} bytes; at most {_MAX_OVF_BYTES} "
                f"are taken"
            )
        disk_name = disk_file(self._stream.read(first.size_bytes))
        while member := self._next_member():
            if member.name == disk_name:
                disk = ByteStream(self._content(member))
                return disk, member
            if member.is_disk:
                raise ImageFormatError(
                    f"the OVA holds {_shown(member.name)}, a disk its descriptor does not name"
                )
        raise ImageFormatError(f"the OVA does not hold the disk {_shown(disk_name)} that it names")

    def finish(self) -> None:
        """Look through what follows the disk.

        :raises ImageFormatError: another disk
        """
        while member := self._next_member():
            if member.is_disk:
                raise ImageFormatError(f"the OVA holds a second disk, {_shown(member.name)}")

    def _content(self, member: Member) -> Iterator[bytes]:
        left = member.size_bytes
        while left:
            data = self._stream.read_some(left)
            if not data:
                raise ImageCorrupt(f"the OVA ends within its member {_shown(member.name)}")
            left -= len(data)
            yield data

    def _next_member(self) -> Member | None:
        """The next file, its content next in the stream; None at the archive's end."""
        extended: dict[str, str] = {}
        while True:
            self._stream.skip(self._next_header - self._stream.position)
            block = self._stream.read(_BLOCK)
            if not block.strip(b"\0"):
                return None  # the end is marked by blocks of zeros, or forgotten
            info = _tar_header(block)
            extends = info.type in _EXTENDED_TYPES
            size_bytes = info.size if extends else int(extended.get("size", info.size))
            self._next_header = self._stream.position + -(-size_bytes // _BLOCK) * _BLOCK
            self._members += 1
            if self._members > _MAX_MEMBERS:
                raise ImageFormatError(f"the OVA holds more than {_MAX_MEMBERS} members")
            if extends:
                extended.update(self._extended(info))
                continue
            name = extended.get("path", info.name)
            extended = {}
            if info.type == tarfile.DIRTYPE:
                if size_bytes:  # some readers pass over them, others find members in them
                    raise ImageFormatError(f"the OVA's directory {_shown(name)} has a size")
                continue
            if info.type not in _FILE_TYPES:
                raise ImageFormatError(f"the OVA's member {_shown(name)} is no plain file")
            if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
                raise ImageFormatError(
                    f"the OVA's member {_shown(name)} points outside of the archive"
                )
            return Member(name.removeprefix("./"), size_bytes)

    def _extended(self, info: tarfile.TarInfo) -> dict[str, str]:
        """What an extended header says of the member that follows: its path, its size."""
        if info.size > _MAX_EXTENDED_BYTES:
            raise ImageFormatError(f"the OVA has an extended header of {info.size} bytes")
        data = self._stream.read(info.size)
        if info.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": data.rstrip(b"\0").decode("utf-8", "replace")}
        records = {
            key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for key, value in _PAX_RECORD.findall(data)
        }
        if not records.get("size", "0").isdecimal() or len(records.get("size", "")) > 19:
            raise ImageCorrupt("the OVA has an extended header with an impossible size")
        if info.type == tarfile.XGLTYPE and {"path", "size"} & records.keys():
            raise ImageFormatError("the OVA gives all its members one name or one size")
        return records


def disk_file(ovf: bytes) -> str:
    """The name of the file that holds the one disk of an OVF descriptor.

    :raises ImageFormatError: not such a descriptor, or a disk that is not taken
    """
    root = _parse_xml(ovf)
    files = {_attributes(node).get("id", ""): _attributes(node) for node in _nodes(root, "File")}
    used = {_attributes(node).get("fileRef", "") for node in _nodes(root, "Disk")} - {""}
    disks = [files[reference] for reference in used if reference in files]
    if len(disks) != 1 or len(used) != 1:
        raise ImageFormatError(f"the OVA has {len(used)} disks with content; one is taken")
    disk = disks[0]
    name = urllib.parse.unquote(disk.get("href", ""))
    if disk.get("compression", "identity") not in ("", "identity") or "chunkSize" in disk:
        raise ImageFormatError(
            f"the OVA's disk {_shown(name)} is compressed or in chunks: export it again without "
            f"('ovftool --compress=0' and no '--chunkSize')"
        )
    if not Member(name, 0).is_disk:
        raise ImageFormatError(f"the OVA's disk {_shown(name)} is not a .vmdk file")
    return name


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")


def _parse_xml(data: bytes) -> ElementTree.Element:
    # Without a DTD there are no entities, hence no expansion attacks; UTF-8 so that it is seen.
    try:
        text = data.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ImageFormatError("the OVA's descriptor has a DTD, which is not taken")
        return ElementTree.fromstring(text.encode())  # noqa: S314  see above
    except (UnicodeDecodeError, ElementTree.ParseError, LookupError, ValueError) as exc:
        raise ImageFormatError(f"the OVA's descriptor is not XML in UTF-8: {exc}") from exc


def _nodes(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (node for node in root.iter() if str(node.tag).rpartition("}")[2] == name)


def _attributes(node: ElementTree.Element) -> dict[str, str]:
    return {key.rpartition("}")[2]: value for key, value in node.attrib.items()}


def _tar_header(block: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as exc:
        raise ImageFormatError(f"the OVA is not a tar archive, or damaged: {exc}") from exc
    if info.size < 0:
        raise ImageFormatError("the OVA has a member of negative size")
    return info
