"""Finds virtual machines of volumes that Cinder no longer has; never removes them.

    1. list the VMs           a volume's row is in Cinder's database before its VM exists
    2. list Cinder's volumes  of all projects, also those being created, deleted or moved
    3. look at the VMs again  Cinder deletes a volume's VM before the volume's row

So a VM that exists in 1 and 3 and has no volume in 2 is orphaned. VMs in the folder of a project
that this cloud does not have may belong to another cloud, and are not reported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vmdk_cache.cache.findings import Finding, Kind
from vmdk_cache.quoting import quoted
from vmdk_cache.vim.volume_backing import Backing

#: At most this many findings; the rest is only counted.
MOST_FINDINGS = 100
#: At most this many projects without a volume are looked up in Keystone.
MOST_PROJECTS = 100


@dataclass(frozen=True)
class KnownVolumes:
    """Cinder's volumes.

    :ivar ids: every id that a volume has, or had before it was migrated; in lower case
    :ivar projects: of the volumes
    """

    ids: frozenset[str]
    projects: frozenset[str]


class Volumes(Protocol):
    """Cinder's volumes and Keystone's projects, as an administrator sees them."""

    def known(self) -> KnownVolumes:
        """:raises SourceUnavailable: not all volumes can be listed"""

    def has_project(self, project_id: str) -> bool:
        """Whether this cloud has the project.

        :raises SourceUnavailable: Keystone cannot tell
        """


@dataclass(frozen=True)
class Orphans:
    """:ivar findings: at most :data:`MOST_FINDINGS`
    :ivar left_out: how many more there are
    :ivar not_judged: how many VMs are in folders of projects that this cloud does not know
    """

    findings: tuple[Finding, ...]
    left_out: int = 0
    not_judged: int = 0


def find(
    look: Callable[[], Sequence[Backing]],
    look_again: Callable[[Collection[Backing]], Iterable[Backing]],
    connect: Callable[[], Volumes],
) -> Orphans:
    """The VMs whose volumes do not exist.

    :param look: lists the VMs
    :param look_again: returns those of these VMs that still exist unchanged
    :param connect: called only if there are VMs
    :raises VCenterError: vCenter cannot be asked
    :raises ConfigError, SourceUnavailable: Cinder's volumes cannot be listed
    """
    backings = look()
    if not backings:
        return Orphans(())
    volumes = connect()
    known = volumes.known()
    suspects = [backing for backing in backings if not backing.volume_ids & known.ids]
    if not suspects:
        return Orphans(())
    remaining = sorted(look_again(suspects), key=lambda each: (each.project, each.name))
    ours = _projects_of_this_cloud(remaining, known, volumes)
    judged = [backing for backing in remaining if backing.project in ours]
    return Orphans(
        tuple(map(_finding, judged[:MOST_FINDINGS])),
        left_out=max(0, len(judged) - MOST_FINDINGS),
        not_judged=len(remaining) - len(judged),
    )


def _projects_of_this_cloud(
    suspects: Iterable[Backing], known: KnownVolumes, volumes: Volumes
) -> frozenset[str]:
    projects = frozenset(backing.project for backing in suspects)
    to_ask = sorted(projects - known.projects)[:MOST_PROJECTS]
    return (projects & known.projects) | frozenset(filter(volumes.has_project, to_ask))


def _finding(backing: Backing) -> Finding:
    return Finding(
        Kind.BACKING_ORPHANED,
        backing.name,
        backing.moref,
        f"Cinder has no volume of this virtual machine (project {quoted(backing.project)}): if no "
        f"other Cinder uses this vCenter and Keystone, delete it in vCenter",
    )
