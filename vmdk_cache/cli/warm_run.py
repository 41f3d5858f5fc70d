"""Warms a list of targets: so many at a time, and none is left half done.

    waiting     the caches are opened, nothing has begun
    checked     refused ones are told; if there are any, nothing begins at all
    at work     a thread takes one image of one backend, and its datastores in turn: the first gets
                an import, the others copies of it, made within vCenter
    over        imported, replicated, already there; refused, failed, broken off, not begun

Ctrl-C ends it early, and so does what is taken for it (vmdk_cache/cli/main.py). What reads an
image's bytes is given an error at the next ones, and is waited for: the import cleans up after
itself. Glance may send no more bytes, or vCenter may not answer, so that wait ends after
CLEANED_UP_WITHIN_S. The log-out that follows ends the import's lease, and vCenter removes what the
import has made. What waits for another process's lock, or for vCenter to make a copy, is left
alone: vCenter makes the whole copy or none.
"""

from __future__ import annotations

import contextlib
import enum
import math
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from vmdk_cache import errors
from vmdk_cache.cache.engine import Warmth
from vmdk_cache.cli.progress import Progress
from vmdk_cache.clock import Clock
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.quoting import identifier, sentence
from vmdk_cache.wiring import RunningCache

#: How long imports may take to clean up after Ctrl-C. Removing a VM takes seconds.
CLEANED_UP_WITHIN_S = 60.0
#: A signal that arrives as the main thread begins to wait does not wake it up.
_LOOK_AGAIN_S = 1.0


class Status(enum.StrEnum):
    """How it went with a target; the first three are successes, and the engine's words."""

    IMPORTED = Warmth.IMPORTED
    REPLICATED = Warmth.REPLICATED
    THERE = Warmth.THERE
    REFUSED = "refused"
    FAILED = "failed"
    BROKEN_OFF = "broken off"
    NOT_BEGUN = "not begun"
    AT_WORK = "at work"


SUCCESSES = frozenset({Status.IMPORTED, Status.REPLICATED, Status.THERE})


@dataclass
class Target:
    """A copy that is wanted.

    :ivar name: the image's
    :ivar datastore: managed object id; None: any
    :ivar datastore_name: its name; None: any
    :ivar found_in: name of the datastore where it is at last
    :ivar bytes_read: of the image, from wherever
    :ivar failure: why it is refused or failed
    """

    image: Image
    name: str
    datastore: str | None
    datastore_name: str | None
    backend: str
    status: Status = Status.NOT_BEGUN
    found_in: str | None = None
    bytes_read: int = 0
    seconds: float = 0.0
    failure: errors.VmdkCacheError | None = None

    @property
    def what(self) -> str:
        """For a line about it."""
        place = self.datastore_name or self.backend
        return f"{self.name or identifier(self.image.id)} on {place}"


@dataclass
class Errand:
    """The targets of one image in one backend, for one thread."""

    cache: RunningCache
    adapter_type: str
    targets: list[Target]
    is_reading: bool = False
    is_over: bool = False

    def name_of(self, datastore: str | None) -> str | None:
        """Of a datastore that the backend may use, else its managed object id."""
        return self.cache.placement.datastore_names().get(datastore or "", datastore)


