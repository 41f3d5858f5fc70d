"""Creates a volume from an image: through the cache, or with Cinder's own VMDK driver.

    clone_image                      a new volume
    copy_image_to_volume             an existing volume gets another image (``os-reimage``);
                                     upstream's clone_image also calls it for a new volume
    copy_image_to_encrypted_volume   a volume of an encrypted type, which the cache cannot create

The outcomes of each:

    the volume did not request the cache        upstream's method, which may wait (workers.py)
    the cache created the volume                hit or miss, noted on the volume
    the image cannot become this volume         ImageUnacceptable, ImageCopyFailure (volume: error),
                                                reason noted on the volume
    the volume was deleted in the meantime      VolumeNotFound: Cinder does not try again
    any other failure                           bypass: one WARNING with the reason, which is noted
                                                on the volume, then upstream's method

``clone_image`` never returns ``(None, False)``: Cinder would then download the image to the host
and convert it there.

A reimage replaces the volume's VM, as upstream's does. Upstream removes the VM when vCenter refuses
a second one of that name, and then downloads the image. The cache keeps the VM until the template
exists and the clone can start, so an image that cannot become the volume leaves the volume
unchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from cinder import exception
from cinder.message import api as message_api
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
#: How long to wait for Cinder's own deletion before removing a deleted volume's VM.
DELETED_WITHIN_S = 600.0


def _nothing() -> None:
    """A new volume has nothing to remove."""


class VolumeFromImage(vmdk.VMwareVcVmdkDriver):  # type: ignore[misc]  # Cinder is untyped here
    """The operations of the module's table; the driver adds everything else.

    :ivar _settings: the current settings
    :ivar _events: receives the cache's events
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(conf.OPTIONS)
        self._settings = conf.LiveSettings(conf.Settings())
        self._connection = CacheConnection(self.configuration.config_group)
        self._events: events.Listener = events.log
        self._workers = Workers()
        # Created here, like VolumeManager's, because it drops the process's database connections.
        self._feedback = Feedback(message_api.API())

    def clone_image(
        self,
        context: Any,
        volume: Any,
        image_location: Any,
        image_meta: dict[str, Any],
        image_service: Any,
    ) -> tuple[dict[str, Any] | None, bool]:
        """Create ``volume`` from the image; see the module's table for the outcomes."""
        forget_earlier_note(image_meta)
        arguments = (context, volume, image_location, image_meta, image_service)
        plain_import = functools.partial(super().clone_image, *arguments)
        result: tuple[dict[str, Any] | None, bool] | None
        result = self._through_cache(context, volume, image_meta, image_service, plain_import)
        return (None, True) if result is None else result

    def copy_image_to_volume(
        self,
        context: Any,
        volume: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool = False,
    ) -> None:
        """Write the image to ``volume``: a new one for upstream's ``clone_image``, an existing one
        for ``os-reimage``, or an encrypted one with an image that is encrypted with the same
        key."""
        arguments = (context, volume, image_service, image_id, disable_sparse)
        plain_import = functools.partial(super().copy_image_to_volume, *arguments)
        if upstream.is_reimage(volume):
            image_meta = image_service.show(context, image_id)
            remove_old_vm = functools.partial(self.delete_volume, volume)
            self._feedback.withdraw(context, volume.id)
            self._through_cache(
                context, volume, image_meta, image_service, plain_import, remove_old_vm
            )
        elif volume.encryption_key_id is not None:
            image_meta = image_service.show(context, image_id)
            self._through_cache(context, volume, image_meta, image_service, plain_import)
        else:
            plain_import()

    def copy_image_to_encrypted_volume(
        self,
        context: Any,
        volume: Any,
        image_service: Any,
        image_id: str,
        disable_sparse: bool = False,
    ) -> None:
        """Upstream's method; if the volume requests the cache, the bypass is noted on it."""
        arguments = (context, volume, image_service, image_id, disable_sparse)
        plain_import = functools.partial(super().copy_image_to_encrypted_volume, *arguments)
        image_meta = image_service.show(context, image_id)
        self._through_cache(context, volume, image_meta, image_service, plain_import)

    def _through_cache(
        self,
        context: Any,
        volume: Any,
        image_meta: dict[str, Any],
        image_service: Any,
        plain_import: Callable[[], Any],
        remove_old_vm: Callable[[], None] = _nothing,
    ) -> Any:
        """Create ``volume`` from the image, through the cache or with the plain import.

        :param plain_import: the method of Cinder's own driver
        :param remove_old_vm: removes the volume's existing VM, once a clone can start
        :returns: the result of ``plain_import``, None if the cache created the volume
        """
        try:
            outcome = self._from_cache(context, volume, image_meta, image_service, remove_old_vm)
        except errors.ImageError as failure:
            self._feedback.volume_failed(context, volume.id, failure)
            self._tell(events.VolumeFailed, volume, image_meta, type(failure).__name__)
            raise _for_cinder(failure, identifier(image_meta["id"])) from failure
        except errors.VolumeDeleted as deleted:
            LOG.info("%s: nothing of it is left in vCenter", deleted)
            raise exception.VolumeNotFound(volume_id=volume.id) from deleted
        except Exception as failure:
            # A bug in the cache must not cost a user's volume; the traceback is for debugging.
            reason, why = events.reason_of(failure), sentence(str(failure) or repr(failure))
            LOG.debug("The image cache did not create volume %s", volume.id, exc_info=True)
        else:
            if outcome is None:
                return self._run_plain_import(volume, plain_import)
            self._feedback.outcome(context, volume.id, outcome)
            return None
        return self._bypass(context, volume, image_meta, reason, why, plain_import)

    def _bypass(
        self,
        context: Any,
        volume: Any,
        image_meta: dict[str, Any],
        reason: events.Reason,
        why: str,
        plain_import: Callable[[], Any],
    ) -> Any:
        """Report why the cache did not create ``volume``, and run ``plain_import`` instead.

        :raises VolumeNotFound: the volume was deleted
        """
        if not upstream.is_wanted(volume.id):
            LOG.info("Volume %s was deleted; before that the image cache had failed (%s): %s",
                     volume.id, reason, why)  # fmt: skip
            raise exception.VolumeNotFound(volume_id=volume.id)
        level = logging.INFO if reason is events.Reason.DISABLED else logging.WARNING
        LOG.log(level, "Volume %s bypasses the image cache (%s): %s",
                volume.id, reason, why)  # fmt: skip
        self._tell(events.Bypassed, volume, image_meta, reason)
        # Noted now, so that it stays even if the plain import fails too.
        note = f"bypass: {reason}"
        if reason is events.Reason.NOT_UNDERSTOOD:
            note += f" ({why})"
        self._feedback.outcome(context, volume.id, note)
        try:
            made = self._run_plain_import(volume, plain_import)
        except Exception as failure:
            if not upstream.is_wanted(volume.id):
                raise exception.VolumeNotFound(volume_id=volume.id) from failure
            self._tell(events.VolumeFailed, volume, image_meta, type(failure).__name__)
            raise
        self._remove_deleted(volume)
        return made

    def _run_plain_import(self, volume: Any, plain_import: Callable[[], Any]) -> Any:
        """Run ``plain_import`` when a worker may import, and return its result.

        :raises VolumeNotFound: the volume was deleted while it waited
        """
        with self._workers.creating(), self._workers.importing() as has_waited:
            if has_waited and not upstream.is_wanted(volume.id):
                LOG.info("Volume %s was deleted while its import waited", volume.id)
                raise exception.VolumeNotFound(volume_id=volume.id)
            return plain_import()

    def _remove_deleted(self, volume: Any) -> None:
        """Remove a volume that was deleted during its plain import.

        :raises VolumeNotFound: the volume was deleted
        """
        with upstream.deletion_lock(volume.id, DELETED_WITHIN_S):
            if upstream.is_wanted(volume.id):
                return
            try:
                self.delete_volume(volume)
            except Exception as failure:
                LOG.warning(
                    "Volume %s was deleted during its import, but its VM %s could not be removed; "
                    "delete it in vCenter: %s",
                    volume.id,
                    identifier(volume.name),
                    sentence(repr(failure)),
                )
            raise exception.VolumeNotFound(volume_id=volume.id)

    def _from_cache(
        self,
        context: Any,
        volume: Any,
        image_meta: dict[str, Any],
        image_service: Any,
        remove_old_vm: Callable[[], None],
    ) -> str | None:
        """Clone the volume from the cache. Raises if there is no volume.

        :returns: ``hit`` or ``miss``; None if the volume did not request the cache
        """
        if not self._wants_cache(volume, image_meta):
            return None
        if volume.encryption_key_id is not None:
            raise errors.NotCacheable(events.Reason.ENCRYPTED, "templates are not encrypted")
        cache = self._running_cache()
        image = describe(image_meta)
        request = upstream.to_volume(self, volume, image.adapter_type, remove_old_vm)
        source = GlanceImageSource(context, image_service)
        with self._workers.creating():
            made = cache.images.create_volume(image, request, source)
        return "hit" if made.hit else "miss"

    def _wants_cache(self, volume: Any, image_meta: dict[str, Any]) -> bool:
        """:raises NotCacheable: the request is unclear"""
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

    def _running_cache(self) -> wiring.RunningCache:
        """:raises NotCacheable: the cache is disabled, or is not open now"""
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
    """The exception that sets the volume's status to ``error`` without an attempt on another
    backend."""
    if isinstance(failure, errors.ImageCorrupt):
        return exception.ImageCopyFailure(reason=str(failure))
    return exception.ImageUnacceptable(image_id=image_id, reason=str(failure))
