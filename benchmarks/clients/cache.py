"""Our cache in its own process, on the machine's clock and on native threads."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import tempfile
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.clients.stopwatch import peak_mib, reset_peak, resident_mib, stopwatch
from benchmarks.image_server import HttpImageSource
from benchmarks.stream_image import StreamImage
from vmdk_cache import wiring
from vmdk_cache.cache.ports import Volume
from vmdk_cache.clock import Clock
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image, ImageSource
from vmdk_cache.locks import ToozLocks, coordinator
from vmdk_cache.vim.session import Endpoint

BACKEND = "b1"
FOLDER = ("OpenStack", "Project (b1_image_cache)", "Volumes")
VOLUME_FOLDER = ("OpenStack", "Project (p1)", "Volumes")
GIB = 1 << 30
#: Volumes that a client creates before it is measured.
WARM_UP = 40


@contextlib.contextmanager
def running_cache(
    endpoint: dict[str, Any],
    locks: str | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> Iterator[wiring.RunningCache]:
    """A connected cache.

    :param locks: directory of the locks; None: one of its own
    :param clock: None: the machine's
    :param settings: fields of :class:`Settings`
    """
    with (
        tempfile.TemporaryDirectory(prefix="vmdk-cache-bench-") as own,
        coordinator(f"file://{locks or own}") as get_lock,
    ):
        cache = wiring.build(
            Settings(enabled=True, **settings),
            wiring.Backend(BACKEND, Endpoint(**endpoint), FOLDER),
            ToozLocks(get_lock, f"fake/{BACKEND}"),
            events=lambda event: None,
            clock=clock,
        )
        try:
            yield cache
        finally:
            cache.close()


def new_volume(size_bytes: int = GIB) -> Volume:
    """A volume that does not exist yet."""
    identity = str(uuid.uuid4())
    return Volume(
        id=identity,
        name=f"volume-{identity}",
        instance_uuid=identity,
        size_bytes=size_bytes,
        disk_type="thin",
        adapter_type="lsiLogic",
        storage_profile=None,
        folder=VOLUME_FOLDER,
        extra_config={"cinder.volume.id": identity},
        managed_by=("org.openstack.storage", "volume"),
        is_being_created=lambda: True,
    )


def create_at_once(
    cache: wiring.RunningCache, image: Image, source: ImageSource, volumes: int
) -> int:
    """Create volumes at the same time, one thread each; returns the number of hits."""

    def create(volume: Volume) -> bool:
        return cache.images.create_volume(image, volume, source).hit

    with concurrent.futures.ThreadPoolExecutor(volumes) as pool:
        return sum(pool.map(create, [new_volume() for _ in range(volumes)]))


def create_volumes(
    go: Callable[[], None], *, endpoint: dict[str, Any], volumes: int, rounds: int = 1
) -> dict[str, Any]:
    """Parallel hits. Prepared: the template, and what a previous burst leaves, including replicas.

    :returns: hits, and wall_s and cpu_s of each round
    """
    stream = StreamImage(1 << 20)
    image = stream.image()
    results: dict[str, Any] = {"hits": 0, "wall_s": [], "cpu_s": []}
    with running_cache(endpoint) as cache:
        cache.images.create_volume(image, new_volume(), stream)
        create_at_once(cache, image, stream, min(volumes, WARM_UP))
        for _ in range(rounds):
            go()
            with stopwatch() as elapsed:
                results["hits"] += create_at_once(cache, image, stream, volumes)
            results["wall_s"].append(elapsed.wall_s)
            results["cpu_s"].append(elapsed.cpu_s)
        go()
    return results


def create_first_volumes(
    go: Callable[[], None],
    *,
    endpoint: dict[str, Any],
    locks: str,
    source: dict[str, Any],
    volumes: int,
) -> dict[str, Any]:
    """The first volumes of an image, while other processes create theirs.

    :param source: keyword arguments of HttpImageSource
    """
    images = HttpImageSource(**source)
    with running_cache(endpoint, locks) as cache:
        go()
        with stopwatch() as elapsed:
            hits = create_at_once(cache, images.image, images, volumes)
        go()
    return {"hits": hits, "wall_s": elapsed.wall_s}


def import_image(
    go: Callable[[], None], *, endpoint: dict[str, Any], source: dict[str, Any], rounds: int
) -> dict[str, Any]:
    """Import the image again in each round: stream, check, hash, verify, mark as template.

    :returns: wall_s, cpu_s and peak_mib of each round; peak_mib is the highest memory use above
        that before
    """
    images = HttpImageSource(**source)
    results: dict[str, Any] = {"wall_s": [], "cpu_s": [], "peak_mib": []}
    with running_cache(endpoint) as cache:
        for _ in range(rounds):
            image = dataclasses.replace(images.image, id=str(uuid.uuid4()))
            go()
            reset_peak()
            idle_mib = resident_mib()
            with stopwatch() as elapsed:
                cache.images.warm(image, "lsiLogic", images)
            results["wall_s"].append(elapsed.wall_s)
            results["cpu_s"].append(elapsed.cpu_s)
            results["peak_mib"].append(peak_mib() - idle_mib)
        go()
    return results


def refresh(go: Callable[[], None], *, endpoint: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Refresh what the cache knows of its templates, while nothing changes.

    :returns: ms of each round, and the number of templates
    """
    result: dict[str, Any] = {"ms": []}
    with running_cache(endpoint) as cache:
        cache.store.entries()
        go()
        for _ in range(rounds):
            with stopwatch() as elapsed:
                entries = cache.store.entries()
            result["ms"].append(1000 * elapsed.wall_s)
        go()
    return {**result, "templates": len(entries)}
