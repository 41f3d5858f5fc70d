"""What a live run may remove: its own objects, and those of a run that will never continue."""

from __future__ import annotations

import datetime
import uuid

import pytest

from tests.fakes.images import read_stream_optimized
from vmdk_cache.cache.key import CacheKey, image_id_in, replica_name, template_name
from vmdk_cache.preflight.live_image import CAPACITY_BYTES, Form, GeneratedImage
from vmdk_cache.preflight.live_target import BACKEND, STALE_AFTER, LiveNames
from vmdk_cache.vmdk.transfer import open_disk

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
OLD = NOW - STALE_AFTER - datetime.timedelta(seconds=1)


def names_of(run: LiveNames) -> list[str]:
    keys = [CacheKey(run.image_id(form), "f" * 32, "lsiLogic") for form in Form]
    return [
        run.volume(1),
        run.volume(12),
        *(template_name(BACKEND, key) for key in keys),
        *(replica_name(BACKEND, key, "datastore-1") for key in keys),
    ]


def test_a_run_knows_its_own_names() -> None:
    run, other = LiveNames.new("host"), LiveNames.new("host")
    for name in names_of(run):
        assert run.owns(name) and not other.owns(name), name
        assert not run.is_leftover(name, OLD, NOW)
        assert len(name) <= 80


def test_an_image_id_is_a_uuid_and_each_form_has_another() -> None:
    ids = {LiveNames("abcdef", "12345").image_id(form) for form in Form}
    assert len(ids) == len(Form)
    for each in ids:
        assert str(uuid.UUID(each)) == each and uuid.UUID(each).version == 4
        assert image_id_in(template_name(BACKEND, CacheKey(each, "f" * 32, "ide"))) == each


def test_only_runs_that_have_ended_are_cleaned_up_after() -> None:
    mine = LiveNames.new("here")
    for name in names_of(LiveNames.new("here")):
        assert mine.is_leftover(name, NOW, NOW), "one on this machine: the lock says it has ended"
    for name in names_of(LiveNames.new("elsewhere")):
        assert not mine.is_leftover(name, NOW, NOW)
        assert not mine.is_leftover(name, None, NOW)
        assert mine.is_leftover(name, OLD, NOW)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "vmdk-cache-preflight",
        "vmdk-cache-preflight-of-mine",
        "volume-70726566-6c69-4667-a868-000000000000",
        "preflight_image_cache (1095ac4a-2482-48f7-a93f-880b3c9cd16d) 61e90eb6",
        "vmware1_image_cache (70726566-6c69-4667-a868-000000000000) 61e90eb6",
        "x vmdk-cache-preflight-abcdef12345-1",
    ],
)
def test_foreign_objects_are_never_removed(name: str) -> None:
    assert not LiveNames.new("here").is_leftover(name, OLD, NOW)


@pytest.mark.parametrize("form", Form)
def test_each_form_is_an_image_of_the_same_disk(form: Form) -> None:
    made = GeneratedImage("id", form, "seed", "lsiLogic")
    assert len(made.disk) == CAPACITY_BYTES and made.disk[-1:] != b"\0"
    with open_disk(made.image, made) as stream:
        vmdk = b"".join(iter(lambda: stream.read(1 << 20), b""))
        stream.finish()
        assert stream.capacity_bytes == CAPACITY_BYTES
    assert read_stream_optimized(vmdk) == made.disk
    again = GeneratedImage("id", form, "seed", "lsiLogic")
    other = GeneratedImage("id", form, "another seed", "lsiLogic")
    assert again.file == made.file != other.file
