"""Where the contract suite puts things: hosts of one cluster, and datastores that they share.

The same rules hold for every vCenter: the first cluster, by name, that has two hosts and two shared
datastores; if none has, the one that comes closest.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vmdk_cache.datastore.selection import DATASTORE_TYPES
from vmdk_cache.vim.inventory import Datacenter, Datastore, Host, Inventory

#: Their directories have ids instead of names.
WITHOUT_NAMES = frozenset({"vsan", "vvol"})


@dataclass(frozen=True)
class Choice:
    """The user's choice, by name; empty fields mean any."""

    datacenter: str = ""
    cluster: str = ""
    datastores: tuple[str, ...] = ()

    @property
    def clusters(self) -> tuple[str, ...]:
        """As ``vmware_cluster_name``."""
        return (self.cluster,) if self.cluster else ()

    @property
    def datastore_regex(self) -> str | None:
        """As ``vmware_datastore_regex``."""
        names = "|".join(map(re.escape, self.datastores))
        return f"({names})$" if names else None


@dataclass(frozen=True)
class Ground:
    """:ivar hosts: two of one cluster, or one
    :ivar datastores: writable from all of them; those whose directories have names come first
    """

    datacenter: Datacenter
    hosts: tuple[Host, ...]
    datastores: tuple[Datastore, ...]


def ground(found: Inventory, choice: Choice) -> Ground | None:
    """The best ground; None if no host can be used.

    :param found: inventory of the chosen clusters
    """
    best = max(_grounds(found, choice), key=_worth, default=None)
    return best if best is not None and best.datastores else None


def _worth(of: Ground) -> tuple[int, int]:
    return min(len(of.datastores), 2), len(of.hosts)


def _grounds(found: Inventory, choice: Choice) -> Iterator[Ground]:
    """All candidates, in the inventory's order; :func:`max` takes the first of the best."""
    datacenters = {
        each.moref: each for each in found.datacenters if choice.datacenter in ("", each.name)
    }
    usable = [
        host
        for host in found.hosts
        if host.connected and not host.in_maintenance and host.datacenter in datacenters
    ]
    for hosts in (*itertools.combinations(usable, 2), *((host,) for host in usable)):
        if len({host.cluster for host in hosts}) == 1:
            datacenter = datacenters[hosts[0].datacenter]
            yield Ground(datacenter, hosts, _shared(found, choice, hosts))


def _shared(found: Inventory, choice: Choice, hosts: Sequence[Host]) -> tuple[Datastore, ...]:
    wanted = {host.moref for host in hosts}
    shared = [
        datastore
        for datastore in found.datastores
        if not choice.datastores or datastore.name in choice.datastores
        if datastore.accessible and datastore.maintenance == "normal"
        if datastore.type in DATASTORE_TYPES
        if wanted
        <= {m.host for m in datastore.mounts if m.read_write and m.mounted and m.accessible}
    ]
    return tuple(sorted(shared, key=lambda each: (each.type in WITHOUT_NAMES, each.name)))
