"""A set of tasks with one long poll: a ListView, and a collector that follows its content.

The vSphere API reference recommends a ListView to follow tasks. While one thread polls, others may
change the set: vCenter serializes calls on a collector, but not calls on the view.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyVmomi import vim

from vmdk_cache import errors
from vmdk_cache.vim.collector import Collector, apply_update
from vmdk_cache.vim.properties import ObjectKey, Row, filter_spec
from vmdk_cache.vim.session import Session

#: The properties to read of a task, without its progress: each step would cause an update.
TASK_PATHS = ["info.state", "info.error", "info.result"]


class TaskWatch:
    """An empty set of tasks; 3 requests create it.

    :raises VCenterError: it could not be created
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._version = ""
        self._rows: dict[ObjectKey, Row] = {}
        self._view = session.invoke(
            "ViewManager",
            session.content.viewManager._GetMoId(),
            "CreateListView",
            safe=True,
            obj=[],
        )
        try:
            spec = filter_spec(
                ("ListView", self._view), [("ListView", "view")], {"Task": TASK_PATHS}
            )
            self._collector = Collector(session, {"tasks": spec})
        except errors.Unreachable:
            raise  # a request to destroy the view would not reach vCenter either
        except BaseException:
            self._destroy_view()
            raise

    @property
    def is_current(self) -> bool:
        """Whether the session still has the log-in that it was created for."""
        return self._collector.is_current

    def modify(self, add: Iterable[str], remove: Iterable[str]) -> list[str]:
        """Change the set of tasks.

        :returns: the tasks of ``add`` that vCenter does not know
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

    def next_changes(self) -> dict[str, Row | None]:
        """Wait up to half a minute for changes: the properties of each changed task, None for a
        task that has left the view (removed, or no longer known to vCenter). For one thread at a
        time.

        :raises VCenterError: the watch is broken; create another
        """
        answer = self._collector.wait(self._version)
        if answer is None:
            return {}
        self._version = answer.version
        changed: dict[str, Row | None] = {}
        for update in answer.filterSet or ():
            for key in apply_update(self._rows, update):
                changed[key[1]] = self._rows.get(key)
        return changed

    def close(self) -> None:
        """Best effort: what remains ends with the session. Ends a waiting poll."""
        self._collector.close()
        if self.is_current:
            self._destroy_view()

    def _destroy_view(self) -> None:
        try:
            self._session.invoke("ListView", self._view, "DestroyView")
        except errors.VCenterError:
            pass  # it is gone, or will end with the session
