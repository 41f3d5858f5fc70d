"""One live run: the names of the objects that it creates, and how they are removed.

The engine itself does the work, as a backend named :data:`BACKEND`, in the cache's own folder. The
cache therefore treats these templates as another backend's: it neither serves nor removes them.

A name ends with twelve hexadecimal digits: six for the host of the run, six for the run. Templates
have the name that the cache gives to an image whose id begins with :data:`_IMAGE_PREFIX`, which no
image in Glance has.

The run removes everything at its end, whatever happened. The next run on the same host removes what
a killed run left behind; runs on other hosts do so once it is older than :data:`STALE_AFTER`.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import re
import secrets
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.backend import Backend
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.ports import Volume
from vmdk_cache.cache.record import ATTRIBUTE, RECORD_KEY
from vmdk_cache.conf import REPLICAS_OFF, Settings
from vmdk_cache.preflight.live_image import CAPACITY_BYTES, Form, GeneratedImage
from vmdk_cache.preflight.target import Target
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import datastore_browser, recent_task, template, virtual_machine
from vmdk_cache.vim.endpoint import Listener
from vmdk_cache.vim.inventory import Datastore
from vmdk_cache.vim.virtual_machine import VmInfo
from vmdk_cache.wiring import RunningCache

LOG = logging.getLogger(__name__)

#: The backend that templates of a live run belong to, whatever the checked backend is.
BACKEND = "preflight"
#: Prefixes of the names of volumes and templates.
VOLUME = "vmdk-cache-preflight"
TEMPLATE = f"{BACKEND}_image_cache"
#: The volumes are larger than the image, so that their disks have to grow.
VOLUME_BYTES = 2 * CAPACITY_BYTES
STALE_AFTER = datetime.timedelta(hours=1)
#: "prefligh" in ASCII, as far as a UUID of version 4 allows.
_IMAGE_PREFIX = "70726566-6c69-4667-a868-"
#: The last digit of the run's part: one image for each form.
_FORMS = {Form.STREAM_OPTIMIZED: "0", Form.RAW: "1", Form.OVA: "2"}
_OURS = re.compile(
    rf"({re.escape(VOLUME)}-|{re.escape(TEMPLATE)} \({_IMAGE_PREFIX})"
    r"(?P<machine>[0-9a-f]{6})(?P<run>[0-9a-f]{5})"
)
#: All objects are small: a task that takes longer hangs.
TASK_TIMEOUT_S = 600.0
#: Attempts of a request that got no answer and may be repeated.
_ATTEMPTS = 3
#: vCenter may hold a VM for a moment after an operation on it.
_REMOVE_ATTEMPTS = 4
#: No template expires, and no replica is made on demand.
SETTINGS = Settings(enabled=True, age_s=0, replicas=REPLICAS_OFF)


@dataclass(frozen=True)
class LiveNames:
    """The names of one run's objects.

    :ivar machine: six hexadecimal digits for the host
    :ivar run: five for the run; a template's name has one more, for the image's form
    """

    machine: str
    run: str

    @classmethod
    def new(cls, host_name: str) -> LiveNames:
        machine = hashlib.sha256(host_name.encode()).hexdigest()[:6]
        return cls(machine, secrets.token_hex(3)[:5])

    def image_id(self, form: Form) -> str:
        return f"{_IMAGE_PREFIX}{self.machine}{self.run}{_FORMS[form]}"

    def volume(self, number: int) -> str:
        return f"{VOLUME}-{self.machine}{self.run}-{number}"

    def owns(self, name: str) -> bool:
        """Whether this run created the object with that name."""
        found = _OURS.match(name)
        return found is not None and (found["machine"], found["run"]) == (self.machine, self.run)

    def is_leftover(
        self, name: str, made_at: datetime.datetime | None, now: datetime.datetime
    ) -> bool:
        """Whether another run, which has ended, created the object with that name: one on this
        host, or one long ago.

        :param made_at: creation time according to vCenter; None if unknown
        """
        found = _OURS.match(name)
        if found is None or self.owns(name):
            return False
        is_old = made_at is not None and now - made_at > STALE_AFTER
        return found["machine"] == self.machine or is_old


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
    :ivar must_remove: whether the run may have created something; set it before creating anything
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
        self.must_remove = False

    def __enter__(self) -> LiveTarget:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self.must_remove:
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

    def volume(self, number: int, disk_type: str = "thin") -> Volume:
        """A volume of this run that does not exist yet."""
        volume_id = str(uuid.uuid4())
        made = Volume(
            id=volume_id,
            name=self.names.volume(number),
            instance_uuid=volume_id,
            size_bytes=VOLUME_BYTES,
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

    def remove_leftovers(self) -> tuple[int, int, list[str]]:
        """Remove what earlier runs left behind: VMs, and directories without a VM. The age of a
        directory is unknown, so those of other hosts are left alone.

        :returns: the numbers of removed VMs and directories, and messages about those that stay
        """
        now = self.cache.session.server_time()
        machines, stay = self._remove(
            [vm for vm in self._vms() if self.names.is_leftover(vm.name, vm.created_at, now)]
        )
        old = [
            (datastore, name)
            for datastore, name in self._directories()
            if self.names.is_leftover(name, None, now)
        ]
        # Read after the directories, so that VMs created in the meantime are seen.
        in_use: set[str] = set()
        for datastore in self.read.usable_datastores if old else ():
            in_use |= datastore_browser.vm_directories(self.cache.session, datastore.moref)
        directories = 0
        for datastore, name in old:
            if name in in_use:
                continue
            try:
                datastore_browser.delete_directory(
                    self.cache.session, self.cache.waiter, datastore, name
                )
                directories += 1
            except errors.VCenterError as failure:
                stay.append(f"{quoted(name)} on {quoted(datastore.name)} stays: {failure}")
        return machines, directories, stay

    def remove_all(self) -> list[str]:
        """Remove what this run created; return messages about what stays."""
        _, stay = self._remove(self.seen().values())
        self.must_remove = bool(stay)
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
        """Directories whose names begin like those of a live run."""
        for datastore in self.read.usable_datastores:
            for prefix in (VOLUME, TEMPLATE):
                for name in datastore_browser.directories(
                    self.cache.session, self.cache.waiter, datastore, prefix
                ):
                    yield datastore, name

    def _vms(self) -> Iterator[VmInfo]:
        """The VMs in the cache's folders."""
        for datacenter in self.read.inventory.datacenters:
            folder = self.read.find_folder(datacenter)
            if folder is not None:
                yield from virtual_machine.list_vms(
                    self.cache.session, folder, RECORD_KEY, attributes=[ATTRIBUTE]
                )

    def _remove(self, machines: Iterable[VmInfo]) -> tuple[int, list[str]]:
        """Remove the VMs; return how many are gone, and messages about those that stay."""
        removed, stay = 0, []
        for vm in machines:
            destroy = functools.partial(
                template.destroy, self.cache.session, self.cache.waiter, vm.moref
            )
            try:
                retry.call(
                    destroy,
                    attempts=_REMOVE_ATTEMPTS,
                    first_wait_s=1.0,
                    clock=self.read.clock,
                )
                removed += 1
            except errors.VCenterError as failure:
                stay.append(f"{quoted(vm.name)} stays: {failure}")
        return removed, stay
