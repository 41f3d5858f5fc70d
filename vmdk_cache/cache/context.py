"""The context that all parts of one backend's cache share; vmdk_cache/wiring.py assembles it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Listener
from vmdk_cache.cache.ports import Placement, Space, TemplateStore
from vmdk_cache.cache.templates_in_use import TemplatesInUse
from vmdk_cache.cache.usage import Usage
from vmdk_cache.clock import Clock
from vmdk_cache.conf import Settings
from vmdk_cache.locks import Locks


class KeptImages:
    """Glance ids of the images to keep warm. The warm-up sets them, eviction spares them; empty in
    a process that does not ask Glance. Thread-safe.
    """

    def __init__(self) -> None:
        self._ids: frozenset[str] = frozenset()

    def set(self, image_ids: Iterable[str]) -> None:
        """Replace all ids."""
        self._ids = frozenset(image_ids)

    def __call__(self) -> frozenset[str]:
        return self._ids


@dataclass(frozen=True)
class CacheContext:
    """The names, services and state that the parts of one backend's cache share in one process.

    :ivar backend: section name in the configuration; names the cache's folder and templates
    :ivar deployment: id of the cloud; '' if it has none
    :ivar settings: returns the settings in force, which may change between two calls
    :ivar events: gets each event; never raises
    :ivar usage: the uses of templates that this process has seen
    :ivar clock: measures waits and durations
    :ivar server_time: returns vCenter's time, as in the records: this host's clock may differ
    :ivar templates_in_use: those that this process is cloning from, or that volumes wait for
    :ivar kept: the images to keep warm
    """

    backend: str
    deployment: str
    settings: Callable[[], Settings]
    store: TemplateStore
    placement: Placement
    locks: Locks
    usage: Usage
    events: Listener
    clock: Clock
    server_time: Callable[[], datetime.datetime]
    templates_in_use: TemplatesInUse = field(default_factory=TemplatesInUse)
    kept: KeptImages = field(default_factory=KeptImages)

    def readable(self, copies: Iterable[CacheEntry]) -> list[CacheEntry]:
        """The copies whose files are accessible and whose own hosts can read them now."""
        return [
            copy for copy in copies if copy.accessible and self.placement.reader(copy) == copy.host
        ]

    def spaces(self) -> Mapping[str, Space]:
        """The datastores by moref, if a limit depends on their space; otherwise none.

        :raises VCenterError: vCenter cannot be asked
        """
        return self.placement.spaces() if self.settings().needs_space else {}

    def entries(self) -> list[CacheEntry]:
        """All VMs in the cache's folders, with the uses that only this process knows of.

        :raises VCenterError: vCenter cannot be asked
        """
        return self.usage.applied(self.store.entries())
