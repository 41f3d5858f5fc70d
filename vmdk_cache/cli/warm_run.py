"""Warms a list of targets with limited concurrency, and leaves none half done.

    waiting     the caches are open, nothing has started
    checked     targets that fail the check are refused; if there are any, nothing starts
    at work     one thread takes one image of one backend, and its datastores in turn: the first
                gets an import, the others copies of it, made within vCenter
    over        imported, replicated, already there; refused, failed, broken off, not begun

Ctrl-C, SIGTERM and SIGHUP (vmdk_cache/cli/main.py) end the run early. An import that is reading
gets an error with its next bytes, and the run waits while the import cleans up. Glance may send no
more bytes, or vCenter may not answer, so that wait ends after CLEANED_UP_WITHIN_S. The log-out that
follows ends the import's lease, and vCenter removes the VM. A thread that waits for another
process's lock, or for vCenter to make a copy, is abandoned: vCenter makes the whole copy or none.
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
from vmdk_cache.cache.events import as_text
from vmdk_cache.cli.progress import Progress
from vmdk_cache.clock import Clock
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.quoting import identifier, sentence
from vmdk_cache.wiring import RunningCache

#: Time limit for imports to clean up after Ctrl-C. Removing a VM takes seconds.
CLEANED_UP_WITHIN_S = 60.0
#: A signal that arrives just before the main thread starts to wait does not wake it.
_LOOK_AGAIN_S = 1.0


class Status(enum.StrEnum):
    """State of a target. The first three are successes, named as in the engine."""

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
    """A requested copy.

    :ivar datastore: managed object id; None: any
    :ivar datastore_name: its name; None: any
    :ivar found_in: name of the datastore that holds the copy in the end
    :ivar bytes_read: bytes of the image read so far, from any source
    :ivar began_at: when the work on it began, on the run's clock; None: not yet
    :ivar seconds: how long the work took, whatever its outcome
    :ivar failure: why the target was refused or failed
    """

    image: Image
    datastore: str | None
    datastore_name: str | None
    backend: str
    status: Status = Status.NOT_BEGUN
    found_in: str | None = None
    bytes_read: int = 0
    began_at: float | None = None
    seconds: float = 0.0
    failure: errors.VmdkCacheError | None = None

    @property
    def what(self) -> str:
        """Its name in messages."""
        place = self.datastore_name or self.backend
        return f"{identifier(self.image.name or self.image.id)} on {place}"

    @property
    def took(self) -> str:
        """Bytes and time, such as ``1.5 GiB in 12.3 s``."""
        return f"{as_text(self.bytes_read)} in {self.seconds:.1f} s"


@dataclass
class Errand:
    """The targets of one image in one backend, for one thread."""

    cache: RunningCache
    adapter_type: str
    targets: list[Target]
    is_reading: bool = False
    is_over: bool = False

    def at_work(self) -> list[Target]:
        return [target for target in self.targets if target.status is Status.AT_WORK]


def last_words(targets: Sequence[Target]) -> str:
    """What a run that was broken off did, and how to go on."""
    parts = []
    for status in Status:
        ended = [target for target in targets if target.status is status]
        if status is Status.BROKEN_OFF:
            parts += [f"{target.what} broken off after {target.took}" for target in ended]
        elif ended:
            parts.append(f"{len(ended)} {status}")
    return f"interrupted: {', '.join(parts)}. The same command goes on with the rest"


class WarmRun:
    """One run. Use it once: :meth:`check`, then :meth:`run`.

    :param source: source of all images' bytes
    :param parallel: number of images handled concurrently, at least 1
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
        """Whether every target can start, as far as is known before the first byte. Targets that
        cannot are REFUSED.

        :raises VmdkCacheError: vCenter or the locks cannot be reached
        """
        for errand in self._errands:
            for target in errand.targets:
                try:
                    errand.cache.images.check_warm(
                        target.image, errand.adapter_type, target.datastore
                    )
                except (errors.NotCacheable, errors.ImageError, errors.NoPlacement) as refusal:
                    self._end(target, Status.REFUSED, refusal)
        return all(
            target.status is not Status.REFUSED
            for errand in self._errands
            for target in errand.targets
        )

    def run(self) -> bool:
        """Run; return True when finished, False after Ctrl-C."""
        threads = [
            # A daemon, so that an abandoned thread does not keep the process alive.
            threading.Thread(target=self._work, name=f"warm-{number}", daemon=True)
            for number in range(min(self._parallel, len(self._errands)))
        ]
        with self._progress:
            for errand in self._errands[self._parallel :]:
                self._progress.state(errand.targets[0].what, "waiting")
            try:
                for thread in threads:
                    thread.start()
                self._await(lambda errand: errand.is_over)
                return True
            except KeyboardInterrupt:
                self._stopped = True
            for errand in self._errands:
                if errand.is_reading:
                    for target in errand.at_work():
                        self._progress.state(target.what, "aborting, cleaning up")
            # A second Ctrl-C ends this wait too; vCenter then removes unfinished imports.
            self._await(lambda errand: errand.is_over or not errand.is_reading, CLEANED_UP_WITHIN_S)
        for errand in self._errands:
            for target in errand.at_work():
                self._end(target, Status.BROKEN_OFF)
        return False

    def _await(self, is_done: Callable[[Errand], bool], within_s: float = math.inf) -> None:
        """Return when all errands are done, or after ``within_s``."""
        ends_at = self._clock.monotonic() + within_s
        with self._changed:
            while not all(map(is_done, self._errands)) and self._clock.monotonic() < ends_at:
                self._changed.wait(_LOOK_AGAIN_S)

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
        target.began_at = self._clock.monotonic()
        target.status = Status.AT_WORK
        self._progress.state(target.what, "looking up")
        source = _WatchedSource(self, errand, target)
        try:
            entry, how = errand.cache.images.warm(
                target.image, errand.adapter_type, source, target.datastore
            )
            names = errand.cache.placement.datastore_names()
            target.found_in = names.get(entry.datastore or "", entry.datastore)
        except errors.VmdkCacheError as failure:
            if self._stopped:
                self._end(target, Status.BROKEN_OFF)
            elif isinstance(failure, errors.NotCacheable):
                self._end(target, Status.REFUSED, failure)
            else:
                self._end(target, Status.FAILED, failure)
        except Exception as failure:
            # A bug must not keep the other images from being warmed.
            defect = errors.VmdkCacheError(f"bug in vmdk-cache: {sentence(repr(failure))}")
            self._end(target, Status.FAILED, defect)
        else:
            self._end(target, Status(how.value))
        finally:
            errand.is_reading = False

    def _end(
        self, target: Target, status: Status, failure: errors.VmdkCacheError | None = None
    ) -> None:
        target.status, target.failure = status, failure
        if target.began_at is not None:
            target.seconds = self._clock.monotonic() - target.began_at
        took = ""
        if status in SUCCESSES:
            took = f" in {target.seconds:.1f} s"
        elif status is Status.BROKEN_OFF:
            took = f" after {target.took}"
        why = f": {failure}" if failure is not None else ""
        self._progress.state(target.what, f"{status}{took}{why}")

    def begin_reading(self, errand: Errand) -> None:
        """Note that the import of an errand starts to read bytes.

        :raises SourceUnavailable: the run was aborted
        """
        with self._changed:
            self._go_on()
            errand.is_reading = True

    def read(self, target: Target, image: Image) -> Iterator[bytes]:
        """The image's bytes, counted as those of ``target``.

        :raises SourceUnavailable: the source failed, or the run was aborted
        """
        target.bytes_read = 0
        with contextlib.closing(_closable(self._source.open(image))) as chunks:
            for chunk in chunks:
                self._go_on()
                target.bytes_read += len(chunk)
                self._progress.read(target.what, target.bytes_read, image.size_bytes)
                yield chunk

    def _go_on(self) -> None:
        if self._stopped:
            raise errors.SourceUnavailable("aborted by Ctrl-C")


@dataclass(frozen=True)
class _WatchedSource:
    """The run's source, with the progress and the abort of one target."""

    run: WarmRun
    errand: Errand
    target: Target

    def open(self, image: Image) -> Iterator[bytes]:
        self.run.begin_reading(self.errand)
        return self.run.read(self.target, image)


def _closable(chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """A source's iterator may lack ``close``; a generator has it and closes the inner iterator."""
    yield from chunks
