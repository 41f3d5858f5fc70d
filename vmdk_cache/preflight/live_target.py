"""One live run: what it has made, and how that is removed.

The engine itself does the work, for a backend of the name in vmdk_cache/preflight/live_names.py
whose folder is the cache's own. So its templates are another backend's to the cache, which neither
serves nor removes them.

Everything is removed at the run's end, whatever has happened in it. What a run that was killed left
behind is removed by a later one, see vmdk_cache/preflight/live_names.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.backend import Backend
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.ports import Volume
from vmdk_cache.cache.record import RECORD_KEY
from vmdk_cache.cache.usage import ATTRIBUTE
from vmdk_cache.conf import REPLICAS_OFF, Settings
from vmdk_cache.preflight.live_image import Form, GeneratedImage
from vmdk_cache.preflight.live_names import BACKEND, VOLUME, LiveNames, is_from_live_run
from vmdk_cache.preflight.target import Target
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import datastore_browser, running_tasks, template, virtual_machine
from vmdk_cache.vim.exchange import Listener
from vmdk_cache.vim.inventory import Datastore
from vmdk_cache.vim.virtual_machine import VmInfo
from vmdk_cache.wiring import RunningCache

LOG = logging.getLogger(__name__)

#: Everything is small: what takes longer hangs.
TASK_TIMEOUT_S = 600.0
#: Of a request that got no answer, where it may be repeated.
_ATTEMPTS = 3
#: vCenter may hold a VM for a moment after an operation on it.
_REMOVE_ATTEMPTS = 4
#: No volume is deleted by its template's age, and no copy is made that nobody asked for.
SETTINGS = Settings(enabled=True, age_s=0, replicas=REPLICAS_OFF)


def live_backend(backend: Backend, listener: Listener | None = None) -> Backend:
    """The backend of a live run in the place of ``backend``.

    :param listener: told of its SOAP requests and their answers
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
    """What the probes of a live run work on. Use as a context manager.

    :param read: the same backend, as the probes that only read have seen it
    :param cache: built with :func:`live_backend` and :data:`SETTINGS`
    :ivar templates: those that were imported
    :ivar volumes: those that were cloned, by name
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
                # A lease whose answer was lost holds its machine; it ends with the session.
                self.cache.session.close()
                self.cache.session.open()
                stay = self.remove_all()
        except errors.VmdkCacheError as failure:
            stay = [f"some may be left: {failure}"]
        for text in stay:
            LOG.warning("Of the live run %s: the next run removes it", text)

    def will_make(self) -> None:
        """Something is about to be made: it has to be removed, whatever happens from now on."""
        self._is_clean = False

    def volume(self, number: int, uuid: str, size_bytes: int, disk_type: str) -> Volume:
        """A volume of this run, not made yet."""
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
        """What this run has in the cache's folders now, by name."""
        return {vm.name: vm for vm in self._vms() if self.names.owns(vm.name)}

    def entry(self, form: Form) -> CacheEntry | None:
        """The template of the form as it is now."""
        return self.cache.store.look_again(self.templates[form])

    def remove_leftovers(self) -> tuple[list[str], list[str]]:
        """Remove what earlier runs left behind.

        :returns: names of what was removed, and why something stays
        """
        now = self.cache.session.server_time()
        old = [
            vm
            for vm in self._vms()
            if self.names.may_remove(vm.name, vm.created_at, now) and not self.names.owns(vm.name)
        ]
        return self._remove(old)

    def remove_directories(self) -> tuple[list[str], list[str]]:
        """As :meth:`remove_leftovers`, of directories without a machine that runs on this machine
        left: when a directory was made is not known, so those of others are let be."""
        now = self.cache.session.server_time()
        old = [
            (datastore, name)
            for datastore, name in self._directories()
            if self.names.may_remove(name, None, now) and not self.names.owns(name)
        ]
        # Only now: a machine that was made since the directories were listed is seen.
        in_use: set[str] = set()
        for datastore in self.read.usable_datastores if old else ():
            in_use |= datastore_browser.vm_directories(self.cache.session, datastore.moref)
        removed, stay = [], []
        for datastore, name in old:
            if name in in_use:
                continue
            try:
                datastore_browser.delete_directory(
                    self.cache.session, self.cache.waiter, datastore, datastore.datacenter, name
                )
                removed.append(name)
            except errors.VCenterError as failure:
                stay.append(f"{quoted(name)} on {quoted(datastore.name)} stays: {failure}")
        return removed, stay

    def remove_all(self) -> list[str]:
        """Remove what this run has made; why something stays."""
        _, stay = self._remove(self.seen().values())
        self._is_clean = not stay
        return stay

    def left_behind(self) -> list[str]:
        """What of this run vCenter still has: machines, directories, tasks."""
        found = [f"machine {quoted(name)}" for name in self.seen()]
        found += [
            f"directory {quoted(name)} on {quoted(datastore.name)}"
            for datastore, name in self._directories()
            if self.names.owns(name)
        ]
        found += [
            f"task {task.operation} on {quoted(task.entity_name)}"
            for task in running_tasks.running(self.cache.session)
            if self.names.owns(task.entity_name)
        ]
        return found

    def _directories(self) -> Iterator[tuple[Datastore, str]]:
        """That any live run has made."""
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
