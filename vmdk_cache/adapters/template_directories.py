"""Directories on the backend's datastores: implements the engine's Directories."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from vmdk_cache import errors
from vmdk_cache.cache.ports import Directory
from vmdk_cache.vim import datastore_browser
from vmdk_cache.vim.inventory import Datastore
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter


class VCenterDirectories:
    """:param usable: the datastores that the backend uses now
    :param at_url: managed object ids of all datastores with a url, in any datacenter
    """

    def __init__(
        self,
        session: Session,
        waiter: TaskWaiter,
        usable: Callable[[], Sequence[Datastore]],
        at_url: Callable[[str], Iterable[str]],
    ) -> None:
        self._session = session
        self._waiter = waiter
        self._usable = usable
        self._at_url = at_url

    def volumes(self) -> list[str]:
        first: dict[str, str] = {}
        for datastore in self._usable():
            first.setdefault(datastore.url or datastore.moref, datastore.moref)
        return list(first.values())

    def unused(self, datastore: str, prefix: str, known: Collection[str] = ()) -> list[Directory]:
        home = self._datastore(datastore)
        there = datastore_browser.directories(self._session, self._waiter, home, prefix)
        names = [name for name in there if name not in known]
        if not names:
            return []  # saves listing the VMs on the datastore
        # After the directories, so that a VM that was made meanwhile is seen.
        in_use: set[str] = set()
        for moref in dict.fromkeys((datastore, *self._at_url(home.url))):
            in_use |= datastore_browser.vm_directories(self._session, moref)
        return [Directory(datastore, home.name, name) for name in names if name not in in_use]

    def delete(self, directory: Directory) -> None:
        home = self._datastore(directory.datastore)
        datastore_browser.delete_directory(self._session, self._waiter, home, directory.name)

    def _datastore(self, moref: str) -> Datastore:
        for datastore in self._usable():
            if datastore.moref == moref:
                return datastore
        raise errors.ObjectNotFound(f"the backend does not use datastore {moref}", moref=moref)
