"""An ESXi host that is faster than any client that sends to it.

The fake's own host reads, checks and hashes every grain in Python. That is slower than both clients
of the comparison, so it would hide their difference. This one parses the beginning of a stream,
counts the rest, and writes a part of the disk so that it does not look empty.
"""

from __future__ import annotations

from benchmarks.link import Link
from tests.fakes.vcenter import VCenter, http_nfc
from tests.fakes.vcenter.lease_device import DiskUpload, LeaseDevice

_HEAD_BYTES = 1 << 20
_WRITTEN_PART = 32  # a 32nd of the stream: more than the 100th that must be left after an import


class HeadOnlyUpload(DiskUpload):
    """Parses the first MiB; see the module's docstring."""

    bytes_per_s = 0.0

    def __init__(self, device: LeaseDevice) -> None:
        super().__init__(device)
        self._link = Link(self.bytes_per_s)

    def feed(self, data: bytes) -> None:
        if self.device.received_bytes < _HEAD_BYTES:
            super().feed(data)
        else:
            self.device.received_bytes += len(data)
        self._link.pass_on(len(data))

    def end(self, *, whole: bool) -> None:
        device, content = self.device, self._content
        device.is_arriving = False
        device.is_broken = not whole or content is None
        if content is not None:
            content.write(0, b"\1" * (device.received_bytes // _WRITTEN_PART))
            device.disk.fill(content)
        device.vm.sync()


def count_only(vcenter: VCenter, bytes_per_s: float) -> None:
    """Make the fake receive disks this way from now on; runs in its process.

    :param bytes_per_s: highest rate of one upload, 0: no limit
    """
    HeadOnlyUpload.bytes_per_s = bytes_per_s
    setattr(http_nfc, "DiskUpload", HeadOnlyUpload)  # noqa: B010  # a type, to type checkers
