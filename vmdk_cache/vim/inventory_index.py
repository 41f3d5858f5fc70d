"""The inventory and the cached VMs of vCenter, kept in memory for placement and look-ups.

    inventory   datacenters, hosts and datastores: one filter from the root folder, which does not
                enter VM folders
    vms         the VMs in the cache's project folder of every datacenter, and in its subfolders:
                one filter per existing project folder

New templates go into the subfolder that vmware_volume_folder names. After that option is changed,
the index still knows the templates in the former subfolder.

The index finds a project folder by its path and follows it by its moref. When a folder is renamed
or deleted, the index stops following it and searches for the path again. It searches for a missing
folder at each refresh, because another process may have created it: one request per datacenter
without a folder. No process creates folders in datacenters without a host of the backend, and what
earlier settings left there is not urgent: LEFT_OVER_EVERY_S.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vmdk_cache import errors
from vmdk_cache.clock import Clock
from vmdk_cache.vim import inventory, properties, virtual_machine
from vmdk_cache.vim.change_stream import NO_OBJECTS, ChangeStream
from vmdk_cache.vim.folder import find_folder
from vmdk_cache.vim.inventory import Datacenter, Inventory
from vmdk_cache.vim.properties import Row, Table
from vmdk_cache.vim.reference import unescape_name
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_machine import VmInfo

_INVENTORY = "inventory"
#: How often to search for a folder in datacenters without a host of the backend.
LEFT_OVER_EVERY_S = 3600.0


class FollowedVm(NamedTuple):
    """A VM or template in one of the cache's folders; see :meth:`InventoryIndex.info`.

    :ivar row: equal to an earlier one if nothing has changed
    :ivar folder: plain name of its folder
    """

    moref: str
    row: Row
    folder: str | None

    @property
    def host(self) -> str | None:
        """Moref of the host it is registered on, None if vCenter did not report it."""
        host: str | None = self.row.get("runtime.host")
        return host


class _Folder(NamedTuple):
    """One of the cache's project folders.

    :ivar table: the folder, its subfolders, and their VMs as last seen
    """

    moref: str
    table: Table = NO_OBJECTS

    @property
    def scope(self) -> str:
        return f"folder {self.moref}"


class InventoryIndex:
    """Thread-safe; sends no request before the first query.

    :param folder: path of the project folder below a datacenter's root VM folder, as plain names
    :param record_key: extraConfig key to include, see ``VmInfo.extra_config_record``
    :param cluster_names: clusters whose hosts to include; empty: every host
    :param attributes: custom attributes to include, see ``VmInfo.custom_values``
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
        self._vms: Mapping[str, FollowedVm] = {}

    def inventory(self, max_age_s: float = 0.0) -> Inventory:
        """Hosts, datastores and datacenters, as of at most ``max_age_s`` ago.

        Returns the same object as long as nothing has changed.

        :raises ConfigError: there is no cluster of a name in ``cluster_names``, or more than one
        :raises VCenterError: the request to vCenter failed
        """
        self._stream.refresh(max_age_s)
        return self._assembled()

    def datastores_at(self, url: str) -> list[str]:
        """Morefs of the datastores with that url, as of now: hosts of several datacenters may
        mount the same volume, and each datacenter has a separate object for it.

        :raises VCenterError: the request to vCenter failed
        """
        self._stream.refresh(0.0)
        return sorted(
            moref
            for (kind, moref), row in self._stream.table(_INVENTORY).items()
            if kind == "Datastore" and url and row.get("summary.url") == url
        )

    def vms(self, max_age_s: float = 0.0) -> Mapping[str, FollowedVm]:
        """The VMs and templates in the cache's project folders of all datacenters, and in their
        subfolders, as of at most ``max_age_s`` ago; by moref.

        Returns the same object as long as nothing has changed.

        :raises ConfigError: an object that is not a folder has the name of the cache's folder
        :raises VCenterError: the request to vCenter failed, or the account may not see a folder
        """
        self._stream.refresh(max_age_s)
        if self._unusable is not None:
            raise self._unusable
        return self._vms

    def info(self, vm: FollowedVm) -> VmInfo:
        """The VM's properties. The first values of custom attributes after a log-in cost a
        request."""
        return virtual_machine.info_of(
            self._session, vm.moref, vm.row, self._record_key, self._attributes
        )

    def expire(self) -> None:
        """Discard the cached state for all callers, after the caller has changed something in
        vCenter."""
        self._stream.expire()

    def _assembled(self) -> Inventory:
        with self._inventory_lock:
            table = self._stream.table(_INVENTORY)
            if self._inventory is None or table is not self._assembled_of:
                self._inventory = inventory.assembled(table, self._cluster_names)
                self._assembled_of = table
            return self._inventory

    def _look_for_folders(self) -> None:
        """Follow the folders that exist. The stream's refresh calls this in one thread at a time,
        and reads newly followed folders before it ends."""
        unusable: errors.VmdkCacheError | None = None
        folders: dict[str, _Folder] = {}
        for datacenter in inventory.datacenters_in(self._stream.table(_INVENTORY)):
            folder = self._still_there(self._folders.get(datacenter.moref))
            if folder is None and self._is_due(datacenter):
                try:
                    folder = self._find(datacenter)
                except (errors.ConfigError, errors.NoPermission) as error:
                    if self._is_ours(datacenter):
                        unusable = error  # the rest of the inventory is still usable
                self._looked_at[datacenter.moref] = self._clock.monotonic()
            if folder is not None:
                folders[datacenter.moref] = folder
        for gone in {f.scope for f in self._folders.values()} - {f.scope for f in folders.values()}:
            self._stream.unfollow(gone)
        if folders != self._folders:
            tables = [folder.table for folder in folders.values()]
            self._vms = {vm.moref: vm for table in tables for vm in _vms_in(table)}
        self._folders, self._unusable = folders, unusable

    def _is_due(self, datacenter: Datacenter) -> bool:
        """Whether it is time to search for the folder again."""
        looked_at = self._looked_at.get(datacenter.moref)
        return (
            looked_at is None
            or self._clock.monotonic() - looked_at >= LEFT_OVER_EVERY_S
            or self._is_ours(datacenter)
        )

    def _is_ours(self, datacenter: Datacenter) -> bool:
        """Whether the backend may place volumes and templates in the datacenter."""
        try:
            return datacenter in self._assembled().datacenters
        except errors.ConfigError:
            return True  # inventory() reports the missing cluster to its callers

    def _still_there(self, folder: _Folder | None) -> _Folder | None:
        """The folder with its present table; None if it is gone or has been renamed. Paths of
        subfolders that are gone or have been renamed are forgotten, too."""
        if folder is None:
            return None
        table = self._stream.table(folder.scope)
        if table is folder.table:
            return folder
        before, now = _folder_names(folder.table), _folder_names(table)
        for moref in before:
            if now.get(moref) != before[moref]:
                self._session.forget_folder(moref)
        name = now.get(folder.moref)
        if name is not None and before.get(folder.moref, name) == name:
            return _Folder(folder.moref, table)
        self._session.forget_folder(folder.moref)
        self._stream.unfollow(folder.scope)
        return None

    def _find(self, datacenter: Datacenter) -> _Folder | None:
        try:
            moref = find_folder(self._session, datacenter, self._path)
        except errors.ObjectNotFound:
            return None  # the datacenter is being removed
        if moref is None:
            return None
        folder = _Folder(moref)
        self._stream.follow(folder.scope, lambda: self._spec(moref))
        return folder

    def _spec(self, folder: str) -> Any:
        """The PropertyFilterSpec of a folder, its subfolders, and the VMs in all of these."""
        wanted = virtual_machine.paths(self._session, self._record_key, self._attributes)
        return properties.filter_spec(
            ("Folder", folder),
            2 * [("Folder", "childEntity")],
            {"Folder": ["name"], "VirtualMachine": [*wanted, "parent"]},
            with_root=True,
            may_be_gone=True,
        )


def _vms_in(table: Table) -> Iterator[FollowedVm]:
    folders = _folder_names(table)
    for (kind, moref), row in table.items():
        if kind == "VirtualMachine":
            yield FollowedVm(moref, row, folders.get(row.get("parent", "")))


def _folder_names(table: Table) -> dict[str, str]:
    """Plain names of the folders in a table, by moref."""
    return {
        moref: unescape_name(row.get("name", ""))
        for (kind, moref), row in table.items()
        if kind == "Folder"
    }
