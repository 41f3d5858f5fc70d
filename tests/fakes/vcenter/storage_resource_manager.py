"""StorageResourceManager: the configuration of datastore clusters, which is only stored. No VM ever
moves because of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.task import Task
    from tests.fakes.vcenter.vcenter import VCenter


class StorageResourceManager(ManagedObject):
    """The vCenter's StorageResourceManager."""

    TYPE = vim.StorageResourceManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="StorageResourceManager")

    def ConfigureStorageDrsForPod_Task(
        self, ctx: Context, pod: Any, spec: Any, modify: bool
    ) -> Task:
        """Apply the fields that are set; without `modify`, reset all others to the defaults of a
        new pod.
        """
        target = self.vcenter.registry.require(pod)

        def body(task: Task) -> None:
            if not modify:
                target.drs_enabled, target.drs_behavior = False, "manual"
            settings = spec.podConfigSpec
            if settings is not None and settings.enabled is not None:
                target.drs_enabled = settings.enabled
            if settings is not None and settings.defaultVmBehavior:
                target.drs_behavior = settings.defaultVmBehavior
            target.changed("podStorageDrsEntry")

        return self.vcenter.tasks.start(
            target,
            "ConfigureStorageDrsForPod_Task",
            "StorageResourceManager.configureStorageDrsForPod",
            body,
            session=ctx.session,
        )
