"""A cache on a fake vCenter with a Glance, users and an administrator, and what must hold of it.

Client and server share one clock. It moves when somebody waits, with each request and each task,
and when ``tick`` is called. What should be there is kept beside vCenter: volumes with the content
of their images, and what belongs to others. ``check`` compares; it looks by a session of its own,
on which no fault falls.
"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from tests.fakes.clock import SharedClock
from tests.fakes.images import FakeImage, FakeImageSource, as_stream_optimized, noise
from tests.fakes.vcenter import Clock, CostModel, Model, VCenter
from tests.fakes.vcenter.fault_rules import FaultRule
from tests.scenario.conftest import FOLDER, volume
from vmdk_cache import errors, wiring
from vmdk_cache.cache.entry import CacheEntry, Phase, pins_of
from vmdk_cache.cache.events import Event, Reason, Rule
from vmdk_cache.cache.key import CacheKey, name_prefix, template_name
from vmdk_cache.cache.ports import Place, Volume
from vmdk_cache.cache.record import ATTRIBUTES, RECORD_KEY
from vmdk_cache.cache.replication import THREAD_NAME
from vmdk_cache.conf import EXPIRY_IDLE, Settings
from vmdk_cache.image import Image
from vmdk_cache.locks import ToozLocks, coordinator
from vmdk_cache.vim import clone_spec, template, virtual_machine
from vmdk_cache.vim.session import Endpoint

GIB = 1 << 30
DATA_BYTES = 128 << 10
VOLUME_BYTES = 4 * GIB
LEASE_TIMEOUT_S = 300
#: What vCenter takes to remove the VM of an import that failed.
LEASE_CLEANUP_S = 5
#: Calls after whose refusal a process does not set custom attributes, and for how long.
ATTRIBUTE_CALLS = frozenset({"AddCustomFieldDef", "SetField"})
REFUSED_S = 600.0
IMAGE_IDS = tuple(f"a0000000-0000-4000-8000-{number:012}" for number in range(1, 4))
DATASTORES = ("DC0_DS0", "DC0_DS1")


class Killed(BaseException):
    """The process is dead: nothing of it runs on."""


class MortalClock(SharedClock):
    """The clock of one process; it ends the threads that wait on it after that process died."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.dead = False

    def sleep(self, seconds: float) -> None:
        if not self.dead:
            super().sleep(seconds)
        elif threading.current_thread() is threading.main_thread():
            raise Killed
        else:
            time.sleep(0.001)


class Glance:
    """Images by id; each update gives an image another content."""

    def __init__(self) -> None:
        self._versions = itertools.count(1)
        self._files: dict[str, FakeImage] = {}
        for image_id in IMAGE_IDS:
            self.update(image_id)

    def update(self, image_id: str) -> None:
        data = noise(DATA_BYTES, f"{image_id} {next(self._versions)}".encode())
        capacity_bytes = (IMAGE_IDS.index(image_id) + 1) * GIB
        self._files[image_id] = as_stream_optimized(data, capacity_bytes=capacity_bytes)

    def delete(self, image_id: str) -> None:
        self._files.pop(image_id, None)

    def ids(self) -> list[str]:
        return list(self._files)

    def file(self, image_id: str) -> FakeImage | None:
        return self._files.get(image_id)

    def describe(self, image_id: str) -> Image | None:
        """As a cache's catalog."""
        file = self._files.get(image_id)
        return file and file.image(image_id)


@dataclass(frozen=True)
class Wanted:
    """A volume that a user has, and the content that it was made with.

    :ivar may_tell_uses: the account was not allowed to take away the template's times of use
    """

    volume: Volume
    data: bytes
    may_tell_uses: bool


@dataclass
class Process:
    """A running cache; ``stack`` ends it."""

    cache: wiring.RunningCache
    clock: MortalClock
    stack: contextlib.ExitStack


