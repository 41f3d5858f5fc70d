"""Selects the datastore and host of a volume, by a pure choice, and reserves them.

The rules are those of Cinder's own driver (cinder.volume.drivers.vmware.datastore), so that
enabling the cache does not change where volumes go: of the suitable datastores, the one mounted by
most hosts wins, then the least used one; of its usable hosts, any. There are three additions: space
reserved by running requests counts as used, so that a burst is spread; the least busy usable host
is preferred; and a refusal says how many datastores were refused for which reason.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from vmdk_cache.errors import NoPlacement
from vmdk_cache.vim.inventory import Datastore, Host, Inventory

NAME_DIFFERS: Final = "name does not match vmware_datastore_regex"
NO_HOST: Final = "no connected host has it mounted read-write"
DATASTORE_TYPES: Final = frozenset({"nfs", "nfs41", "vmfs", "vsan", "vvol"})

Chosen = TypeVar("Chosen")


@dataclass(frozen=True)
class Requirements:
    """The requirements on a place.

    :ivar size_bytes: required space
    :ivar allowed_datastores: morefs that a storage policy permits, None when there is no policy
    :ivar name_regex: matched at the start of the datastore's name (``vmware_datastore_regex``)
    :ivar excluded: morefs of datastores not wanted
    """

    size_bytes: int
    allowed_datastores: frozenset[str] | None = None
    name_regex: str | re.Pattern[str] | None = None
    excluded: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Target:
    """The selected place.

    :ivar pool: moref of the host's root resource pool
    :ivar datacenter: moref of the datastore's datacenter
    """

    datastore: Datastore
    host: Host
    pool: str
    datacenter: str


def choose(
    inventory: Inventory, need: Requirements, *, pending: Mapping[str, int], rng: random.Random
) -> Target:
    """Select the best place in `inventory` for `need`.

    :param inventory: only its hosts are considered
    :param pending: by moref: reserved bytes of a datastore that are not used yet, VMs that a host
        is working on
    :param rng: picks one of equally good hosts
    :raises NoPlacement: no place fits; the text counts the refused datastores by reason
    """
    hosts = {host.moref: host for host in inventory.hosts}
    refusals: Counter[str] = Counter()
    fitting = []
    for datastore in inventory.datastores:
        free_bytes = datastore.free_bytes - pending.get(datastore.moref, 0)
        reason = refusal(datastore, hosts, need, free_bytes)
        if reason:
            refusals[reason] += 1
            continue
        fitting.append((-len(datastore.mounts), -free_bytes / datastore.capacity_bytes,
                        datastore, usable_hosts(datastore, hosts)))  # fmt: skip
    if not fitting:
        raise NoPlacement(_explain(need, refusals))
    *_, datastore, usable = min(fitting, key=lambda candidate: candidate[:2])
    least = min(pending.get(host.moref, 0) for host in usable)
    host = rng.choice([host for host in usable if pending.get(host.moref, 0) == least])
    return Target(datastore, host, host.pool, datastore.datacenter)


def refusal(
    datastore: Datastore, hosts: Mapping[str, Host], need: Requirements, free_bytes: int
) -> str | None:
    """Why the datastore does not meet `need`, None if it does.

    :param hosts: hosts of the inventory, by moref
    :param free_bytes: free space without reservations
    """
    reason = _own_refusal(datastore, free_bytes, need)
    if reason is None and not usable_hosts(datastore, hosts):
        return NO_HOST
    return reason


def _own_refusal(datastore: Datastore, free_bytes: int, need: Requirements) -> str | None:
    """Why the datastore itself does not fit, None if it does."""
    kind = datastore.type.lower()
    rules = (
        (
            need.name_regex is None or re.match(need.name_regex, datastore.summary_name),
            NAME_DIFFERS,
        ),
        (datastore.moref not in need.excluded, "excluded"),
        (kind in DATASTORE_TYPES, f"type {kind} not supported"),
        (
            need.allowed_datastores is None or datastore.moref in need.allowed_datastores,
            "not compliant with the storage policy",
        ),
        (datastore.accessible, "not accessible"),
        (datastore.maintenance == "normal", "in maintenance"),
        (
            datastore.capacity_bytes > 0 and free_bytes >= need.size_bytes,
            "not enough free space",
        ),
    )
    return next((reason for holds, reason in rules if not holds), None)


def usable_hosts(datastore: Datastore, hosts: Mapping[str, Host]) -> list[Host]:
    """Hosts that can write to the datastore now."""
    mounted = (
        hosts[mount.host]
        for mount in datastore.mounts
        if mount.host in hosts and mount.read_write and mount.mounted and mount.accessible
    )
    return [host for host in mounted if host.connected and not host.in_maintenance]


def _explain(need: Requirements, refusals: Mapping[str, int]) -> str:
    what = f"no datastore and host can take a request for {need.size_bytes / (1 << 30):.2f} GiB"
    if not refusals:
        return f"{what}: the clusters have no datastore"
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(refusals.items()))
    return f"{what}; datastores refused: {counts}"


class Reservations:
    """Space and host load reserved by running requests; thread-safe.

    vCenter's free space shrinks only as the bytes arrive, and vCenter does not report the load of
    hosts. Without reservations, every request of a burst would select the same place.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reserved: Counter[str] = Counter()

    @contextlib.contextmanager
    def reserve(
        self,
        choose: Callable[[dict[str, int]], Chosen],
        cost_of: Callable[[Chosen], Mapping[str, int]],
    ) -> Iterator[Chosen]:
        """Choose a place and reserve it in one step, so that concurrent choices see each other.

        :param choose: receives the current reservations by moref; must be fast, it holds a lock
        :param cost_of: what the choice takes (>= 0) from which objects, by moref: bytes of a
            datastore, VMs of a host
        """
        with self._lock:
            chosen = choose(dict(self._reserved))
            cost = Counter(cost_of(chosen))
            if min(cost.values(), default=0) < 0:
                raise ValueError(f"cannot reserve {dict(cost)}")
            self._reserved += cost
        try:
            yield chosen
        finally:
            with self._lock:
                self._reserved -= cost
