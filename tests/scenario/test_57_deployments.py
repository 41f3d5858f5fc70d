"""Two clouds on one vCenter, with backends of the same section name: each keeps to its own."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
from pyVmomi import vim

from tests.fakes.images import FakeImageSource
from tests.scenario.conftest import RECORD_KEY, SETTINGS, Lab, volume
from tests.scenario.test_50_reconcile import write_record
from vmdk_cache import wiring
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.findings import Kind
from vmdk_cache.cache.key import replica_name
from vmdk_cache.cache.record import ATTRIBUTE, Record
from vmdk_cache.conf import Settings
from vmdk_cache.image import Image
from vmdk_cache.vim import inventory, virtual_machine
from vmdk_cache.vim.custom_attribute import CustomAttributes

HERS = "00000000-0000-4000-8000-00000000000a"
HIS = "00000000-0000-4000-8000-00000000000b"
OLD_S = 3600


class Glance:
    """A Catalog that knows its own cloud's images only."""

    def __init__(self, *images: Image) -> None:
        self.images = {image.id: image for image in images}

    def describe(self, image_id: str) -> Image | None:
        return self.images.get(image_id)


class Cloud:
    """A deployment: its Glance, its locks, its processes."""

    def __init__(self, lab: Lab, name: str, path: pathlib.Path, *image_ids: str) -> None:
        self.lab = lab
        self.name = name
        self.glance = Glance(*map(lab.disk_image.image, image_ids))
        self.locks_url = f"file://{path}"
        path.mkdir()
        self.cache = self.process()

    def process(
        self, settings: Settings | None = None, deployment: str | None = None
    ) -> wiring.RunningCache:
        shared, self.lab.locks_url = self.lab.locks_url, self.locks_url
        try:
            name = self.name if deployment is None else deployment
            return self.lab.process(settings, self.glance, deployment=name)
        finally:
            self.lab.locks_url = shared

    def create(self, number: int, image_id: str) -> bool:
        """Whether it was a hit."""
        image = self.lab.disk_image.image(image_id)
        source = FakeImageSource(self.lab.disk_image)
        return self.cache.images.create_volume(image, volume(number), source).hit

    def entries(self) -> list[CacheEntry]:
        return [e for e in self.cache.store.entries() if e.phase is not Phase.FOREIGN]

    def counted(self) -> int:
        return sum(each.templates for each in self.cache.capacity())

    def findings(self, **options: bool) -> list[tuple[Kind, bool]]:
        report = self.cache.reconcile.check(**options)
        return [(finding.kind, finding.fixed) for finding in report.findings]


@pytest.fixture
def hers(lab: Lab, tmp_path: pathlib.Path) -> Cloud:
    return Cloud(lab, "hers", tmp_path / "hers", HERS)


@pytest.fixture
def his(lab: Lab, tmp_path: pathlib.Path) -> Cloud:
    return Cloud(lab, "his", tmp_path / "his", HIS)


def test_neither_cloud_deletes_or_counts_the_templates_of_the_other(
    lab: Lab, hers: Cloud, his: Cloud
) -> None:
    assert not hers.create(1, HERS)
    assert not his.create(2, HIS)
    for cloud in (hers, his):
        cloud.cache.housekeeping.run()
        assert cloud.counted() == 1
        assert [entry.owner for entry in cloud.entries()] == [Owner.OURS]
        assert cloud.findings(fix=True) == [(Kind.OTHER_DEPLOYMENT, False)]
    assert hers.create(3, HERS)
    assert his.create(4, HIS)

    lab.vcenter.clock.advance(SETTINGS.age_s + 1)
    assert [entry.image_id for entry in his.cache.purge.run()] == [HIS]
    assert [entry.image_id for entry in hers.entries()] == [HERS]


def test_a_purge_of_everything_and_a_limit_leave_the_other_cloud_alone(
    hers: Cloud, his: Cloud
) -> None:
    hers.create(1, HERS)
    his.create(2, HIS)
    limited = his.process(dataclasses.replace(SETTINGS, max_count=1))
    assert limited.purge.run() == []
    assert len(limited.purge.carry_out(lambda: limited.purge.plan_requested(None)).removed) == 1
    assert [entry.image_id for entry in hers.entries()] == [HERS]
    assert his.entries() == []


def test_one_image_in_both_clouds_is_cached_by_each(lab: Lab, hers: Cloud, his: Cloud) -> None:
    """Operators give images fixed ids."""
    his.glance.images = hers.glance.images
    assert [hers.create(1, HERS), his.create(2, HERS)] == [False, False]
    assert [hers.create(3, HERS), his.create(4, HERS)] == [True, True]
    assert len(lab.templates()) == 2
    assert (hers.counted(), his.counted()) == (1, 1)


