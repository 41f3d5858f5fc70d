"""What the engine tells the world, as frozen values; who listens decides what becomes of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import Protocol

from oslo_log import log as logging

from vmdk_cache import errors

LOG = logging.getLogger(__name__)


class Reason(enum.StrEnum):
    """Why a volume that asked for the cache was made without it."""

    DISABLED = "cache-disabled"
    IMAGE_TOO_LARGE = "image-too-large"
    NOT_STREAMABLE = "sparse-not-streamable"
    UNUSUAL_FORMAT = "unusual-format"
    SIZE_UNKNOWN = "size-unknown"
    NO_ROOM = "no-room"
    NOT_ACTIVE = "image-not-active"
    NAME_TAKEN = "name-taken"
    LOCK_TIMEOUT = "lock-timeout"
    NO_PLACEMENT = "no-datastore-fits"
    FAULT = "fault"


@dataclass(frozen=True)
class Event:
    """Something happened to ``image_id`` in the cache of ``backend``."""

    backend: str
    image_id: str


@dataclass(frozen=True)
class Hit(Event):
    """A volume was cloned from a template that another request had imported, or was importing."""

    volume_id: str
    datastore: str
    seconds: float


@dataclass(frozen=True)
class Miss(Event):
    """A volume was cloned from a template that its request imported."""

    volume_id: str
    datastore: str
    seconds: float


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


@dataclass(frozen=True)
class Replicated(Event):
    """A further copy of a template is ready, on another datastore."""

    template: str
    datastore: str
    seconds: float


@dataclass(frozen=True)
class Evicted(Event):
    """A template was deleted; ``reason`` is the plan's."""

    template: str
    reason: str
    size_bytes: int


class Events(Protocol):
    """A listener; it must not raise and must not take long."""

    def __call__(self, event: Event, /) -> None: ...


def log(event: Event) -> None:
    """The plainest listener: a line at INFO."""
    values = ", ".join(f"{field.name}={getattr(event, field.name)}" for field in fields(event))
    LOG.info("image cache %s: %s", type(event).__name__.lower(), values)


def reason_of(failure: BaseException) -> Reason:
    """The reason for a volume made without the cache because of ``failure``."""
    if isinstance(failure, errors.NotCacheable):
        return Reason(failure.reason)
    if isinstance(failure, errors.LockTimeout):
        return Reason.LOCK_TIMEOUT
    if isinstance(failure, errors.NoPlacement):
        return Reason.NO_PLACEMENT
    return Reason.FAULT
