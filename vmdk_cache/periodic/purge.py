"""Deletes templates by a plan that gives a reason for each, one by one.

A template goes when it has expired, is superseded or stale (Glance has deleted, changed or
deactivated the image), or exceeds a limit. One process purges a backend at a time. A template in
use is skipped, and the next run plans again: volumes of this process use the template or wait for
it (cache/templates_in_use.py), a clone of another process makes vCenter refuse the deletion.

Listing costs a few requests to vCenter, for any number of templates, and one to Glance for each
image; only deletions cost requests for each template.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import PurgeEnded
from vmdk_cache.cache.eviction_plan import (
    EvictionPlan,
    Verdict,
    images_of,
    plan_eviction,
    plan_requested,
    proven_ours,
    stale_copies,
)
from vmdk_cache.cache.evictor import Evictor, Stayed
from vmdk_cache.cache.ports import Catalog
from vmdk_cache.image import Image
from vmdk_cache.quoting import quoted

LOG = logging.getLogger(__name__)
LOCK = "purge"
#: A run that takes longer leaves the rest to the next one, on any host: the lock is held no longer
#: than this and one deletion (vim/template.py, DESTROY_WITHIN_S).
RUN_WITHIN_S = 1800.0
#: After Glance has failed for this many images in a row, the rest waits for the next run.
GLANCE_ATTEMPTS = 3


@dataclass(frozen=True)
class Purged:
    """The outcome of a plan: each entry to remove is in one of the two."""

    removed: tuple[Verdict, ...]
    stayed: tuple[tuple[Verdict, Stayed], ...]


class Purge:
    """The purge of one backend's cache; ``run`` may be called by any thread at any time.

    :param catalog: asked what has become of the images; None: no copy is stale
    """

    def __init__(
        self, context: CacheContext, evictor: Evictor, catalog: Catalog | None = None
    ) -> None:
        self._context = context
        self._evictor = evictor
        self._catalog = catalog
        self._warned = False  # that an operator has to configure a user for Glance

    def plan(self) -> EvictionPlan:
        """The plan of a run now; changes nothing.

        :raises VCenterError: templates or datastores could not be listed
        """
        entries = self._context.entries()
        return self._plan(entries, self._images(images_of(entries)))

    def plan_requested(self, image_ids: Collection[str] | None) -> EvictionPlan:
        """The plan that takes these images out of the cache; changes nothing.

        :param image_ids: None: all of them
        :raises VCenterError: templates could not be listed
        """
        entries = self._context.entries()
        return plan_requested(entries, image_ids, in_use=self._context.templates_in_use.morefs())

    def carry_out(self, plan: Callable[[], EvictionPlan]) -> Purged:
        """Remove the entries of a plan; one that cannot be removed does not block the others.

        :param plan: called under the lock: :meth:`plan` or :meth:`plan_requested`
        :raises LockTimeout: another process is purging
        :raises VCenterError: same errors as the plan
        """
        removed, stayed = [], []
        with self._context.locks.hold(LOCK, 0):
            ends_at = self._context.clock.monotonic() + RUN_WITHIN_S
            for verdict in plan().remove:
                if self._context.clock.monotonic() < ends_at:
                    why = self._evictor.attempt(verdict)
                else:
                    why = Stayed("the purge has taken too long: the rest is left to the next run")
                if why is None:
                    removed.append(verdict)
                else:
                    stayed.append((verdict, why))
        return Purged(tuple(removed), tuple(stayed))

    def run(self) -> list[CacheEntry]:
        """Carry out a new plan, and report the outcome; returns the entries that were deleted.

        :raises VCenterError: templates or datastores could not be listed
        """
        began = self._context.clock.monotonic()
        deleted: list[CacheEntry] = []
        error = ""
        try:
            removed = self.carry_out(self._plan_noting_owners).removed
            deleted = [verdict.entry for verdict in removed]
        except errors.LockTimeout as busy:
            error = type(busy).__name__
            LOG.debug("Another process is purging the image cache of %s.", self._context.backend)
        except Exception as failure:
            error = type(failure).__name__
            raise
        finally:
            seconds = self._context.clock.monotonic() - began
            self._context.events(
                PurgeEnded(self._context.backend, "", seconds, len(deleted), error)
            )
        return deleted

    def _plan_noting_owners(self) -> EvictionPlan:
        """As :meth:`plan`; first notes this deployment on entries that are proven to be ours, so
        that their owner is still known when their images are deleted later."""
        entries = self._context.entries()
        images = self._images(images_of(entries))
        for entry in proven_ours(entries, images):
            try:
                self._context.store.note_owner(entry)
            except errors.VCenterError as failure:
                LOG.info(
                    "Template %s is not noted as this deployment's yet: %s",
                    quoted(entry.name),
                    failure,
                )
        return self._plan(entries, images)

    def _plan(
        self, entries: Sequence[CacheEntry], images: Mapping[str, Image | None]
    ) -> EvictionPlan:
        return plan_eviction(
            entries,
            self._context.server_time(),
            self._context.settings(),
            spaces=self._context.spaces(),
            stale=stale_copies(entries, images),
            in_use=self._context.templates_in_use.morefs(),
            kept=self._context.kept(),
        )

    def _images(self, image_ids: Iterable[str]) -> dict[str, Image | None]:
        """The images as Glance describes them; those that it cannot describe now are left out."""
        if self._catalog is None:
            return {}
        images: dict[str, Image | None] = {}
        unknown: list[errors.SourceUnavailable] = []
        in_a_row = 0
        for image_id in image_ids:
            try:
                images[image_id] = self._catalog.describe(image_id)
                in_a_row = 0
            except errors.SourceUnavailable as failure:
                unknown.append(failure)
                in_a_row += 1
                if in_a_row == GLANCE_ATTEMPTS:
                    break
        self._tell_unknown(unknown)
        return images

    def _tell_unknown(self, unknown: Sequence[errors.SourceUnavailable]) -> None:
        """Log why copies are kept: once at WARNING if only an operator can change it."""
        lasting = [failure for failure in unknown if isinstance(failure, errors.NoGlanceAdmin)]
        if lasting and not self._warned:
            self._warned = True
            LOG.warning(
                "Templates of images that Glance has deleted, changed or deactivated stay in the "
                "cache of %s until they expire or a limit is reached: %s",
                self._context.backend,
                lasting[0],
            )
        elif unknown:
            LOG.info("Cached copies are kept whose images Glance did not describe: %s", unknown[0])
