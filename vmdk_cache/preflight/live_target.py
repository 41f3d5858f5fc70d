"""One live run: what it has created, and how that is removed.

The engine itself does the work, as a backend named in vmdk_cache/preflight/live_names.py, in the
cache's own folder. The cache therefore treats these templates as another backend's: it neither
serves nor removes them.

The run removes everything at its end, whatever happened. A later run removes what a killed run left
behind, see vmdk_cache/preflight/live_names.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.backend import Backend
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.ports import Volume
from vmdk_cache.cache.record import ATTRIBUTE, RECORD_KEY
from vmdk_cache.conf import REPLICAS_OFF, Settings
from vmdk_cache.preflight.live_image import Form, GeneratedImage
from vmdk_cache.preflight.live_names import BACKEND, VOLUME, LiveNames, is_from_live_run
from vmdk_cache.preflight.target import Target
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import datastore_browser, recent_task, template, virtual_machine
from vmdk_cache.vim.endpoint import Listener
from vmdk_cache.vim.inventory import Datastore
from vmdk_cache.vim.virtual_machine import VmInfo
from vmdk_cache.wiring import RunningCache

LOG = logging.getLogger(__name__)

#: All objects are small: a task that takes longer hangs.
TASK_TIMEOUT_S = 600.0
#: Attempts of a request that got no answer and may be repeated.
_ATTEMPTS = 3
#: vCenter may hold a VM for a moment after an operation on it.
_REMOVE_ATTEMPTS = 4
#: No template expires, and no replica is made on demand.
SETTINGS = Settings(enabled=True, age_s=0, replicas=REPLICAS_OFF)


def live_backend(backend: Backend, listener: Listener | None = None) -> Backend:
    """The backend that a live run uses instead of ``backend``.

    :param listener: receives its SOAP requests and responses
    """
    return dataclasses.replace(
        backend,
        name=BACKEND,
        endpoint=dataclasses.replace(
            backend.endpoint, api_retry_count=_ATTEMPTS, listener=listener
        ),
        task_timeout_s=min(backend.task_timeout_s, TASK_TIMEOUT_S),
    )


class LiveTarget:
    """The target of a live run's probes. Use as a context manager.

    :param read: the same backend, as the read-only probes saw it
    :param cache: built with :func:`live_backend` and :data:`SETTINGS`
    :ivar templates: the imported templates
    :ivar volumes: the cloned volumes, by name
    """

    def __init__(
        self, read: Target, cache: RunningCache, names: LiveNames, adapter_type: str
    ) -> None:
        self.read = read
        self.cache = cache
        self.names = names
        self.adapter_type = adapter_type
        self.images = {
            form: GeneratedImage(names.image_id(form), form, names.run, adapter_type)
            for form in Form
        }
        self.templates: dict[Form, CacheEntry] = {}
        self.volumes: dict[str, Volume] = {}
        self._is_clean = True

    def __enter__(self) -> LiveTarget:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._is_clean:
            return
        try:
            stay = self.remove_all()
            if stay:
                # A lease whose response was lost still locks its VM; it ends with the session.
                self.cache.session.close()
                self.cache.session.open()
                stay = self.remove_all()
        except errors.VmdkCacheError as failure:
            stay = [f"some objects may be left: {failure}"]
        for text in stay:
            LOG.warning("Left behind by the live run, and removed by the next one: %s", text)

    def will_make(self) -> None:
        """Call before creating anything: from now on the run must clean up, whatever happens."""
        self._is_clean = False

    def volume(self, number: int, uuid: str, size_bytes: int, disk_type: str) -> Volume:
        """A volume of this run that does not exist yet."""
        made = Volume(
            id=uuid,
            name=self.names.volume(number),
            instance_uuid=uuid,
            size_bytes=size_bytes,
            disk_type=disk_type,
            adapter_type=self.adapter_type,
            storage_profile=None,
            folder=self.read.backend.folder,
            extra_config={},
            managed_by=self.read.backend.managed_by,
            is_being_created=lambda: True,
        )
        self.volumes[made.name] = made
        return made

    def seen(self) -> dict[str, VmInfo]:
        """This run's VMs in the cache's folders now, by name."""
        return {vm.name: vm for vm in self._vms() if self.names.owns(vm.name)}

    def entry(self, form: Form) -> CacheEntry | None:
        """The template of this form, as it is now."""
        return self.cache.store.look_again(self.templates[form])

    def remove_leftovers(self) -> tuple[list[str], list[str]]:
        """Remove what earlier runs left behind.

        :returns: names of the removed VMs, and messages about those that stay
        """
        now = self.cache.session.server_time()
        old = [
            vm
            for vm in self._vms()
            if self.names.may_remove(vm.name, vm.created_at, now) and not self.names.owns(vm.name)
        ]
        return self._remove(old)

    def remove_directories(self) -> tuple[list[str], list[str]]:
        """Like :meth:`remove_leftovers`, for directories without a VM that runs on this host left.
        The age of a directory is unknown, so those of other hosts are left alone."""
        now = self.cache.session.server_time()
        old = [
            (datastore, name)
            for datastore, name in self._directories()
            if self.names.may_remove(name, None, now) and not self.names.owns(name)
        ]
        # Read after the directories, so that VMs created in the meantime are seen.
        in_use: set[str] = set()
        for datastore in self.read.usable_datastores if old else ():
            in_use |= datastore_browser.vm_directories(self.cache.session, datastore.moref)
        removed, stay = [], []
        for datastore, name in old:
            if name in in_use:
                continue
            try:
                datastore_browser.delete_directory(
                    self.cache.session, self.cache.waiter, datastore, name
                )
                removed.append(name)
            except errors.VCenterError as failure:
                stay.append(f"{quoted(name)} on {quoted(datastore.name)} stays: {failure}")
        return removed, stay

    def remove_all(self) -> list[str]:
        """Remove what this run created; return messages about what stays."""
        _, stay = self._remove(self.seen().values())
        self._is_clean = not stay
        return stay

    def left_behind(self) -> list[str]:
        """What vCenter still has of this run: VMs, directories, tasks."""
        found = [f"virtual machine {quoted(name)}" for name in self.seen()]
        found += [
            f"directory {quoted(name)} on {quoted(datastore.name)}"
            for datastore, name in self._directories()
            if self.names.owns(name)
        ]
        found += [
            f"task {task.operation} on {quoted(task.entity_name)}"
            for task in recent_task.under_way(self.cache.session)
            if self.names.owns(task.entity_name)
        ]
        return found

    def _directories(self) -> Iterator[tuple[Datastore, str]]:
        """Directories that any live run created."""
        for datastore in self.read.usable_datastores:
            for prefix in (VOLUME, f"{BACKEND}_image_cache"):
                for name in datastore_browser.directories(
                    self.cache.session, self.cache.waiter, datastore, prefix
                ):
                    if is_from_live_run(name):
                        yield datastore, name

    def _vms(self) -> Iterator[VmInfo]:
        for datacenter in self.read.inventory.datacenters:
            folder = self.read.find_folder(datacenter)
            if folder is None:
                continue
            for vm in virtual_machine.list_vms(
                self.cache.session, folder, RECORD_KEY, attributes=[ATTRIBUTE]
            ):
                if is_from_live_run(vm.name):
                    yield vm

    def _remove(self, machines: Iterable[VmInfo]) -> tuple[list[str], list[str]]:
        removed, stay = [], []
        for vm in machines:
            try:
                self._destroy(vm.moref)
                removed.append(vm.name)
            except errors.VCenterError as failure:
                stay.append(f"{quoted(vm.name)} stays: {failure}")
        return removed, stay

    def _destroy(self, moref: str) -> None:
        retry.call(
            lambda: template.destroy(self.cache.session, self.cache.waiter, moref),
            attempts=_REMOVE_ATTEMPTS,
            first_wait_s=1.0,
            clock=self.read.clock,
        )
