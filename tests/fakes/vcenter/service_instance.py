"""ServiceInstance: the entry point, whose content names every singleton of the fake."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.alarm_manager import AlarmManager
from tests.fakes.vcenter.authorization_manager import AuthorizationManager
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.custom_fields_manager import CustomFieldsManager
from tests.fakes.vcenter.diagnostic_manager import DiagnosticManager
from tests.fakes.vcenter.event_manager import EventManager
from tests.fakes.vcenter.extension_manager import ExtensionManager
from tests.fakes.vcenter.file_manager import FileManager
from tests.fakes.vcenter.folder import Folder
from tests.fakes.vcenter.license_manager import LicenseManager
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.option_manager import OptionManager
from tests.fakes.vcenter.ovf_manager import OvfManager
from tests.fakes.vcenter.performance_manager import PerformanceManager
from tests.fakes.vcenter.property_collector import DefaultPropertyCollector
from tests.fakes.vcenter.search_index import SearchIndex
from tests.fakes.vcenter.session_manager import SessionManager
from tests.fakes.vcenter.storage_resource_manager import StorageResourceManager
from tests.fakes.vcenter.task_manager import TaskManager
from tests.fakes.vcenter.view_manager import ViewManager
from tests.fakes.vcenter.virtual_disk_manager import VirtualDiskManager
from tests.fakes.vcenter.vstorage_object_manager import VStorageObjectManager

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter


def create_services(vcenter: VCenter) -> None:
    """Create the root folder and all singletons; sets `vcenter.root_folder`."""
    from tests.fakes.vcenter import pbm

    vcenter.root_folder = Folder(vcenter, "Datacenters", "d", moref="group-d1")
    for service in (
        ServiceInstance,
        SessionManager,
        EventManager,
        AlarmManager,
        TaskManager,
        DefaultPropertyCollector,
        ViewManager,
        SearchIndex,
        ExtensionManager,
        CustomFieldsManager,
        OptionManager,
        AuthorizationManager,
        LicenseManager,
        PerformanceManager,
        FileManager,
        VirtualDiskManager,
        OvfManager,
        StorageResourceManager,
        VStorageObjectManager,
        DiagnosticManager,
    ):
        service(vcenter)
    pbm.create_services(vcenter)


class ServiceInstance(ManagedObject):
    """RetrieveServiceContent and CurrentTime."""

    TYPE = vim.ServiceInstance

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="ServiceInstance")
        self.instance_uuid = str(uuid.uuid4())

    @property
    def about(self) -> Any:
        """Product and API version."""
        version = self.vcenter.model.vcenter_version
        return vim.AboutInfo(
            name="VMware vCenter Server",
            fullName=f"VMware vCenter Server {version} build-1 (fake)",
            vendor="VMware, Inc.",
            version=version,
            patchLevel="00100",
            build="1",
            localeVersion="INTL",
            localeBuild="000",
            osType="linux-x64",
            productLineId="vpx",
            apiType="VirtualCenter",
            apiVersion=self.vcenter.model.reported_api_version,
            instanceUuid=self.instance_uuid,
            licenseProductName="VMware VirtualCenter Server",
            licenseProductVersion="8.0",
        )

    @property
    def content(self) -> Any:
        """The singletons by their names in ServiceContent; those that are not simulated are
        unset.
        """
        # vSphere 6.5 introduced first class disks (vSphere API reference).
        has_disks = not self.vcenter.model.vcenter_version.startswith(("5.", "6.0"))
        return vim.ServiceInstanceContent(
            rootFolder=self.vcenter.root_folder.ref,
            propertyCollector=self._ref("propertyCollector"),
            viewManager=self._ref("ViewManager"),
            about=self.about,
            setting=self._ref("VpxSettings"),
            sessionManager=self._ref("SessionManager"),
            authorizationManager=self._ref("AuthorizationManager"),
            customFieldsManager=self._ref("CustomFieldsManager"),
            taskManager=self._ref("TaskManager"),
            eventManager=self._ref("EventManager"),
            alarmManager=self._ref("AlarmManager"),
            extensionManager=self._ref("ExtensionManager"),
            licenseManager=self._ref("LicenseManager"),
            perfManager=self._ref("PerfMgr"),
            fileManager=self._ref("FileManager"),
            virtualDiskManager=self._ref("virtualDiskManager"),
            searchIndex=self._ref("SearchIndex"),
            diagnosticManager=self._ref("DiagMgr"),
            ovfManager=self._ref("OvfManager"),
            storageResourceManager=self._ref("StorageResourceManager"),
            vStorageObjectManager=self._ref("VStorageObjectManager") if has_disks else None,
        )

    def _ref(self, moref: str) -> Any:
        found = self.vcenter.registry.get(moref)
        return found.ref if found is not None else None

    @property
    def serverClock(self) -> datetime:
        """The fake's time."""
        return self.vcenter.clock.now()

    def RetrieveServiceContent(self, ctx: Context) -> Any:
        """The content; needs no session."""
        return self.content

    def CurrentTime(self, ctx: Context) -> datetime:
        """The fake's time, UTC."""
        return self.vcenter.clock.now()
