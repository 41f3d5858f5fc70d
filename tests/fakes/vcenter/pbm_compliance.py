"""PbmComplianceManager: whether VMs and disks are on datastores that satisfy their storage
policies.
"""

from __future__ import annotations

from typing import Any

from pyVmomi import pbm

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.pbm import PbmObject, PbmProfileManager
from tests.fakes.vcenter.virtual_machine import VirtualMachine


class PbmComplianceManager(PbmObject):
    """Checks at every call; a real vCenter remembers the last check."""

    TYPE = pbm.compliance.ComplianceManager
    NAME = "complianceManager"

    def PbmFetchComplianceResult(
        self, ctx: Context, entities: Any, profile: Any = None
    ) -> list[Any]:
        """One result for each entity that has a policy."""
        return [result for entity in entities for result in self._results(entity)]

    def PbmCheckCompliance(self, ctx: Context, entities: Any, profile: Any = None) -> list[Any]:
        """As PbmFetchComplianceResult."""
        return self.PbmFetchComplianceResult(ctx, entities, profile)

    def _results(self, entity: Any) -> list[Any]:
        manager = self.vcenter.registry.get(f"pbm:{PbmProfileManager.NAME}")
        assert isinstance(manager, PbmProfileManager)
        results = []
        for profile_id in manager.profiles_of(entity):
            profile = manager.profiles.get(profile_id)
            wanted = profile.datastores if profile is not None else ()
            fits = self._datastore_of(entity) in wanted
            results.append(
                pbm.compliance.ComplianceResult(
                    checkTime=self.vcenter.clock.now(),
                    entity=entity,
                    profile=pbm.profile.ProfileId(uniqueId=profile_id),
                    complianceTaskStatus="success",
                    complianceStatus="compliant" if fits else "nonCompliant",
                    mismatch=False,
                )
            )
        return results

    def _datastore_of(self, entity: Any) -> str | None:
        moref, _, disk = entity.key.partition(":")
        vm = self.vcenter.registry.get(moref)
        assert isinstance(vm, VirtualMachine), "it has a policy"
        if not disk:
            return vm.home_datastore.name if vm.home_datastore else None
        attached = vm.devices.disk(int(disk))
        name: str | None = attached.disk.datastore.name if attached is not None else None
        return name
