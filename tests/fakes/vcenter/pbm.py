"""Storage policies (the /pbm endpoint): the Model defines profiles and names the datastores that
satisfy them.

The session is the vim session: its cookie arrives in the SOAP header vcSessionCookie. Objects of
this endpoint share morefs with those of /sdk ("ServiceInstance"), so they are registered as
"pbm:<name>".
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from pyVmomi import pbm, vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.model import Profile
    from tests.fakes.vcenter.vcenter import VCenter


def create_services(vcenter: VCenter) -> None:
    """Create the endpoint's singletons."""
    from tests.fakes.vcenter.pbm_compliance import PbmComplianceManager

    PbmServiceInstance(vcenter)
    PbmSessionManager(vcenter)
    PbmProfileManager(vcenter, vcenter.model.profiles)
    PbmPlacementSolver(vcenter)
    PbmComplianceManager(vcenter)


class PbmObject(ManagedObject):
    """A singleton whose moref on the wire is `NAME`."""

    NAME: str

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref=f"pbm:{self.NAME}")
        self.ref = self.TYPE(self.NAME)


class PbmServiceInstance(PbmObject):
    """PbmRetrieveServiceContent works without a session."""

    TYPE = pbm.ServiceInstance
    NAME = "ServiceInstance"

    @property
    def content(self) -> Any:
        """The singletons of this endpoint."""
        return pbm.ServiceInstanceContent(
            aboutInfo=pbm.AboutInfo(
                name="PBM", version="2.0", instanceUuid=str(uuid.uuid5(uuid.NAMESPACE_DNS, "pbm"))
            ),
            sessionManager=pbm.auth.SessionManager(PbmSessionManager.NAME),
            capabilityMetadataManager=pbm.capability.CapabilityMetadataManager(
                "CapabilityMetadataManager"
            ),
            profileManager=pbm.profile.ProfileManager(PbmProfileManager.NAME),
            complianceManager=pbm.compliance.ComplianceManager("complianceManager"),
            placementSolver=pbm.placement.PlacementSolver(PbmPlacementSolver.NAME),
        )

    def PbmRetrieveServiceContent(self, ctx: Context) -> Any:
        """See `content`."""
        return self.content


class PbmSessionManager(PbmObject):
    """Exists because the content names it; PBM has no sessions of its own."""

    TYPE = pbm.auth.SessionManager
    NAME = "SessionManager"


class PbmProfileManager(PbmObject):
    """Profiles by id, and the profiles of VMs and their disks."""

    TYPE = pbm.profile.ProfileManager
    NAME = "ProfileManager"

    def __init__(self, vcenter: VCenter, profiles: tuple[Profile, ...]) -> None:
        super().__init__(vcenter)
        self.profiles: dict[str, Profile] = {
            profile.profile_id or str(uuid.uuid5(uuid.NAMESPACE_DNS, profile.name)): profile
            for profile in profiles
        }

    def id_of(self, name: str) -> str:
        """The id of the profile with this name; KeyError if there is none."""
        for profile_id, profile in self.profiles.items():
            if profile.name == name:
                return profile_id
        raise KeyError(f"no storage profile is named {name!r}")

    def PbmQueryProfile(
        self, ctx: Context, resourceType: Any, profileCategory: str | None
    ) -> list[Any]:
        """Ids of all profiles for storage."""
        if resourceType.resourceType != "STORAGE" or profileCategory not in (None, "REQUIREMENT"):
            return []
        return [_profile_id(profile_id) for profile_id in self.profiles]

    def PbmRetrieveContent(self, ctx: Context, profileIds: Any) -> list[Any]:
        """Profiles by their ids; InvalidArgument for an unknown id."""
        found = []
        for wanted in profileIds:
            profile = self.profiles.get(wanted.uniqueId)
            if profile is None:
                raise vmodl.fault.InvalidArgument(invalidProperty="profileIds")
            found.append(self._describe(wanted.uniqueId, profile))
        return found

    def PbmQueryAssociatedProfile(self, ctx: Context, entity: Any) -> list[Any]:
        """Profiles of a virtual machine's home (or of a disk, "vm-12:2000")."""
        return [_profile_id(each) for each in self.profiles_of(entity)]

    def PbmQueryAssociatedProfiles(self, ctx: Context, entities: Any) -> list[Any]:
        """As PbmQueryAssociatedProfile, for several entities."""
        return [
            pbm.profile.QueryProfileResult(
                object=entity, profileId=[_profile_id(each) for each in self.profiles_of(entity)]
            )
            for entity in entities
        ]

    def profiles_of(self, entity: Any) -> list[str]:
        """Ids of the profiles of a VM's home, or of a disk; none or one."""
        from tests.fakes.vcenter.virtual_machine import VirtualMachine

        moref, _, disk = (entity.key or "").partition(":")
        vm = self.vcenter.registry.get(moref)
        if not isinstance(vm, VirtualMachine):
            return []
        if not disk:
            found = vm.settings.profile_id
        else:
            attached = vm.devices.disk(int(disk))
            found = attached.profile_id if attached is not None else None
        return [found] if found else []

    def _describe(self, profile_id: str, profile: Profile) -> Any:
        return pbm.profile.CapabilityBasedProfile(
            profileId=_profile_id(profile_id),
            name=profile.name,
            description="",
            creationTime=self.vcenter.clock.now(),
            createdBy="Fake vCenter",
            lastUpdatedTime=self.vcenter.clock.now(),
            lastUpdatedBy="Fake vCenter",
            profileCategory="REQUIREMENT",
            resourceType=pbm.profile.ResourceType(resourceType="STORAGE"),
            constraints=pbm.profile.SubProfileCapabilityConstraints(
                subProfiles=[_tag_rule(profile.name)]
            ),
            generationId=0,
            isDefault=False,
        )


class PbmPlacementSolver(PbmObject):
    """Which datastores satisfy a profile."""

    TYPE = pbm.placement.PlacementSolver
    NAME = "placementSolver"

    def _profile(self, profile_id: Any) -> Profile:
        manager = self.vcenter.registry.get(f"pbm:{PbmProfileManager.NAME}")
        assert isinstance(manager, PbmProfileManager)
        profile = manager.profiles.get(profile_id.uniqueId)
        if profile is None:
            raise vmodl.fault.InvalidArgument(invalidProperty="profile")
        return profile

    def _hubs(self, hubs: Any) -> list[Any]:
        if hubs:
            return list(hubs)
        return [
            pbm.placement.PlacementHub(hubType="Datastore", hubId=datastore.moref)
            for datastore in self.vcenter.registry.of_type(vim.Datastore)
        ]

    def _matches(self, hub: Any, profile: Profile) -> bool:
        datastore = self.vcenter.registry.get(hub.hubId)
        return datastore is not None and getattr(datastore, "name", None) in profile.datastores

    def PbmQueryMatchingHub(self, ctx: Context, hubsToSearch: Any, profile: Any) -> list[Any]:
        """The hubs that satisfy a profile, among all datastores if none are given."""
        wanted = self._profile(profile)
        return [hub for hub in self._hubs(hubsToSearch) if self._matches(hub, wanted)]

    def PbmCheckCompatibility(self, ctx: Context, hubsToSearch: Any, profile: Any) -> list[Any]:
        """One result for each hub; a hub that does not satisfy the profile has an error."""
        wanted = self._profile(profile)
        return [self._result(hub, wanted) for hub in self._hubs(hubsToSearch)]

    def PbmCheckRequirements(
        self,
        ctx: Context,
        hubsToSearch: Any,
        placementSubjectRef: Any,
        placementSubjectRequirement: Any,
    ) -> list[Any]:
        """As PbmCheckCompatibility, for all profiles in the requirements together."""
        wanted = [
            self._profile(each.profileId)
            for each in placementSubjectRequirement or ()
            if getattr(each, "profileId", None) is not None
        ]
        results = []
        for hub in self._hubs(hubsToSearch):
            per_profile = [self._result(hub, profile) for profile in wanted]
            worst = next((each for each in per_profile if each.error), None)
            results.append(worst or pbm.placement.CompatibilityResult(hub=hub))
        return results

    def _result(self, hub: Any, profile: Profile) -> Any:
        result = pbm.placement.CompatibilityResult(hub=hub)
        if not self._matches(hub, profile):
            result.error = [
                pbm.fault.CompatibilityCheckFault(
                    hub=hub, msg=f"The datastore does not satisfy '{profile.name}'."
                )
            ]
        return result


def _profile_id(unique_id: str) -> Any:
    return pbm.profile.ProfileId(uniqueId=unique_id)


def _tag_rule(tag: str) -> Any:
    """The one rule of a tag-based policy: datastores with `tag`."""
    tagged = pbm.capability.PropertyInstance(id="com.vmware.storage.tag", value=tag)
    capability = pbm.capability.CapabilityInstance(
        id=pbm.capability.CapabilityMetadata.UniqueId(
            namespace="http://www.vmware.com/storage/tag", id="fake"
        ),
        constraint=[pbm.capability.ConstraintInstance(propertyInstance=[tagged])],
    )
    return pbm.profile.SubProfileCapabilityConstraints.SubProfile(
        name="Tag based placement", capability=[capability]
    )
