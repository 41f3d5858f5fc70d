"""A scheduler host manager that counts the cached templates of each backend.

The driver reports the size of its templates as ``extra_provisioned_capacity_gb``, a key that
Cinder's scheduler ignores. With ::

    [DEFAULT]
    scheduler_host_manager = vmdk_cache.cinder.host_manager.ImageCacheHostManager

the host manager adds it to the pool's ``provisioned_capacity_gb`` (or ``allocated_capacity_gb`` if
the backend does not report that), so that CapacityFilter and CapacityWeigher take the templates
into account. Backends without the key are not changed.

The scheduler applies the same cached report again with each request, and it ignores a report older
than its own last allocation (``consume_from_volume``). So the extra capacity is added to a copy of
the report before Cinder processes it, never to Cinder's own state: it counts exactly once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cinder.scheduler import host_manager
from oslo_log import log as logging

from vmdk_cache.cinder import EXTRA_KEY
from vmdk_cache.quoting import quoted

LOG = logging.getLogger(__name__)


def with_templates_counted(capability: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a backend's report in which the templates count as provisioned.

    :param capability: the driver's report, all capacities in GiB; it is not changed
    :returns: the same keys; ``provisioned_capacity_gb`` is increased by
        ``extra_provisioned_capacity_gb`` when both are numbers
    """
    counted = dict(capability)
    extra_gb = _gigabytes(capability.get(EXTRA_KEY, 0))
    if extra_gb is None:
        LOG.warning(
            "Pool %s: %s is %s, not a number of GiB; its templates are not counted.",
            quoted(capability.get("volume_backend_name")),
            EXTRA_KEY,
            quoted(capability.get(EXTRA_KEY)),
        )
        return counted
    reported = capability.get("provisioned_capacity_gb", capability.get("allocated_capacity_gb", 0))
    provisioned_gb = _gigabytes(reported)
    if EXTRA_KEY in capability and provisioned_gb is not None:
        counted["provisioned_capacity_gb"] = provisioned_gb + extra_gb
    return counted


def _gigabytes(value: object) -> float | int | None:
    """``value`` if it is a finite number not below 0, else None (``"unknown"``, None, ...)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and value >= 0 else None


class ImageCachePoolState(host_manager.PoolState):  # type: ignore[misc]  # Cinder is untyped here
    """A pool whose provisioned capacity includes the templates cached on it."""

    def update_from_volume_capability(
        self, capability: Mapping[str, Any], service: Any = None
    ) -> None:
        if capability:
            capability = with_templates_counted(capability)
        super().update_from_volume_capability(capability, service)


class ImageCacheBackendState(host_manager.BackendState):  # type: ignore[misc]  # untyped
    """A backend made of :class:`ImageCachePoolState` pools."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # An instance attribute, as in Cinder.
        self.pool_state_cls = ImageCachePoolState


class ImageCacheHostManager(host_manager.HostManager):  # type: ignore[misc]  # untyped
    """Cinder's host manager, with the cached templates counted once per pool."""

    backend_state_cls = ImageCacheBackendState
