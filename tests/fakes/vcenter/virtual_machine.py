"""VirtualMachine: a VM or a template, its files, and the entry points of its methods.

Life: shell (in its folder, reserves its name, no config) -> complete -> gone. While a clone runs,
other clients see a shell; if vCenter dies during a clone, the shell remains. The work itself is in
virtual_machine_<what>.py; virtual_machine_views.py builds what clients read.

A template is a VM with `template` set: it has no resource pool, its .vmx is a .vmtx, and a
ConfigSpec may change only name and annotation. (vSphere API reference, MarkAsTemplate; govmomi on
templates)
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
        #: The spec of CustomizeVM_Task, for the next boot.
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
        """The prefix of its files' names; later renames do not change it."""
        return posixpath.basename(self.vmx_path).rpartition(".")[0]

    @property
    def home(self) -> DatastorePath:
        """The path of its .vmx or .vmtx file."""
        assert self.home_datastore is not None, "a shell without a home yet"
        return DatastorePath(self.home_datastore.path_name, self.vmx_path)

    @property
    def disks(self) -> list[VirtualDisk]:
        """The disks in use, in device order."""
        return [attached.disk for attached in self.devices.disks]

    def make_home(self, datastore: Datastore, directory: str, base_name: str) -> None:
        """Make an existing directory the VM's home, and write the VM's own files there."""
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
        """Every disk in its chains and in its snapshots' chains."""
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
        """The VM's bytes on one datastore."""
        return views.usage(self).get(datastore, views.Usage())

    # Identity, for the SearchIndex

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
        """Move the VM to `pool`; a template has None."""
        if self.pool is pool:
            return
        if self.pool is not None:
            self.pool.remove_member("vm", self)
        self.pool = pool
        if pool is not None:
            pool.add_member("vm", self)
        self.changed("resourcePool")

    def set_host(self, host: HostSystem) -> None:
        """Register the VM on another host."""
        if self.host is host:
            return
        self.host.remove_member("vm", self)
        self.host = host
        host.add_member("vm", self)
        self.changed("runtime", "summary")

    def set_template(self, template: bool) -> None:
        """Make it a template or a VM; this renames the .vmx file."""
        self.template = template
        if self.home_datastore is not None:
            old = self.vmx_path
            self.vmx_path = f"{old.rpartition('.')[0]}.{'vmtx' if template else 'vmx'}"
            storage = self.home_datastore.storage
            if self.vmx_path != old and storage.get(old) is not None:
                storage.adopt(storage.release(old), self.vmx_path, overwrite=True)
        self.touch()

    def touch(self) -> None:
        """Note that the configuration has changed: set a new changeVersion, rebuild views, notify
        collectors.
        """
        self.modified_at = self.vcenter.clock.now()
        self.change_number += 1
        self.sync()

    def sync(self) -> None:
        """Note that files, disks or sizes have changed: update users, datastores and views."""
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
        """Note whether the configuration file has vanished, or is back. Until the VM is checked (a
        refresh, an operation that needs the file), clients read the previous state."""
        lost = self.home_datastore is not None and (
            self.home_datastore.storage.get(self.vmx_path) is None
        )
        if lost != self.files_lost:
            self.files_lost = lost
            self.changed("runtime")
            self.sync()

    def rename(self, new_name: str) -> None:
        """Change only the name; files and directory keep theirs."""
        super().rename(new_name)
        self.touch()

    def remove(self) -> None:
        """Remove the VM from the inventory; files stay."""
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
        reference, VirtualMachineConnectionState). Cached until something changes, since no property
        is read more often."""
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
        """Its folder, host, pool and datastores."""
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

    ValueError if there is no such VM or it has no disk; FileNotFound if the path has no file.
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
