"""A volume from an image: by the cache, or as Cinder's own VMDK driver makes it.

    clone_image                      a new volume
    copy_image_to_volume             a volume that exists gets another image (``os-reimage``);
                                     upstream's clone_image calls it as well, for a new volume
    copy_image_to_encrypted_volume   a volume of an encrypted type, which the cache does not make

The ways out of each:

    the volume did not ask for the cache        upstream's method
    the cache made the volume                   outcome noted
    the image cannot become this volume         ImageUnacceptable, ImageCopyFailure (volume: error),
                                                why noted on the volume
    the volume was deleted in the meantime      VolumeNotFound: Cinder does not try again
    anything else                               one WARNING with the reason, which is noted on the
                                                volume, then upstream's method

``clone_image`` never returns ``(None, False)``: Cinder would then download the image to the host
and convert it there.

A reimage replaces the volume's VM, as upstream's does. Upstream removes the VM when vCenter refuses
a second one of that name, and then downloads the image. Here the VM stays until the template exists
and the clone can begin, so an image that cannot become the volume leaves the volume as it was.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from cinder import exception
from cinder.volume.drivers.vmware import vmdk
from oslo_log import log as logging

from vmdk_cache import conf, errors, wiring
from vmdk_cache.cache import events
from vmdk_cache.cinder import opt_in, upstream
from vmdk_cache.cinder.cache_connection import CacheConnection
from vmdk_cache.cinder.feedback import Feedback, forget_earlier_note
from vmdk_cache.cinder.image_service import GlanceImageSource
from vmdk_cache.cinder.workers import Workers
from vmdk_cache.image import describe
from vmdk_cache.quoting import identifier, quoted, sentence

LOG = logging.getLogger(__name__)
#: How long a deletion by Cinder may take before a deleted volume is removed beside it.
DELETED_WITHIN_S = 600.0


def _nothing() -> None:
    """Of a new volume there is nothing to remove."""


class VolumeFromImage(vmdk.VMwareVcVmdkDriver):  # type: ignore[misc]  # Cinder is untyped here
    """The operations of the module's table; the driver has all else.

    :ivar _settings: those in force
    :ivar _events: what the cache does is told there
    """

    _settings: conf.LiveSettings
    _connection: CacheConnection
    _events: events.Events
    _feedback: Feedback
    _workers: Workers

    def clone_image(
        self,
        context: Any,
        volume: Any,
        image_location: Any,
        image_meta: dict[str, Any],
        image_service: Any,
    ) -> tuple[dict[str, Any] | None, bool]:
        """Make ``volume`` from the image; see the module's table for the ways out."""
        forget_earlier_note(image_meta)
        arguments = (context, volume, image_location, image_meta, image_service)
        plainly = functools.partial(super().clone_image, *arguments)
        result: tuple[dict[str, Any] | None, bool] | None
        result = self._through_cache(context, volume, image_meta, image_service, plainly)
        return (None, True) if result is None else result

    def copy_image_to_volume(
        self,
        context: Any,
        volume: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool = False,
    ) -> None:
        """Write the image to ``volume``: a new one for upstream's ``clone_image``, one that exists
        for ``os-reimage``, or an encrypted one with an image that is encrypted by the same key."""
        arguments = (context, volume, image_service, image_id, disable_sparse)
        plainly = functools.partial(super().copy_image_to_volume, *arguments)
        if upstream.is_reimage(volume):
            image_meta = image_service.show(context, image_id)
            make_way = functools.partial(self.delete_volume, volume)
            self._feedback.withdraw(context, volume.id)
            self._through_cache(context, volume, image_meta, image_service, plainly, make_way)
        elif volume.encryption_key_id is not None:
            image_meta = image_service.show(context, image_id)
            self._through_cache(context, volume, image_meta, image_service, plainly)
        else:
            plainly()

    def copy_image_to_encrypted_volume(
        self,
        context: Any,
        volume: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool = False,
    ) -> None:
        """Upstream's; a user who asks for the cache is told that it does not take such volumes."""
        arguments = (context, volume, image_service, image_id, disable_sparse)
        plainly = functools.partial(super().copy_image_to_encrypted_volume, *arguments)
        image_meta = image_service.show(context, image_id)
        self._through_cache(context, volume, image_meta, image_service, plainly)

    def _through_cache(
        self,
        context: Any,
        volume: Any,
        image_meta: dict[str, Any],
        image_service: Any,
        plainly: Callable[[], Any],
        make_way: Callable[[], None] = _nothing,
    ) -> Any:
        """Make ``volume`` from the image, by the cache or without it.

        :param plainly: how Cinder's own driver does it
        :param make_way: removes what the volume has so far, once a clone can begin
        :returns: what ``plainly`` returns, None if the cache made it
        """
        try:
            asked = self._wants_cache(volume, image_meta)
            hit = asked and self._clone_from_cache(
                context, volume, image_meta, image_service, make_way
            )
        except errors.ImageError as failure:
            self._feedback.volume_failed(context, volume.id, failure)
            self._tell(events.VolumeFailed, volume, image_meta, type(failure).__name__)
            raise _for_cinder(failure, identifier(image_meta["id"])) from failure
        except errors.VolumeDeleted as deleted:
            LOG.info("%s: nothing is left of it in vCenter", deleted)
            raise exception.VolumeNotFound(volume_id=volume.id) from deleted
        except Exception as failure:
            # A defect of the cache must not cost a user's volume; the trace is for debugging.
            reason, why = events.reason_of(failure), sentence(str(failure) or repr(failure))
            LOG.debug("The image cache did not make volume %s", volume.id, exc_info=True)
        else:
            if not asked:
                return self._imported(volume, plainly)
            self._feedback.outcome(context, volume.id, "hit" if hit else "miss")
            return None
        if not upstream.is_wanted(volume.id):
            LOG.info("Volume %s was deleted; the image cache failed before (%s): %s",
                     volume.id, reason, why)  # fmt: skip
            raise exception.VolumeNotFound(volume_id=volume.id)
        level = logging.INFO if reason is events.Reason.DISABLED else logging.WARNING
        LOG.log(level, "Volume %s goes on without the image cache (%s): %s",
                volume.id, reason, why)  # fmt: skip
        self._tell(events.Bypassed, volume, image_meta, reason)
        # Now, for a volume that cannot be made plainly either keeps it.
        note = f"bypass: {reason}"
        if reason is events.Reason.NOT_UNDERSTOOD:
            note += f" ({why})"
        self._feedback.outcome(context, volume.id, note)
        try:
            made = self._imported(volume, plainly)
        except Exception as failure:
            if not upstream.is_wanted(volume.id):
                raise exception.VolumeNotFound(volume_id=volume.id) from failure
            self._tell(events.VolumeFailed, volume, image_meta, type(failure).__name__)
            raise
        self._remove_deleted(volume)
        return made

    def _imported(self, volume: Any, plainly: Callable[[], Any]) -> Any:
        """What ``plainly`` returns.

        :raises VolumeNotFound: the volume was deleted while it waited for its turn
        """
        with self._workers.creating(), self._workers.importing() as has_waited:
            if has_waited and not upstream.is_wanted(volume.id):
                LOG.info("Volume %s was deleted while its import waited", volume.id)
                raise exception.VolumeNotFound(volume_id=volume.id)
            return plainly()

    def _remove_deleted(self, volume: Any) -> None:
        """Remove a volume that was deleted while it was imported without the cache.

        :raises VolumeNotFound: it was
        """
        with upstream.deletion_waits(volume.id, DELETED_WITHIN_S):
            if upstream.is_wanted(volume.id):
                return
            try:
                self.delete_volume(volume)
            except Exception as failure:
                LOG.warning(
                    "Volume %s was deleted while it was imported; its VM %s could not be removed, "
                    "delete it in vCenter: %s",
                    volume.id,
                    identifier(volume.name),
                    sentence(repr(failure)),
                )
            raise exception.VolumeNotFound(volume_id=volume.id)

    def _wants_cache(self, volume: Any, image_meta: dict[str, Any]) -> bool:
        """:raises NotCacheable: it cannot be told"""
        ways = self._settings().opt_in
        asks_type = conf.OPT_IN_BY_VOLUME_TYPE in ways
        asked = opt_in.asked(
            ways,
            metadata=volume.metadata or {},
            extra_spec=upstream.opt_in_extra_spec(volume) if asks_type else None,
            image_properties=image_meta.get("properties") or {},
        )
        if isinstance(asked, opt_in.Unclear):
            raise errors.NotCacheable(
                events.Reason.NOT_UNDERSTOOD,
                f"{asked.where} is {quoted(asked.value)}: set it to true or false",
            )
        return asked

    def _clone_from_cache(
        self,
        context: Any,
        volume: Any,
        image_meta: dict[str, Any],
        image_service: Any,
        make_way: Callable[[], None],
    ) -> bool:
        """Whether it was a hit; raises for everything but a volume that is there."""
        if volume.encryption_key_id is not None:
            raise errors.NotCacheable(
                events.Reason.ENCRYPTED, "a template holds the image as it is, not encrypted"
            )
        cache = self._running_cache()
        image = describe(image_meta)
        request = upstream.volume_request(self, volume, image.adapter_type, make_way)
        source = GlanceImageSource(context, image_service)
        with self._workers.creating():
            return cache.images.create_volume(image, request, source).hit

    def _running_cache(self) -> wiring.RunningCache:
        """:raises NotCacheable: the cache is switched off, or cannot be opened for now"""
        if not self._settings().enabled:
            raise errors.NotCacheable(
                events.Reason.DISABLED, "enable_image_cache is false for this backend"
            )
        cache, failure = self._connection.cache, self._connection.failure
        if cache is None:
            why = str(failure) if failure is not None else "it is being opened"
            raise errors.NotCacheable(events.Reason.UNAVAILABLE, why)
        return cache

    def _tell(
        self, kind: Callable[..., events.Event], volume: Any, image_meta: dict[str, Any], what: str
    ) -> None:
        self._events(kind(self.configuration.config_group, image_meta["id"], volume.id, what))


def _for_cinder(failure: errors.ImageError, image_id: str) -> exception.CinderException:
    """The exception that ends in volume status ``error`` and no second attempt elsewhere."""
    if isinstance(failure, errors.ImageCorrupt):
        return exception.ImageCopyFailure(reason=str(failure))
    return exception.ImageUnacceptable(image_id=image_id, reason=str(failure))
