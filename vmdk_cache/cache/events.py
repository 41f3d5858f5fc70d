"""The events that the engine reports, as frozen values; logs and metrics are based on them.

    a volume      Hit | Miss | Bypassed, then VolumeFailed if the attempt ends without a volume
    an import     ImportStarted -> Imported | ImportFailed; ImportFailed may also come alone
    a template    Replicated, Evicted
    a marked image without a template   NotKeptWarm, in each round of the warm-up
    a periodic purge   PurgeEnded, also if it failed

Nothing here names a user or a project.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.quoting import identifier, quoted, sentence

LOG = logging.getLogger(__name__)


class Reason(enum.StrEnum):
    """Why a volume that asked for the cache bypassed it."""

    DISABLED = "cache-disabled"
    UNAVAILABLE = "cache-unavailable"
    IMAGE_TOO_LARGE = "image-too-large"
    NOT_STREAMABLE = "sparse-not-streamable"
    UNUSUAL_FORMAT = "unusual-format"
    SIZE_UNKNOWN = "size-unknown"
    NO_ROOM = "no-room"
    NOT_ACTIVE = "image-not-active"
    NAME_TAKEN = "name-taken"
    NOT_UNDERSTOOD = "not-understood"
    ENCRYPTED = "encrypted-volume"
    LOCK_TIMEOUT = "lock-timeout"
    NO_PLACEMENT = "no-datastore-fits"
    DATA_MISSING = "image-data-missing"
    FAULT = "fault"


class Rule(enum.StrEnum):
    """Why a template was removed; few values, fit for a metric's label."""

    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    STALE = "stale"
    LIMIT = "limit"
    ROOM = "room"
    BROKEN = "broken"
    ALTERED = "altered"
    REQUESTED = "requested"


@dataclass(frozen=True)
class Event:
    """Something happened to ``image_id`` in the cache of ``backend``."""

    backend: str
    image_id: str


@dataclass(frozen=True)
class _Cloned:
    """How a volume was cloned from a template.

    :ivar datastore: name of the volume's datastore
    :ivar seconds: from request to volume
    :ivar queued_s: of these, spent waiting for a slot
    :ivar cloned_s: of these, from CloneVM_Task until the volume was complete
    :ivar saved_bytes: bytes that Glance did not have to send, 0 if the image's length is unknown
    :ivar in_one_task: CloneVM_Task also gave the volume's disk its size and uuid
    """

    volume_id: str
    datastore: str
    seconds: float
    queued_s: float = 0.0
    cloned_s: float = 0.0
    saved_bytes: int = 0
    in_one_task: bool = False


@dataclass(frozen=True)
class Hit(_Cloned, Event):
    """A volume was cloned from a template that another request had imported, or was importing."""

    def __str__(self) -> str:
        return (
            f"hit: volume {self.volume_id} from image {identifier(self.image_id)} on datastore "
            f"{identifier(self.datastore)} in {self.seconds:.2f} s "
            f"({self.queued_s:.2f} s waiting), {as_text(self.saved_bytes)} not downloaded"
        )


@dataclass(frozen=True)
class Miss(_Cloned, Event):
    """A volume was cloned from a template that its request imported."""

    def __str__(self) -> str:
        return (
            f"miss: volume {self.volume_id} from image {identifier(self.image_id)} on datastore "
            f"{identifier(self.datastore)} in {self.seconds:.2f} s "
            f"({self.queued_s:.2f} s waiting), including its import"
        )


@dataclass(frozen=True)
class Bypassed(Event):
    """A volume that asked for the cache is created without it."""

    volume_id: str
    reason: Reason

    def __str__(self) -> str:
        return (
            f"bypass: volume {self.volume_id} from image {identifier(self.image_id)}, {self.reason}"
        )


@dataclass(frozen=True)
class VolumeFailed(Event):
    """An attempt at a volume that asked for the cache failed, with or without the cache.

    :ivar error: name of the exception's class
    """

    volume_id: str
    error: str

    def __str__(self) -> str:
        return (
            f"failure: volume {self.volume_id} from image {identifier(self.image_id)}, {self.error}"
        )


@dataclass(frozen=True)
class ImportStarted(Event):
    """The VM that will become the template exists; Imported or ImportFailed follows.

    :ivar datastore: name of the template's datastore
    """

    template: str
    datastore: str

    def __str__(self) -> str:
        return (
            f"import of image {identifier(self.image_id)} begins on datastore "
            f"{identifier(self.datastore)}"
        )


