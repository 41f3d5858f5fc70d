"""What the cache must know of vCenter to choose and to look up, kept in memory.

    inventory   datacenters, hosts and datastores: one filter from the root folder, which enters no
                folder of VMs
    vms         the VMs in the cache's project folder of every datacenter, and in the folders in it:
                one filter per project folder that exists

New templates go into the folder of the project folder that vmware_volume_folder names. When that
option changes, the templates in the former folder are known all the same.

A project folder is found by its path and followed by its moref. One that is renamed or deleted is
let go of and looked for again; one that does not exist is looked for at each refresh, since another
process may have made it: one request per datacenter that has none. In datacenters without a host of
ours nobody makes one, and what earlier settings left there is in no hurry: LEFT_OVER_EVERY_S.

What nothing has happened to is not made again: objects live as long as the rows they were made of
(vim/object_table.py).
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vmodl

from vmdk_cache import errors
from vmdk_cache.clock import Clock
from vmdk_cache.vim import inventory, properties, virtual_machine
from vmdk_cache.vim.change_stream import ChangeStream
from vmdk_cache.vim.folder import find_folder
from vmdk_cache.vim.inventory import Datacenter, Inventory
from vmdk_cache.vim.object_table import NO_OBJECTS, Row, Table
from vmdk_cache.vim.reference import managed_type, unescape_name
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_machine import VmInfo

_pc = vmodl.query.PropertyCollector
_INVENTORY = "inventory"
#: How often a folder is looked for where none of our hosts is.
LEFT_OVER_EVERY_S = 3600.0


@dataclass(frozen=True)
class _Folder:
    """One of the cache's project folders.

    :ivar name: as vCenter told it first; None before
    :ivar table: it, the folders in it, and their VMs as last seen
    """

    moref: str
    name: str | None = None
    table: Table = field(default_factory=lambda: NO_OBJECTS)

    @property
    def scope(self) -> str:
        return f"folder {self.moref}"


class InventoryIndex:
    """Thread-safe; no request before the first question.

    :param folder: plain names of the project folder below a datacenter's root of VM folders
    :param record_key: extraConfig key to read along, see ``VmInfo.extra_config_record``
    :param cluster_names: clusters to take hosts from; empty: every host
    :param attributes: custom attributes to read along, see ``VmInfo.custom_values``
    """

    def __init__(
        self,
        session: Session,
        clock: Clock,
        *,
        folder: Sequence[str],
        record_key: str,
        cluster_names: Sequence[str] = (),
        attributes: Sequence[str] = (),
    ) -> None:
        self._session = session
        self._clock = clock
        self._path = tuple(folder)
        self._record_key = record_key
        self._cluster_names = tuple(cluster_names)
        self._attributes = tuple(attributes)
        self._stream = ChangeStream(session, clock, on_refresh=self._look_for_folders)
        self._stream.follow(_INVENTORY, lambda: inventory.filter_spec(session))
        self._folders: dict[str, _Folder] = {}
        self._looked_at: dict[str, float] = {}  # for a folder, by datacenter
        self._unusable: errors.VmdkCacheError | None = None
        self._inventory_lock = threading.Lock()
        self._assembled_of: Table = NO_OBJECTS
        self._inventory: Inventory | None = None
        # Making VMs may take a request, which those who want the inventory do not wait for.
        self._vms_lock = threading.Lock()
        self._vms_of: list[Table] = []
        self._vms: tuple[VmInfo, ...] = ()
        self._made_of: dict[str, tuple[Row, VmInfo]] = {}

    def inventory(self, max_age_s: float = 0.0) -> Inventory:
        """Hosts, datastores and datacenters, known less than ``max_age_s`` ago.

        The same object as long as nothing has changed.

        :raises ConfigError: a cluster of ``cluster_names`` does not exist, or there are two
        :raises VCenterError: vCenter cannot be asked
        """
        self._stream.refresh(max_age_s)
        return self._assembled()

    def datastores_at(self, url: str) -> list[str]:
        """Morefs of the datastores with that url, of all datacenters, as of now.

        :raises VCenterError: vCenter cannot be asked
        """
        self._stream.refresh(0.0)
        return inventory.datastores_at(self._stream.table(_INVENTORY), url)

    def vms(self, max_age_s: float = 0.0) -> tuple[VmInfo, ...]:
        """The VMs and templates in the cache's project folders of all datacenters, and in the
        folders in those, known less than ``max_age_s`` ago.

        The same objects as long as nothing has changed.

        :raises ConfigError: something else than a folder bears the name of the cache's
        :raises VCenterError: vCenter cannot be asked, or does not let the account see a folder
        """
        self._stream.refresh(max_age_s)
        if self._unusable is not None:
            raise self._unusable
        with self._vms_lock:
            tables = [self._stream.table(folder.scope) for folder in self._folders.values()]
            if not _are_identical(tables, self._vms_of):
                made_of = dict(item for table in tables for item in self._made(table))
                self._vms = tuple(info for _, info in made_of.values())
                self._made_of, self._vms_of = made_of, tables
            return self._vms

    def expire(self) -> None:
        """The caller has changed something in vCenter: what is known is too old for everybody."""
        self._stream.expire()

    def _assembled(self) -> Inventory:
        with self._inventory_lock:
            table = self._stream.table(_INVENTORY)
            if self._inventory is None or table is not self._assembled_of:
                self._inventory = inventory.assembled(table, self._cluster_names)
                self._assembled_of = table
            return self._inventory

    def _made(self, table: Table) -> Iterator[tuple[str, tuple[Row, VmInfo]]]:
        folders = _folder_names(table)
        for (kind, moref), row in table.items():
            if kind == "VirtualMachine":
                yield moref, (row, self._info(moref, row, folders.get(row.get("parent", ""))))

    def _info(self, moref: str, row: Row, folder: str | None) -> VmInfo:
        known = self._made_of.get(moref)
        if known is not None and known[0] is row and known[1].folder == folder:
            return known[1]
        info = virtual_machine.info_of(
            self._session, moref, row, self._record_key, self._attributes
        )
        return dataclasses.replace(info, folder=folder)

    def _look_for_folders(self) -> None:
        """Follow the folders that exist. The stream's refresh calls this, in one thread at a time;
        what it follows anew is read before that refresh ends."""
        unusable: errors.VmdkCacheError | None = None
        folders: dict[str, _Folder] = {}
        for datacenter in inventory.datacenters_in(self._stream.table(_INVENTORY)):
            folder = self._still_there(self._folders.get(datacenter.moref))
            if folder is None and self._is_due(datacenter):
                try:
                    folder = self._find(datacenter)
                except (errors.ConfigError, errors.NoPermission) as error:
                    if self._is_ours(datacenter):
                        unusable = error  # the rest of the inventory can be used all the same
                self._looked_at[datacenter.moref] = self._clock.monotonic()
            if folder is not None:
                folders[datacenter.moref] = folder
        for gone in {f.scope for f in self._folders.values()} - {f.scope for f in folders.values()}:
            self._stream.unfollow(gone)
        self._folders, self._unusable = folders, unusable

    def _is_due(self, datacenter: Datacenter) -> bool:
        """Whether a folder may have been made since it was looked for last."""
        looked_at = self._looked_at.get(datacenter.moref)
        return (
            looked_at is None
            or self._clock.monotonic() - looked_at >= LEFT_OVER_EVERY_S
            or self._is_ours(datacenter)
        )

    def _is_ours(self, datacenter: Datacenter) -> bool:
        """Whether volumes and templates may be placed in it."""
        try:
            return datacenter in self._assembled().datacenters
        except errors.ConfigError:
            return True  # that there is no such cluster is told to whoever asks for the inventory

    def _still_there(self, folder: _Folder | None) -> _Folder | None:
        """The folder with its name; None if it is gone or has been renamed."""
        if folder is None:
            return None
        table = self._stream.table(folder.scope)
        if table is folder.table:
            return folder
        row = table.get(("Folder", folder.moref))
        if row is None or (folder.name is not None and row.get("name") != folder.name):
            self._forget(folder, {})
            self._stream.unfollow(folder.scope)
            return None
        self._forget(folder, _folder_names(table))
        return _Folder(folder.moref, row.get("name"), table)

    def _forget(self, folder: _Folder, names: Mapping[str, str]) -> None:
        """The paths to those of the folders that are gone or have been renamed.

        :param names: of those that are there, by moref
        """
        before = {folder.moref: folder.name, **_folder_names(folder.table)}
        for moref, name in before.items():
            if name is not None and names.get(moref) != name:
                self._session.forget_folder(moref)

    def _find(self, datacenter: Datacenter) -> _Folder | None:
        try:
            moref = find_folder(self._session, datacenter, self._path)
        except errors.ObjectNotFound:
            return None  # the datacenter is being removed
        if moref is None:
            return None
        found = _Folder(moref)
        self._stream.follow(found.scope, lambda: self._spec(moref))
        return found

    def _spec(self, folder: str) -> Any:
        """The PropertyFilterSpec of a folder, the folders in it, and the VMs that are children of
        these."""
        kind = managed_type("Folder")
        further = _pc.TraversalSpec(type=kind, path="childEntity")
        down = _pc.TraversalSpec(type=kind, path="childEntity", selectSet=[further])
        wanted = virtual_machine.paths(self._session, self._record_key, self._attributes)
        return _pc.FilterSpec(
            objectSet=[_pc.ObjectSpec(obj=kind(folder), skip=False, selectSet=[down])],
            propSet=[
                properties.property_spec("Folder", ["name"]),
                properties.property_spec("VirtualMachine", [*wanted, "parent"]),
            ],
            reportMissingObjectsInResults=True,
        )


def _folder_names(table: Table) -> dict[str, str]:
    """Plain names of the folders in a table, by moref."""
    return {
        moref: unescape_name(row.get("name", ""))
        for (kind, moref), row in table.items()
        if kind == "Folder"
    }


def _are_identical(tables: Sequence[Table], others: Sequence[Table]) -> bool:
    return len(tables) == len(others) and all(
        one is other for one, other in zip(tables, others, strict=True)
    )
