"""Keeps the images warm that are marked in Glance: ``image_cache_warm=true``.

    absent     no copy of the image as it is now    -> imported, one after another
    due        a copy expires soon                  -> the timers of all copies are reset
    the rest   no request to vCenter

Due images come before absent ones: a timer takes a moment, an import perhaps an hour. One process
of a backend works at a time. Every process asks Glance itself, because each has to know which
images eviction must spare (cache/context.py); while Glance is away, the last answer counts.

A warm-up may evict images that are not marked, never marked ones: if the limits leave no room for
all marked images, those imported first stay. The log says once why an image is not kept warm, and
again when the reason changes. An image whose data cannot become a disk is not imported again until
its data change. In each round, an event counts every marked image that has no template.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.engine import ImageCache
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import NotKeptWarm
from vmdk_cache.cache.eviction_plan import expires_at
from vmdk_cache.cache.key import CacheKey, fingerprint
from vmdk_cache.cache.ports import MarkedImages
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image
from vmdk_cache.quoting import identifier, sentence

LOG = logging.getLogger(__name__)
LOCK = "warm-up"


@dataclass(frozen=True)
class WarmUpPlan:
    """The actions of a round, in this order.

    :ivar due: images whose copies' timers to reset
    :ivar absent: images to import
    """

    due: tuple[Image, ...]
    absent: tuple[Image, ...]


def plan_warm_up(
    images: Iterable[Image],
    entries: Iterable[CacheEntry],
    now: datetime.datetime,
    settings: Settings,
    adapter_type: str,
) -> WarmUpPlan:
    """Which of the marked ``images`` need an action now: pure.

    A timer is reset in the second half of its time, so that this writes to vCenter twice per
    ``image_cache_age_seconds`` and not in each round; but at least two rounds before it runs out.

    :param adapter_type: of future volumes; an image's own property takes precedence
    """
    margin_s = max(settings.age_s / 2, 2 * settings.purge_interval_s)
    ends: dict[CacheKey, list[datetime.datetime | None]] = {}
    for entry in entries:
        if entry.phase is Phase.READY and entry.record is not None:
            ends.setdefault(entry.record.key, []).append(expires_at(entry, settings))
    due, absent = [], []
    for image in images:
        copies = ends.get(CacheKey.of(image, image.adapter_type or adapter_type))
        if copies is None:
            absent.append(image)
        elif any(end is not None and (end - now).total_seconds() <= margin_s for end in copies):
            due.append(image)
    return WarmUpPlan(tuple(due), tuple(absent))


class WarmUp:
    """The warm-up of one backend; one round at a time.

    :param marked: says which images to keep warm, and returns their data
    :param adapter_type: of future volumes
    """

    def __init__(
        self, context: CacheContext, images: ImageCache, marked: MarkedImages, adapter_type: str
    ) -> None:
        self._context = context
        self._images = images
        self._marked = marked
        self._adapter_type = adapter_type
        self._closed = False
        self._told: dict[str, str] = {}  # by image id; of all of them: an empty one
        self._unusable: dict[str, tuple[str, str]] = {}  # image id: fingerprint, error

    def run(self) -> None:
        """One round; never raises, because the next round tries again. While the warm-up is
        switched off, it does nothing, and eviction spares no image."""
        if not self._is_on():
            self._context.kept.set(())
            return
        try:
            images = self._marked.marked()
            self._context.kept.set(image.id for image in images)
            self._forget_all_but(images)
            with self._context.locks.hold(LOCK, 0):
                self._warm(images)
        except errors.LockTimeout:
            LOG.debug("Another process keeps the marked images warm.")
        except Exception as failure:
            self._tell("", f"The marked images cannot be kept warm now: {sentence(failure)}")
            self._count("", _name(failure))
        else:
            self._told.pop("", None)

    def close(self) -> None:
        """Start on no further image."""
        self._closed = True

    def _is_on(self) -> bool:
        settings = self._context.settings()
        return settings.enabled and settings.auto_warm

    def _warm(self, images: Sequence[Image]) -> None:
        context = self._context
        plan = plan_warm_up(
            images,
            context.entries(),
            context.server_time(),
            context.settings(),
            self._adapter_type,
        )
        absent = {image.id for image in plan.absent}
        for image in (*plan.due, *plan.absent):
            if self._closed or not self._is_on():
                return
            error = self._known_error(image) or self._warm_one(image)
            if error and image.id in absent and not self._closed:
                self._count(image.id, error)

    def _known_error(self, image: Image) -> str | None:
        """The error that an import of the same data has ended with."""
        data, error = self._unusable.get(image.id, (None, None))
        return error if data == fingerprint(image) else None

    def _warm_one(self, image: Image) -> str | None:
        """The name of the error, if it failed."""
        try:
            # Without it, Glance would start to send an image without room for it in each round.
            self._images.check_warm(image, self._adapter_type)
            self._images.warm(image, self._adapter_type, self._marked)
        except Exception as failure:
            # On any error, the other images must still be kept warm.
            if isinstance(failure, errors.ImageError):
                self._unusable[image.id] = fingerprint(image), _name(failure)
            if not self._closed:
                why = failure if isinstance(failure, errors.VmdkCacheError) else repr(failure)
                self._tell(
                    image.id,
                    f"Image {identifier(image.id)} is marked and not kept warm: {sentence(why)}",
                )
            return _name(failure)
        self._told.pop(image.id, None)
        LOG.debug("Image %s is warm.", identifier(image.id))
        return None

    def _count(self, image_id: str, error: str) -> None:
        self._context.events(NotKeptWarm(self._context.backend, image_id, error))

    def _tell(self, about: str, text: str) -> None:
        if self._told.get(about) != text:
            self._told[about] = text
            LOG.warning("%s", text)

    def _forget_all_but(self, images: Iterable[Image]) -> None:
        there = {image.id for image in images}
        for memory in (self._told, self._unusable):
            for image_id in memory.keys() - there - {""}:
                del memory[image_id]


def _name(failure: Exception) -> str:
    """A name with few values, for the counts."""
    if isinstance(failure, errors.NotCacheable):
        return str(failure.reason)
    return type(failure).__name__
