"""One host's process: it creates the requested volumes, each in a thread of its own, and
keeps house meanwhile, as cinder-volume does.

    to it      (number, image)             make that volume of that image
               None                        end in good order
    from it    ("ready",)                  connected
               ("download", image)         it began to read the image from Glance
               ("imported", image)         that image is a template now, or will not be one
               ("made", number, hit)
               ("failed", number, why)     and nothing of the volume is left
               ("housekeeping", why)       a purge or a reconcile failed
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import datetime
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from tests.fakes.images import FakeImage, FakeImageSource
from tests.scenario.conftest import running_cache, volume
from vmdk_cache.cache.events import Event, Imported, ImportFailed
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image
from vmdk_cache.vim.session import Endpoint

#: Seconds that pass in vCenter, and on the hosts' clocks, in one of ours.
SCALE = 30.0
HOUSEKEEPING_EVERY_S = 60.0
#: As many requests as a cinder-volume works on at a time (executor_thread_pool_size).
AT_A_TIME = 64
SETTINGS = Settings(enabled=True, lock_timeout_s=1800)
CHUNK_BYTES = 64 << 10
#: Between two chunks, so that an import takes long enough to be killed in.
CHUNK_EVERY_S = 0.02
_CLONE_NEWUTS = 0x04000000


class FastClock:
    """Runs SCALE times as fast as the machine's, as vCenter's does here."""

    def __init__(self) -> None:
        self._began = self.monotonic()
        self._began_at = datetime.datetime.now(datetime.UTC)

    def now(self) -> datetime.datetime:
        return self._began_at + datetime.timedelta(seconds=self.monotonic() - self._began)

    def monotonic(self) -> float:
        return time.monotonic() * SCALE

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / SCALE)


@dataclass(frozen=True)
class Part:
    """What a host is.

    :ivar locks_url: its ``[coordination] backend_url``
    :ivar images: by number: what Glance says of it, and its file
    """

    name: str
    endpoint: Endpoint
    locks_url: str
    images: Sequence[tuple[Image, FakeImage]]


def serve(part: Part, pipe: Connection) -> None:
    """The life of the process."""
    rename_host(part.name)
    sending = threading.Lock()

    def tell(*message: Any) -> None:
        with sending:
            pipe.send(message)

    def heard(event: Event) -> None:
        if isinstance(event, (Imported, ImportFailed)):
            tell("imported", event.image_id)

    with running_cache(part.endpoint, part.locks_url, heard, SETTINGS, FastClock()) as cache:

        def make(number: int, wanted: int) -> None:
            image, file = part.images[wanted]

            def download() -> Iterator[bytes]:
                tell("download", wanted)
                for begin in range(0, len(file.file_bytes), CHUNK_BYTES):
                    time.sleep(CHUNK_EVERY_S)
                    yield file.file_bytes[begin : begin + CHUNK_BYTES]

            try:
                outcome = cache.images.create_volume(
                    image, volume(number), FakeImageSource(download)
                )
            except Exception as failure:
                tell("failed", number, repr(failure))
            else:
                tell("made", number, outcome.hit)

        def keep_house() -> None:
            while not ending.wait(HOUSEKEEPING_EVERY_S / SCALE):
                try:
                    cache.housekeeping.run()
                except Exception as failure:
                    tell("housekeeping", repr(failure))

        ending = threading.Event()
        housekeeper = threading.Thread(target=keep_house)
        housekeeper.start()
        tell("ready")
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            while (request := received(pipe)) is not None:
                pool.submit(make, *request)
        ending.set()
        housekeeper.join()


def received(pipe: Connection) -> tuple[int, int] | None:
    try:
        request: tuple[int, int] | None = pipe.recv()
    except EOFError:  # the parent process has ended
        return None
    return request


def rename_host(name: str) -> None:
    """A host name of its own where that is allowed (namespaces(7), UTS)."""
    with contextlib.suppress(OSError):
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUTS) == 0:
            socket.sethostname(name)
