"""Builds the objects that a Model counts; model.py documents their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pyVmomi import vim

from tests.fakes.vcenter.compute_resource import ClusterComputeResource
from tests.fakes.vcenter.datacenter import Datacenter
from tests.fakes.vcenter.datastore import Datastore
from tests.fakes.vcenter.folder import Folder, StoragePod
from tests.fakes.vcenter.host_system import HostSystem
from tests.fakes.vcenter.network import Network

if TYPE_CHECKING:
    from tests.fakes.vcenter.model import Model
    from tests.fakes.vcenter.vcenter import VCenter


def build_inventory(vcenter: VCenter, model: Model) -> None:
    """Create datacenters with clusters, hosts, datastores, pods and one network each."""
    parent = vcenter.root_folder
    for name in filter(None, model.datacenter_folders.split("/")):
        folder = Folder(vcenter, name, "d")
        parent.add_child(folder)
        parent = folder
    names = iter(model.host_names)
    for number in range(model.datacenters):
        datacenter = Datacenter(vcenter, f"DC{number}")
        parent.add_child(datacenter)
        _fill_datacenter(vcenter, model, datacenter, names)


def _fill_datacenter(
    vcenter: VCenter, model: Model, datacenter: Datacenter, names: Iterator[str]
) -> None:
    hosts: list[HostSystem] = []
    for number in range(model.clusters):
        cluster = ClusterComputeResource(vcenter, f"{datacenter.name}_C{number}")
        datacenter.hostFolder.add_child(cluster)
        for position in range(model.hosts_per_cluster):
            name = next(names, f"{cluster.name}_H{position}")
            host = HostSystem(vcenter, name, model.host_version)
            cluster.add_host(host)
            hosts.append(host)
    others = vcenter.registry.of_type(vim.Datastore)
    for number in range(model.datastores):
        datastore = Datastore(
            vcenter,
            f"{datacenter.name}_DS{number}",
            capacity_bytes=model.size_of(number),
            kind=model.type_of(number),
            twin=others[number] if others and number < model.shared_datastores else None,
        )
        datacenter.datastoreFolder.add_child(datastore)
        datacenter.add_member("datastore", datastore)
        for host in hosts:
            datastore.mount(host)
    for number in range(model.pods):
        datacenter.datastoreFolder.add_child(StoragePod(vcenter, f"{datacenter.name}_POD{number}"))
    network = Network(vcenter, "VM Network")
    datacenter.networkFolder.add_child(network)
    datacenter.add_member("network", network)
    for host in hosts:
        host.add_member("network", network)
        network.add_member("host", host)
