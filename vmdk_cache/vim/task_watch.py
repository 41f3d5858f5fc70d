"""A set of tasks under one long poll: a ListView, a collector of our own, a filter.

The vSphere API reference recommends a ListView to follow tasks. All three objects belong to one
log-in and are gone with it; who uses a watch compares ``generation`` and makes a new one. One
thread polls, others may change the set meanwhile: calls on one collector are serialised by
vCenter, calls on the view are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from vmdk_cache import errors
from vmdk_cache.vim import properties
from vmdk_cache.vim.properties import Properties
from vmdk_cache.vim.reference import managed_type, without_references
from vmdk_cache.vim.session import LONG_POLL_S, Session

_pc = vmodl.query.PropertyCollector

#: What is read of a task. Not its progress: each step of it would be an update.
TASK_PATHS = ["info.state", "info.error", "info.result"]


@dataclass(frozen=True)
class TaskChange:
    """News of a task.

    :ivar gone: it left the view: removed, or forgotten by vCenter
    :ivar values: the properties of :data:`TASK_PATHS` that changed
    """

    moref: str
    gone: bool
    values: Properties


class TaskWatch:
    """Made with 3 requests, holding no tasks yet. A request is repeated when its answer was lost:
    what the lost one made does nothing, and ends with the session.

    :raises VCenterError: it could not be made
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.generation = session.generation
        self._version = ""
        self._collector = self._view = ""
        try:
            self._make()
        except errors.Unreachable:
            raise  # nor would vCenter hear that the rest is to go
        except BaseException:
            self.close()
            raise

    def _make(self) -> None:
        content = self._session.content
        self._collector = self._session.invoke(
            "PropertyCollector",
            content.propertyCollector._GetMoId(),
            "CreatePropertyCollector",
            safe=True,
        )
        self._view = self._session.invoke(
            "ViewManager", content.viewManager._GetMoId(), "CreateListView", safe=True, obj=[]
        )
        self._session.invoke(
            "PropertyCollector",
            self._collector,
            "CreateFilter",
            safe=True,
            spec=_filter_spec(self._view),
            partialUpdates=False,
        )

    @property
    def is_current(self) -> bool:
        """Whether its log-in is still the session's."""
        return self.generation == self._session.generation

    def modify(self, add: Iterable[str], remove: Iterable[str]) -> list[str]:
        """Change the set of tasks.

        :returns: those of ``add`` that vCenter does not know
        :raises ObjectNotFound: the watch is gone
        """
        adding = list(add)
        unknown = self._session.invoke(
            "ListView",
            self._view,
            "ModifyListView",
            safe=True,
            add=[vim.Task(task) for task in adding],
            remove=[vim.Task(task) for task in remove],
        )
        return [task for task in unknown or () if task in adding]

    def next_changes(self) -> list[TaskChange]:
        """Wait for news, up to half a minute; may be none. For one thread at a time.

        :raises VCenterError: the watch is broken; make another
        """
        update = self._session.long_poll(
            "PropertyCollector",
            self._collector,
            "WaitForUpdatesEx",
            version=self._version,
            options=_pc.WaitOptions(maxWaitSeconds=LONG_POLL_S),
        )
        if update is None:
            return []
        self._version = update.version
        return [
            TaskChange(
                moref=str(change.obj._GetMoId()),
                gone=change.kind == "leave",
                values={item.name: without_references(item.val) for item in change.changeSet or ()},
            )
            for filter_update in update.filterSet or ()
            for change in filter_update.objectSet or ()
        ]

    def close(self) -> None:
        """Best effort: what is left ends with the session. Ends a poll that waits."""
        for type_name, moref, method in (
            ("PropertyCollector", self._collector, "DestroyPropertyCollector"),
            ("ListView", self._view, "DestroyView"),
        ):
            if not moref or not self.is_current:
                continue
            try:
                self._session.invoke(type_name, moref, method)
            except errors.VCenterError:
                pass  # gone already, or will be


def _filter_spec(view: str) -> Any:
    to_tasks = _pc.TraversalSpec(type=vim.view.ListView, path="view")
    start = _pc.ObjectSpec(obj=managed_type("ListView")(view), skip=True, selectSet=[to_tasks])
    return _pc.FilterSpec(objectSet=[start], propSet=[properties.property_spec("Task", TASK_PATHS)])
