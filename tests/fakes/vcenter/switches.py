"""Behaviours of a real vCenter that documents leave open; tests try both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class Switches:
    """Set them on `VCenter.switches`, before or while it runs.

    :param destroy_during_clone: Destroy_Task of a template that is being cloned either fails with
        TaskInProgress ("task_in_progress") or waits for the clones ("queue")
    :param clone_inherits_custom_values: whether a clone gets its source's custom attributes
    :param file_locked_after_import_s: seconds after an import during which clones of the new VM
        fail with FileLocked, as seen on vCenter 8.0 U1 (0: never)
    :param set_disk_uuid_in_clone: whether CloneSpec.config may set a disk's uuid; else the uuid is
        ignored
    :param clone_sets_create_date: whether a clone gets its own createDate; else it shows its
        source's
    :param stale_vm_storage_s: seconds for which perDatastoreUsage of a new VM still shows zero (0:
        at once right)
    :param long_poll_keeps_session: whether an outstanding WaitForUpdatesEx keeps its session from
        being idle
    """

    destroy_during_clone: Literal["task_in_progress", "queue"] = "task_in_progress"
    clone_inherits_custom_values: bool = True
    file_locked_after_import_s: float = 0.0
    set_disk_uuid_in_clone: bool = False
    clone_sets_create_date: bool = True
    stale_vm_storage_s: float = 0.0
    long_poll_keeps_session: bool = True
    retrieve_page_limit: int = 1000
