"""LicenseManager and LicenseAssignmentManager: licence keys, and the entities that use them.

vCenter and its hosts run in evaluation mode until they get another key; no feature depends on it.
An entity's id is vCenter's instanceUuid or the moref of a host or cluster. (vSphere API reference,
LicenseAssignmentManager; the evaluation licence is that of govmomi's simulator, as every new
vCenter has it. A real vCenter's answer to an invalid key, or to one in use, is unconfirmed.)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

EVALUATION = "00000-00000-00000-00000-00000"
_KEY = re.compile(r"[0-9A-Z]{5}(-[0-9A-Z]{5}){4}")
_LICENSED = (vim.HostSystem, vim.ClusterComputeResource)


def _license(key: str, labels: Any = None) -> Any:
    is_evaluation = key == EVALUATION
    return vim.LicenseManager.LicenseInfo(
        licenseKey=key,
        editionKey="eval" if is_evaluation else "esx.enterprisePlus.cpuPackage",
        name="Evaluation Mode" if is_evaluation else "vSphere 8 Enterprise Plus",
        total=0 if is_evaluation else 16,
        used=0,
        costUnit="cpuPackage",
        labels=labels or [],
    )


class LicenseManager(ManagedObject):
    """Keys in the order in which they were added."""

    TYPE = vim.LicenseManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="LicenseManager")
        self._assignments = LicenseAssignmentManager(vcenter, self)
        self._licenses: dict[str, Any] = {}

    @property
    def licenses(self) -> list[Any]:
        """The evaluation licence and the added ones."""
        found = [_license(EVALUATION), *self._licenses.values()]
        for each in found:
            each.used = self._assignments.used(each.licenseKey)
        return found

    @property
    def licensedEdition(self) -> str:
        """The edition of vCenter itself."""
        return self.find(self._assignments.key_of(self.vcenter.instance_uuid)).editionKey

    @property
    def sourceAvailable(self) -> bool:
        """True, since vCenter stores the keys."""
        return True

    @property
    def licenseAssignmentManager(self) -> LicenseAssignmentManager:
        """The manager of assignments."""
        return self._assignments

    def find(self, key: str) -> Any:
        """The licence with a key; InvalidArgument if there is none."""
        for each in self.licenses:
            if each.licenseKey == key:
                return each
        raise _wrong("licenseKey")

    def AddLicense(self, ctx: Context, licenseKey: str, labels: Any) -> Any:
        """Add a key; does nothing if it exists."""
        if not _KEY.fullmatch(licenseKey):
            raise _wrong("licenseKey")
        if licenseKey != EVALUATION:
            self._licenses.setdefault(licenseKey, _license(licenseKey, labels))
            self.changed("licenses")
        return self.find(licenseKey)

    def DecodeLicense(self, ctx: Context, licenseKey: str) -> Any:
        """The licence of a key, without adding it."""
        if not _KEY.fullmatch(licenseKey):
            raise _wrong("licenseKey")
        return _license(licenseKey)

    def RemoveLicense(self, ctx: Context, licenseKey: str) -> None:
        """Remove a key that is not in use."""
        if self.find(licenseKey).used or licenseKey == EVALUATION:
            raise _wrong("licenseKey")
        del self._licenses[licenseKey]
        self.changed("licenses")

    def UpdateLicenseLabel(
        self, ctx: Context, licenseKey: str, labelKey: str, labelValue: str
    ) -> None:
        """Set a label."""
        found = self._labelled(licenseKey, labelKey)
        found.labels = [*found.labels, vim.KeyValue(key=labelKey, value=labelValue)]
        self.changed("licenses")

    def RemoveLicenseLabel(self, ctx: Context, licenseKey: str, labelKey: str) -> None:
        """Remove a label."""
        self._labelled(licenseKey, labelKey)
        self.changed("licenses")

    def _labelled(self, key: str, label: str) -> Any:
        """An added licence, without this label."""
        found = self._licenses.get(key)
        if found is None:
            raise _wrong("licenseKey")
        found.labels = [each for each in found.labels if each.key != label]
        return found


class LicenseAssignmentManager(ManagedObject):
    """Keys by entity id."""

    TYPE = vim.LicenseAssignmentManager

    def __init__(self, vcenter: VCenter, licenses: LicenseManager) -> None:
        super().__init__(vcenter, moref="LicenseAssignmentManager")
        self._licenses = licenses
        self._keys: dict[str, str] = {}

    def key_of(self, entity: str) -> str:
        """The key that an entity uses."""
        return self._keys.get(entity, EVALUATION)

    def used(self, key: str) -> int:
        """How many entities use a key."""
        return sum(self.key_of(each) == key for each in self._entities())

    def _entities(self) -> dict[str, str]:
        """Names by entity id."""
        found = {self.vcenter.instance_uuid: "vCenter"}
        for kind in _LICENSED:
            for each in self.vcenter.registry.of_type(kind):
                found[each.moref] = each.name
        return found

    def QueryAssignedLicenses(self, ctx: Context, entityId: str | None) -> list[Any]:
        """Assignments of one entity, or of all."""
        return [
            vim.LicenseAssignmentManager.LicenseAssignment(
                entityId=each,
                scope=self.vcenter.instance_uuid,
                entityDisplayName=name,
                assignedLicense=self._licenses.find(self.key_of(each)),
            )
            for each, name in self._entities().items()
            if entityId in (None, "", each)
        ]

    def UpdateAssignedLicense(
        self, ctx: Context, entity: str, licenseKey: str, entityDisplayName: str | None
    ) -> Any:
        """Assign an added key to an entity."""
        self._require(entity)
        self._licenses.find(licenseKey)
        self._keys[entity] = licenseKey
        self._licenses.changed("licenses")
        return self._licenses.find(licenseKey)

    def RemoveAssignedLicense(self, ctx: Context, entityId: str) -> None:
        """Return the entity to evaluation mode."""
        self._require(entityId)
        self._keys.pop(entityId, None)
        self._licenses.changed("licenses")

    def _require(self, entity: str) -> None:
        if entity not in self._entities():
            raise vim.fault.LicenseEntityNotFound(
                entityId=entity, msg=f"The entity '{entity}' is not licensed by this vCenter."
            )


def _wrong(name: str) -> Exception:
    return vmodl.fault.InvalidArgument(invalidProperty=name)