def test_an_import_that_the_other_cloud_broke_off_is_left_to_it(
    lab: Lab, hers: Cloud, his: Cloud
) -> None:
    hers.create(1, HERS)
    (made,) = hers.entries()
    session = lab.cache.session
    as_half_imported(lab, made)
    lab.vcenter.clock.advance(OLD_S)
    assert his.findings(fix=True) == [(Kind.OTHER_DEPLOYMENT, False)]
    assert virtual_machine.get_vm(session, made.moref, RECORD_KEY) is not None
    assert hers.findings(fix=True) == [(Kind.HALF_IMPORTED, True)]


def as_half_imported(lab: Lab, made: CacheEntry) -> None:
    """As a crash before MarkAsTemplate leaves it: no template, no note."""
    session = lab.cache.session
    host = inventory.snapshot(session).hosts[0]
    session.invoke(
        "VirtualMachine",
        made.moref,
        "MarkAsVirtualMachine",
        pool=vim.ResourcePool(host.pool),
        host=vim.HostSystem(host.moref),
    )
    CustomAttributes.of(session).set(made.moref, ATTRIBUTE, "")


def test_a_changed_id_makes_strangers_of_the_old_templates_and_says_how_to_get_them_back(
    hers: Cloud,
) -> None:
    hers.create(1, HERS)
    changed = hers.process(deployment="other")
    (finding,) = changed.reconcile.check(fix=True).findings
    assert finding.kind is Kind.OTHER_DEPLOYMENT
    assert "image_cache_deployment_id = hers" in finding.says
    assert "'other'" in finding.says
    assert changed.purge.run() == []
    back = hers.process(deployment="hers")
    assert [entry.owner for entry in back.store.entries()] == [Owner.OURS]
    assert hers.create(2, HERS)


def of_first_schema(lab: Lab, image_id: str) -> CacheEntry:
    """A template as a version without deployments left it."""
    before = lab.process(deployment="")
    image = lab.disk_image.image(image_id)
    before.images.create_volume(image, volume(9), FakeImageSource(lab.disk_image))
    (made,) = before.store.entries()
    assert made.record is not None
    text = made.record.to_json().replace('"schema": 2', '"schema": 1')
    write_record(lab, text)
    (entry,) = lab.cache.store.entries()
    assert entry.record == dataclasses.replace(made.record, schema=1)
    return entry


def test_a_template_of_an_earlier_version_is_served_and_counted_and_becomes_its_users(
    lab: Lab, hers: Cloud, his: Cloud
) -> None:
    made = of_first_schema(lab, HERS)
    assert (hers.counted(), his.counted()) == (1, 1)
    assert [entry.owner for entry in hers.entries()] == [Owner.UNKNOWN]
    assert hers.create(1, HERS)
    assert [entry.owner for entry in hers.entries()] == [Owner.OURS]
    assert his.entries() == []
    assert his.findings(fix=True) == [(Kind.OTHER_DEPLOYMENT, False)]

    del hers.glance.images[HERS]
    assert his.cache.purge.run() == []
    assert [entry.moref for entry in hers.cache.purge.run()] == [made.moref]


def test_a_purge_leaves_what_may_be_another_clouds_and_notes_what_is_proven_ours(
    lab: Lab, hers: Cloud, his: Cloud
) -> None:
    of_first_schema(lab, HERS)
    assert his.cache.purge.run() == []
    assert his.findings(fix=True) == [(Kind.OWNER_UNKNOWN, False)]
    assert hers.cache.purge.plan().remove == ()
    assert [entry.owner for entry in hers.entries()] == [Owner.UNKNOWN]
    assert hers.cache.purge.run() == []
    assert [entry.owner for entry in hers.entries()] == [Owner.OURS]
    assert hers.findings(fix=True) == []

    assert his.entries() == []
    del hers.glance.images[HERS]
    assert len(hers.cache.purge.run()) == 1
    assert lab.templates() == []


def test_a_template_of_unknown_owner_goes_by_its_age(lab: Lab, his: Cloud) -> None:
    of_first_schema(lab, HERS)
    lab.vcenter.clock.advance(SETTINGS.age_s + 1)
    assert [entry.image_id for entry in his.cache.purge.run()] == [HERS]


def test_a_replica_of_an_earlier_versions_template_names_the_deployment(
    lab: Lab, hers: Cloud
) -> None:
    made = of_first_schema(lab, HERS)
    with hers.cache.placement.for_template(
        made.size_bytes, only=other_datastore(lab, made)
    ) as place:
        assert made.record is not None
        name = replica_name("b1", made.record.key, place.datastore, "hers")
        replica = hers.cache.store.replicate(made, place, name)
    assert isinstance(replica.record, Record)
    assert (replica.record.deployment, replica.record.schema) == ("hers", 2)


def other_datastore(lab: Lab, made: CacheEntry) -> str:
    known = lab.cache.placement.datastore_names()
    return next(moref for moref in sorted(known) if moref != made.datastore)
