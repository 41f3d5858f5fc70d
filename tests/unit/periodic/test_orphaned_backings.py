"""Virtual machines without a volume: only those whose volume does not exist, and is not being
created, moved or deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from vmdk_cache import errors
from vmdk_cache.cache.findings import Kind
from vmdk_cache.periodic.orphaned_backings import (
    MOST_FINDINGS,
    MOST_PROJECTS,
    KnownVolumes,
    Orphans,
    find,
)
from vmdk_cache.vim.volume_backing import Backing


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def backing(number: int, project: str = "p1", *more: str) -> Backing:
    ids = frozenset({uuid(number), *more})
    return Backing(f"vm-{number}", f"volume-{uuid(number)}", project, ids)


class Cloud:
    """vCenter's backings, Cinder's volumes and Keystone's projects.

    :ivar volumes: ids, with the project of each
    :ivar meanwhile: called while Cinder lists its volumes
    """

    def __init__(self, *backings: Backing, projects: Collection[str] = ("p1",)) -> None:
        self.backings = list(backings)
        self.volumes: dict[str, str] = {}
        self.projects = set(projects)
        self.meanwhile: Callable[[], None] = lambda: None
        self.asked: list[str] = []

    def known(self) -> KnownVolumes:
        self.asked.append("volumes")
        self.meanwhile()
        return KnownVolumes(frozenset(self.volumes), frozenset(self.volumes.values()))

    def has_project(self, project_id: str) -> bool:
        self.asked.append(project_id)
        return project_id in self.projects

    def find(self) -> Orphans:
        return find(
            lambda: list(self.backings),
            lambda some: [each for each in self.backings if each in some],
            lambda: self,
        )


def names(orphans: Orphans) -> list[str]:
    return [finding.where for finding in orphans.findings]


def test_a_backing_whose_volume_is_gone_is_found() -> None:
    cloud = Cloud(backing(1), backing(2))
    cloud.volumes[uuid(1)] = "p1"
    (finding,) = cloud.find().findings
    assert (finding.kind, finding.where, finding.fixed) == (Kind.BACKING_ORPHANED, "vm-2", False)
    assert uuid(2) in finding.name
    assert "'p1'" in finding.says


def test_any_id_of_a_migrated_volume_counts() -> None:
    cloud = Cloud(backing(1, "p1", uuid(11)), backing(2, "p1", uuid(12)))
    cloud.volumes = {uuid(11): "p1", uuid(2): "p1"}
    assert cloud.find() == Orphans(())


def test_a_volume_that_is_deleted_during_the_check_is_none() -> None:
    cloud = Cloud(backing(1))
    cloud.meanwhile = cloud.backings.clear
    assert cloud.find() == Orphans(())


def test_a_volume_that_is_made_during_the_check_is_none() -> None:
    cloud = Cloud(backing(1))
    cloud.volumes[uuid(1)] = "p1"
    cloud.meanwhile = lambda: cloud.backings.append(backing(2))
    assert cloud.find() == Orphans(())


def test_a_backing_that_became_another_volumes_during_the_check_is_none() -> None:
    cloud = Cloud(backing(1))

    def change() -> None:
        cloud.backings = [backing(1, "p1", uuid(2))]

    cloud.meanwhile = change
    assert cloud.find() == Orphans(())


def test_backings_in_projects_of_another_cloud_are_counted_and_not_listed() -> None:
    cloud = Cloud(backing(1, "theirs"), backing(2, "theirs"), backing(3, "p1"))
    found = cloud.find()
    assert names(found) == ["vm-3"]
    assert found.not_judged == 2
    assert cloud.asked == ["volumes", "p1", "theirs"], "a project is asked for once"


def test_a_project_that_has_volumes_is_not_asked_for() -> None:
    cloud = Cloud(backing(1), backing(2), projects=())
    cloud.volumes[uuid(2)] = "p1"
    assert names(cloud.find()) == ["vm-1"]
    assert cloud.asked == ["volumes"]


def test_without_a_backing_no_service_is_asked() -> None:
    assert find(list, lambda some: some, lambda: pytest.fail("asked")) == Orphans(())


def test_findings_and_requests_are_bounded() -> None:
    cloud = Cloud(*map(backing, range(MOST_FINDINGS + 7)))
    found = cloud.find()
    assert (len(found.findings), found.left_out, found.not_judged) == (MOST_FINDINGS, 7, 0)

    projects = [f"p{number:03}" for number in range(MOST_PROJECTS + 3)]
    cloud = Cloud(*(backing(n, project) for n, project in enumerate(projects)), projects=projects)
    found = cloud.find()
    assert (len(found.findings), found.left_out, found.not_judged) == (MOST_PROJECTS, 0, 3)
    assert len(cloud.asked) == 1 + MOST_PROJECTS


def test_missing_answers_of_cinder_are_errors_and_no_findings() -> None:
    class Silent(Cloud):
        def known(self) -> KnownVolumes:
            raise errors.SourceUnavailable("the admin role is required")

    with pytest.raises(errors.SourceUnavailable):
        Silent(backing(1)).find()


@pytest.mark.parametrize("hostile", ["p1\n[critical] forged", "p" * 500, "p\x1b[2J"])
def test_a_hostile_project_id_is_quoted(hostile: str) -> None:
    cloud = Cloud(backing(1, hostile), projects=[hostile])
    (finding,) = cloud.find().findings
    assert "\n" not in finding.says
    assert "\x1b" not in finding.says
    assert len(finding.says) < 400
