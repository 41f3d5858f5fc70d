"""Network: a standard port group, which exists because folders and hosts list networks. It carries
no traffic.
"""

from __future__ import annotations

from typing import Any

from pyVmomi import vim

from tests.fakes.vcenter.managed_entity import ManagedEntity
from tests.fakes.vcenter.managed_object import ManagedObject


class Network(ManagedEntity):
    """A network that every host of the datacenter has."""

    TYPE = vim.Network
    PREFIX = "network"

    @property
    def summary(self) -> Any:
        """Name and accessibility."""
        return vim.Network.Summary(network=self.ref, name=self.name, accessible=True, ipPoolName="")

    @property
    def host(self) -> list[ManagedObject]:
        """Hosts that have this network."""
        return self.members("host")

    @property
    def vm(self) -> list[ManagedObject]:
        """Virtual machines with a network card on it; shadow VMs have none."""
        return self.members("vm")
