"""The volume driver: Cinder's own VMDK driver, with a cache before its import from Glance.

What becomes of a volume from an image is in volume_from_image.py. Everything else runs on
upstream's code and on upstream's own session.

``__init__`` runs before cinder-volume forks, so nothing is connected, locked or started there.
``do_setup`` may run again on the same object after a failure.

Options of the cache may change while the service runs: on SIGHUP oslo.config reads its files again
and calls :meth:`~ImageCacheVmdkDriver.take_over_settings`.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

from cinder import interface
from cinder.message import api as message_api
from cinder.volume.drivers.vmware import vmdk
from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import loopingcall

from vmdk_cache import conf, errors, wiring
from vmdk_cache.cache import events
from vmdk_cache.cinder import (
    CAPABILITY,
    EXTRA_KEY,
    IMAGES_KEY,
    OPT_IN_KEY,
    image_service,
    opt_in,
    upstream,
)
from vmdk_cache.cinder.cache_connection import RETRY_S, CacheConnection
from vmdk_cache.cinder.feedback import Feedback
from vmdk_cache.cinder.notifications import Notifications
from vmdk_cache.cinder.service_stop import SERVICE_STOP
from vmdk_cache.cinder.volume_from_image import VolumeFromImage
from vmdk_cache.cinder.workers import Workers
from vmdk_cache.ledger import Ledger
from vmdk_cache.periodic.backend_report import BackendReport
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)
#: After a service's start, in which it has better things to do; and hosts are rarely all up.
FIRST_WARM_UP_S = 60.0


@interface.volumedriver
class ImageCacheVmdkDriver(VolumeFromImage):
    """Creates volumes from images by cloning cached templates.

    :cvar VERSION: of this package, and of Cinder's driver that it extends
    :cvar CI_WIKI_NAME: Cinder's driver names VMware's test system, which does not test this one
    """

    VERSION = f"{importlib.metadata.version('vmdk-cache')} (vmdk {vmdk.VMwareVcVmdkDriver.VERSION})"
    CI_WIKI_NAME = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._stats: dict[str, Any] | None
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(conf.OPTIONS)
        self._settings = conf.LiveSettings(conf.Settings())
        self._settings_known = False
        self._unusable: errors.ConfigError | None = None
        self._connection = CacheConnection(self.configuration.config_group)
        self._ledger: Ledger | None = None
        self._events: events.Events = events.log
        self._open_loop: loopingcall.FixedIntervalLoopingCall | None = None
        self._purge_loop: loopingcall.FixedIntervalLoopingCall | None = None
        self._warm_up_loop: loopingcall.DynamicLoopingCall | None = None
        self._workers = Workers()
        # Here and not later, as VolumeManager does: it drops the process's database connections.
        self._feedback = Feedback(message_api.API())

    @staticmethod
    def get_driver_options() -> list[cfg.Opt]:
        return [*vmdk.VMwareVcVmdkDriver.get_driver_options(), *conf.OPTIONS]

    def _init_vendor_properties(self) -> tuple[dict[str, Any], str]:
        """What ``GET /capabilities`` tells of the extra specs that this driver reads."""
        prefix, _, _ = opt_in.EXTRA_SPEC.partition(":")
        properties: dict[str, Any] = {}
        self._set_property(
            properties,
            opt_in.EXTRA_SPEC,
            "Use the image cache",
            "Creates volumes of this type from cached templates of their images. Read if "
            "image_cache_opt_in contains volume_type.",
            "boolean",
        )
        return properties, prefix

    def do_setup(self, context: Any) -> None:
        """Connect the cache, then upstream.

        The cache comes first since its errors name the option that is wrong. Only upstream's keep
        the backend from starting.
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
        """Start what runs by the clock, once: the purge also with the cache disabled, for templates
        left over; the warm-up apart from it, since an import may take an hour."""
        super().check_for_setup_error()
        if self._open_loop is None:
            self._open_loop = loopingcall.FixedIntervalLoopingCall(self.open_cache_again)
            self._open_loop.start(RETRY_S, initial_delay=RETRY_S, stop_on_exception=False)
        if self._purge_loop is None:
            self._start_rounds()

    def _start_rounds(self) -> None:
        """Begin to purge and to warm up at the interval that is in force, anew if that is done
        already. A round that runs goes on to its end."""
        for loop in (self._purge_loop, self._warm_up_loop):
            if loop is not None:
                loop.stop()
        interval_s = self._settings().purge_interval_s
        self._purge_loop = loopingcall.FixedIntervalLoopingCall(self._purge)
        self._purge_loop.start(interval_s, initial_delay=interval_s, stop_on_exception=False)
        self._warm_up_loop = loopingcall.DynamicLoopingCall(self._warm_up)
        self._warm_up_loop.start(
            initial_delay=min(FIRST_WARM_UP_S, interval_s),
            periodic_interval_max=interval_s,
            stop_on_exception=False,
        )

    def take_over_settings(self, *_: Any) -> None:
        """Called by oslo.config when it has read its files again; never raises.

        Volumes that are being made go on as they are. All that begins from now on goes by the new
        settings, or by the old ones if a new value cannot be used.
        """
        before = self._settings()
        self._read_settings()
        if self._settings().enabled:
            self._workers.limit(cfg.CONF)
        if self._purge_loop is not None and self._settings() != before:
            self._start_rounds()

    def _read_settings(self) -> None:
        """Put the options in force as they are now. If one cannot be used, the settings from before
        stay; where there were none, the cache is not available."""
        try:
            new = conf.Settings.from_options(self.configuration)
        except cfg.Error as refused:
            section = f"[{self.configuration.config_group}]"
            failure = errors.ConfigError(sentence(f"{section} {conf.explained(refused)}"))
            if self._settings_known:
                LOG.error(
                    "The image cache goes on with the settings from before: %s. Correct the value, "
                    "then send SIGHUP to cinder-volume.", failure
                )  # fmt: skip
            else:
                self._unusable = failure
                self._settings.change(conf.Settings(enabled=True))
            return
        self._settings_known, self._unusable = True, None
        self._settings.change(new)

    def open_cache_again(self) -> None:
        """Another attempt if the cache could not be opened; does nothing if it could."""
        self._connection.open()

    def _update_volume_stats(self) -> None:
        super()._update_volume_stats()
        # A copy: the manager writes into what it is given. Upstream may return the last report
        # again, with what the cache put there before it was switched off.
        stats = {**(self._stats or {}), **self._pool_name()}
        for key in (IMAGES_KEY, OPT_IN_KEY):
            stats.pop(key, None)
        self._stats = {**stats, **self._cache_stats()}

    def _pool_name(self) -> dict[str, str]:
        """The name that a backend without ``volume_backend_name`` has with Cinder's own driver.

        Upstream reports its class's name, and Cinder makes that the pool in each volume's ``host``,
        for good: with the name of our class no volume from before would find its backend.
        """
        configured = self.configuration.safe_get("volume_backend_name")
        return {} if configured else {"volume_backend_name": vmdk.VMwareVcVmdkDriver.__name__}

    def _cache_stats(self) -> dict[str, Any]:
        """What the scheduler's host manager and weigher read."""
        cache = self._connection.cache
        report = cache.reporter.latest() if cache else BackendReport()
        stats: dict[str, Any] = {EXTRA_KEY: report.extra_provisioned_gib}
        settings = self._settings()
        stats[CAPABILITY] = settings.enabled
        if settings.enabled:
            stats[IMAGES_KEY] = list(report.image_ids)
            stats[OPT_IN_KEY] = sorted(settings.opt_in)
        return stats

    def _purge(self) -> None:
        cache = self._connection.cache
        if cache is not None:
            cache.housekeeping.run()

    def _warm_up(self) -> None:
        cache = self._connection.cache
        if cache is not None and cache.warm_up is not None:
            cache.warm_up.run()

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

    def _opened_cache(self) -> wiring.RunningCache:
        """As :meth:`_build_cache`; no cache is opened with options that cannot be used."""
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
