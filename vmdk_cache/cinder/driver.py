"""The volume driver: Cinder's own VMDK driver, with a cache before its import from Glance.

``clone_image`` is the one operation that differs. Its ways out:

    the volume did not ask for the cache        upstream's clone_image
    the cache made the volume                   (update or None, True), outcome noted
    the image cannot become this volume         ImageUnacceptable, ImageCopyFailure (volume: error)
    anything else                               one WARNING with the reason, which is noted on the
                                                volume, then upstream's clone_image

Never ``(None, False)``: Cinder would then download the image to the host and convert it there.
Everything else runs on upstream's code and on upstream's own session.

``__init__`` runs before cinder-volume forks, so nothing is connected, locked or started there.
``do_setup`` may run again on the same object after a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cinder import exception, interface
from cinder.message import api as message_api
from cinder.volume.drivers.vmware import vmdk
from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import loopingcall

from vmdk_cache import conf, errors, wiring
from vmdk_cache.cache import events
from vmdk_cache.cinder import EXTRA_KEY, IMAGES_KEY, OPT_IN_KEY, glance, opt_in, upstream
from vmdk_cache.cinder.feedback import Feedback, forget_earlier_note
from vmdk_cache.cinder.notifications import Notifications
from vmdk_cache.image import describe
from vmdk_cache.ledger import Ledger
from vmdk_cache.periodic.backend_report import BackendReport

LOG = logging.getLogger(__name__)
#: After a service's start, in which it has better things to do; and hosts are rarely all up.
FIRST_WARM_UP_S = 60.0


@interface.volumedriver
class ImageCacheVmdkDriver(vmdk.VMwareVcVmdkDriver):  # type: ignore[misc]  # Cinder is untyped here
    """Creates volumes from images by cloning cached templates."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._stats: dict[str, Any] | None
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(conf.OPTIONS)
        self._settings = conf.Settings()
        self._cache: wiring.RunningCache | None = None
        self._ledger: Ledger | None = None
        self._events: events.Events = events.log
        self._purge_loop: loopingcall.FixedIntervalLoopingCall | None = None
        self._warm_up_loop: loopingcall.DynamicLoopingCall | None = None
        # Here and not later, as VolumeManager does: it drops the process's database connections.
        self._feedback = Feedback(message_api.API())

    @staticmethod
    def get_driver_options() -> list[cfg.Opt]:
        return [*vmdk.VMwareVcVmdkDriver.get_driver_options(), *conf.OPTIONS]

    def do_setup(self, context: Any) -> None:
        """Connect the cache, then upstream: our errors name the option that is wrong."""
        self._validate_params()
        self._close_cache()
        self._settings = conf.Settings.from_options(self.configuration)
        self._events = self._listeners()
        self._cache = self._open_cache()
        try:
            super().do_setup(context)
        except BaseException:
            self._close_cache()
            raise

    def check_for_setup_error(self) -> None:
        """Start what runs by the clock, once: the purge also with the cache disabled, for templates
        left over; the warm-up apart from it, since an import may take an hour."""
        super().check_for_setup_error()
        if self._purge_loop is None:
            self._purge_loop = loopingcall.FixedIntervalLoopingCall(self._purge)
            interval_s = self._settings.purge_interval_s
            self._purge_loop.start(interval_s, initial_delay=interval_s, stop_on_exception=False)
        if self._warm_up_loop is None and self._settings.auto_warm:
            self._warm_up_loop = loopingcall.DynamicLoopingCall(self._warm_up)
            self._warm_up_loop.start(
                initial_delay=min(FIRST_WARM_UP_S, self._settings.purge_interval_s),
                periodic_interval_max=self._settings.purge_interval_s,
                stop_on_exception=False,
            )

    def clone_image(
        self,
        context: Any,
        volume: Any,
        image_location: Any,
        image_meta: dict[str, Any],
        image_service: Any,
    ) -> tuple[dict[str, Any] | None, bool]:
        """Make ``volume`` from the image; see the module's table for the ways out."""
        plain = (context, volume, image_location, image_meta, image_service)
        forget_earlier_note(image_meta)
        try:
            asked = self._wants_cache(volume, image_meta)
            hit = asked and self._clone_from_cache(context, volume, image_meta, image_service)
        except errors.ImageError as failure:
            self._feedback.volume_failed(context, volume.id, failure)
            self._tell(events.VolumeFailed, volume, image_meta, type(failure).__name__)
            raise _for_cinder(failure, image_meta["id"]) from failure
        except Exception as failure:
            # A defect of the cache must not cost a user's volume; the trace is for debugging.
            reason, why = events.reason_of(failure), str(failure) or repr(failure)
            LOG.debug("The image cache did not make volume %s", volume.id, exc_info=True)
        else:
            if not asked:
                return self._clone_plainly(plain)
            self._feedback.outcome(context, volume.id, image_meta, "hit" if hit else "miss")
            return None, True
        level = logging.INFO if reason is events.Reason.DISABLED else logging.WARNING
        LOG.log(level, "Volume %s goes on without the image cache (%s): %s",
                volume.id, reason, why)  # fmt: skip
        self._tell(events.Bypassed, volume, image_meta, reason)
        # Now, for a volume that cannot be made plainly either keeps it.
        self._feedback.outcome(context, volume.id, image_meta, f"bypass: {reason}")
        try:
            return self._clone_plainly(plain)
        except Exception as failure:
            self._tell(events.VolumeFailed, volume, image_meta, type(failure).__name__)
            raise

    def _wants_cache(self, volume: Any, image_meta: dict[str, Any]) -> bool:
        ways = self._settings.opt_in
        asks_type = conf.OPT_IN_BY_VOLUME_TYPE in ways
        return opt_in.wants_cache(
            ways,
            metadata=volume.metadata or {},
            extra_spec=upstream.opt_in_extra_spec(volume) if asks_type else None,
            image_properties=image_meta.get("properties") or {},
        )

    def _clone_from_cache(
        self, context: Any, volume: Any, image_meta: dict[str, Any], image_service: Any
    ) -> bool:
        """Whether it was a hit; raises for everything but a volume that is there."""
        if self._cache is None:
            raise errors.NotCacheable(
                events.Reason.DISABLED, "enable_image_cache is false for this backend"
            )
        image = describe(image_meta)
        request = upstream.volume_request(self, volume, image.adapter_type)
        source = glance.GlanceImageSource(context, image_service)
        return self._cache.images.create_volume(image, request, source).hit

    def _clone_plainly(self, arguments: tuple[Any, ...]) -> tuple[dict[str, Any] | None, bool]:
        result: tuple[dict[str, Any] | None, bool] = super().clone_image(*arguments)
        return result

    def _tell(
        self, kind: Callable[..., events.Event], volume: Any, image_meta: dict[str, Any], what: str
    ) -> None:
        self._events(kind(self.configuration.config_group, image_meta["id"], volume.id, what))

    def _update_volume_stats(self) -> None:
        super()._update_volume_stats()
        # A copy: the manager writes into what it is given, and upstream keeps its own for good.
        self._stats = {**(self._stats or {}), **self._cache_stats()}

    def _cache_stats(self) -> dict[str, Any]:
        """What the scheduler's host manager and weigher read."""
        report = self._cache.reporter.latest() if self._cache else BackendReport()
        stats: dict[str, Any] = {EXTRA_KEY: report.extra_provisioned_gib}
        if self._settings.enabled:
            stats[IMAGES_KEY] = list(report.image_ids)
            stats[OPT_IN_KEY] = sorted(self._settings.opt_in)
        return stats

    def _purge(self) -> None:
        if self._cache is not None:
            self._cache.housekeeping.run()

    def _warm_up(self) -> None:
        if self._cache is not None and self._cache.warm_up is not None:
            self._cache.warm_up.run()

    def _listeners(self) -> events.Events:
        """Who hears what the cache does; of them only the log must be there."""
        heard: list[events.Events] = [events.log, Notifications(self.host)]
        path = self.configuration.image_cache_ledger
        try:
            self._ledger = Ledger.open(path) if path else None
        except errors.ConfigError as failure:
            LOG.warning("What the image cache does is not counted: %s", failure)
        if self._ledger is not None:
            heard.append(self._ledger)
        return events.to_all(*heard)

    def _open_cache(self) -> wiring.RunningCache | None:
        """The cache, connected.

        With the cache disabled, all that is lost without a connection is counting and purging what
        is left over: no reason to keep a backend and its volumes from starting.
        """
        catalog = glance.GlanceCatalog()
        try:
            return wiring.build(
                self._settings,
                upstream.backend(self.configuration),
                upstream.locks(self.configuration),
                events=self._events,
                catalog=catalog,
                marked=catalog,
                adapter_type=self.configuration.vmware_adapter_type,
            )
        except errors.VmdkCacheError as failure:
            if self._settings.enabled:
                raise exception.VolumeDriverException(message=str(failure)) from failure
            LOG.warning("Left-over image templates are neither counted nor purged: %s", failure)
            return None

    def _close_cache(self) -> None:
        cache, self._cache = self._cache, None
        if cache is not None:
            cache.close()
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()


def _for_cinder(failure: errors.ImageError, image_id: str) -> exception.CinderException:
    """The exception that ends in volume status ``error`` and no second attempt elsewhere."""
    if isinstance(failure, errors.ImageCorrupt):
        return exception.ImageCopyFailure(reason=str(failure))
    return exception.ImageUnacceptable(image_id=image_id, reason=str(failure))
