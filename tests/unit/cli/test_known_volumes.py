"""What Cinder's API must say before a volume counts as nonexistent."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest
from oslo_config import cfg

from tests.fakes.openstack_api import OpenStackApi, openstack_api
from vmdk_cache import errors
from vmdk_cache.cli import cinder_api
from vmdk_cache.periodic.orphaned_backings import KnownVolumes


@pytest.fixture
def api() -> Iterator[OpenStackApi]:
    with openstack_api() as made:
        yield made


def connect(api: OpenStackApi, **environ: str) -> cinder_api.Cinder:
    options = cfg.ConfigOpts()
    options([], default_config_files=[], default_config_dirs=[])
    return cinder_api.connect(options, {**api.environment(), **environ}, 30)


def test_a_volume_is_known_by_its_id_and_by_that_from_before_its_migration(
    api: OpenStackApi,
) -> None:
    api.volumes = {"AA": ("p1", None), "bb": ("p2", "CC")}
    known = connect(api).known()
    assert known == KnownVolumes(frozenset({"aa", "bb", "cc"}), frozenset({"p1", "p2"}))
    assert "all_tenants=1" in api.asked[0]


@pytest.mark.parametrize("max_limit", [1, 7, 1000])
def test_all_volumes_are_listed_however_short_cinders_pages_are(
    api: OpenStackApi, max_limit: int
) -> None:
    """An administrator may have lowered osapi_max_limit."""
    api.max_limit = max_limit
    api.volumes = {f"v{number}": ("p1", None) for number in range(20)}
    assert connect(api).known().ids == frozenset(api.volumes)


def test_a_user_without_the_admin_role_does_not_know_all_volumes(api: OpenStackApi) -> None:
    """Cinder would list only those of the user's own project, without an error."""
    api.volumes = {"v1": ("p1", None)}
    api.roles = ["member", "reader"]
    with pytest.raises(errors.SourceUnavailable, match="admin role"):
        connect(api).known()


def test_of_several_regions_one_must_be_named(api: OpenStackApi) -> None:
    api.volumes = {"v1": ("p1", None)}
    api.regions = ["RegionOne", "RegionTwo"]
    with pytest.raises(errors.SourceUnavailable, match="OS_REGION_NAME"):
        connect(api).known()
    assert connect(api, OS_REGION_NAME="RegionTwo").known().ids == {"v1"}
    with pytest.raises(errors.SourceUnavailable):
        connect(api, OS_REGION_NAME="RegionThree").known()


def test_the_region_of_cinder_conf_counts(api: OpenStackApi, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cinder.conf"
    path.write_text("[keystone_authtoken]\nregion_name = RegionTwo")
    options = cfg.ConfigOpts()
    options([f"--config-file={path}"])
    api.volumes = {"v1": ("p1", None)}
    api.regions = ["RegionOne", "RegionTwo"]
    assert cinder_api.connect(options, api.environment(), 30).known().ids == {"v1"}


def test_a_cinder_that_hides_migrations_is_not_enough(api: OpenStackApi) -> None:
    shown = api._shown
    api.volumes = {"v1": ("p1", None)}
    api._shown = lambda each, is_admin: {**shown(each, False)}  # type: ignore[method-assign]
    with pytest.raises(errors.SourceUnavailable, match="name_id"):
        connect(api).known()


def test_projects_are_keystones(api: OpenStackApi) -> None:
    api.projects = {"p1"}
    cinder = connect(api)
    assert cinder.has_project("p1")
    assert not cinder.has_project("p2")
    assert not cinder.has_project("../users/u1?x=y")


def test_a_keystone_that_is_away_is_one_error() -> None:
    with openstack_api() as api:
        cinder = connect(api)
    for ask in (cinder.known, lambda: cinder.has_project("p1")):
        with pytest.raises(errors.SourceUnavailable):
            ask()
