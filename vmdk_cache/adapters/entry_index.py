"""The VMs in the cache's folders as entries of the cache, served from memory.

vim/inventory_index.py follows the VMs; what is made of a VM is kept until the VM changes. An
IMPORTING entry is read from vCenter before it is returned: late updates must not decide whether a
process waits for it, or removes it.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase, classify
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cache.record import ATTRIBUTE, ATTRIBUTES, PIN_ATTRIBUTE, RECORD_KEY, Notes, Record
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import virtual_machine
from vmdk_cache.vim.inventory_index import FollowedVm, InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_disk import VirtualDisk
from vmdk_cache.vim.virtual_machine import VmInfo

#: Maximum age of an answer if a wrong one costs only a second look.
A_MOMENT_S = 5.0
#: vSphere API reference, VirtualMachineConnectionState; ``disconnected`` is the host, and passes.
LOST_STATES = frozenset({"inaccessible", "orphaned", "invalid"})


@dataclass(frozen=True)
class _Known:
    """A VM, what was made of it, and its only disk (None if it has none or several)."""

    vm: FollowedVm
    entry: CacheEntry
    disk: VirtualDisk | None


@dataclass(frozen=True)
class _State:
    """All that was made of ``vms``, and ways to find it."""

    vms: Mapping[str, FollowedVm] = field(default_factory=dict)
    known: dict[str, _Known] = field(default_factory=dict)  # by moref
    by_name: dict[str, CacheEntry] = field(default_factory=dict)
    copies: dict[CacheKey, tuple[CacheEntry, ...]] = field(default_factory=dict)


class EntryIndex:
    """Thread-safe.

    :param index: follows the cache's folders, with :data:`RECORD_KEY` and :data:`ATTRIBUTES`
    :param backend: whose templates they are
    :param deployment: in which cloud, see vmdk_cache/deployment.py
    :param folder: name of the folder that new ones go into
    """

    def __init__(
        self,
        session: Session,
        index: InventoryIndex,
        backend: str,
        deployment: str = "",
        folder: str | None = None,
    ) -> None:
        self._session = session
        self._index = index
        self._backend = backend
        self._deployment = deployment
        self._folder = folder
        self._lock = threading.Lock()
        self._last = _State()

    def find(self, key: CacheKey) -> CacheEntry | None:
        """The entry of the key's name as it is now, or None."""
        found = self._state(0).by_name.get(template_name(self._backend, key, self._deployment))
        for entry in self._now([found] if found else []):
            # A name holds only a part of its key's digest; the record holds the key.
            if entry.record is not None and entry.record.key != key:
                return dataclasses.replace(entry, phase=Phase.FOREIGN)
            return entry
        return None

    def copies(self, key: CacheKey, *, fresh: bool) -> tuple[CacheEntry, ...]:
        """The READY entries of the key: as they are now, or as they were a moment ago."""
        return self._state(0 if fresh else A_MOMENT_S).copies.get(key, ())

    def look_again(self, entry: CacheEntry) -> CacheEntry | None:
        """The same VM as it is now, None if it is gone or has another name."""
        found = self._state(0).known.get(entry.moref)
        if found is None or found.entry.name != entry.name:
            return None
        return next(iter(self._now([found.entry])), None)

    def entries(self) -> list[CacheEntry]:
        """All entries as they are now."""
        return self._now(each.entry for each in self._state(0).known.values())

    def read(self, moref: str, name: str) -> CacheEntry:
        """The VM that this process has just made, read from vCenter.

        :raises ObjectNotFound: it is gone already
        """
        made = virtual_machine.get_vm(self._session, moref, RECORD_KEY, attributes=ATTRIBUTES)
        if made is None:
            raise errors.ObjectNotFound(
                f"template {quoted(name)} was deleted as soon as it was made", moref=moref
            )
        return self.entry_of(made)

    def disk_of(self, entry: CacheEntry) -> VirtualDisk | None:
        """The entry's only disk, as last seen; None if unknown. Costs a request only if this
        process has changed something since."""
        found = self._state(math.inf).known.get(entry.moref)
        return None if found is None else found.disk

    def entry_of(self, vm: VmInfo) -> CacheEntry:
        """The entry that the VM is."""
        record = Record.from_json(vm.extra_config_record)
        notes = Notes.from_json(vm.custom_values.get(ATTRIBUTE))
        disk = _only_disk(vm)
        content_id = disk.content_id if disk is not None else None
        ready_content_id = notes.content_of(vm.moref)
        deployment = (record.deployment if record else "") or notes.deployment_of(vm.moref)
        owner = self._owner(deployment)
        return CacheEntry(
            moref=vm.moref,
            name=vm.name,
            phase=classify(
                self._backend,
                vm.name,
                vm.is_template,
                len(vm.disks),
                record,
                owner=owner,
                was_ready=notes.is_any,
                has_other_content=None not in (content_id, ready_content_id)
                and content_id != ready_content_id,
            ),
            record=record,
            datastore=vm.datastores[0] if vm.datastores else None,
            disk_key=disk.key if disk is not None else None,
            size_bytes=sum(disk.capacity_bytes for disk in vm.disks),
            unshared_bytes=vm.unshared_bytes,
            made_at=vm.created_at,
            used_at=notes.used_at,
            warmed_at=notes.warmed_at,
            was_ready=notes.is_any,
            content_id=content_id,
            ready_content_id=ready_content_id,
            host=vm.host,
            owner=owner,
            deployment=deployment,
            accessible=vm.connection_state not in LOST_STATES,
            has_config=vm.has_config,
            pinned=Pin.from_json(vm.custom_values.get(PIN_ATTRIBUTE), vm.moref),
        )

    def _owner(self, deployment: str) -> Owner:
        if deployment == self._deployment:
            return Owner.OURS
        return Owner.ANOTHER if deployment else Owner.UNKNOWN

    def _now(self, entries: Iterable[CacheEntry]) -> list[CacheEntry]:
        """The entries; those that are IMPORTING are read from vCenter."""
        entries = list(entries)
        importing = [entry.moref for entry in entries if entry.phase is Phase.IMPORTING]
        if not importing:
            return entries
        read = virtual_machine.get_vms(self._session, importing, RECORD_KEY, attributes=ATTRIBUTES)
        return [
            entry if entry.moref not in importing else self.entry_of(read[entry.moref])
            for entry in entries
            if entry.moref not in importing or entry.moref in read
        ]

    def _state(self, max_age_s: float) -> _State:
        vms = self._index.vms(max_age_s)
        with self._lock:
            if self._last.vms is not vms:
                self._last = self._made(vms)
            return self._last

    def _made(self, vms: Mapping[str, FollowedVm]) -> _State:
        state = _State(vms)
        for moref, vm in vms.items():
            known = self._last.known.get(moref)
            if known is None or known.vm != vm:
                info = self._index.info(vm)
                known = _Known(vm, self.entry_of(info), _only_disk(info))
            state.known[moref] = known
        own = {moref for moref, vm in vms.items() if vm.folder in (None, self._folder)}
        for moref in sorted(vms, key=lambda moref: moref not in own):
            entry = state.known[moref].entry
            # In another folder a name is not taken; a READY or IMPORTING entry counts in any.
            if moref in own or entry.phase in (Phase.READY, Phase.IMPORTING):
                state.by_name.setdefault(entry.name, entry)
            if entry.phase is Phase.READY and entry.record is not None:
                others = state.copies.get(entry.record.key, ())
                state.copies[entry.record.key] = (*others, entry)
        return state


def _only_disk(vm: VmInfo) -> VirtualDisk | None:
    return vm.disks[0] if len(vm.disks) == 1 else None
