"""VirtualMachine: a VM or a template, its files, and the entry points of what can be done to it.

Life: shell (in its folder, reserves its name, no config) -> complete -> gone. A shell is what
others see while a clone runs, and what is left when vCenter dies in the midst of one. The work
itself is in virtual_machine_<what>.py; what clients read is built in virtual_machine_views.py.

A template is a VM with `template` set: no resource pool, its .vmx is a .vmtx, and of a ConfigSpec
only name and annotation are taken. (vSphere API reference, MarkAsTemplate; govmomi on templates)
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter import virtual_machine_power as power
from tests.fakes.vcenter import virtual_machine_views as views
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.datastore_path import DatastorePath
from tests.fakes.vcenter.disk import DiskContent
from tests.fakes.vcenter.environment_browser import browser_of, forget_browser
from tests.fakes.vcenter.managed_entity import ManagedEntity
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.virtual_disk import VirtualDisk, extent_name
from tests.fakes.vcenter.virtual_machine_devices import Devices
from tests.fakes.vcenter.virtual_machine_locks import EntityLock
from tests.fakes.vcenter.virtual_machine_operations import Operations
from tests.fakes.vcenter.virtual_machine_other_devices import networks_of
from tests.fakes.vcenter.virtual_machine_settings import Settings

if TYPE_CHECKING:
    from tests.fakes.vcenter.datastore import Datastore
    from tests.fakes.vcenter.host_system import HostSystem
    from tests.fakes.vcenter.resource_pool import ResourcePool
    from tests.fakes.vcenter.vcenter import VCenter
    from tests.fakes.vcenter.virtual_machine_snapshot import SnapshotNode


class VirtualMachine(Operations, ManagedEntity):
    """See the module's docstring. For tests: `template`, `disks`, `home`, `settings`, `host`."""

    TYPE = vim.VirtualMachine
    PREFIX = "vm"

    def __init__(
        self, vcenter: VCenter, name: str, host: HostSystem, pool: ResourcePool | None
    ) -> None:
        super().__init__(vcenter, name)
        self.complete = False
        self.template = False
        self.settings = Settings()
        self.devices = Devices()
        self.host = host
        self.pool: ResourcePool | None = None
        self.home_datastore: Datastore | None = None
        self.vmx_path = ""
        self.power_state = "poweredOff"
        self.booted_at: datetime | None = None
        self.guest_system: power.Guest | None = None
        self.question: power.Question | None = None
        self.tools_mounted = False
        #: What CustomizeVM_Task asked for, to be applied at the next boot.
        self.customization: Any = None
        self.lock = EntityLock()
        self.lease: Any = None
        self.imported_at: float | None = None
        self.created_at = vcenter.clock.now()
        self.modified_at = self.created_at
        self.created_monotonic = vcenter.clock.monotonic()
        self.change_number = 1
        self.snapshots: list[SnapshotNode] = []
        self.current_snapshot: SnapshotNode | None = None
        self.snapshot_number = 0
        self._known_disks: set[VirtualDisk] = set()
        self._known_datastores: set[Datastore] = set()
        self._known_networks: list[Any] = []
        self.storage_seen_at: datetime | None = None
        self.files_lost = False
        self._config: Any = None
        host.add_member("vm", self)
        self.set_pool(pool)

    # Files

    @property
    def directory(self) -> str:
        """The home directory on `home_datastore`."""
        return posixpath.dirname(self.vmx_path)

    @property
    def base_name(self) -> str:
        """The name that its files begin with; later renames do not touch it."""
        return posixpath.basename(self.vmx_path).rpartition(".")[0]

    @property
    def home(self) -> DatastorePath:
        """The path of its .vmx or .vmtx file."""
        assert self.home_datastore is not None, "a shell without a home yet"
        return DatastorePath(self.home_datastore.path_name, self.vmx_path)

    @property
    def disks(self) -> list[VirtualDisk]:
        """The disks that it runs on, in device order."""
        return [attached.disk for attached in self.devices.disks]

    def make_home(self, datastore: Datastore, directory: str, base_name: str) -> None:
        """Take an existing directory as home and write the VM's own files there."""
        self.home_datastore = datastore
        extension = "vmtx" if self.template else "vmx"
        self.vmx_path = posixpath.join(directory, f"{base_name}.{extension}")
        text = f'config.version = "8"\ndisplayName = "{self.name}"\n'.encode()
        datastore.storage.create(self.vmx_path, DiskContent.of(text))
        datastore.storage.create(posixpath.join(directory, f"{base_name}.vmsd"))
        self.sync()

    def own_files(self) -> list[str]:
        """Paths of the VM's own files (no disks) on its home datastore."""
        if self.home_datastore is None:
            return []
        stem = posixpath.join(self.directory, self.base_name)
        names = [self.vmx_path, f"{stem}.vmsd"]
        names += [f"{stem}-Snapshot{node.number}.vmsn" for node in self.snapshot_nodes()]
        return [name for name in names if self.home_datastore.storage.get(name) is not None]

    def new_disk_path(self, datastore: Datastore, directory: str | None = None) -> str:
        """A free path for a disk in the home directory (or another): "name.vmdk", "name_1.vmdk"."""
        stem = posixpath.join(self.directory if directory is None else directory, self.base_name)
        path, number = f"{stem}.vmdk", 0
        while datastore.storage.exists(path) or datastore.storage.exists(extent_name(path)):
            number += 1
            path = f"{stem}_{number}.vmdk"
        return path

    def all_disks(self) -> set[VirtualDisk]:
        """Every disk of its chains and of its snapshots' chains."""
        found: set[VirtualDisk] = set()
        for disk in self.disks:
            found.update(disk.chain)
        for node in self.snapshot_nodes():
            for attached in node.devices.disks:
                found.update(attached.disk.chain)
        return found

    def snapshot_nodes(self) -> Iterator[SnapshotNode]:
        """Every snapshot, parents before children."""
        stack = list(reversed(self.snapshots))
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def usage_on(self, datastore: Datastore) -> views.Usage:
        """Its bytes on one datastore."""
        return views.usage(self).get(datastore, views.Usage())

    # Identity, as the SearchIndex looks for it

    @property
    def uuid(self) -> str | None:
        """The BIOS uuid; a shell has none."""
        return self.settings.uuid if self.complete else None

    @property
    def instance_uuid(self) -> str | None:
        """The instance uuid; a shell has none."""
        return self.settings.instance_uuid if self.complete else None

    # Changes

    def set_pool(self, pool: ResourcePool | None) -> None:
        """Run out of `pool`, or of none as a template does."""
        if self.pool is pool:
            return
        if self.pool is not None:
            self.pool.remove_member("vm", self)
        self.pool = pool
        if pool is not None:
            pool.add_member("vm", self)
        self.changed("resourcePool")

    def set_host(self, host: HostSystem) -> None:
        """Be registered on another host."""
        if self.host is host:
            return
        self.host.remove_member("vm", self)
        self.host = host
        host.add_member("vm", self)
        self.changed("runtime", "summary")

    def set_template(self, template: bool) -> None:
        """Become a template or a VM; the .vmx file changes its name with it."""
        self.template = template
        if self.home_datastore is not None:
            old = self.vmx_path
            self.vmx_path = f"{old.rpartition('.')[0]}.{'vmtx' if template else 'vmx'}"
            storage = self.home_datastore.storage
            if self.vmx_path != old and storage.get(old) is not None:
                storage.adopt(storage.release(old), self.vmx_path, overwrite=True)
        self.touch()

    def touch(self) -> None:
        """The configuration has changed: new changeVersion, views built again, collectors told."""
        self.modified_at = self.vcenter.clock.now()
        self.change_number += 1
        self.sync()

    def sync(self) -> None:
        """Files, disks or sizes have changed: keep users, datastores and views right."""
        disks = self.all_disks()
        for disk in self._known_disks - disks:
            disk.users.discard(self)
        for disk in disks - self._known_disks:
            disk.users.add(self)
        self._known_disks = disks
        datastores = {disk.datastore for disk in disks}
        if self.home_datastore is not None:
            datastores.add(self.home_datastore)
        for datastore in self._known_datastores - datastores:
            datastore.remove_member("vm", self)
        for datastore in datastores - self._known_datastores:
            datastore.add_member("vm", self)
        for datastore in self._known_datastores | datastores:
            datastore.refresh(self)
        self._known_datastores = datastores
        self._sync_networks(networks_of(self, self.devices))
        self._config = None
        self.changed("config", "summary", "storage", "layoutEx", "layout", "datastore", "snapshot")

    def _sync_networks(self, networks: list[Any]) -> None:
        if networks == self._known_networks:
            return
        for network in self._known_networks:
            network.remove_member("vm", self)
        for network in networks:
            network.add_member("vm", self)
        self._known_networks = networks
        self.changed("network")

    def look_at_files(self) -> None:
        """Learn that the configuration file has vanished, or is back. Until somebody looks (a
        refresh, an operation that needs it) clients read what was."""
        lost = self.home_datastore is not None and (
            self.home_datastore.storage.get(self.vmx_path) is None
        )
        if lost != self.files_lost:
            self.files_lost = lost
            self.changed("runtime")
            self.sync()

    def rename(self, new_name: str) -> None:
        """The name alone: files and directory keep theirs."""
        super().rename(new_name)
        self.touch()

    def remove(self) -> None:
        """Leave the inventory; files stay."""
        for node in list(self.snapshot_nodes()):
            node.snapshot.destroy_object()
        for disk in self._known_disks:
            disk.users.discard(self)
        self._known_disks = set()
        for datastore in self._known_datastores:
            datastore.remove_member("vm", self)
            datastore.refresh(self)
        self._known_datastores = set()
        self._sync_networks([])
        self.host.remove_member("vm", self)
        self.set_pool(None)
        forget_browser(self)
        if self.folder is not None:
            self.folder.remove_child(self)
        self.destroy_object()

    # Properties that clients read

    @property
    def config(self) -> Any:
        """Unset for a shell and for a VM that is known to have lost its files (vSphere API
        reference, VirtualMachineConnectionState); kept until something changes, since it is read
        most."""
        if self.files_lost:
            return None
        if self._config is None and self.complete:
            self._config = views.config(self)
        return self._config

    @property
    def summary(self) -> Any:
        return views.summary(self)

    @property
    def runtime(self) -> Any:
        return views.runtime(self)

    @property
    def storage(self) -> Any:
        return views.storage(self) if self.complete else None

    @property
    def layoutEx(self) -> Any:
        return views.layout_ex(self) if self.complete else None

    @property
    def layout(self) -> Any:
        return views.layout(self) if self.complete else None

    @property
    def snapshot(self) -> Any:
        return views.snapshot_info(self) if self.snapshots else None

    @property
    def rootSnapshot(self) -> list[Any]:
        return [node.snapshot for node in self.snapshots]

    @property
    def resourcePool(self) -> Any:
        return self.pool

    @property
    def datastore(self) -> list[Any]:
        return sorted(self._known_datastores, key=lambda datastore: datastore.moref)

    @property
    def network(self) -> list[Any]:
        return list(self._known_networks)

    @property
    def guest(self) -> Any:
        return power.guest_info(self)

    @property
    def guestHeartbeatStatus(self) -> str:
        return power.heartbeat(self)

    @property
    def environmentBrowser(self) -> Any:
        return browser_of(self)

    @property
    def capability(self) -> Any:
        return views.capability()

    def container_parents(self) -> list[ManagedObject]:
        """Container views over folder, host, pool and datastores see it."""
        parents = [*super().container_parents(), self.host, *self._known_datastores]
        return [*parents, self.pool] if self.pool is not None else parents


def create(folder: Any, ctx: Context, config: Any, pool: Any, host: Any) -> Task:
    """Folder.CreateVM_Task."""
    from tests.fakes.vcenter import virtual_machine_create

    return virtual_machine_create.start(folder, ctx, config, pool, host)


def register(
    folder: Any, ctx: Context, path: str, name: str | None, as_template: bool, pool: Any, host: Any
) -> Task:
    """Folder.RegisterVM_Task."""
    from tests.fakes.vcenter import virtual_machine_create

    return virtual_machine_create.start_register(folder, ctx, path, name, as_template, pool, host)


def find_disk(vcenter: VCenter, vm_or_path: Any) -> DiskContent:
    """The bytes of a VM's first disk (by object, name or reference), or of the disk at a path.

    ValueError when there is no such VM or it has no disk; FileNotFound when the path has no file.
    """
    from tests.fakes.vcenter.datastore import find_datastore, parse_path
    from tests.fakes.vcenter.virtual_disk import open_disk

    if isinstance(vm_or_path, str) and vm_or_path.startswith("["):
        path = parse_path(vcenter, vm_or_path)
        return open_disk(find_datastore(vcenter, path.datastore).storage, path.path).content
    vm = vcenter.find_vm(vm_or_path) if isinstance(vm_or_path, str) else None
    vm = vm or vcenter.registry.find(getattr(vm_or_path, "ref", vm_or_path))
    if not isinstance(vm, VirtualMachine) or not vm.disks:
        raise ValueError(f"{vm_or_path!r} is not a virtual machine with a disk")
    return vm.disks[0].content
