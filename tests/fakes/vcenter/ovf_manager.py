"""OvfManager: converts descriptors to import specs and back.

Problems of a descriptor are in the result's `error`; the call itself does not fail (vSphere API
reference, OvfManager). Only packages of one virtual machine work; a vApp, deployment options,
message bundles and images of removable drives are errors of the result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter import ovf_descriptor, ovf_writer
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.ovf_import_spec import SUPPORTED_PROVISIONING, ImportSpec
from tests.fakes.vcenter.virtual_machine import VirtualMachine
from tests.fakes.vcenter.virtual_machine_placement import require_datastore

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter


class OvfManager(ManagedObject):
    """The vCenter's OvfManager."""

    TYPE = vim.OvfManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="OvfManager")

    @property
    def ovfImportOption(self) -> list[Any]:
        """None is simulated."""
        return []

    @property
    def ovfExportOption(self) -> list[Any]:
        """None is simulated."""
        return []

    def ParseDescriptor(self, ctx: Context, ovfDescriptor: str, pdp: Any) -> Any:
        """What a client shows before it asks where to deploy."""
        result = vim.OvfManager.ParseDescriptorResult(
            virtualApp=False, annotation="", defaultEntityName="", defaultDeploymentOption=""
        )
        try:
            read = ovf_descriptor.read(ovfDescriptor)
        except ovf_descriptor.BadDescriptor as bad:
            result.error = [bad.fault]
            return result
        result.defaultEntityName = read.name
        result.annotation = read.annotation
        result.network = [
            vim.OvfManager.NetworkInfo(name=name, description=text)
            for name, text in read.networks.items()
        ]
        result.property = [
            vim.vApp.PropertyInfo(
                key=number,
                id=one["id"],
                label=one["label"],
                type=one["type"],
                userConfigurable=one["configurable"] == "true",
                defaultValue=one["default"],
                description=one["description"],
            )
            for number, one in enumerate(read.properties)
        ]
        result.approximateDownloadSize = sum(file.size_bytes for file in read.files)
        result.approximateFlatDeploymentSize = read.capacity_bytes
        result.approximateSparseDeploymentSize = read.populated_bytes
        return result

    def ValidateHost(self, ctx: Context, ovfDescriptor: str, host: Any, vhp: Any) -> Any:
        """Sizes, and the supported provisioning types of disks."""
        self.vcenter.registry.require(host)
        result = vim.OvfManager.ValidateHostResult()
        try:
            read = ovf_descriptor.read(ovfDescriptor)
        except ovf_descriptor.BadDescriptor as bad:
            result.error = [bad.fault]
            return result
        result.downloadSize = sum(file.size_bytes for file in read.files)
        result.flatDeploymentSize = read.capacity_bytes
        result.sparseDeploymentSize = read.populated_bytes
        result.supportedDiskProvisioning = list(SUPPORTED_PROVISIONING)
        return result

    def CreateImportSpec(
        self, ctx: Context, ovfDescriptor: str, resourcePool: Any, datastore: Any, cisp: Any
    ) -> Any:
        """The spec for ResourcePool.ImportVApp; no importSpec if there is an error."""
        registry = self.vcenter.registry
        pool, target = registry.require(resourcePool), registry.require(datastore)
        if cisp.hostSystem is not None:
            require_datastore(target, registry.require(cisp.hostSystem))
        result = vim.OvfManager.CreateImportSpecResult()
        try:
            made = ImportSpec(ovf_descriptor.read(ovfDescriptor), pool, target, cisp)
        except ovf_descriptor.BadDescriptor as bad:
            result.error = [bad.fault]
            return result
        result.error = made.errors
        result.fileItem = made.files
        if not made.errors:
            result.importSpec = made.spec
        return result

    def CreateDescriptor(self, ctx: Context, obj: Any, cdp: Any) -> Any:
        """The descriptor of a VM, or of one of its snapshots; NotSupported for a vApp."""
        vm = self.vcenter.registry.require(obj)
        if not isinstance(vm, VirtualMachine):
            raise vmodl.fault.NotSupported(msg="Only a virtual machine can be described.")
        devices = vm.devices
        if cdp.snapshot is not None:
            devices = self.vcenter.registry.require(cdp.snapshot).node.devices
        return vim.OvfManager.CreateDescriptorResult(
            ovfDescriptor=ovf_writer.descriptor(vm, devices, cdp),
            includeImageFiles=bool(cdp.includeImageFiles),
        )
