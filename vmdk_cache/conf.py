"""The package's options, and the frozen settings made from those of one backend.

:data:`OPTIONS` belong to the backend's section of cinder.conf, beside Cinder's own ``vmware_*``
options; :data:`SCHEDULER_OPTIONS` belong to ``[DEFAULT]``. Importing this module registers nothing:
the code that loads a configuration file registers the options it needs.
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
        help="Use and fill the image cache of this backend. When false, Cinder's own driver "
        "creates every volume; existing templates still expire and are deleted, and count as "
        "provisioned capacity until then.",
    ),
    cfg.IntOpt(
        "image_cache_max_size_gb",
        default=100,
        min=0,
        mutable=True,
        help="Maximum virtual size of a cached image, in GiB. Volumes from larger images bypass "
        "the cache. 0 means no limit. Lower it if templates of large images fill the datastores.",
    ),
    cfg.IntOpt(
        "image_cache_age_seconds",
        default=86400,
        min=0,
        mutable=True,
        help="Age in seconds after which a template expires; the next purge deletes it. 0 means "
        "never. Raise it if the same images are imported again every day; lower it if unused "
        "templates take up space.",
    ),
    cfg.StrOpt(
        "image_cache_expiry",
        default=EXPIRY_AGE,
        choices=[
            (EXPIRY_AGE, "from its import or its last warm-up"),
            (EXPIRY_IDLE, "from its import, its last warm-up or its last use, whichever is latest"),
        ],
        mutable=True,
        help="How a template's age is measured. Choose idle if images that are used every day are "
        "imported again every day.",
    ),
    cfg.IntOpt(
        "image_cache_purge_interval",
        default=600,
        min=1,
        mutable=True,
        help="Seconds between two purges. A template outlives image_cache_age_seconds by at most "
        "this long.",
    ),
    cfg.IntOpt(
        "image_cache_max_count",
        default=0,
        min=0,
        mutable=True,
        help="Maximum number of templates of this backend. The least recently used templates are "
        "evicted first. 0 means no limit.",
    ),
    cfg.IntOpt(
        "image_cache_max_total_gb",
        default=0,
        min=0,
        mutable=True,
        help="Maximum total virtual size of this backend's templates, in GiB. The least recently "
        "used templates are evicted first. 0 means no limit.",
    ),
    cfg.IntOpt(
        "image_cache_max_percent",
        default=0,
        min=0,
        max=100,
        mutable=True,
        help="Maximum total virtual size of this backend's templates, as a percentage of the "
        "capacity of the datastores that the backend uses. The least recently used templates are "
        "evicted first. 0 means no limit.",
    ),
    cfg.IntOpt(
        "image_cache_min_free_percent",
        default=0,
        min=0,
        max=100,
        mutable=True,
        help="Free space to keep on each datastore, as a percentage of its capacity. No import may "
        "take a datastore below it, and templates on a datastore with less free space are evicted, "
        "the least recently used first. 0 means that templates may fill a datastore.",
    ),
    cfg.StrOpt(
        "image_cache_replicas",
        default=REPLICAS_ON_DEMAND,
        choices=[
            (REPLICAS_OFF, "one template per image, cloned across datastores where needed"),
            (REPLICAS_ON_DEMAND, "a replica on each datastore that repeatedly gets volumes"),
        ],
        mutable=True,
        help="Whether to replicate a template, in the background, to the datastores that its "
        "volumes are cloned to. The array can perform a clone within a datastore (VAAI) without "
        "network traffic. Replicas count towards every limit and expire with their template. A "
        "replica never causes another template to be evicted.",
    ),
    cfg.IntOpt(
        "image_cache_replicate_after",
        default=2,
        min=1,
        mutable=True,
        help="How many volumes on a datastore are cloned from another datastore's template before "
        "that datastore gets a replica.",
    ),
    cfg.IntOpt(
        "image_cache_clones_per_template",
        default=8,
        min=1,
        mutable=True,
        help="Maximum number of concurrent clones of one template or replica, per process; further "
        "clones wait. vCenter charges each clone to the template's host, which runs 8 at a time (4 "
        "if the clone is placed on the same host).",
    ),
    cfg.ListOpt(
        "image_cache_opt_in",
        default=[OPT_IN_BY_METADATA],
        item_type=types.String(choices=list(_OPT_INS)),
        mutable=True,
        help="How a volume requests the cache; any one of the listed ways suffices. metadata: the "
        "volume's metadata has use_image_cache=true; volume_type: the volume type has the extra "
        "spec vmware:use_image_cache=true; image: the image has the property use_image_cache=true; "
        "always: every volume from an image. If the list is empty, no volume uses the cache. "
        "Nova's boot from volume passes no volume metadata: use volume_type or image for it.",
    ),
    cfg.BoolOpt(
        "image_cache_auto_warm",
        default=False,
        mutable=True,
        help="Keep images with the Glance property image_cache_warm=true in the cache: import them "
        "if they have no template, and do not let that template expire. Checked every "
        "image_cache_purge_interval seconds, one import at a time. These images may evict others, "
        "and are never evicted to make room. With Keystone this requires "
        "send_service_user_token = true and an admin user in [service_user], or an admin user in "
        "[glance]. The owner of an image can set the property unless Glance's "
        "property_protection_file reserves it for admins, which is recommended. Enable this option "
        "if the first users of an image should not wait for its import.",
    ),
    cfg.IntOpt(
        "image_cache_lock_timeout",
        default=7200,
        min=1,
        mutable=True,
        help="Seconds to wait while another process imports the same image. After that the volume "
        "falls back to the plain import. Should exceed the longest import.",
    ),
    cfg.StrOpt(
        "image_cache_deployment_id",
        regex=r"^[A-Za-z0-9._-]{1,32}$",
        help="Id that distinguishes this cloud's templates from those of other clouds that use the "
        "same vCenter and the same backend section name. Templates with another id are never "
        "served, counted or deleted. At most 32 letters, digits, dots, underscores and hyphens. "
        "Must be the same on all hosts of the cloud and for the command line. If unset, it is "
        "derived from the host name in Keystone's URL and the region, or without Keystone from the "
        "hosts in glance_api_servers. Set it if these are the same in two clouds, as with "
        "openstack-helm. If they change, set it to the old id, which vmdk-cache check reports.",
    ),
    cfg.StrOpt(
        "image_cache_ledger",
        default="$state_path/vmdk-cache.sqlite",
        help="SQLite file that counts what the cache does, by day, backend and image; it does not "
        "record users, projects or volumes. vmdk-cache history and the exporter's counters read "
        "it. All backends of a host may share it. It must be on a local file system. If empty, "
        "nothing is counted. Change it if cinder-volume cannot write to the directory.",
    ),
]

WEIGHT_MULTIPLIER = cfg.FloatOpt(
    "image_cache_weight_multiplier",
    default=1.5,
    mutable=True,
    help="Weight that the scheduler's ImageCacheWeigher adds to a backend that has the volume's "
    "image in its cache. CapacityWeigher adds 1 to the backend with the most free space and 0 to "
    "the one with the least. With a value above 1, the cache decides wherever there is space; "
    "below 1, a backend with more free space may win; 0 disables the weigher. Read by "
    "cinder-scheduler, and only if scheduler_default_weighers includes ImageCacheWeigher.",
)
#: Options of cinder-scheduler, in ``[DEFAULT]``.
SCHEDULER_OPTIONS = [WEIGHT_MULTIPLIER]


class HasOptions(Protocol):
    """An object with the options as attributes, such as oslo.config's group or Cinder's
    configuration."""

    def __getattr__(self, name: str) -> Any: ...


def explained(failure: cfg.Error) -> str:
    """oslo.config's message about a value, with the file that sets it."""
    return re.sub(r"from LocationInfo\(.*?detail='([^']*)'\)", r"in \1", str(failure))


@dataclass(frozen=True)
class Settings:
    """The options of one backend, in the engine's units."""

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

    @property
    def needs_space(self) -> bool:
        """Whether a limit depends on the space of the datastores."""
        return bool(self.max_percent or self.min_free_percent)

    @property
    def has_limits(self) -> bool:
        """Whether an import may have to make room first."""
        return bool(self.max_count or self.max_total_bytes or self.needs_space)

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
    """The current settings, which may change while the cache runs.

    Call it each time you need a setting, and do not keep the result. Settings are replaced as a
    whole, so each result is consistent.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self) -> Settings:
        return self._settings

    def change(self, settings: Settings) -> None:
        self._settings = settings


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """The options for oslo-config-generator (entry point ``oslo.config.opts``)."""
    return [("DEFAULT", SCHEDULER_OPTIONS), ("backend_defaults", OPTIONS)]
