"""What vCenter has to place volumes on: datacenters, hosts, datastores, folders.

A :class:`Inventory` is a snapshot: nothing in it changes, and nothing in it is kept up to date.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Datacenter:
    """:ivar vm_folder: moref of the root of its VM folders"""

    moref: str
    name: str
    vm_folder: str


@dataclass(frozen=True)
class Host:
    """An ESXi host.

    :ivar cluster: moref of its cluster, or of its own ComputeResource if it stands alone
    :ivar pool: moref of the root resource pool of that cluster or ComputeResource
    :ivar datacenter: moref
    :ivar connected: ``runtime.connectionState`` is ``connected``
    """

    moref: str
    name: str
    cluster: str
    pool: str
    datacenter: str
    connected: bool
    in_maintenance: bool


@dataclass(frozen=True)
class Mount:
    """How a host (moref) sees a datastore; facts the host leaves unset count as upstream's do:
    ``mounted`` true, ``accessible`` false."""

    host: str
    read_write: bool
    mounted: bool
    accessible: bool


@dataclass(frozen=True)
class Datastore:
    """A datastore.

    :ivar type: lower case, as vSphere names it: ``vmfs``, ``nfs``, ``nfs41``, ``vsan``, ``vvol``
    :ivar uncommitted_bytes: promised to thin disks and not yet written; 0 if unknown
    :ivar maintenance: ``normal``, ``enteringMaintenance`` or ``inMaintenance``
    :ivar mounts: mounts on every host that is in the inventory
    :ivar datacenter: moref
    :ivar url: stays the same when the datastore is mounted anew, unlike ``moref``
    """

    moref: str
    name: str
    type: str
    capacity_bytes: int
    free_bytes: int
    uncommitted_bytes: int
    accessible: bool
    maintenance: str
    mounts: tuple[Mount, ...]
    datacenter: str
    url: str


@dataclass(frozen=True)
class Inventory:
    """One snapshot; the order is vCenter's."""

    datacenters: tuple[Datacenter, ...]
    hosts: tuple[Host, ...]
    datastores: tuple[Datastore, ...]
