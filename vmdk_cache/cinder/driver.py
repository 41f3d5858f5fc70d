"""The volume driver: Cinder's own VMDK driver, with a cache in front of its import from Glance.

volume_from_image.py creates volumes from images. Everything else uses upstream's code and
upstream's own session.

``__init__`` runs before cinder-volume forks, so it connects, locks and starts nothing. ``do_setup``
may run again on the same object after a failure.

Options of the cache may change while the service runs: on SIGHUP oslo.config reads its files again
and calls :meth:`~ImageCacheVmdkDriver.take_over_settings`.
"""

from __future__ import annotations

from typing import Any

from cinder import interface
from cinder.volume.drivers.vmware import vmdk
from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import loopingcall

import vmdk_cache
from vmdk_cache import conf, errors, wiring
from vmdk_cache.cache import events
from vmdk_cache.cinder import (
    CAPABILITY,
    EXTRA_KEY,
    OPT_IN_KEY,
    cached_images,
    image_service,
    opt_in,
    upstream,
)
from vmdk_cache.cinder.cache_connection import RETRY_S
from vmdk_cache.cinder.notifications import Notifications
from vmdk_cache.cinder.service_stop import SERVICE_STOP
from vmdk_cache.cinder.volume_from_image import VolumeFromImage
from vmdk_cache.ledger import Ledger
from vmdk_cache.periodic.backend_report import BackendReport
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)
#: Delay of the first warm-up, to keep load off the start, when rarely all hosts are up.
FIRST_WARM_UP_S = 60.0


