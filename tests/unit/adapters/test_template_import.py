"""Uploads that vCenter accepted although they are not the image, and that would be served."""

from __future__ import annotations

import pytest

from vmdk_cache import errors
from vmdk_cache.adapters.template_import import (
    SIZEABLE_BYTES,
    check_capacity,
    declared_capacity,
    percent_done,
    seems_empty,
)

BROKEN_BYTES = 4_096_000
MIB = 1_048_576
GIB = 1024 * MIB


@pytest.mark.parametrize("disks", [[], [GIB, GIB], [GIB, GIB, GIB]])
def test_an_import_of_another_number_of_disks_is_refused(disks: list[int]) -> None:
    with pytest.raises(errors.TaskFailed, match=f"made {len(disks)} disks"):
        check_capacity(disks, GIB)


@pytest.mark.parametrize(
    "made", [GIB - 1, GIB - MIB, GIB + MIB, GIB + MIB + 1, 2 * GIB, 0, BROKEN_BYTES]
)
def test_a_disk_of_another_size_is_refused(made: int) -> None:
    with pytest.raises(errors.TaskFailed, match=f"a disk of {made} bytes .* of {GIB}"):
        check_capacity([made], GIB)


@pytest.mark.parametrize("made", [GIB, GIB + 1, GIB + MIB - 1])
def test_a_disk_may_be_rounded_up_by_less_than_a_mib(made: int) -> None:
    check_capacity([made], GIB)


@pytest.mark.parametrize(
    ("image", "declared"),
    [(1, MIB), (MIB - 1, MIB), (MIB, MIB), (MIB + 1, 2 * MIB), (GIB, GIB), (GIB + 512, GIB + MIB)],
)
def test_the_declared_capacity_is_whole_mib_and_one_that_is_accepted(
    image: int, declared: int
) -> None:
    assert declared_capacity(image) == declared
    check_capacity([declared], image)


@pytest.mark.parametrize(
    ("committed", "uploaded", "empty"),
    [
        (0, SIZEABLE_BYTES, True),
        (0, SIZEABLE_BYTES - 1, False),
        (SIZEABLE_BYTES // 100 - 1, SIZEABLE_BYTES, True),
        (SIZEABLE_BYTES // 100, SIZEABLE_BYTES, False),
        (10 * GIB // 100 - 1, 10 * GIB, True),
        (10 * GIB // 100, 10 * GIB, False),
        (10 * GIB, 10 * GIB, False),
        (100_000, 10 * MIB, False),
    ],
)
def test_a_disk_seems_empty_below_a_hundredth_of_a_sizeable_upload(
    committed: int, uploaded: int, empty: bool
) -> None:
    assert seems_empty(committed, uploaded) is empty


def test_a_sizeable_upload_is_much_larger_than_a_vms_own_files() -> None:
    assert SIZEABLE_BYTES == 64 * MIB


class HalfRead:
    """A Disk of which Glance has sent a half."""

    capacity_bytes = 8 * MIB
    bytes_read = 3 * MIB

    def __init__(self, length: int | None) -> None:
        self.length = length

    def read(self, n: int = -1, /) -> bytes:
        raise AssertionError("not read here")

    def finish(self) -> None: ...


@pytest.mark.parametrize(
    ("length", "sent", "image", "percent"),
    [
        (6 * MIB, MIB, 6 * MIB, 16),  # what is read ahead does not count
        (6 * MIB, 6 * MIB, 6 * MIB, 99),
        (None, MIB, 6 * MIB, 50),  # zeros of a raw image are read and not sent
        (None, MIB, 3 * MIB, 99),
        (None, MIB, 0, 0),
        (0, 0, 0, 0),
    ],
)
def test_progress_is_that_of_the_image(
    length: int | None, sent: int, image: int, percent: int
) -> None:
    assert percent_done(HalfRead(length), sent, image) == percent
