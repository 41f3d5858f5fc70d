"""Extracts the disk from an OVA stream.

An OVA is a tar archive whose first member is the OVF descriptor, which names the files and disks.
The disk's bytes are passed on as they arrive, and the rest is read to the end, so that the hash of
the whole file is checked. An OVA must have exactly one disk, neither compressed nor in chunks.

Python's tarfile is not used to walk the archive, because it reads extended headers of any claimed
size into memory. Sources: DMTF DSP0243 (OVF), POSIX pax "ustar" and "pax" interchange formats.
"""

from __future__ import annotations

import re
import tarfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

from vmdk_cache.errors import ImageCorrupt, ImageFormatError
from vmdk_cache.quoting import quoted, sentence
from vmdk_cache.vmdk.byte_stream import ByteStream

_BLOCK: Final = 512
_MAX_OVF_BYTES: Final = 256 << 10
_MAX_EXTENDED_BYTES: Final = 64 << 10
_MAX_EXTENDED_HEADERS: Final = 4  # of one member; writers need two, a global and a local one
_MAX_LENGTH_DIGITS: Final = 7
_MAX_SIZE_DIGITS: Final = 19
_MAX_MEMBERS: Final = 1000
_FILE_TYPES: Final = (tarfile.REGTYPE, tarfile.AREGTYPE)
_EXTENDED_TYPES: Final = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)


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

        :raises ImageFormatError: not an OVA, or an unsupported kind
        :raises ImageCorrupt: the archive is damaged or truncated
        """
        first = self._next_member()
        if first is None or not first.name.lower().endswith(".ovf"):
            raise ImageFormatError(
                "the first file in an OVA must be its .ovf descriptor; this archive has "
                f"{quoted(first.name) if first else 'no file'}"
            )
        if first.size_bytes > _MAX_OVF_BYTES:
            raise ImageFormatError(
                f"the OVA's descriptor has {first.size_bytes} bytes; the limit is {_MAX_OVF_BYTES}"
            )
        disk_name = disk_file(self._stream.read(first.size_bytes))
        while member := self._next_member():
            if member.name == disk_name:
                return ByteStream(self._content(member)), member
            if member.is_disk:
                raise ImageFormatError(
                    f"the OVA contains the disk {quoted(member.name)}, which its descriptor does "
                    "not name"
                )
        raise ImageFormatError(
            f"the OVA does not contain the disk {quoted(disk_name)} that its descriptor names"
        )

    def finish(self) -> None:
        """Read the members that follow the disk.

        :raises ImageFormatError: there is another disk
        """
        while member := self._next_member():
            if member.is_disk:
                raise ImageFormatError(f"the OVA contains a second disk, {quoted(member.name)}")

    def _content(self, member: Member) -> Iterator[bytes]:
        end = self._stream.position + member.size_bytes
        yield from self._stream.pieces_to(end)
        if self._stream.position < end:
            raise ImageCorrupt(f"the OVA ends within its member {quoted(member.name)}")

    def _next_member(self) -> Member | None:
        """The next file, whose content follows in the stream; None at the end of the archive."""
        extended: dict[str, str] = {}
        headers = 0
        while True:
            self._stream.skip_to(self._next_header)
            block = self._stream.read(_BLOCK)
            if not block.strip(b"\0"):
                return None  # blocks of zeros mark the end, unless the writer omitted them
            info = _tar_header(block)
            extends = info.type in _EXTENDED_TYPES
            size_bytes = info.size if extends else int(extended.get("size", info.size))
            self._next_header = self._stream.position + -(-size_bytes // _BLOCK) * _BLOCK
            self._members += 1
            if self._members > _MAX_MEMBERS:
                raise ImageFormatError(f"the OVA has more than {_MAX_MEMBERS} members")
            if extends:
                headers += 1
                if headers > _MAX_EXTENDED_HEADERS:
                    raise ImageFormatError(
                        f"the OVA has more than {_MAX_EXTENDED_HEADERS} extended headers before "
                        f"one member"
                    )
                extended.update(self._extended(info))
                continue
            name = extended.get("path", info.name)
            extended = {}
            if info.type == tarfile.DIRTYPE:
                if size_bytes:  # some readers skip the content, others look for members in it
                    raise ImageFormatError(f"the OVA's directory {quoted(name)} has a size")
                continue
            if info.type not in _FILE_TYPES:
                raise ImageFormatError(f"the OVA's member {quoted(name)} is not a regular file")
            if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name):
                raise ImageFormatError(
                    f"the OVA's member {quoted(name)} points outside the archive"
                )
            return Member(name.removeprefix("./"), size_bytes)

    def _extended(self, info: tarfile.TarInfo) -> dict[str, str]:
        """The path or size in an extended header, for the member that follows."""
        if info.size > _MAX_EXTENDED_BYTES:
            raise ImageFormatError(f"the OVA has an extended header of {info.size} bytes")
        data = self._stream.read(info.size)
        if info.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": data.rstrip(b"\0").decode("utf-8", "replace")}
        records = _pax_records(data)
        size = records.get("size", "0")
        if not (size.isascii() and size.isdecimal()) or len(size) > _MAX_SIZE_DIGITS:
            raise ImageCorrupt("the OVA has an extended header with an impossible size")
        if info.type == tarfile.XGLTYPE and {"path", "size"} & records.keys():
            raise ImageFormatError("the OVA gives all its members one name or one size")
        return records


def disk_file(ovf: bytes) -> str:
    """The name of the file that holds the one disk of an OVF descriptor.

    :raises ImageFormatError: not an OVF descriptor, or an unsupported disk
    """
    files, used = _references(ovf)
    disks = [files[reference] for reference in used if reference in files]
    if len(disks) != 1 or len(used) != 1:
        raise ImageFormatError(
            f"the OVA has {len(used)} disks with content; exactly one is supported"
        )
    disk = disks[0]
    name = urllib.parse.unquote(disk.get("href", ""))
    if disk.get("compression", "identity") not in ("", "identity") or "chunkSize" in disk:
        raise ImageFormatError(
            f"the OVA's disk {quoted(name)} is compressed or in chunks: export it again with "
            "'ovftool --compress=0' and without '--chunkSize'"
        )
    if not Member(name, 0).is_disk:
        raise ImageFormatError(f"the OVA's disk {quoted(name)} is not a .vmdk file")
    return name


def _references(ovf: bytes) -> tuple[dict[str, dict[str, str]], set[str]]:
    """The attributes of the descriptor's files by their id, and the ids that its disks refer to.

    Prefixes of names are removed, not resolved: a namespace of 100 KB that thousands of short names
    use would be copied for each of them.
    """
    files: dict[str, dict[str, str]] = {}
    used: set[str] = set()

    def start(name: str, attributes: dict[str, str]) -> None:
        kind = name.rpartition(":")[2]
        if kind == "File":
            plain = _without_prefixes(attributes)
            files[plain.get("id", "")] = plain
        elif kind == "Disk":
            used.add(_without_prefixes(attributes).get("fileRef", ""))

    def refuse_dtd(*_: object) -> None:
        # Without a DTD there are no entities that could expand.
        raise ImageFormatError("the OVA's descriptor has a DTD, which is not supported")

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse_dtd
    try:
        parser.Parse(ovf, True)
    except expat.ExpatError as exc:
        raise ImageFormatError(
            f"the OVA's descriptor is not XML in UTF-8: {sentence(exc)}"
        ) from exc
    return files, used - {""}


def _without_prefixes(attributes: dict[str, str]) -> dict[str, str]:
    return {name.rpartition(":")[2]: value for name, value in attributes.items()}


def _pax_records(data: bytes) -> dict[str, str]:
    """The records ``LENGTH KEY=VALUE\\n`` of a pax header, in one pass along their lengths.

    Zeros may follow the last record, because some writers pad the block within the header's size.

    :raises ImageCorrupt: an invalid length, or one that does not end at a line's end
    """
    records: dict[str, str] = {}
    at, end = 0, len(data.rstrip(b"\0"))
    while at < end:
        blank = data.find(b" ", at, at + _MAX_LENGTH_DIGITS + 1)
        digits = data[at:blank] if blank > at else b""
        following = at + int(digits) if digits.isdigit() else 0
        key, separator, value = data[blank + 1 : following - 1].partition(b"=")
        if not separator or not key or data[following - 1 : following] != b"\n":
            raise ImageCorrupt("the OVA has an extended header with a broken record")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        at = following
    return records


def _tar_header(block: bytes) -> tarfile.TarInfo:
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as exc:
        raise ImageFormatError(
            f"the OVA is not a tar archive, or damaged: {sentence(exc)}"
        ) from exc
    if info.size < 0:
        raise ImageFormatError("the OVA has a member of negative size")
    return info
