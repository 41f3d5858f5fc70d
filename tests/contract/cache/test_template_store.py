"""What the engine relies on, of every TemplateStore."""

from __future__ import annotations

import concurrent.futures
import dataclasses

import pytest

from tests.contract.cache.conftest import Subject
from tests.fakes.images import FakeImage, FakeImageSource, as_stream_optimized, noise
from tests.unit.cache.conftest import volume
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.cache.ports import Volume
from vmdk_cache.datastore.transfer import open_disk

MIB = 1 << 20
IMAGE = as_stream_optimized(noise(MIB))
KEY = CacheKey.of(IMAGE.image(), "lsiLogic")


def import_(subject: Subject, key: CacheKey = KEY, image: FakeImage = IMAGE) -> CacheEntry:
    with open_disk(image.image(), FakeImageSource(image)) as disk:
        return subject.store.import_(key, disk, subject.place)


def test_an_empty_cache_is_empty(subject: Subject) -> None:
    assert subject.store.entries() == []
    assert subject.store.find(KEY) is None


def test_an_import_is_found_ready_under_its_key_and_no_other(subject: Subject) -> None:
    made = import_(subject)
    assert made.phase is Phase.READY
    assert made.name == template_name(subject.backend, KEY)
    assert made.size_bytes == MIB
    assert made.record is not None
    assert made.record.key == KEY
    assert subject.store.find(KEY) == made
    assert subject.store.entries() == [made]
    assert subject.store.find(dataclasses.replace(KEY, adapter_type="ide")) is None
    assert not subject.store.is_importing(made)


def test_a_second_import_of_the_key_harms_nothing(subject: Subject) -> None:
    if subject.name == "vcsim":
        pytest.skip("vcsim: ImportVApp takes a second VM of the same name")
    made = import_(subject)
    with pytest.raises(errors.NameTaken):
        import_(subject)
    assert subject.store.find(KEY) == made


def test_a_stream_that_breaks_leaves_nothing(subject: Subject) -> None:
    source = FakeImageSource(IMAGE, fail_after_bytes=len(IMAGE.file_bytes) // 2)
    with (
        pytest.raises(errors.SourceUnavailable),
        open_disk(IMAGE.image(), source, read_ahead_bytes=1) as disk,
    ):
        subject.store.import_(KEY, disk, subject.place)
    assert subject.store.entries() == []


def test_bytes_that_differ_leave_nothing(subject: Subject) -> None:
    promised = IMAGE.image(os_hash_algo="sha256", os_hash_value="0" * 64)
    with (
        pytest.raises(errors.ImageCorrupt),
        open_disk(promised, FakeImageSource(IMAGE)) as disk,
    ):
        subject.store.import_(KEY, disk, subject.place)
    assert subject.store.entries() == []


def test_a_template_is_cloned_more_than_once_and_stays(subject: Subject) -> None:
    made = import_(subject)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        clones = [
            pool.submit(subject.store.clone, made, named(subject, n), subject.place)
            for n in range(4)
        ]
        for clone in clones:
            clone.result(60)
    assert subject.store.find(KEY) == made


def test_a_deleted_template_is_reported_by_its_moref(subject: Subject) -> None:
    made = import_(subject)
    subject.store.destroy(made)
    with pytest.raises(errors.ObjectNotFound) as gone:
        subject.store.clone(made, named(subject, 1), subject.place)
    assert gone.value.moref == made.moref
    assert subject.store.find(KEY) is None


def test_a_second_look_sees_the_same_vm_and_no_other_of_its_name(subject: Subject) -> None:
    made = import_(subject)
    assert subject.store.look_again(made) == made
    subject.store.destroy(made)
    assert subject.store.look_again(made) is None
    anew = import_(subject)
    assert subject.store.look_again(made) is None
    assert subject.store.look_again(anew) == anew


def test_deleting_twice_is_deleting(subject: Subject) -> None:
    made = import_(subject)
    subject.store.destroy(made)
    subject.store.destroy(made)
    assert subject.store.entries() == []


def named(subject: Subject, number: int) -> Volume:
    """A volume in a project folder of the subject's own."""
    uuid = f"00000000-0000-4000-8000-{number:012}"
    folder = ("OpenStack", f"Project ({subject.backend}-p)", "Volumes")
    return volume(number, instance_uuid=uuid, folder=folder)
