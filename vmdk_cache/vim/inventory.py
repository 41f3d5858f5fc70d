"""The datacenters, hosts and datastores that volumes can be placed on (folders: folder.py).

An :class:`Inventory` is an immutable snapshot; it is not kept up to date. It is read from vCenter
(:func:`snapshot`), or assembled from a table that follows vCenter (vim/inventory_index.py).
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vmodl

from vmdk_cache import errors
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import properties
from vmdk_cache.vim.datastore_path import path_names
from vmdk_cache.vim.properties import Row, Table
from vmdk_cache.vim.reference import managed_type, unescape_name
from vmdk_cache.vim.session import Session

_pc = vmodl.query.PropertyCollector

#: Maximum depth of nested folders that are searched for datacenters, and in each for hosts.
_FOLDER_DEPTH = 8


@dataclass(frozen=True)
class Datacenter:
    """:ivar vm_folder: moref of its root VM folder"""

    moref: str
    name: str
    vm_folder: str


@dataclass(frozen=True)
class Host:
    """An ESXi host.

    :ivar cluster: moref of its cluster, or of the ComputeResource of a standalone host
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
class HostAddress:
    """The address of a host for uploads.

    A lease's URLs name it (recorded: ``https://<address of the host>/nfc/...``): if this computer
    can reach the host by its name, so can an import.

    :ivar thumbprint: thumbprint of its certificate, '' if vCenter has none
    :ivar product: such as ``VMware ESXi 8.0.3 build-24022510``
    """

    name: str
    port: int
    thumbprint: str
    product: str


@dataclass(frozen=True)
class Mount:
    """How a host (moref) sees a datastore. As upstream, ``mounted`` counts as true and
    ``accessible`` as false if the host leaves them unset."""

    host: str
    read_write: bool
    mounted: bool
    accessible: bool


@dataclass(frozen=True)
class Datastore:
    """A datastore.

    :ivar name: unescaped
    :ivar summary_name: the name that Cinder's own driver matches with ``vmware_datastore_regex``
    :ivar path_names: the possible spellings of the name in a path (vim/datastore_path.py)
    :ivar type: vSphere's name in lower case: ``vmfs``, ``nfs``, ``nfs41``, ``vsan``, ``vvol``
    :ivar maintenance: ``normal``, ``enteringMaintenance`` or ``inMaintenance``
    :ivar mounts: mounts on every host that is in the inventory
    :ivar datacenter: moref
    :ivar url: unlike ``moref``, stays the same when the datastore is mounted again
    """

    moref: str
    name: str
    type: str
    capacity_bytes: int
    free_bytes: int
    accessible: bool
    maintenance: str
    mounts: tuple[Mount, ...]
    datacenter: str
    url: str
    summary_name: str
    path_names: tuple[str, ...]


@dataclass(frozen=True)
class Inventory:
    """A snapshot; each part is sorted by name.

    ``hosts`` are those of the requested clusters, ``datacenters`` those with at least one of these
    hosts, ``datastores`` all datastores of these datacenters, with the mounts of these hosts only.
    """

    datacenters: tuple[Datacenter, ...]
    hosts: tuple[Host, ...]
    datastores: tuple[Datastore, ...]


_Found = Mapping[str, dict[str, Row]]
"""Managed object type -> moref -> properties; a type without objects has an empty dict."""


def snapshot(session: Session, cluster_names: Sequence[str] = ()) -> Inventory:
    """Hosts, their datacenters and datastores, in one request per page; vCenter chooses the page
    size.

    :raises ConfigError: see :func:`assembled`
    """
    return assembled(properties.retrieve(session, filter_spec(session)), cluster_names)


def filter_spec(session: Session) -> Any:
    """The PropertyFilterSpec of everything that an inventory is assembled from: one traversal from
    the root folder, which does not enter VM folders."""
    root = session.content.rootFolder
    return _pc.FilterSpec(
        objectSet=[_pc.ObjectSpec(obj=root, skip=False, selectSet=_to_datacenters(_FOLDER_DEPTH))],
        propSet=properties.property_specs(_PATHS),
    )


def assembled(objects: Table, cluster_names: Sequence[str] = ()) -> Inventory:
    """An inventory of the objects that :func:`filter_spec` selects.

    :param cluster_names: clusters whose hosts to include; empty: all clusters and standalone hosts
    :raises ConfigError: there is no cluster of that name, or more than one
    """
    found = _by_type(objects)
    computes = found["ComputeResource"] | found["ClusterComputeResource"]
    chosen = _choose(found["ClusterComputeResource"], cluster_names) if cluster_names else computes
    owner = _datacenter_of(found)
    hosts = sorted(_hosts(found, chosen, owner), key=lambda host: host.name)
    in_use = {host.datacenter for host in hosts}
    owners = [found_in for found_in in datacenters_in(objects) if found_in.moref in in_use]
    wanted_hosts = {host.moref for host in hosts}
    datastores: list[Datastore] = []
    for datacenter in owners:
        rows = {
            moref: found["Datastore"][moref]
            for moref in found["Datacenter"][datacenter.moref].get("datastore", ())
            if moref in found["Datastore"]
        }
        ways = path_names({moref: (_summary_name(row), row["name"]) for moref, row in rows.items()})
        datastores += [
            _datastore(moref, row, datacenter.moref, wanted_hosts, ways[moref])
            for moref, row in rows.items()
        ]
    return Inventory(
        tuple(owners),
        tuple(hosts),
        tuple(sorted(datastores, key=lambda datastore: datastore.name)),
    )


def datacenters_in(objects: Table) -> list[Datacenter]:
    """All datacenters among the objects that :func:`filter_spec` selects, sorted by name."""
    made = [
        Datacenter(moref, unescape_name(row["name"]), row["vmFolder"])
        for (kind, moref), row in objects.items()
        if kind == "Datacenter"
    ]
    return sorted(made, key=lambda datacenter: datacenter.name)


