"""Datastores whose names hold characters that vCenter escapes, or that end a name in a path."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pyVmomi import vim

from tests.fakes.images import FakeImage
from tests.fakes.vcenter import VCenter
from tests.scenario.conftest import GIB, Lab, volume
from vmdk_cache.cache.findings import Kind
from vmdk_cache.cache.key import CacheKey, template_name

Paths = Literal["escaped", "plain"]

NAMES = ["fast/slow", "fast\\slow", "50% full", "fast [old]"]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["escaped", "plain"])
def paths(request: pytest.FixtureRequest, vcenter: VCenter) -> Paths:
    vcenter.switches.datastore_paths = request.param
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def lab(
    vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path, name: str, paths: Paths
) -> Iterator[Lab]:
    with vcenter.lock:
        for number, datastore in enumerate(datastores(vcenter)):
            datastore.rename(f"{name} {number}")
    made = Lab(vcenter, disk_image, tmp_path)
    with made.stack:
        yield made


def datastores(vcenter: VCenter) -> list[Any]:
    found = vcenter.registry.of_type(vim.Datastore)
    return sorted(found, key=lambda datastore: datastore.moref)


def test_all_that_reads_and_writes_paths_works_there(lab: Lab, name: str, paths: Paths) -> None:
    assert not lab.create(1)
    ways = 2 if paths == "plain" and "[" not in name else 1
    assert lab.vcenter.request_log.count("ImportVApp") == ways, "the likely way comes first"
    with lab.vcenter.lock:
        made = lab.vcenter.read_disk(volume(1).name)
        assert made.read(0, len(lab.disk_image.disk)) == lab.disk_image.disk
    for datastore in datastores(lab.vcenter):
        lab.cache.images.warm(lab.image, "lsiLogic", lab.source, datastore.moref)
    assert len(lab.templates()) == 2
    assert lab.create(2, disk_type="eagerZeroedThick")
    assert lab.vcenter.read_disk(volume(2).name).size_bytes == GIB
    assert lab.source.opened == 1

    in_use = [set(datastore.directories()) for datastore in datastores(lab.vcenter)]
    ours = template_name("b1", CacheKey(lab.image.id, "left", "ide"))
    for datastore in datastores(lab.vcenter):
        datastore.storage.make_directory(ours)
    report = lab.cache.reconcile.check(fix=True, remove_directories=True)
    found = [(one.kind, one.fixed) for one in report.findings]
    assert found == 2 * [(Kind.DIRECTORY_ORPHANED, True)]
    assert [set(datastore.directories()) for datastore in datastores(lab.vcenter)] == in_use