@interface.volumedriver
class ImageCacheVmdkDriver(VolumeFromImage):
    """Creates volumes from images by cloning cached templates.

    :cvar VERSION: versions of this package and of the Cinder driver that it extends
    :cvar CI_WIKI_NAME: None, because VMware's CI system does not test this driver
    """

    VERSION = f"{vmdk_cache.__version__} (vmdk {vmdk.VMwareVcVmdkDriver.VERSION})"
    CI_WIKI_NAME = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._stats: dict[str, Any] | None
        super().__init__(*args, **kwargs)
        self._settings_known = False
        self._unusable: errors.ConfigError | None = None
        self._ledger: Ledger | None = None
        self._reconnect_loop: loopingcall.FixedIntervalLoopingCall | None = None
        self._housekeeping_loop: loopingcall.FixedIntervalLoopingCall | None = None
        self._warm_up_loop: loopingcall.DynamicLoopingCall | None = None

    @staticmethod
    def get_driver_options() -> list[cfg.Opt]:
        return [*vmdk.VMwareVcVmdkDriver.get_driver_options(), *conf.OPTIONS]

    def _init_vendor_properties(self) -> tuple[dict[str, Any], str]:
        """The extra specs that this driver reads, for ``GET /capabilities``."""
        prefix, _, _ = opt_in.EXTRA_SPEC.partition(":")
        properties: dict[str, Any] = {}
        self._set_property(
            properties,
            opt_in.EXTRA_SPEC,
            "Use the image cache",
            "Create volumes of this type from cached templates of their images. Read if "
            "image_cache_opt_in contains volume_type.",
            "boolean",
        )
        return properties, prefix

    def do_setup(self, context: Any) -> None:
        """Connect the cache, then upstream.

        The cache comes first because its errors name the option that is wrong. Only upstream's
        errors keep the backend from starting.
        """
        self._validate_params()
        self._close_cache()
        upstream.log_out(self)
        self._read_settings()
        cfg.CONF.register_mutate_hook(self.take_over_settings)
        self._events = self._listeners()
        if self._settings().enabled:
            self._workers.provide(cfg.CONF)
        self._connection.start(self._opened_cache, lambda: self._settings().enabled)
        try:
            super().do_setup(context)
        except BaseException:
            self._close_cache()
            upstream.log_out(self)
            raise
        SERVICE_STOP.after_last_request(
            self.host, self._close_cache, lambda: upstream.log_out(self)
        )

    def check_for_setup_error(self) -> None:
        """Start the periodic tasks, once. The purge also runs if the cache is disabled, because
        templates may remain; the warm-up runs separately, because an import may take an hour."""
        super().check_for_setup_error()
        if self._reconnect_loop is None:
            self._reconnect_loop = loopingcall.FixedIntervalLoopingCall(self._connection.open)
            self._reconnect_loop.start(RETRY_S, initial_delay=RETRY_S, stop_on_exception=False)
        if self._housekeeping_loop is None:
            self._start_rounds()

    def _start_rounds(self) -> None:
        """Start or restart purge and warm-up with the current interval. A running purge or warm-up
        is not interrupted."""
        for loop in (self._housekeeping_loop, self._warm_up_loop):
            if loop is not None:
                loop.stop()
        interval_s = self._settings().purge_interval_s
        self._housekeeping_loop = loopingcall.FixedIntervalLoopingCall(self._housekeep)
        self._housekeeping_loop.start(interval_s, initial_delay=interval_s, stop_on_exception=False)
        self._warm_up_loop = loopingcall.DynamicLoopingCall(self._warm_up)
        self._warm_up_loop.start(
            initial_delay=min(FIRST_WARM_UP_S, interval_s),
            periodic_interval_max=interval_s,
            stop_on_exception=False,
        )

    def take_over_settings(self, *_: Any) -> None:
        """Called by oslo.config after it has read its files again; never raises.

        Volumes in progress are not affected. Everything that starts from now on uses the new
        settings, or the old ones if a new value is invalid.
        """
        before = self._settings()
        self._read_settings()
        if self._settings().enabled:
            self._workers.limit(cfg.CONF)
        if self._housekeeping_loop is not None and self._settings() != before:
            self._start_rounds()

    def _read_settings(self) -> None:
        """Apply the current options. If a value is invalid, the previous settings stay in force; if
        there are none, the cache is unavailable."""
        try:
            new = conf.Settings.from_options(self.configuration)
        except cfg.Error as refused:
            section = f"[{self.configuration.config_group}]"
            failure = errors.ConfigError(sentence(f"{section} {conf.explained(refused)}"))
            if self._settings_known:
                LOG.error(
                    "The image cache keeps its previous settings: %s. Correct the value, then send "
                    "SIGHUP to cinder-volume.", failure
                )  # fmt: skip
            else:
                self._unusable = failure
                self._settings.change(conf.Settings(enabled=True))
            return
        self._settings_known, self._unusable = True, None
        self._settings.change(new)

    def _update_volume_stats(self) -> None:
        super()._update_volume_stats()
        # A copy, because the manager modifies the report. Upstream may return its last report
        # again, with the keys that the cache added before it was disabled.
        stats = {**(self._stats or {}), **self._pool_name()}
        for key in (cached_images.KEY, OPT_IN_KEY):
            stats.pop(key, None)
        self._stats = {**stats, **self._cache_stats()}

    def _pool_name(self) -> dict[str, str]:
        """The name that a backend without ``volume_backend_name`` has with Cinder's own driver.

        Upstream reports its class name, and Cinder stores it permanently as the pool in each
        volume's ``host``: with our class name, existing volumes would not find their backend.
        """
        configured = self.configuration.safe_get("volume_backend_name")
        return {} if configured else {"volume_backend_name": vmdk.VMwareVcVmdkDriver.__name__}

    def _cache_stats(self) -> dict[str, Any]:
        """The keys that the scheduler's host manager and weigher read."""
        cache = self._connection.cache
        report = cache.reporter.latest() if cache else BackendReport()
        stats: dict[str, Any] = {EXTRA_KEY: report.extra_provisioned_gib}
        settings = self._settings()
        stats[CAPABILITY] = settings.enabled
        if settings.enabled:
            stats[cached_images.KEY] = cached_images.as_text(report.image_ids)
            stats[OPT_IN_KEY] = sorted(settings.opt_in)
        return stats

    def _housekeep(self) -> None:
        cache = self._connection.cache
        if cache is not None:
            cache.housekeeping.run()

    def _warm_up(self) -> None:
        cache = self._connection.cache
        if cache is not None and cache.warm_up is not None:
            cache.warm_up.run()

    def _listeners(self) -> events.Listener:
        """The listeners of the cache's events; only the log is mandatory."""
        heard: list[events.Listener] = [events.log, Notifications(self.host)]
        path = self.configuration.image_cache_ledger
        try:
            self._ledger = Ledger.open(path) if path else None
        except errors.ConfigError as failure:
            LOG.warning("Events of the image cache are not counted: %s", failure)
        if self._ledger is not None:
            heard.append(self._ledger)
        return events.to_all(*heard)

    def _opened_cache(self) -> wiring.RunningCache:
        """Like :meth:`_build_cache`, but fails if an option is invalid."""
        if self._unusable is not None:
            raise self._unusable
        return self._build_cache()

    def _build_cache(self) -> wiring.RunningCache:
        """:raises VmdkCacheError: vCenter refuses or is out of reach, or an option is wrong"""
        catalog = image_service.GlanceCatalog()
        return wiring.build(
            self._settings,
            upstream.backend(self.configuration),
            upstream.locks(self.configuration),
            events=self._events,
            catalog=catalog,
            marked=catalog,
            adapter_type=self.configuration.vmware_adapter_type,
        )

    def _close_cache(self) -> None:
        self._connection.close()
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()
