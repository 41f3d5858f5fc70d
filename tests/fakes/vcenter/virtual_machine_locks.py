"""Locks of a VM: one exclusive task, or any number of shared ones.

Cloning and exporting take the lock of their source shared; every other task takes it exclusively. A
task never waits for the lock: the second one gets TaskInProgress. (vSphere API reference,
ManagedEntity.recentTask: most tasks have exclusive access, cloning is the exception.) The vCenter's
lock guards it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyVmomi import vim


class EntityLock:
    """The lock of one VM."""

    def __init__(self) -> None:
        self._exclusive: Any = None
        self._sharers: list[Any] = []

    @property
    def is_shared(self) -> bool:
        return bool(self._sharers)

    @property
    def is_free(self) -> bool:
        return self._exclusive is None and not self._sharers

    def check_free(self) -> None:
        """TaskInProgress if any task holds the lock; for operations without a task."""
        holder = self._exclusive or (self._sharers[0] if self._sharers else None)
        if holder is not None:
            raise task_in_progress(holder)

    @contextmanager
    def exclusive(self, task: Any) -> Iterator[None]:
        """Hold the lock exclusively until the end of the block."""
        self.take(task)
        try:
            yield
        finally:
            self.release(task)

    @contextmanager
    def shared(self, task: Any) -> Iterator[None]:
        """Hold the lock shared until the end of the block."""
        self.take_shared(task)
        try:
            yield
        finally:
            self.release(task)

    def take(self, task: Any) -> None:
        self.check_free()
        self._exclusive = task

    def take_shared(self, task: Any) -> None:
        self.check_not_exclusive()
        self._sharers.append(task)

    def check_not_exclusive(self) -> None:
        """TaskInProgress if a task holds the lock exclusively."""
        if self._exclusive is not None:
            raise task_in_progress(self._exclusive)

    def release(self, task: Any) -> None:
        """Release the lock; does nothing if the task does not hold it."""
        if self._exclusive is task:
            self._exclusive = None
        if task in self._sharers:
            self._sharers.remove(task)


def task_in_progress(task: Any) -> Exception:
    return vim.fault.TaskInProgress(msg="Another task is already in progress.", task=task.ref)
