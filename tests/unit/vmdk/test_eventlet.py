"""The reader under eventlet, in its own process, since monkey-patching cannot be undone."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import eventlet
eventlet.monkey_patch()
import threading
from tests.fakes.images import (
    FakeImageSource, as_flat, as_stream_optimized, filesystem_disk, read_stream_optimized)
from vmdk_cache.vmdk.transfer import open_disk

disk = filesystem_disk(4 << 20)
for image in (as_flat(disk), as_stream_optimized(disk)):
    source = FakeImageSource(image)
    with open_disk(image.image(), source, read_ahead_bytes=256 << 10) as stream:
        file = b"".join(stream)
        stream.finish()
    assert read_stream_optimized(file) == disk

source = FakeImageSource(as_flat(disk))
with open_disk(as_flat(disk).image(), source, read_ahead_bytes=64 << 10) as stream:
    stream.read(1)
assert source.closed == 1
assert threading.active_count() == 1
print("fine")
"""


def test_it_runs_on_green_threads() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr
