"""StorageResourceManager: whether datastore clusters move VMs by themselves. Here none ever does:
what is configured is only remembered.
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
    """The one of the vCenter."""

    TYPE = vim.StorageResourceManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="StorageResourceManager")

    def ConfigureStorageDrsForPod_Task(
        self, ctx: Context, pod: Any, spec: Any, modify: bool
    ) -> Task:
        """What the spec sets; without `modify` the rest becomes what a new pod has."""
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