class WarmRun:
    """One run. Use it once: :meth:`check`, then :meth:`run`.

    :param source: of all images' bytes
    :param parallel: how many images are at work at a time, at least 1
    """

    def __init__(
        self,
        errands: Sequence[Errand],
        source: ImageSource,
        *,
        parallel: int,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self._errands = errands
        self._source = source
        self._parallel = parallel
        self._progress = progress
        self._clock = clock
        self._changed = threading.Condition()
        self._next = iter(errands)
        self._stopped = False

    def check(self) -> bool:
        """Whether all of it can begin, as far as that is known before the first byte; what cannot
        is REFUSED.

        :raises VmdkCacheError: vCenter or the locks cannot be asked
        """
        for errand in self._errands:
            for target in errand.targets:
                try:
                    errand.cache.images.check_warm(
                        target.image, errand.adapter_type, target.datastore
                    )
                except (errors.NotCacheable, errors.ImageError, errors.NoPlacement) as refusal:
                    self._end(target, Status.REFUSED, refusal)
        every = (target for errand in self._errands for target in errand.targets)
        return all(target.status is not Status.REFUSED for target in every)

    def run(self) -> bool:
        """Work; returns whether it came to its end, False after Ctrl-C."""
        threads = [
            # A daemon: one that is left alone must not keep the process from ending.
            threading.Thread(target=self._work, name=f"warm-{number}", daemon=True)
            for number in range(min(self._parallel, len(self._errands)))
        ]
        with self._progress:
            for errand in self._errands[self._parallel :]:
                self._progress.state(errand.targets[0].what, "waits for its turn")
            try:
                for thread in threads:
                    thread.start()
                self._await(lambda errand: errand.is_over)
                return True
            except KeyboardInterrupt:
                self._stopped = True
            self._say_what_is_waited_for()
            # A second Ctrl-C ends this as well; vCenter then removes what is not finished.
            self._await(lambda errand: errand.is_over or not errand.is_reading, CLEANED_UP_WITHIN_S)
        for errand in self._errands:
            if not errand.is_over:
                self._break_off(errand)
        return False

    def _await(self, is_done: Callable[[Errand], bool], within_s: float = math.inf) -> None:
        """Return when all errands are done, or after ``within_s``."""
        ends_at = self._clock.monotonic() + within_s
        with self._changed:
            while not all(map(is_done, self._errands)) and self._clock.monotonic() < ends_at:
                self._changed.wait(_LOOK_AGAIN_S)

    def _say_what_is_waited_for(self) -> None:
        for errand in self._errands:
            for target in errand.targets:
                if errand.is_reading and target.status is Status.AT_WORK:
                    self._progress.state(target.what, "is broken off, and cleaned up")

    def _break_off(self, errand: Errand) -> None:
        for target in errand.targets:
            if target.status is Status.AT_WORK:
                self._end(target, Status.BROKEN_OFF)

    def _work(self) -> None:
        while True:
            with self._changed:
                errand = None if self._stopped else next(self._next, None)
            if errand is None:
                return
            try:
                for target in errand.targets:
                    if not self._stopped:
                        self._warm(errand, target)
            finally:
                with self._changed:
                    errand.is_over = True
                    self._changed.notify_all()

    def _warm(self, errand: Errand, target: Target) -> None:
        began = self._clock.monotonic()
        target.status = Status.AT_WORK
        self._progress.state(target.what, "looked up")
        source = _WatchedSource(self, errand, target)
        try:
            entry, how = errand.cache.images.warm(
                target.image, errand.adapter_type, source, target.datastore
            )
            target.found_in = errand.name_of(entry.datastore)
        except errors.VmdkCacheError as failure:
            refused = isinstance(failure, errors.NotCacheable)
            status = Status.REFUSED if refused else Status.FAILED
            if self._stopped:
                self._end(target, Status.BROKEN_OFF)
            else:
                self._end(target, status, failure)
        except Exception as failure:
            # A defect must not keep the other images cold.
            defect = errors.VmdkCacheError(f"a defect of this program: {sentence(repr(failure))}")
            self._end(target, Status.FAILED, defect)
        else:
            target.seconds = self._clock.monotonic() - began
            self._end(target, Status(how.value))
        finally:
            errand.is_reading = False

    def _end(
        self, target: Target, status: Status, failure: errors.VmdkCacheError | None = None
    ) -> None:
        target.status, target.failure = status, failure
        seconds = f" in {target.seconds:.1f} s" if status in SUCCESSES else ""
        why = f": {failure}" if failure is not None else ""
        self._progress.state(target.what, f"{status}{seconds}{why}")

    def opened(self, errand: Errand) -> None:
        """Its bytes are about to be read.

        :raises SourceUnavailable: not any more
        """
        with self._changed:
            self.go_on()
            errand.is_reading = True

    def go_on(self) -> None:
        """:raises SourceUnavailable: the run was broken off"""
        if self._stopped:
            raise errors.SourceUnavailable("broken off by Ctrl-C")

    def counted(self, target: Target, size_bytes: int) -> None:
        """So many bytes more have been read."""
        target.bytes_read += size_bytes
        self._progress.read(target.what, target.bytes_read, target.image.size_bytes)

    def source(self, image: Image) -> Iterator[bytes]:
        return self._source.open(image)


class _WatchedSource:
    """The run's source, as seen by one target."""

    def __init__(self, run: WarmRun, errand: Errand, target: Target) -> None:
        self._run = run
        self._errand = errand
        self._target = target

    def open(self, image: Image) -> Iterator[bytes]:
        self._run.opened(self._errand)
        self._target.bytes_read = 0
        return self._chunks(image)

    def _chunks(self, image: Image) -> Iterator[bytes]:
        with contextlib.closing(_closable(self._run.source(image))) as chunks:
            for chunk in chunks:
                self._run.go_on()
                self._run.counted(self._target, len(chunk))
                yield chunk


def _closable(chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """A source's iterator need not have a ``close``; a generator's closes what it is made of."""
    yield from chunks