@dataclass(frozen=True)
class Imported(Event):
    """A template is ready.

    :ivar bytes_read: bytes that Glance sent
    """

    template: str
    datastore: str
    virtual_size_bytes: int
    bytes_read: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"import of image {identifier(self.image_id)} on datastore "
            f"{identifier(self.datastore)} done in {self.seconds:.2f} s, "
            f"{as_text(self.bytes_read)} downloaded: template {quoted(self.template)} of "
            f"{as_text(self.virtual_size_bytes)}"
        )


@dataclass(frozen=True)
class ImportFailed(Event):
    """An import made no template, and left nothing behind. An image that bypasses the cache, and a
    name that another import took first, are not failures.

    :ivar error: name of the exception's class
    :ivar seconds: until it failed
    """

    error: str
    seconds: float

    def __str__(self) -> str:
        return (
            f"import of image {identifier(self.image_id)} failed after {self.seconds:.2f} s, "
            f"{self.error}"
        )


@dataclass(frozen=True)
class Replicated(Event):
    """A further copy of a template is ready, on another datastore."""

    template: str
    datastore: str
    seconds: float

    def __str__(self) -> str:
        return (
            f"replica of image {identifier(self.image_id)} on datastore "
            f"{identifier(self.datastore)} made in {self.seconds:.2f} s: template "
            f"{quoted(self.template)}"
        )


@dataclass(frozen=True)
class Evicted(Event):
    """A template was deleted.

    :ivar image_id: empty if unknown
    :ivar reason: the rule and its figures, in words
    :ivar size_bytes: its provisioned capacity
    """

    template: str
    rule: Rule
    reason: str
    size_bytes: int

    def __str__(self) -> str:
        return (
            f"eviction: template {quoted(self.template)} of image "
            f"{identifier(self.image_id or 'unknown')}, "
            f"{as_text(self.size_bytes)}, {self.rule}: {self.reason}"
        )


@dataclass(frozen=True)
class NotKeptWarm(Event):
    """A round of the warm-up ended, and a marked image has no current template.

    :ivar image_id: empty if the round could not find out which images are marked
    :ivar error: why the image cannot be cached, or the name of the exception's class
    """

    error: str

    def __str__(self) -> str:
        what = f"marked image {identifier(self.image_id)}" if self.image_id else "marked images"
        return f"warm-up: {what} without a template, {self.error}"


@dataclass(frozen=True)
class PurgeEnded(Event):
    """A periodic purge ended.

    :ivar image_id: empty: a purge concerns all images
    :ivar seconds: how long it took
    :ivar deleted: number of templates that it deleted
    :ivar error: name of the exception's class if it failed, ``LockTimeout`` if another process was
        purging; empty if it succeeded
    """

    seconds: float
    deleted: int = 0
    error: str = ""

    def __str__(self) -> str:
        ended = f"failed, {self.error}" if self.error else f"{self.deleted} templates deleted"
        return f"purge: {ended} in {self.seconds:.2f} s"


class Listener(Protocol):
    """It must not take long; :func:`to_all` lets it raise."""

    def __call__(self, event: Event, /) -> None: ...


def log(event: Event) -> None:
    """A listener that logs each event at INFO."""
    LOG.info("Image cache %s [%s]", event, event.backend)


def to_all(*listeners: Listener) -> Listener:
    """A listener that calls each of ``listeners`` in turn, also after one of them has failed."""

    def tell(event: Event) -> None:
        for listener in listeners:
            try:
                listener(event)
            except Exception as failure:
                # A defect of a listener loses an event, not the volume.
                LOG.warning("A listener of the image cache failed: %s", sentence(repr(failure)))

    return tell


def as_text(size_bytes: int) -> str:
    """A size for people to read: ``3.1 MiB``, ``20 GiB``, ``512 B``."""
    size, units = float(size_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while round(size, 1) >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.1f}".removesuffix(".0") + f" {units[0]}"


def reason_of(failure: BaseException) -> Reason:
    """The reason for a volume made without the cache because of ``failure``."""
    if isinstance(failure, errors.NotCacheable):
        return Reason(failure.reason)
    if isinstance(failure, errors.LockTimeout):
        return Reason.LOCK_TIMEOUT
    if isinstance(failure, errors.NoPlacement):
        return Reason.NO_PLACEMENT
    if isinstance(failure, errors.ImageDataMissing):
        return Reason.DATA_MISSING
    return Reason.FAULT