def host_addresses(session: Session, morefs: Iterable[str]) -> dict[str, HostAddress]:
    """The addresses by moref, in one request per 500 hosts.

    :raises VCenterError: the request failed
    """
    found = properties.read(session, "HostSystem", morefs, _ADDRESS_PATHS)
    return {
        moref: HostAddress(
            name=str(values.get("name", "")),
            port=int(values.get("summary.config.port") or 443),
            thumbprint=str(values.get("summary.config.sslThumbprint") or ""),
            product=str(getattr(values.get("summary.config.product"), "fullName", "") or ""),
        )
        for moref, values in found.items()
    }


_ADDRESS_PATHS = [
    "name",
    "summary.config.port",
    "summary.config.sslThumbprint",
    "summary.config.product",
]
_PATHS: dict[str, list[str]] = {
    "Folder": ["parent"],
    "Datacenter": ["name", "vmFolder", "hostFolder", "datastore"],
    "ComputeResource": ["name", "parent", "resourcePool"],
    "HostSystem": ["name", "parent", "runtime.connectionState", "runtime.inMaintenanceMode"],
    "Datastore": [
        "name",
        "summary.name",
        "summary.type",
        "summary.capacity",
        "summary.freeSpace",
        "summary.accessible",
        "summary.maintenanceMode",
        "summary.url",
        "host",
    ],
}


def _by_type(objects: Table) -> _Found:
    found: collections.defaultdict[str, dict[str, Row]] = collections.defaultdict(dict)
    for (kind, moref), row in objects.items():
        found[kind][moref] = row
    return found


def _to_datacenters(depth: int) -> list[Any]:
    """From a folder down to its datacenters, and on to their hosts and datastores. Each level is
    spelled out because a specification that refers to itself is known to hang simulators."""
    below = _to_datacenters(depth - 1) if depth else []
    below.append(_traversal("Datacenter", "hostFolder", _to_hosts(_FOLDER_DEPTH)))
    below.append(_traversal("Datacenter", "datastore", []))
    return [_traversal("Folder", "childEntity", below)]


def _to_hosts(depth: int) -> list[Any]:
    below = _to_hosts(depth - 1) if depth else []
    below.append(_traversal("ComputeResource", "host", []))
    return [_traversal("Folder", "childEntity", below)]


def _traversal(type_name: str, path: str, select: list[Any]) -> Any:
    return _pc.TraversalSpec(type=managed_type(type_name), path=path, selectSet=select)


def _choose(clusters: Mapping[str, Row], names: Sequence[str]) -> dict[str, Row]:
    chosen: dict[str, Row] = {}
    for name in names:
        matches = {
            moref: values
            for moref, values in clusters.items()
            if name in (values["name"], unescape_name(values["name"]))
        }
        if len(matches) != 1:
            known = ", ".join(sorted(unescape_name(c["name"]) for c in clusters.values()))
            raise errors.ConfigError(
                f"vmware_cluster_name {quoted(name)}: vCenter has {len(matches)} clusters of that "
                f"name; it must be one of: {known or '(there are no clusters)'}"
            )
        chosen.update(matches)
    return chosen


def _datacenter_of(found: _Found) -> dict[str, str]:
    """Host folder or ComputeResource -> datacenter; all morefs."""
    owner = {
        values["hostFolder"]: moref
        for moref, values in found["Datacenter"].items()
        if "hostFolder" in values
    }
    parents = {
        moref: values["parent"]
        for type_name in ("Folder", "ComputeResource", "ClusterComputeResource")
        for moref, values in found[type_name].items()
        if "parent" in values
    }
    for moref in parents:
        line = [moref]
        while line[-1] in parents and line[-1] not in owner:
            line.append(parents[line[-1]])
        if line[-1] in owner:
            owner.update(dict.fromkeys(line, owner[line[-1]]))
    return owner


def _hosts(found: _Found, computes: Mapping[str, Row], owner: Mapping[str, str]) -> Iterator[Host]:
    for moref, values in found["HostSystem"].items():
        cluster = values.get("parent", "")
        pool = computes.get(cluster, {}).get("resourcePool")
        if pool is not None and cluster in owner:
            yield Host(
                moref=moref,
                name=values["name"],
                cluster=cluster,
                pool=pool,
                datacenter=owner[cluster],
                connected=values.get("runtime.connectionState") == "connected",
                in_maintenance=bool(values.get("runtime.inMaintenanceMode")),
            )


def _summary_name(values: Row) -> str:
    return str(values.get("summary.name") or values["name"])


def _datastore(
    moref: str,
    values: Row,
    datacenter: str,
    wanted_hosts: set[str],
    ways: tuple[str, ...],
) -> Datastore:
    mounts = [_mount(mount) for mount in values.get("host", ())]
    return Datastore(
        moref=moref,
        name=unescape_name(values["name"]),
        type=str(values.get("summary.type", "")).lower(),
        capacity_bytes=values.get("summary.capacity", 0),
        free_bytes=values.get("summary.freeSpace", 0),
        accessible=bool(values.get("summary.accessible")),
        maintenance=values.get("summary.maintenanceMode") or "normal",
        mounts=tuple(mount for mount in mounts if mount.host in wanted_hosts),
        datacenter=datacenter,
        url=values.get("summary.url", ""),
        summary_name=_summary_name(values),
        path_names=ways,
    )


def _mount(mount: Any) -> Mount:
    info = mount.mountInfo
    return Mount(
        host=str(mount.key._GetMoId()),
        read_write=info.accessMode == "readWrite",
        mounted=info.mounted is not False,
        accessible=bool(info.accessible),
    )
