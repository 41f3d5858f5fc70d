"""The whole engine, wired as it runs, on our fake vCenter and on govmomi's simulator."""

from __future__ import annotations

import concurrent.futures
import pathlib
import uuid
from collections.abc import Iterator

import pytest

from tests.contract.vcenters import Target
from tests.fakes.images import FakeImageSource, as_stream_optimized, noise
from tests.unit.cache.conftest import volume
from vmdk_cache import errors, wiring
from vmdk_cache.cache.ports import Volume
from vmdk_cache.conf import REPLICAS_OFF, Settings
from vmdk_cache.locks import ToozLocks, coordinator

IMAGE = as_stream_optimized(noise(1 << 20))


@pytest.fixture
def cache(target: Target, tmp_path: pathlib.Path) -> Iterator[wiring.RunningCache]:
    name = target.run.new_backend()
    folder = target.run.path(f"Project ({name}_image_cache)", "Volumes")
    with coordinator(f"file://{tmp_path}") as get_lock:
        running = wiring.build(
            # they would appear at an unpredictable time
            Settings(enabled=True, replicas=REPLICAS_OFF),
            wiring.Backend(
                name,
                target.endpoint(),
                folder,
                clusters=target.choice.clusters,
                datastore_regex=target.choice.datastore_regex,
            ),
            ToozLocks(get_lock, name),
            events=lambda event: None,
            clock=target.clock(),
        )
        try:
            yield running
        finally:
            running.close()


def volume_of(target: Target, number: int) -> Volume:
    made = str(uuid.uuid4())
    return volume(
        number,
        name=target.run.named(f"volume-{made}"),
        instance_uuid=made,
        folder=target.run.path("Project (p)", "Volumes"),
    )


def test_many_first_volumes_import_once(target: Target, cache: wiring.RunningCache) -> None:
    source = FakeImageSource(IMAGE)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        made = list(
            pool.map(
                lambda n: cache.images.create_volume(IMAGE.image(), volume_of(target, n), source),
                range(10),
            )
        )
    assert [one.hit for one in made].count(False) == 1
    assert source.opened == 1
    assert len(cache.store.entries()) == 1
    assert cache.reporter.latest().extra_provisioned_gib == 1
    assert cache.purge.plan().remove == ()


def test_a_failed_import_leaves_the_cache_empty(target: Target, cache: wiring.RunningCache) -> None:
    source = FakeImageSource(IMAGE, fail_after_bytes=len(IMAGE.file_bytes) // 2)
    with pytest.raises(errors.SourceUnavailable):
        cache.images.create_volume(IMAGE.image(), volume_of(target, 1), source)
    assert cache.store.entries() == []


def test_a_template_that_an_administrator_deleted_is_imported_again(
    target: Target, cache: wiring.RunningCache
) -> None:
    source = FakeImageSource(IMAGE)
    first = cache.images.create_volume(IMAGE.image(), volume_of(target, 1), source)
    cache.store.destroy(first.entry)
    again = cache.images.create_volume(IMAGE.image(), volume_of(target, 2), source)
    assert not again.hit
    assert source.opened == 2
