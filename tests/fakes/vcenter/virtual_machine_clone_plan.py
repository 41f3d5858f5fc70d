"""Checks a CloneSpec against the rules of a real vCenter before any file is created.

- a template as source needs location.pool, unless the result is a template too;
- host, pool and datastore must fit each other and the folder's datacenter;
- home and disks go to location.datastore, else stay on the source's; a DiskLocator overrides this
  for its disk;
- diskBackingInfo decides the disk's type, else the disk keeps its own; `transform` counts without
  it;
- growing a disk in config.deviceChange happens during the copy. Shrinking is refused, and so is
  growing a disk that gets a parent; growing while cloning from a snapshot is silently ignored. What
  else happens to a new capacity or uuid is a switch;
- createNewChildDiskBacking needs CloneSpec.snapshot. (vSphere API reference,
  VirtualMachineRelocateSpec and VirtualMachineCloneSpec; reports of cluster-api-provider-vsphere
  and machine-controller on growing.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pyVmomi import vmodl

from tests.fakes.vcenter.managed_entity import check_name
from tests.fakes.vcenter.switches import InClone
from tests.fakes.vcenter.virtual_disk import Provisioning, VirtualDisk, unspaced
from tests.fakes.vcenter.virtual_machine_device_changes import (
    asked_capacity,
    check_growth,
    provisioning_of,
)
from tests.fakes.vcenter.virtual_machine_devices import AttachedDisk
from tests.fakes.vcenter.virtual_machine_faults import invalid_spec
from tests.fakes.vcenter.virtual_machine_placement import (
    Placement,
    choose_host,
    not_supported,
    require_datastore,
    require_in_datacenter,
    require_powered_off,
)
from tests.fakes.vcenter.virtual_machine_settings import profile_of, require_known_version

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_machine import VirtualMachine

_FULL = "moveAllDiskBackingsAndDisallowSharing"
_SHARING = "moveAllDiskBackingsAndAllowSharing"
_CHILD = "createNewChildDiskBacking"
_OTHERS = ("moveChildMostDiskBacking", "moveAllDiskBackingsAndConsolidate")
_MOVE_TYPES = {_FULL, _SHARING, _CHILD, *_OTHERS}


@dataclass(frozen=True)
class Arguments:
    """The objects that a spec refers to, resolved when the call was made."""

    folder: Any
    pool: Any
    host: Any
    datastore: Any
    snapshot: Any
    refs: tuple[Any, ...]


@dataclass
class DiskPlan:
    """One disk of the clone. `parent` is set if it becomes a delta on an existing disk."""

    attached: AttachedDisk
    source: VirtualDisk
    datastore: Any
    provisioning: Provisioning
    parent: VirtualDisk | None = None
    size_bytes: int | None = None
    uuid: str | None = None
    profile_id: str | None = None


class ClonePlan:
    """The plan of one clone; reading `placement`, `disks` ... raises the faults of the spec."""

    def __init__(self, source: VirtualMachine, name: str, spec: Any, arguments: Arguments) -> None:
        self.source = source
        self.asked_name = name
        self.spec = spec
        self.location = spec.location
        self.config = spec.config
        self.template = bool(spec.template)
        self.power_on = bool(spec.powerOn)
        self.folder = arguments.folder
        self.arguments = arguments
        node = arguments.snapshot.node if arguments.snapshot else None
        self.devices = node.devices if node else source.devices
        self.settings = node.settings if node else source.settings
        self.home_profile = profile_of(spec.location.profile)
        self.changes = list(enumerate(self.config.deviceChange or [])) if self.config else []

    @staticmethod
    def resolve(source: VirtualMachine, folder: Any, spec: Any) -> Arguments:
        """Resolve references; ManagedObjectNotFound for any that is gone."""
        location = spec.location
        registry = source.vcenter.registry
        refs: list[Any] = []

        def found(ref: Any) -> Any:
            if ref is None:
                return None
            refs.append(ref)
            return registry.require(ref)

        arguments = {
            "folder": found(location.folder or folder),
            "pool": found(location.pool),
            "host": found(location.host),
            "datastore": found(location.datastore),
            "snapshot": found(spec.snapshot),
        }
        for locator in location.disk or []:
            found(locator.datastore)
        return Arguments(**arguments, refs=tuple(refs))

    @property
    def name(self) -> str:
        return check_name(self.asked_name)

    def check(self) -> None:
        """Check everything that can be known before the first file is created."""
        self.folder.check_free(self.name)
        if self.folder.kind != "v":
            raise not_supported("The folder cannot hold virtual machines.")
        if self.template and self.power_on:
            raise invalid_argument("spec.powerOn")
        if self.source.template:
            require_powered_off(self.source)
        placement = self.placement
        placement.host.check_usable()
        require_datastore(placement.datastore, placement.host)
        require_known_version(self.source.settings.version, placement.host)
        snapshot = self.arguments.snapshot
        if snapshot is not None and snapshot.vm is not self.source:
            raise invalid_argument("spec.snapshot")
        for disk in self.disks:
            require_datastore(disk.datastore, placement.host)

    @cached_property
    def placement(self) -> Placement:
        """Host, pool and home datastore."""
        pool = self.arguments.pool
        if pool is None and not self.template:
            if self.source.template:
                raise invalid_argument("spec.location.pool")
            pool = self.source.pool
        datastore = self.arguments.datastore or self.source.home_datastore
        host = self.arguments.host
        if pool is None:
            host = host or self.source.host
        elif self.arguments.pool is None and host is None:
            host = self.source.host
        elif self.arguments.pool is None and host not in pool.owner.host:
            pool = host.parent.resourcePool
        if pool is not None:
            host = choose_host(pool, host, datastore)
        datacenter = self.folder.datacenter
        for entity, argument in ((pool, "pool"), (host, "host"), (datastore, "datastore")):
            if entity is not None:
                require_in_datacenter(datacenter, entity, f"spec.location.{argument}")
        return Placement(host, None if self.template else pool, datastore)

    @cached_property
    def removed_controllers(self) -> set[int]:
        """Keys of controllers that config.deviceChange removes."""
        keys = {one.key for one in self.devices.controllers}
        return {
            spec.device.key
            for _, spec in self.changes
            if spec.operation == "remove" and spec.device.key in keys
        }

    @cached_property
    def other_changes(self) -> list[Any]:
        """Device changes that remain to be applied after the disks are copied."""
        disks = {attached.key for attached in self.devices.disks}
        keys = disks | self.removed_controllers
        return [
            spec
            for _, spec in self.changes
            if spec.operation == "add" or spec.device.key not in keys
        ]

    @cached_property
    def disks(self) -> list[DiskPlan]:
        """The plan of each disk of the source."""
        specs = {
            spec.device.key: (index, spec)
            for index, spec in self.changes
            if spec.operation in ("edit", "remove")
        }
        known = {a.key for a in self.devices.disks} | {d.key for d in self.devices.all()}
        for key, (index, _) in specs.items():
            if key not in known:
                raise invalid_spec(index, "virtualDeviceSpec.device.key")
        plans = []
        for attached in self.devices.disks:
            index, spec = specs.get(attached.key, (0, None))
            if spec is not None and spec.operation == "remove":
                continue
            plan = self._disk(attached)
            if spec is not None:
                self._edit(plan, index, spec)
            plans.append(plan)
        return plans

    def _disk(self, attached: AttachedDisk) -> DiskPlan:
        source = attached.disk
        locators = {locator.diskId: locator for locator in self.location.disk or []}
        locator = locators.get(attached.key)
        require = self.source.vcenter.registry.require
        datastore = self.arguments.datastore or source.datastore
        provisioning: Provisioning | None = None
        profile = None
        move_type = self.location.diskMoveType
        if locator is not None:
            datastore = require(locator.datastore)
            provisioning = provisioning_of(locator.diskBackingInfo)
            profile = profile_of(locator.profile)
            move_type = locator.diskMoveType or move_type
        if provisioning is None and self.location.transform:
            provisioning = "thin" if self.location.transform == "sparse" else "preallocated"
        return DiskPlan(
            attached=attached,
            source=source,
            datastore=datastore,
            provisioning=provisioning or source.provisioning,
            parent=self._parent(source, datastore, move_type or _FULL),
            profile_id=profile or attached.profile_id,
        )

    def _parent(self, source: VirtualDisk, datastore: Any, move_type: str) -> VirtualDisk | None:
        """The parent disk if the clone's disk becomes a delta; None for a full copy."""
        if move_type not in _MOVE_TYPES:
            raise invalid_argument("spec.location.diskMoveType")
        if move_type == _CHILD:
            if self.arguments.snapshot is None:
                raise invalid_argument("spec.snapshot")
            return source
        if move_type == _SHARING and source.parent and datastore is source.datastore:
            return source.parent
        return None

    def _edit(self, plan: DiskPlan, index: int, spec: Any) -> None:
        current_bytes = plan.source.capacity_bytes
        size_bytes = asked_capacity(index, spec.device, current_bytes)
        check_growth(index, size_bytes, current_bytes, has_parent=plan.parent is not None)
        switches = self.source.vcenter.switches
        if size_bytes > current_bytes:
            _check_taken(switches.disk_capacity_in_clone, index, "capacityInKB")
        if self.arguments.snapshot is None and switches.disk_capacity_in_clone == "kept":
            plan.size_bytes = size_bytes
        if spec.device.backing is not None:
            provisioning_of(spec.device.backing)
            self._edit_uuid(plan, index, spec.device.backing.uuid)
        profile = profile_of(spec.profile)
        if profile is not None:
            plan.profile_id = profile or None

    def _edit_uuid(self, plan: DiskPlan, index: int, asked: str | None) -> None:
        """Apply a uuid that differs from the source's; clients that send the source's device
        unchanged want a new one.
        """
        if not asked or unspaced(asked) == plan.source.uuid:
            return
        answer = self.source.vcenter.switches.disk_uuid_in_clone
        _check_taken(answer, index, "backing.uuid")
        if answer == "kept" and plan.parent is None:
            plan.uuid = unspaced(asked)


def _check_taken(answer: InClone, index: int, prop: str) -> None:
    """InvalidDeviceSpec if this vCenter refuses such an edit in a clone (unconfirmed)."""
    if answer == "refused":
        raise invalid_spec(index, f"virtualDeviceSpec.device.{prop}")


def invalid_argument(name: str) -> Exception:
    return vmodl.fault.InvalidArgument(
        msg=f"A specified parameter was not correct: {name}", invalidProperty=name
    )
