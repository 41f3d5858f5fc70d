"""The cache on vCenters that differ as recorded ones do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.vcenter import Model, Switches, VCenter
from tests.fakes.vcenter.busy import busy_vcenter
from tests.scenario.conftest import Lab, volume

VCENTERS = {
    "on-vsan": (Model(datastore_type="vsan"), Switches()),
    "of-release-5.5": (Model(vcenter_version="5.5.0"), Switches(cookie_with="first_answer")),
    "of-release-6.5": (Model(vcenter_version="6.5.0"), Switches()),
    "of-release-9": (Model(vcenter_version="9.0.1"), Switches()),
    "with-short-pages": (Model(), Switches(update_page_limit=1, retrieve_page_limit=1)),
}


@pytest.fixture(params=VCENTERS.values(), ids=VCENTERS)
def vcenter(request: pytest.FixtureRequest) -> Iterator[VCenter]:
    model, switches = request.param
    with busy_vcenter(model, switches=switches) as running:
        yield running
        assert running.errors == []


def test_the_cache_fails_on_such_a_vcenter(lab: Lab) -> None:
    assert [lab.create(number) for number in (1, 2, 3)] == [False, True, True]
    for number in (1, 2, 3):
        disk = lab.vcenter.read_disk(volume(number).name)
        content = disk.read(0, lab.disk_image.capacity_bytes)
        assert content == lab.disk_image.disk.ljust(lab.disk_image.capacity_bytes, b"\0")
    assert len(lab.templates()) == 1
    lab.vcenter.clock.advance(86401)
    assert len(lab.cache.purge.run()) == 1
    assert lab.templates() == []