class World:
    """See the module's text.

    :ivar volumes: by the name of their VM
    :ivar others: moref -> what was there when it was put there
    :ivar robbed: morefs of templates whose files somebody deleted
    :ivar troubled_at: last time a fault or a crash may have left a lease behind
    :ivar refused_at: last time the account was not allowed to set the attribute of the uses
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stack = contextlib.ExitStack()
        path = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.locks_url = f"file://{pathlib.Path(path)}"
        self.vcenter = self.stack.enter_context(
            VCenter(
                Model(hosts_per_cluster=2, datastores=2, datastore_bytes=100 * GIB),
                clock=Clock(scale=0.0),
                cost_model=CostModel.plain(),
            )
        )
        self.vcenter.switches.lease_cleanup_s = LEASE_CLEANUP_S
        self.glance = Glance()
        self.numbers = itertools.count(1)
        self.volumes: dict[str, Wanted] = {}
        self.others: dict[str, object] = {}
        self.robbed: set[str] = set()
        self.data_of: dict[str, bytes] = {}
        self.troubled_at = float("-inf")
        self.refused_at = float("-inf")
        self.events: list[Event] = []
        self.auditor = self.start(Settings())
        self.process = self.start(settings)

    @property
    def cache(self) -> wiring.RunningCache:
        return self.process.cache

    # -- processes

    def start(self, settings: Settings) -> Process:
        stack = contextlib.ExitStack()
        get_lock = stack.enter_context(coordinator(self.locks_url))
        clock = MortalClock(self.vcenter.clock)
        cache = wiring.build(
            settings,
            wiring.Backend(
                "b1",
                Endpoint(
                    host=self.vcenter.host,
                    port=self.vcenter.port,
                    user=self.vcenter.user,
                    password=self.vcenter.password,
                    ca_file=self.vcenter.ca_file,
                    api_retry_count=3,
                ),
                FOLDER,
            ),
            ToozLocks(get_lock, "stateful"),
            events=self.events.append,
            catalog=self.glance,
            clock=clock,
        )
        stack.callback(cache.close)
        return Process(cache, clock, stack)

    def restart(self, **changes: Any) -> None:
        """End the process in good order and start another, perhaps with other settings."""
        self.process.stack.close()
        self.settings = type(self.settings)(**{**vars(self.settings), **changes})
        self.process = self.start(self.settings)

    def add_fault(self, call: str, skip: int, **way: Any) -> FaultRule:
        """A fault at a call of vCenter; what it means for volumes to come is taken down."""

        def note() -> None:
            if call in ATTRIBUTE_CALLS and isinstance(way.get("fault"), vim.fault.NoPermission):
                self.refused_at = self.vcenter.clock.monotonic()

        return self.vcenter.fault_rules.add(call, skip=skip, action=note, **way)

    def until_it_dies(self, call: str, skip: int, acted: bool, work: Callable[[], None]) -> bool:
        """Do ``work`` in the process; whether it was killed at a call of vCenter meanwhile.

        From then on nothing of it reaches vCenter, and it waits for nothing.
        """
        process = self.process

        def die() -> None:
            process.clock.dead = True
            self.vcenter.fault_rules.add("*", drop="before", times=None)

        rule = self.vcenter.fault_rules.add(
            call, skip=skip, drop="after" if acted else "before", action=die
        )
        try:
            work()
        except (Killed, errors.VmdkCacheError):
            if not rule.hits:
                raise
        if rule.hits:
            self.trouble()
            process.stack.close()
        self.vcenter.fault_rules.clear()
        if rule.hits:
            self.process = self.start(self.settings)
        return bool(rule.hits)

    def close(self) -> None:
        self.process.stack.close()
        self.auditor.stack.close()
        self.stack.close()

    def trouble(self) -> None:
        self.troubled_at = self.vcenter.clock.monotonic()

    # -- users

    def new_volume(self, adapter: str) -> Volume:
        return volume(next(self.numbers), size_bytes=VOLUME_BYTES, adapter_type=adapter)

    def create(self, image_id: str, made: Volume) -> bool:
        """Whether the volume's creation was a hit."""
        file = self.glance.file(image_id)
        assert file is not None
        image = file.image(image_id)
        key = CacheKey.of(image, made.adapter_type)
        self.data_of[key.fingerprint] = file.disk
        outcome = self.cache.images.create_volume(image, made, FakeImageSource(file))
        since_s = self.vcenter.clock.monotonic() - self.refused_at
        self.volumes[made.name] = Wanted(made, file.disk, since_s <= REFUSED_S)
        return outcome.hit

    def replicate(self, image_id: str, adapter: str) -> None:
        """So many volumes go to every datastore that each without a copy gets one, if it may."""
        file = self.glance.file(image_id)
        assert file is not None
        key = CacheKey.of(file.image(image_id), adapter)
        copies = self.cache.store.copies(key)
        for name in DATASTORES:
            place = Place(self.vcenter.datastore(name).moref, name, "", "", "")
            for _ in range(self.settings.replicate_after + 1):
                self.cache.replication.asked(key, copies, place)
        self.settle()

    def serves(self, image_id: str, adapter: str) -> bool:
        """Whether there is a template that a volume can be cloned from now."""
        file = self.glance.file(image_id)
        assert file is not None
        key = CacheKey.of(file.image(image_id), adapter)
        return any(
            entry.phase is Phase.READY
            and entry.record is not None
            and entry.record.key == key
            and entry.moref not in self.robbed
            for entry in self.entries()
        )

    def delete_volume(self, made: Volume) -> None:
        """As Cinder does: whatever bears the volume's uuid, if anything does."""
        with self.vcenter.lock:
            for vm in self.vcenter.vms():
                if vm.instance_uuid == made.instance_uuid:
                    vm.destroy()
        self.volumes.pop(made.name, None)

    def may_refuse(self, image_id: str, adapter: str, failure: errors.VmdkCacheError) -> bool:
        """Whether ``failure`` is what a user must expect as things stand."""
        if isinstance(failure, errors.NotCacheable):
            return {
                Reason.DISABLED: not self.settings.enabled,
                Reason.IMAGE_TOO_LARGE: True,
                Reason.NO_ROOM: True,
                Reason.NAME_TAKEN: self.name_is_taken(image_id, adapter),
            }.get(Reason(failure.reason), False)
        # A lease is lost when its upload finds no space.
        no_room = (errors.NoPlacement, errors.NoSpace, errors.LeaseLost)
        return isinstance(failure, no_room) and self.is_filled()

    def name_is_taken(self, image_id: str, adapter: str) -> bool:
        file = self.glance.file(image_id)
        assert file is not None
        name = template_name("b1", CacheKey.of(file.image(image_id), adapter))
        return any(e.name == name and e.phase is not Phase.READY for e in self.entries())

    # -- what others do

    def fill(self, name: str, percent: int) -> None:
        """Somebody takes a share of a datastore; what is on it stays."""
        datastore = self.vcenter.datastore(name)
        datastore.fill(0)
        datastore.fill(datastore.free_bytes * percent // 100)

    def is_filled(self) -> bool:
        return any(
            self.vcenter.datastore(name).free_bytes < 2 * VOLUME_BYTES for name in DATASTORES
        )

    def put_beside(self, source: str, name: str, *, with_record: bool, as_template: bool) -> str:
        """An administrator clones ``source`` into the cache's folder; the moref of the clone."""
        session, waiter = self.auditor.cache.session, self.auditor.cache.waiter
        found = virtual_machine.get_vm(session, source, RECORD_KEY)
        (folder,) = (f for f in self.vcenter.registry.of_type(vim.Folder) if self.is_ours(f))
        (pool,) = self.vcenter.registry.of_type(vim.ResourcePool)
        at = self.vm(source)
        assert found is not None
        return template.clone(
            session,
            waiter,
            found.moref,
            clone_spec.CloneRequest(
                name=name,
                folder=folder.moref,
                datastore=at.home_datastore.moref,
                host=at.host.moref,
                pool=pool.moref,
                disk_key=found.disks[0].key,
                extra_config={} if with_record else {RECORD_KEY: ""},
                as_template=as_template,
            ),
            timeout_s=60,
        )

    def is_ours(self, folder: Any) -> bool:
        """Whether it is the cache's folder."""
        parent = folder.parent
        return folder.name == FOLDER[2] and parent is not None and parent.name == FOLDER[1]

    def rob(self, moref: str) -> None:
        """Somebody deletes a VM's directory behind vCenter's back."""
        vm = self.vm(moref)
        with self.vcenter.lock:
            storage = vm.home_datastore.storage
            for path in list(storage.files()):
                if path.startswith(f"{vm.directory}/"):
                    storage.delete(path)
            storage.delete_if_empty(vm.directory)
        self.robbed.add(moref)

    def remove_the_cache_folder(self) -> None:
        """An administrator removes it with all that is in it, unless something is under way."""
        with self.vcenter.lock:
            for folder in self.vcenter.registry.of_type(vim.Folder):
                if not self.is_ours(folder) or self.vcenter.leases():
                    continue
                for vm in folder.childEntity:
                    self.others.pop(vm.moref, None)
                    if vm.moref in self.robbed:
                        vm.remove()
                    else:
                        vm.destroy()
                folder.destroy()

    # -- what is there

    def vm(self, moref: str) -> Any:
        (found,) = (vm for vm in self.vcenter.vms() if vm.moref == moref)
        return found

    def entries(self) -> list[CacheEntry]:
        return self.auditor.cache.store.entries()

    def has_templates(self) -> bool:
        return any(vm.template for vm in self.vcenter.vms())

    def templates(self) -> list[CacheEntry]:
        """What serves or served, in order of age; without what others put there."""
        kinds = (Phase.READY, Phase.ADOPTED)
        return [e for e in self.entries() if e.phase in kinds and e.moref not in self.others]

    def as_it_is(self, moref: str) -> object:
        """All of a VM that an owner would see changed."""
        vm = self.vm(moref)
        disk = self.vcenter.read_disk(vm)
        return (
            vm.name,
            vm.parent,
            vm.template,
            vm.config.changeVersion,
            sorted(vm.custom_values.items()),
            disk.size_bytes,
            disk.read(0, DATA_BYTES),
        )

    def settle(self) -> None:
        """Let replicas come to their ends, and vCenter with what it has begun; leases may stay
        open."""
        while threads := [t for t in threading.enumerate() if t.name == THREAD_NAME]:
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive(), "a replica that does not end"
        deadline = time.monotonic() + 30
        while True:
            with self.vcenter.lock:
                running = [task.method for task in self.vcenter.tasks.running()]
                if running == ["ImportVAppLRO"] * len(self.vcenter.leases()):
                    return
            if set(running) == {"ImportVAppLRO"}:
                self.vcenter.clock.advance(LEASE_CLEANUP_S)
            assert time.monotonic() < deadline, f"still running: {running}"
            time.sleep(0.001)

    # -- what must hold

    def check(self) -> None:
        """After every step."""
        self.settle()
        entries = self.entries()
        with self.vcenter.lock:
            self._check_copies(entries)
            self._check_volumes(entries)
            for moref, before in self.others.items():
                assert self.as_it_is(moref) == before, "somebody else's VM was touched"
            since_s = self.vcenter.clock.monotonic() - self.troubled_at
            assert self.vcenter.leases() == [] or since_s <= LEASE_TIMEOUT_S + 1
        assert self.vcenter.errors == []

    def _check_copies(self, entries: list[CacheEntry]) -> None:
        ready = [e for e in entries if e.phase is Phase.READY]
        served = [(e.record and e.record.key, e.datastore) for e in ready]
        assert len(served) == len(set(served)), "two ready templates of one key"
        for entry in ready:
            assert entry.record is not None
            if entry.moref not in self.robbed:
                disk = self.vcenter.read_disk(self.vm(entry.moref))
                data = self.data_of[entry.record.key.fingerprint]
                assert disk.read(0, DATA_BYTES) == data, "a ready template is not the image"

    def _check_volumes(self, entries: list[CacheEntry]) -> None:
        found = {vm.name for vm in self.vcenter.vms()} - {entry.name for entry in entries}
        assert found == set(self.volumes), "volumes without an owner, or missing volumes"
        usage = [f.key for f in self.vcenter.custom_fields.field if f.name in ATTRIBUTES]
        for name, wanted in self.volumes.items():
            vm = self.vcenter.find_vm(name)
            (disk,) = vm.disks
            uuid = wanted.volume.instance_uuid
            assert (vm.instance_uuid, disk.uuid) == (uuid, uuid)
            assert disk.capacity_bytes == VOLUME_BYTES
            assert self.vcenter.read_disk(vm).read(0, DATA_BYTES) == wanted.data
            options = {option.key: option.value for option in vm.config.extraConfig}
            assert RECORD_KEY not in options
            assert options["cinder.volume.id"] == wanted.volume.id
            assert wanted.may_tell_uses or not any(vm.custom_values.get(key) for key in usage)

    def keeps_its_limits(self) -> bool:
        """Whether the cache is as small as its options say."""
        sizes = [e.size_bytes for e in self.entries() if e.phase is not Phase.FOREIGN]
        limits = self.settings
        capacity_bytes = sum(self.vcenter.datastore(name).capacity_bytes for name in DATASTORES)
        percent = sum(sizes) * 100 / capacity_bytes
        return (
            (not limits.max_count or len(sizes) <= limits.max_count)
            and (not limits.max_total_bytes or sum(sizes) <= limits.max_total_bytes)
            and (not limits.max_percent or percent <= limits.max_percent)
        )

    def check_purged(self) -> None:
        """After a purge that met no fault."""
        limits = self.settings
        now = self.vcenter.clock.now()
        kinds = (Phase.READY, Phase.ADOPTED)
        served = [e for e in self.entries() if e.phase in kinds]
        pins = pins_of(served)
        removable = [e for e in served if e.phase is not Phase.READY or e.image_id not in pins]
        assert self.keeps_its_limits() or not removable
        provisioned = sum(e.size_bytes for e in self.entries() if e.phase is not Phase.FOREIGN)
        assert self.cache.reporter.latest().extra_provisioned_gib == -(-provisioned // GIB)
        for entry in removable:
            times = [entry.created_at, entry.used_at if limits.expiry == EXPIRY_IDLE else None]
            since = max(time for time in times if time is not None)
            assert not limits.age_s or (now - since).total_seconds() <= limits.age_s
        for entry in served:
            image = self.glance.describe(entry.image_id or "")
            assert image is not None, "a copy of a deleted image"
            if entry.record is not None:
                key = CacheKey.of(image, entry.record.key.adapter_type)
                assert entry.record.key == key, "a copy of what the image was"

    def held(self, *, pinned_only: bool) -> set[CacheKey]:
        """What no purge and no evacuation may lose: of the contents that templates have and Glance
        still describes so, the pinned ones, or all that the next purge would leave alone."""
        plan = self.cache.purge.plan()
        due = {v.entry.moref for v in plan.remove if v.rule is not Rule.LIMIT}
        entries = [verdict.entry for verdict in (*plan.keep, *plan.remove)]
        pins = pins_of(entries)
        return {
            entry.record.key
            for entry in entries
            if entry.phase is Phase.READY
            and entry.record is not None
            and entry.moref not in self.robbed
            and entry.moref not in due
            and (entry.image_id in pins or not pinned_only)
            and (image := self.glance.describe(entry.image_id or "")) is not None
            and entry.record.key == CacheKey.of(image, entry.record.key.adapter_type)
        }

    def evacuate(self, name: str, *, replicate: bool) -> None:
        leaving = [self.vcenter.datastore(name).moref]
        evacuation = self.cache.evacuation
        plan = evacuation.plan(leaving, replicate=replicate)
        for done in evacuation.carry_out(plan, leaving):
            assert done.stayed is not None or done.verdict.entry.moref not in {
                entry.moref for entry in self.entries()
            }

    def check_reconciled(self) -> None:
        """After a reconcile that met no fault, and time for two looks."""
        for entry in self.entries():
            is_held = entry.moref in {lease.vm.moref for lease in self.vcenter.leases()}
            assert entry.phase is not Phase.IMPORTING or is_held
        homes = {vm.directory for vm in self.vcenter.vms()}
        for name in DATASTORES:
            for directory in self.vcenter.datastore(name).directories():
                assert directory in homes or not directory.startswith(name_prefix("b1"))
