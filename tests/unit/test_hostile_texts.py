"""Real code gets image properties, names and answers that try to forge, control or fill a log."""

from __future__ import annotations

import dataclasses
import re
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from pyVmomi import vim

from tests.fakes.clock import ManualClock
from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_flat,
    as_ova,
    as_stream_optimized,
)
from vmdk_cache import errors
from vmdk_cache.cache import admission, events
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.findings import Diagnosis, Finding, Kind, Report, diagnose
from vmdk_cache.conf import Settings
from vmdk_cache.image import describe
from vmdk_cache.locks import ToozLocks
from vmdk_cache.periodic.housekeeping import Housekeeping
from vmdk_cache.vim import faults
from vmdk_cache.vmdk import descriptor, ova
from vmdk_cache.vmdk.transfer import open_disk

#: Each contains "ZZ" as often as its text would be repeated.
HOSTILE = [
    "ZZ\n2026-01-01 CRITICAL root [-] forged",
    "ZZ\x1b[2J\x1b]0;title\x07",
    "ZZ\r\x00\x85\u2028\u202e",
    "Z" * 60_000,
    "Z\n" * 30_000,
]
#: Longer than any message here that contains others' text.
LONGEST = 1000
DISK = bytes(1 << 20)


def raised(work: Callable[[], object]) -> str:
    with pytest.raises((errors.VmdkCacheError, ValueError)) as caught:
        work()
    return str(caught.value)


def judged(**changes: Any) -> Callable[[str], str]:
    """Admission's result for an image with the text as a property."""

    def say(text: str) -> str:
        meta = {"id": "image-1", "disk_format": "vmdk", "container_format": "bare", "size": 1}
        image = describe({**meta, **dict.fromkeys(changes, text)})
        return raised(lambda: admission.check_image(image, Settings(enabled=True)))

    return say


def opened(image: FakeImage, name: str) -> Callable[[str], str]:
    def say(text: str) -> str:
        described = dataclasses.replace(image.image(), **{name: text})
        return raised(lambda: list(open_disk(described, FakeImageSource(image))))

    return say


def ova_member(text: str) -> str:
    inner = as_stream_optimized(DISK)
    ovf = b'<E><File id="a" href="disk.vmdk"/><Disk fileRef="a"/></E>'
    name = text.replace("\x00", "") + ".vmdk"
    archive = as_ova(inner, disk_name=name, ovf=ovf, tar_format=tarfile.GNU_FORMAT)
    return raised(lambda: open_disk(archive.image(), FakeImageSource(archive)))


def ovf_disk(text: str) -> str:
    href = "".join(f"&#{ord(c)};" if c.isprintable() or c in "\n\r" else "?" for c in text)
    ovf = f'<E><File id="a" href="{href}"/><Disk fileRef="a"/></E>'
    return raised(lambda: ova.disk_file(ovf.encode()))


def descriptor_line(text: str) -> str:
    # Just below the limit on lines, whose error would not contain the text.
    data = f"RW {text[:3000]}".encode("utf-8", "replace")
    return raised(lambda: descriptor.Descriptor.parse(data).check(1 << 20, 1 << 16))


def fault(text: str) -> str:
    found = vim.fault.FileLocked(msg=text, file=f"[ds] {text}/disk.vmdk")
    return str(faults.translate(found))


def lock(text: str) -> str:
    class Lock:
        def acquire(self, blocking: object) -> bool:
            raise OSError(text)

    def hold() -> None:
        with ToozLocks(lambda name: Lock(), "scope").hold(text, 1):
            pass

    return raised(hold)


def event(text: str) -> str:
    return str(events.Imported("b", text, text, text, 1, 1, 1.0))


PATHS: dict[str, Callable[[str], str]] = {
    "status": judged(status=...),
    "disk_format": judged(disk_format=...),
    "container_format": judged(container_format=...),
    "image id": lambda text: raised(
        lambda: admission.check_image(
            describe({"id": text, "disk_format": "raw"}), Settings(enabled=True)
        )
    ),
    "vmware_disktype": opened(FakeImage(b"noise" * 1000, 512), "disk_type"),
    "os_hash_algo": opened(as_stream_optimized(DISK), "os_hash_algo"),
    "os_hash_value": opened(as_flat(DISK), "os_hash_value"),
    "member of an OVA": ova_member,
    "disk of an OVF": ovf_disk,
    "line of a descriptor": descriptor_line,
    "fault of vCenter": fault,
    "answer of a coordinator": lock,
    "event": event,
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("text", HOSTILE, ids=["newline", "escape", "controls", "60 KB", "lines"])
def test_a_message_stays_one_short_printable_line(path: str, text: str) -> None:
    message = PATHS[path](text)
    assert message.isprintable()
    assert len(message) < LONGEST
    assert "Z" in message, "the text that the user has to fix is shown"
    assert not re.search("Z{505}", message)


@pytest.mark.parametrize("text", HOSTILE, ids=["newline", "escape", "controls", "60 KB", "lines"])
def test_a_log_line_about_a_vm_with_such_a_name_is_one_printable_line(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    entry = CacheEntry("vm-1", text, Phase.ADOPTED, None, "ds-1", 1, 1)

    class Check:
        """Finds a VM of that name, and a datastore of that name that cannot be read."""

        def check(self, *, fix: bool, directories: bool) -> Report:
            found = diagnose(entry, "b") or Diagnosis(Kind.FOREIGN, "")
            return Report(
                (
                    Finding(found.kind, entry.name, entry.moref, found.says),
                    Finding(Kind.DATASTORE_UNREAD, text, text, text),
                )
            )

    class Purge:
        def run(self) -> None:
            raise OSError(text)

    with caplog.at_level("DEBUG"):
        Housekeeping(Purge(), Check(), ManualClock()).run()  # type: ignore[arg-type]
    assert len(caplog.records) == 3
    for record in caplog.records:
        assert record.getMessage().isprintable() and len(record.getMessage()) < LONGEST
