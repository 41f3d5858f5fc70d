from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.clock import ManualClock
from tests.fakes.memory import (
    MemoryLocks,
    MemoryPlacement,
    MemorySource,
    MemoryStore,
    MemoryTransfer,
    memory_context,
)
from vmdk_cache.cache.clone_queue import CloneQueue
from vmdk_cache.cache.context import CacheContext, KeptImages
from vmdk_cache.cache.engine import ImageCache
from vmdk_cache.cache.events import Event
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.importer import Importer
from vmdk_cache.cache.ports import Volume
from vmdk_cache.cache.replication import Replication
from vmdk_cache.cache.room import Room
from vmdk_cache.cache.templates_in_use import TemplatesInUse
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image

GIB = 1 << 30
IMAGE = Image(
    id="11111111-2222-3333-4444-555555555555",
    size_bytes=4,
    disk_format="vmdk",
    container_format="bare",
    disk_type="streamOptimized",
    os_hash_algo="sha512",
    os_hash_value="ab" * 64,
)


def image(number: int = 1, **changes: object) -> Image:
    made = dataclasses.replace(IMAGE, id=f"{number:08}-0000-4000-8000-000000000000")
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def volume(number: int = 1, **changes: object) -> Volume:
    made = Volume(
        id=f"volume-id-{number}",
        name=f"volume-{number}",
        instance_uuid=f"volume-id-{number}",
        size_bytes=2 * GIB,
        disk_type="thin",
        adapter_type="lsiLogic",
        storage_profile=None,
        folder=("OpenStack", "Project (p)", "Volumes"),
        extra_config={},
        managed_by=None,
        is_being_created=lambda: True,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


class World:
    """An engine with ports in memory, and all its surroundings that a test looks at."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.placement = MemoryPlacement()
        self.transfer = MemoryTransfer(GIB)
        self.source = MemorySource()
        self.templates_in_use = TemplatesInUse()
        self.events: list[Event] = []
        self.kept = KeptImages()
        self.engine = self.process()

    def context(self, settings: Settings | None = None, **parts: Any) -> CacheContext:
        """The context of another process on the same vCenter, by default with locks of its own.

        :param parts: replace those of this world
        """
        shared = {
            "store": self.store,
            "placement": self.placement,
            "events": self.events.append,
            "clock": self.clock,
            "templates_in_use": self.templates_in_use,
            "kept": self.kept,
        }
        return memory_context(settings, **{**shared, **parts})

    def process(self, settings: Settings | None = None, locks: object = None) -> ImageCache:
        """The engine of another process on the same vCenter."""
        context = self.context(settings, locks=locks or MemoryLocks())
        evictor = Evictor(context)
        self.room = Room(context, evictor)
        importer = Importer(context, transfer=self.transfer, room=self.room, evictor=evictor)
        queue = CloneQueue(
            lambda: context.settings().clones_per_template, self.clock, context.templates_in_use
        )
        replication = Replication(context, room=self.room, queue=queue)
        return ImageCache(
            context, importer=importer, queue=queue, replication=replication, evictor=evictor
        )

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_volume() -> Callable[..., Volume]:
    return volume
