"""A scheduler weigher that sends a volume to a backend whose cache holds its image.

With several backends, each has a cache of its own, and Cinder's CapacityWeigher spreads the volumes
from one image over all of them: one import each. With ::

    [DEFAULT]
    scheduler_default_weighers = CapacityWeigher,ImageCacheWeigher

on the hosts of cinder-scheduler, a volume that requests the cache goes to a backend that has the
image, if Cinder's filters permit. ``image_cache_weight_multiplier`` weighs this against free
capacity.

Drivers report their cached images (``cached_images``) and how volumes request the cache
(``image_cache_opt_in``) once per ``backend_stats_polling_interval``, so a burst from an image that
no backend has yet is spread as without the weigher.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cinder.scheduler import weights
from oslo_config import cfg
from oslo_log import log as logging

from vmdk_cache import conf
from vmdk_cache.cinder import OPT_IN_KEY, cached_images, opt_in
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)
CONF = cfg.CONF
CONF.register_opts(conf.SCHEDULER_OPTIONS)

#: The scheduler knows an image's id but not its properties (RequestSpec,
#: cinder/objects/request_spec.py). If images may request the cache, a cached image most likely has
#: the property.
_PRESUMED_PROPERTIES = {opt_in.KEY: "true"}


@dataclass(frozen=True)
class Wish:
    """What the scheduler knows about a requested volume.

    :ivar image_id: Glance id; None if the volume has no image
    :ivar metadata: the volume's metadata
    :ivar extra_spec: ``vmware:use_image_cache`` of its type
    :ivar tried: backends or pools that failed to create it
    """

    image_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    extra_spec: str | None = None
    tried: Collection[str] = ()


def holds_image(capabilities: Mapping[str, Any] | None, wish: Wish) -> bool:
    """Whether the volume would be cloned from a template of the backend or pool.

    :param capabilities: its report; values that our driver would not write are ignored
    """
    if wish.image_id is None or not isinstance(capabilities, Mapping):
        return False
    # The opt-in first, because it is short: a scheduler may weigh a thousand pools.
    asked = opt_in.asked(
        frozenset(_listed(capabilities.get(OPT_IN_KEY))),
        metadata=wish.metadata,
        extra_spec=wish.extra_spec,
        image_properties=_PRESUMED_PROPERTIES,
    )
    return asked is True and cached_images.holds(capabilities, wish.image_id)


def knows_its_room(host_state: Any) -> bool:
    """Whether Cinder's filters can tell when the backend is full.

    Without ``vmware_enable_volume_stats`` the VMDK driver reports "unknown", and CapacityFilter
    accepts every volume: the weigher would send volumes to a full backend, where they fail.
    """
    free_gb = host_state.free_capacity_gb
    return free_gb == "infinite" or (
        isinstance(free_gb, int | float) and not isinstance(free_gb, bool)
    )


def wish_of(properties: Mapping[str, Any]) -> Wish:
    """The wish in the ``weight_properties`` of Cinder's FilterScheduler."""
    request = properties.get("request_spec") or {}
    volume_type = properties.get("volume_type") or {}
    extra_specs = volume_type.get("extra_specs") or {}
    return Wish(
        image_id=request.get("image_id"),
        metadata=properties.get("metadata") or {},
        extra_spec=extra_specs.get(opt_in.EXTRA_SPEC),
        tried=(properties.get("retry") or {}).get("backends") or (),
    )


class Multiplier:
    """The current value of ``image_cache_weight_multiplier``; thread-safe.

    The option may change while cinder-scheduler runs. If a new value is invalid, the previous one
    stays in force, so that volumes still find a backend.
    """

    def __init__(self, options: cfg.ConfigOpts) -> None:
        self._options = options
        self._value: float = conf.WEIGHT_MULTIPLIER.default
        self._refused = ""

    def __call__(self) -> float:
        try:
            self._value = self._options.image_cache_weight_multiplier
            self._refused = ""
        except cfg.Error as failure:
            why = sentence(conf.explained(failure))
            if why != self._refused:
                self._refused = why
                LOG.error(
                    "ImageCacheWeigher keeps image_cache_weight_multiplier = %s: %s. Correct the "
                    "value, then send SIGHUP to cinder-scheduler.",
                    sentence(self._value),
                    sentence(why),
                )
        return self._value


#: Global, because Cinder creates a weigher for each request.
_MULTIPLIER = Multiplier(CONF)


class ImageCacheWeigher(weights.BaseHostWeigher):  # type: ignore[misc]  # Cinder is untyped here
    """1 for a host that has the image in its cache and reports its free capacity, 0 for others."""

    # Fixed, so that a hit always has the same weight.
    minval = 0.0
    maxval = 1.0

    def weight_multiplier(self) -> float:
        return _MULTIPLIER()

    def _weigh_object(self, host_state: Any, weight_properties: Mapping[str, Any]) -> float:
        try:
            wish = wish_of(weight_properties)
            # A retry on a backend that failed would most likely fail again.
            tried = host_state.backend_id in wish.tried
            return float(
                not tried
                and knows_its_room(host_state)
                and holds_image(host_state.capabilities, wish)
            )
        except Exception as failure:
            # A weight is only a preference: it must not leave a volume without a backend.
            LOG.warning(
                "Cannot weigh the image cache of %s: %s",
                sentence(host_state),
                sentence(repr(failure)),
            )
            return 0.0


def _listed(value: object) -> list[str]:
    """The strings in a list; empty if the value is not a list."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
