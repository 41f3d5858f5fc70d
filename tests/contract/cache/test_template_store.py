"""What the engine needs from every TemplateStore."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import uuid
from collections.abc import Iterable

import pytest

from tests.contract.cache.conftest import Subject
from tests.fakes.images import FakeImage, FakeImageSource, as_stream_optimized, noise
from tests.unit.cache.conftest import volume
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.key import CacheKey, replica_name, template_name
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cache.ports import Disk, Volume
from vmdk_cache.vmdk.transfer import open_disk

MIB = 1 << 20
IMAGE = as_stream_optimized(noise(MIB))
KEY = CacheKey.of(IMAGE.image(), "lsiLogic")
PIN = Pin("alice@ctl1", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))


def import_(subject: Subject, key: CacheKey = KEY, image: FakeImage = IMAGE) -> CacheEntry:
    with open_disk(image.image(), FakeImageSource(image)) as disk:
        return imported(subject, key, disk)


def imported(subject: Subject, key: CacheKey, disk: Disk) -> CacheEntry:
    name = template_name(subject.backend, key)
    with subject.store.begin_import(
        key, name, IMAGE.image(), disk.capacity_bytes, subject.place
    ) as begun:
        begun.upload(disk)
        return begun.commit()


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
    # Wait a moment: vCenter's task of the import ends after the lease has been completed.
    wait_until(lambda: not subject.store.is_importing(made))


def test_ready_templates_and_running_imports_are_listed(subject: Subject) -> None:
    made = import_(subject)
    other = dataclasses.replace(KEY, adapter_type="ide")
    name = template_name(subject.backend, other)
    with (
        open_disk(IMAGE.image(), FakeImageSource(IMAGE)) as disk,
        subject.store.begin_import(
            other, name, IMAGE.image(), disk.capacity_bytes, subject.place
        ) as begun,
    ):
        seen = {entry.moref: entry.phase for entry in subject.store.entries()}
        begun.upload(disk)
        importing = begun.commit()
    assert seen == {made.moref: Phase.READY, importing.moref: Phase.IMPORTING}


def test_a_second_import_of_the_key_harms_nothing(subject: Subject) -> None:
    if subject.is_vcsim:
        pytest.skip("vcsim: ImportVApp accepts a second VM of the same name")
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
        imported(subject, KEY, disk)
    assert subject.store.entries() == []


def test_bytes_that_differ_leave_nothing(subject: Subject) -> None:
    promised = IMAGE.image(os_hash_algo="sha256", os_hash_value="0" * 64)
    with (
        pytest.raises(errors.ImageCorrupt),
        open_disk(promised, FakeImageSource(IMAGE)) as disk,
    ):
        imported(subject, KEY, disk)
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


def test_a_use_from_an_outdated_entry_does_not_undo_a_warm_up(subject: Subject) -> None:
    """Both times are stored in one value of one custom attribute."""
    if subject.is_vcsim:
        pytest.skip("vcsim reports a SetField to no filter")
    read_long_ago = import_(subject)
    warmed_at = subject.store.touch(read_long_ago, warmed=True)
    used_at = subject.store.touch(read_long_ago)
    (seen,) = subject.store.copies(KEY, fresh=True)
    assert (seen.warmed_at, seen.used_at) == (warmed_at, used_at)
    subject.store.touch(read_long_ago, warmed=True)
    (seen,) = subject.store.copies(KEY, fresh=True)
    assert seen.used_at == used_at


def test_a_pin_is_seen_until_it_is_removed(subject: Subject) -> None:
    if subject.is_vcsim:
        pytest.skip("vcsim reports a SetField to no filter")
    made = import_(subject)
    subject.store.touch(made)
    subject.store.set_pin(made, PIN)
    (seen,) = subject.store.copies(KEY, fresh=True)
    assert seen.pinned == PIN
    assert seen.used_at is not None, "the two attributes do not disturb each other"
    subject.store.set_pin(made, None)
    (seen,) = subject.store.copies(KEY, fresh=True)
    assert seen.pinned is None


def test_a_replica_has_no_pin_of_its_own(subject: Subject) -> None:
    made = import_(subject)
    subject.store.set_pin(made, PIN)
    assert subject.replicate(made, subject.elsewhere).pinned is None


def test_a_template_that_is_gone_cannot_be_pinned(subject: Subject) -> None:
    if subject.is_vcsim:
        pytest.skip("vcsim crashes at a SetField on an unknown object")
    made = import_(subject)
    subject.store.set_pin(made, PIN)
    subject.store.destroy(made)
    with pytest.raises(errors.ObjectNotFound):
        subject.store.set_pin(made, PIN)


def test_a_replica_is_another_ready_copy_where_it_was_asked_for(subject: Subject) -> None:
    first = import_(subject)
    replica = subject.replicate(first, subject.elsewhere)
    assert replica.phase is Phase.READY
    assert replica.moref != first.moref
    assert replica.name == replica_name(subject.backend, KEY, subject.elsewhere.datastore)
    assert (replica.datastore, replica.host) == (
        subject.elsewhere.datastore,
        subject.elsewhere.host,
    )
    assert replica.size_bytes == first.size_bytes
    assert by_moref(subject.store.copies(KEY, fresh=True)) == by_moref([first, replica])
    assert subject.store.find(KEY) == first


def test_a_replica_is_as_old_as_what_it_was_made_of(subject: Subject) -> None:
    first = import_(subject)
    replica = subject.replicate(first, subject.elsewhere)
    assert first.record is not None
    assert replica.record is not None
    assert dataclasses.replace(replica.record, owner=first.record.owner) == first.record
    assert replica.created_at == first.created_at


def test_a_second_replica_for_a_datastore_harms_nothing(subject: Subject) -> None:
    first = import_(subject)
    replica = subject.replicate(first, subject.elsewhere)
    with pytest.raises(errors.NameTaken):
        subject.replicate(first, subject.elsewhere)
    assert by_moref(subject.store.entries()) == by_moref([first, replica])


def test_a_replica_is_cloned_from_when_the_first_copy_is_gone(subject: Subject) -> None:
    first = import_(subject)
    replica = subject.replicate(first, subject.elsewhere)
    subject.store.destroy(first)
    assert subject.store.find(KEY) is None
    subject.store.clone(replica, named(subject, 1), subject.place)
    subject.store.clone(replica, named(subject, 2), subject.elsewhere)
    assert subject.store.copies(KEY, fresh=True) == (replica,)


def test_a_replica_is_replicated_when_the_first_copy_is_gone(subject: Subject) -> None:
    first = import_(subject)
    replica = subject.replicate(first, subject.elsewhere)
    subject.store.destroy(first)
    again = subject.replicate(replica, subject.place)
    assert again.name == replica_name(subject.backend, KEY, subject.place.datastore)
    assert again.record == replica.record
    assert by_moref(subject.store.copies(KEY, fresh=True)) == by_moref([replica, again])


def test_replicating_a_deleted_template_leaves_nothing(subject: Subject) -> None:
    first = import_(subject)
    subject.store.destroy(first)
    with pytest.raises(errors.ObjectNotFound) as gone:
        subject.replicate(first, subject.elsewhere)
    assert gone.value.moref == first.moref
    assert subject.store.entries() == []


def test_a_moved_template_is_the_same_on_another_host(subject: Subject) -> None:
    if subject.elsewhere.host == subject.place.host:
        pytest.skip("needs a cluster with two hosts")
    made = import_(subject)
    subject.store.move(made, subject.elsewhere.host)
    moved = subject.store.look_again(made)
    assert moved == dataclasses.replace(made, host=subject.elsewhere.host)
    subject.store.clone(moved, named(subject, 1), subject.place)
    # by a process that has not noticed
    subject.store.clone(made, named(subject, 2), subject.elsewhere)
    assert subject.store.copies(KEY, fresh=True) == (moved,)


def test_moving_a_template_to_where_it_is_harms_nothing(subject: Subject) -> None:
    made = import_(subject)
    subject.store.move(made, subject.elsewhere.host)
    subject.store.move(made, subject.elsewhere.host)
    assert subject.store.find(KEY) == dataclasses.replace(made, host=subject.elsewhere.host)


def test_a_template_that_is_gone_cannot_be_moved(subject: Subject) -> None:
    made = import_(subject)
    subject.store.destroy(made)
    with pytest.raises(errors.ObjectNotFound) as gone:
        subject.store.move(made, subject.elsewhere.host)
    assert gone.value.moref == made.moref


def by_moref(entries: Iterable[CacheEntry]) -> dict[str, CacheEntry]:
    return {entry.moref: entry for entry in entries}


def named(subject: Subject, number: int) -> Volume:
    """A volume in a project folder of the subject's own."""
    return volume(
        number,
        name=f"{subject.backend}-volume-{number}",
        instance_uuid=str(uuid.uuid4()),
        folder=subject.folder,
    )
