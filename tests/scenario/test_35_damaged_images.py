"""Images that are damaged although Glance sends what it promised: the receiving host notices."""

from __future__ import annotations

import pytest

from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_ova,
    as_stream_optimized,
    damaged,
    noise,
)
from tests.scenario.conftest import MIB, Lab, volume
from vmdk_cache import errors
from vmdk_cache.cache.events import ImportFailed

#: Several times what any buffer between here and the host holds.
LARGE = as_stream_optimized(noise(24 * MIB))


def create(lab: Lab, image: FakeImage, source: FakeImageSource) -> None:
    lab.cache.images.create_volume(image.image(), volume(), source)


@pytest.mark.parametrize(
    "image",
    [damaged(LARGE), damaged(LARGE, grain=350), as_ova(damaged(LARGE))],
    ids=["at its beginning", "near its end", "in an OVA"],
)
def test_a_damaged_image_is_in_error_and_leaves_nothing(lab: Lab, image: FakeImage) -> None:
    source = FakeImageSource(image)
    with pytest.raises(errors.ImageCorrupt, match=r"grain at byte .* is damaged"):
        create(lab, image, source)
    assert (source.opened, source.closed) == (2, 2)
    assert [e.error for e in lab.events if isinstance(e, ImportFailed)] == ["ImageCorrupt"]
    lab.assert_nothing_left()


def test_a_host_that_refuses_a_good_image_is_a_fault(lab: Lab) -> None:
    lab.vcenter.fault_rules.add("nfc:POST", http_status=500)
    source = FakeImageSource(LARGE)
    with pytest.raises(errors.UploadRefused, match="HTTP 500"):
        create(lab, LARGE, source)
    assert (source.opened, source.closed) == (2, 2)
    lab.assert_nothing_left()


def test_an_import_that_fails_for_another_reason_reads_the_image_once(lab: Lab) -> None:
    lab.vcenter.fault_rules.add("nfc:POST", http_status=503)
    source = FakeImageSource(LARGE)
    with pytest.raises(errors.TaskFailed, match="HTTP 503"):
        create(lab, LARGE, source)
    assert source.opened == 1
    lab.assert_nothing_left()
