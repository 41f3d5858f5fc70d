"""The package's options: one backend section's worth, and the frozen settings made of them.

The options stand in the backend's own section of cinder.conf, beside the ``vmware_*`` options that
Cinder defines; the scheduler's stand in ``[DEFAULT]``. This module registers nothing by itself;
whoever loads a configuration file passes :data:`OPTIONS` to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from oslo_config import cfg, types

OPT_IN_BY_METADATA = "metadata"
OPT_IN_BY_VOLUME_TYPE = "volume_type"
OPT_IN_BY_IMAGE = "image"
OPT_IN_ALWAYS = "always"
EXPIRY_AGE = "age"
EXPIRY_IDLE = "idle"
REPLICAS_OFF = "off"
REPLICAS_ON_DEMAND = "on_demand"
_OPT_INS = (OPT_IN_BY_METADATA, OPT_IN_BY_VOLUME_TYPE, OPT_IN_BY_IMAGE, OPT_IN_ALWAYS)

OPTIONS = [
    cfg.BoolOpt(
        "enable_image_cache",
        default=False,
        mutable=True,
        help="Use and fill the image cache of this backend. When false, volumes are created as "
        "without the cache; templates left over are still deleted when they expire, and still "
        "counted as provisioned capacity until then.",
    ),
    cfg.IntOpt(
        "image_cache_max_size_gb",
        default=100,
        min=0,
        mutable=True,
        help="Largest image, by its virtual size in GiB, that is cached; volumes from larger "
        "images are created as without the cache. 0 means no limit. Lower it when templates of "
        "big images crowd the datastores.",
    ),
    cfg.IntOpt(
        "image_cache_age_seconds",
        default=86400,
        min=0,
        mutable=True,
        help="A template older than this many seconds is deleted by the next purge. 0 means "
        "never. Raise it when the same images are imported again every day; lower it when "
        "templates that nobody uses take up space.",
    ),
    cfg.StrOpt(
        "image_cache_expiry",
        default=EXPIRY_AGE,
        choices=[
            (EXPIRY_AGE, "since its import or its last warm-up"),
            (EXPIRY_IDLE, "since its last use, import or warm-up"),
        ],
        mutable=True,
        help="From when a template's age counts. Choose idle when images that are in use every "
        "day are imported anew every day.",
    ),
    cfg.IntOpt(
        "image_cache_purge_interval",
        default=600,
        min=1,
        mutable=True,
        help="Seconds between two purge runs. A template outlives its age by at most this much.",
    ),
    cfg.IntOpt(
        "image_cache_max_count",
        default=0,
        min=0,
        mutable=True,
        help="Most templates that this backend keeps; the one used longest ago goes first. 0 means "
        "no limit.",
    ),
    cfg.IntOpt(
        "image_cache_max_total_gb",
        default=0,
        min=0,
        mutable=True,
        help="Most GiB, by virtual size, that the templates of this backend may have together; the "
        "one used longest ago goes first. 0 means no limit.",
    ),
    cfg.IntOpt(
        "image_cache_max_percent",
        default=0,
        min=0,
        max=100,
        mutable=True,
        help="Most that the templates' virtual sizes may be together, in percent of the capacity "
        "of the datastores that this backend uses; the one used longest ago goes first. 0 means no "
        "limit.",
    ),
    cfg.IntOpt(
        "image_cache_min_free_percent",
        default=0,
        min=0,
        max=100,
        mutable=True,
        help="Free space of a datastore, in percent of its capacity, that templates leave alone: "
        "none is imported into it, and those on a datastore that has less free are deleted, the "
        "one used longest ago first. 0 means that templates may fill a datastore.",
    ),
    cfg.StrOpt(
        "image_cache_replicas",
        default=REPLICAS_ON_DEMAND,
        choices=[
            (REPLICAS_OFF, "one template per image; volumes elsewhere are cloned across"),
            (REPLICAS_ON_DEMAND, "a template on each datastore that is used repeatedly"),
        ],
        mutable=True,
        help="Whether further copies of a template are made, in the background, where volumes are "
        "cloned to. A clone within a datastore can be offloaded to the array and loads no network. "
        "Replicas count for every limit and expire with their template; none is made where "
        "another template would have to go for it.",
    ),
    cfg.IntOpt(
        "image_cache_replicate_after",
        default=2,
        min=1,
        mutable=True,
        help="Volumes cloned from another datastore's template before a datastore gets a replica.",
    ),
    cfg.IntOpt(
        "image_cache_clones_per_template",
        default=8,
        min=1,
        mutable=True,
        help="Clones that one process runs from one template at a time; further ones wait for the "
        "copy that will be free first. vCenter charges each clone to the template's host, which "
        "takes 8 at a time (4 onto the same host).",
    ),
    cfg.ListOpt(
        "image_cache_opt_in",
        default=[OPT_IN_BY_METADATA],
        item_type=types.String(choices=list(_OPT_INS)),
        mutable=True,
        help="Who may ask for the cache; any of the listed ways suffices. metadata: the volume's "
        "metadata has use_image_cache=true; volume_type: the volume type has the extra spec "
        "vmware:use_image_cache=true; image: the image has the property use_image_cache=true; "
        "always: every volume from an image; an empty list: nobody. Boot from volume through Nova "
        "passes no volume metadata: use volume_type or image there.",
    ),
    cfg.BoolOpt(
        "image_cache_auto_warm",
        default=False,
        mutable=True,
        help="Keep the images warm that have the property image_cache_warm=true in Glance: import "
        "them when there is no template, and keep it from expiring. Checked every "
        "image_cache_purge_interval seconds, one import at a time. Other images make room for "
        "them, and they for none. Takes send_service_user_token = true and an admin user in "
        "[service_user], or an admin user in [glance], where Keystone is in use. Every owner of an "
        "image may set the property unless Glance's property_protection_file keeps it for admins, "
        "which it should. Switch it on when the first users of an image are not to wait for its "
        "import.",
    ),
    cfg.IntOpt(
        "image_cache_lock_timeout",
        default=7200,
        min=1,
        mutable=True,
        help="Seconds to wait for another process's import of the same image; after that the "
        "volume is created as without the cache. Should exceed the longest import.",
    ),
    cfg.StrOpt(
        "image_cache_deployment_id",
        regex=r"^[A-Za-z0-9._-]{1,32}$",
        help="Tells this cloud's templates from those of other clouds that use the same vCenter "
        "with a backend of the same section name: templates of another id are never served, "
        "counted or deleted. At most 32 letters, digits, dots, underscores and hyphens; the same "
        "on all hosts of the cloud, and on the command line. Unset: derived from the host name in "
        "Keystone's URL and the region, or without Keystone from the hosts of glance_api_servers. "
        "Set it when two clouds have the same of these, as with openstack-helm, or to the old id "
        "when they change: vmdk-cache check names it.",
    ),
    cfg.StrOpt(
        "image_cache_ledger",
        default="$state_path/vmdk-cache.sqlite",
        help="SQLite file in which what the cache does is counted, by day, backend and image, but "
        "never who used it: what vmdk-cache history and the exporter's counters show. All backends "
        "of a host may share it; it must be on a local file system. Empty: nothing is counted. "
        "Change it when the directory is not one that cinder-volume may write to.",
    ),
]

WEIGHT_MULTIPLIER = cfg.FloatOpt(
    "image_cache_weight_multiplier",
    default=1.5,
    mutable=True,
    help="What the scheduler's ImageCacheWeigher adds to the weight of a backend that has a "
    "volume's image in its cache. CapacityWeigher adds 1 to the backend with the most room and "
    "0 to the one with the least: with more than 1, the cache decides wherever there is room; "
    "with less, a roomier backend may win; 0 makes it count for nothing. Read by "
    "cinder-scheduler, and only if scheduler_default_weighers names ImageCacheWeigher.",
)
#: For cinder-scheduler, in ``[DEFAULT]``.
SCHEDULER_OPTIONS = [WEIGHT_MULTIPLIER]


class HasOptions(Protocol):
    """Anything with the options as attributes: oslo.config's group, Cinder's configuration."""

    def __getattr__(self, name: str) -> Any: ...


def explained(failure: cfg.Error) -> str:
    """What oslo.config says of a value, with the file that it stands in."""
    return re.sub(r"from LocationInfo\(.*?detail='([^']*)'\)", r"in \1", str(failure))


@dataclass(frozen=True)
class Settings:
    """The options of one backend, in the units that the engine works with."""

    enabled: bool = False
    max_size_bytes: int = 100 << 30
    age_s: int = 86400
    expiry: str = EXPIRY_AGE
    purge_interval_s: int = 600
    opt_in: frozenset[str] = frozenset({OPT_IN_BY_METADATA})
    lock_timeout_s: int = 7200
    max_count: int = 0
    max_total_bytes: int = 0
    max_percent: int = 0
    min_free_percent: int = 0
    replicas: str = REPLICAS_ON_DEMAND
    replicate_after: int = 2
    clones_per_template: int = 8
    auto_warm: bool = False

    @classmethod
    def from_options(cls, options: HasOptions) -> Settings:
        return cls(
            enabled=options.enable_image_cache,
            max_size_bytes=options.image_cache_max_size_gb << 30,
            age_s=options.image_cache_age_seconds,
            expiry=options.image_cache_expiry,
            purge_interval_s=options.image_cache_purge_interval,
            opt_in=frozenset(options.image_cache_opt_in),
            lock_timeout_s=options.image_cache_lock_timeout,
            max_count=options.image_cache_max_count,
            max_total_bytes=options.image_cache_max_total_gb << 30,
            max_percent=options.image_cache_max_percent,
            min_free_percent=options.image_cache_min_free_percent,
            replicas=options.image_cache_replicas,
            replicate_after=options.image_cache_replicate_after,
            clones_per_template=options.image_cache_clones_per_template,
            auto_warm=options.image_cache_auto_warm,
        )


class LiveSettings:
    """The settings in force, which may change while the cache runs.

    Ask for them when they are needed and do not keep them. Each answer is consistent: settings are
    replaced as a whole.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self) -> Settings:
        return self._settings

    def change(self, settings: Settings) -> None:
        self._settings = settings


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """For oslo-config-generator (entry point ``oslo.config.opts``)."""
    return [("DEFAULT", SCHEDULER_OPTIONS), ("backend_defaults", OPTIONS)]
