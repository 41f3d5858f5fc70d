"""A scheduler weigher that sends a volume to a backend whose cache holds its image.

With several backends, each has a cache of its own, and Cinder's CapacityWeigher spreads the volumes
from one image over all of them: one import each. With ::

    [DEFAULT]
    scheduler_default_weighers = CapacityWeigher,ImageCacheWeigher

on the hosts of cinder-scheduler, a volume that would be made through the cache of a backend goes
where the image is, as long as Cinder's filters let it. ``image_cache_weight_multiplier`` says how
much that counts against free capacity.

Drivers report the images that they hold (``cached_image_ids``) and who may ask for their cache
(``image_cache_opt_in``) once per ``backend_stats_polling_interval``, so that a burst from an image
nobody has yet spreads as it does without the weigher.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cinder.scheduler import weights
from oslo_config import cfg
from oslo_log import log as logging

from vmdk_cache import conf
from vmdk_cache.cinder import IMAGES_KEY, OPT_IN_KEY, opt_in
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)
CONF = cfg.CONF
CONF.register_opts(conf.SCHEDULER_OPTIONS)

#: The scheduler is told an image's id and none of its properties (RequestSpec, cinder/objects/
#: request_spec.py). Where images may ask, one that is in the cache has most likely done so.
_PRESUMED_PROPERTIES = {opt_in.KEY: "true"}


@dataclass(frozen=True)
class Wish:
    """What the scheduler knows of a volume to be made.

    :ivar image_id: Glance id; None if it is not made from an image
    :ivar metadata: the volume's
    :ivar extra_spec: ``vmware:use_image_cache`` of its type
    :ivar tried: backends or pools that have failed to make it
    """

    image_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    extra_spec: str | None = None
    tried: Collection[str] = ()


def holds_image(capabilities: Mapping[str, Any] | None, wish: Wish) -> bool:
    """Whether the volume would be cloned from a template of the backend, or pool.

    :param capabilities: what it has reported; anything that our driver would not write there is
        taken for nothing
    """
    if wish.image_id is None or not isinstance(capabilities, Mapping):
        return False
    # First who may ask, which is short, then the images: a scheduler weighs a thousand pools.
    asks = opt_in.wants_cache(
        frozenset(_listed(capabilities.get(OPT_IN_KEY))),
        metadata=wish.metadata,
        extra_spec=wish.extra_spec,
        image_properties=_PRESUMED_PROPERTIES,
    )
    images = capabilities.get(IMAGES_KEY)
    return asks and isinstance(images, list) and wish.image_id in images


def knows_its_room(host_state: Any) -> bool:
    """Whether Cinder's filters can tell when the backend is full.

    Without ``vmware_enable_volume_stats`` the VMDK driver reports "unknown", and the CapacityFilter
    lets every volume pass: a preference would send volumes to a full backend, where they fail.
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
    """``image_cache_weight_multiplier`` as it is now; safe for use by many threads.

    The option may change while cinder-scheduler runs. A value that cannot be used must cost no
    volume its backend: the one from before stays.
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
                    "ImageCacheWeigher goes on with image_cache_weight_multiplier = %s: %s. "
                    "Correct the value, then send SIGHUP to cinder-scheduler.",
                    sentence(self._value),
                    sentence(why),
                )
        return self._value


#: Not the weigher's own: Cinder makes one for each request.
_MULTIPLIER = Multiplier(CONF)


class ImageCacheWeigher(weights.BaseHostWeigher):  # type: ignore[misc]  # Cinder is untyped here
    """1 for a host that has the image in its cache and reports its free capacity, 0 for others."""

    # Fixed: a hit weighs the same whatever the other hosts have.
    minval = 0.0
    maxval = 1.0

    def weight_multiplier(self) -> float:
        return _MULTIPLIER()

    def _weigh_object(self, host_state: Any, weight_properties: Mapping[str, Any]) -> float:
        try:
            wish = wish_of(weight_properties)
            # A second attempt where the first has failed would most likely fail as well.
            tried = host_state.backend_id in wish.tried
            return float(
                not tried
                and knows_its_room(host_state)
                and holds_image(host_state.capabilities, wish)
            )
        except Exception as failure:
            # A weight is a preference: no volume must go without a backend for it.
            LOG.warning(
                "The image cache of %s has no weight: %s",
                sentence(host_state),
                sentence(repr(failure)),
            )
            return 0.0


def _listed(value: object) -> list[str]:
    """The texts of a list, none of anything else."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
