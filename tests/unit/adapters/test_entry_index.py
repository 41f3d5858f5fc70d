"""How a VM in the cache's folder becomes an entry, found by name, id and key."""

from __future__ import annotations

import dataclasses
import datetime
import math
from typing import Any, cast

import pytest

from tests.unit.cache.conftest import GIB, IMAGE
from vmdk_cache.adapters.entry_index import A_MOMENT_S, EntryIndex
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.key import CacheKey, replica_name, template_name
from vmdk_cache.cache.pin import Pin
from vmdk_cache.cache.record import ATTRIBUTE, PIN_ATTRIBUTE, Notes, Record
from vmdk_cache.vim.inventory_index import FollowedVm, InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_disk import VirtualDisk
from vmdk_cache.vim.virtual_machine import VmInfo

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
LATER = NOW + datetime.timedelta(hours=1)
KEY = CacheKey.of(IMAGE, "lsiLogic")
OTHER = CacheKey.of(IMAGE, "ide")
NAME = template_name("b1", KEY)
DISK = VirtualDisk(2000, GIB, "[ds1] x/x.vmdk", None, content_id="c1")


def record(key: CacheKey = KEY) -> str:
    return Record("b1", key, GIB, NOW, "host:1").to_json()


def vm(**changes: Any) -> VmInfo:
    made = VmInfo(
        moref="vm-1",
        name=NAME,
        is_template=True,
        host="host-1",
        datastores=("datastore-1", "datastore-2"),
        extra_config_record=record(),
        disks=(DISK,),
        committed_bytes=7,
        unshared_bytes=5,
        has_config=True,
        created_at=LATER,
    )
    return dataclasses.replace(made, **changes)


def noted(**notes: Any) -> dict[str, str]:
    return {ATTRIBUTE: Notes(**notes).to_json()}


class FakeIndex:
    """The known VMs of the folder; ``asked`` records how old that knowledge could be.

    :ivar made: morefs of the VMs whose properties were asked for
    """

    def __init__(self, *vms: VmInfo) -> None:
        self.known = vms
        self.asked: list[float] = []
        self.made: list[str] = []

    def vms(self, max_age_s: float = 0.0) -> dict[str, FollowedVm]:
        self.asked.append(max_age_s)
        return {vm.moref: FollowedVm(vm.moref, {"vm": vm}, None) for vm in self.known}

    def info(self, vm: FollowedVm) -> VmInfo:
        self.made.append(vm.moref)
        info: VmInfo = vm.row["vm"]
        return info


def index_of(*vms: VmInfo) -> tuple[EntryIndex, FakeIndex]:
    """No VM is IMPORTING, so no session is needed."""
    fake = FakeIndex(*vms)
    return EntryIndex(cast(Session, None), cast(InventoryIndex, fake), "b1"), fake


def test_an_entry_says_what_vcenter_record_and_notes_say() -> None:
    notes = noted(used_at=NOW, warmed_at=LATER, ready_vm="vm-1", content_id="c1")
    index, _ = index_of(vm(custom_values=notes))
    (entry,) = index.entries()
    assert entry.record == Record.from_json(record())
    assert dataclasses.asdict(dataclasses.replace(entry, record=None)) == {
        "moref": "vm-1",
        "name": NAME,
        "phase": Phase.READY,
        "record": None,
        "datastore": "datastore-1",
        "disk_key": 2000,
        "size_bytes": GIB,
        "unshared_bytes": 5,
        "made_at": LATER,
        "used_at": NOW,
        "warmed_at": LATER,
        "was_ready": True,
        "content_id": "c1",
        "ready_content_id": "c1",
        "host": "host-1",
        "owner": Owner.OURS,
        "deployment": "",
        "accessible": True,
        "has_config": True,
        "pinned": None,
    }


def test_an_entry_has_its_own_pin_and_no_inherited_one() -> None:
    pin = Pin("alice@ctl1", NOW)
    inherited = vm(moref="vm-2", name=replica_name("b1", KEY, "datastore-2"))
    index, _ = index_of(
        vm(custom_values={PIN_ATTRIBUTE: pin.to_json("vm-1")}),
        dataclasses.replace(inherited, custom_values={PIN_ATTRIBUTE: pin.to_json("vm-1")}),
    )
    assert {entry.moref: entry.pinned for entry in index.entries()} == {"vm-1": pin, "vm-2": None}


def test_the_only_disk_of_an_entry_is_known_without_a_refresh() -> None:
    index, fake = index_of(
        vm(), vm(moref="vm-2", name="no disk", disks=()), vm(moref="vm-3", disks=(DISK, DISK))
    )
    entries = index.entries()
    fake.asked.clear()
    assert [index.disk_of(entry) for entry in entries] == [DISK, None, None]
    assert index.disk_of(dataclasses.replace(entries[0], moref="vm-9")) is None
    assert set(fake.asked) == {math.inf}


def owned(deployment: str, by_record: str | None, by_note: str | None) -> CacheEntry:
    """What a process of ``deployment`` reads from a template with these two marks."""
    says = Record("b1", KEY, GIB, NOW, "host:1", deployment=by_record or "")
    text = None if by_record is None else says.to_json()
    name = template_name("b1", KEY, by_record or "")
    notes = noted(ready_vm="vm-1", deployment=by_note)
    fake = FakeIndex(vm(name=name, extra_config_record=text, custom_values=notes))
    index = EntryIndex(cast(Session, None), cast(InventoryIndex, fake), "b1", deployment)
    (entry,) = index.entries()
    assert index.copies(KEY, fresh=True) == ((entry,) if entry.phase is Phase.READY else ())
    return entry


@pytest.mark.parametrize(
    ("by_record", "by_note", "owner", "phase"),
    [
        ("here", None, Owner.OURS, Phase.READY),
        ("here", "there", Owner.OURS, Phase.READY),
        ("there", None, Owner.ANOTHER, Phase.FOREIGN),
        ("there", "here", Owner.ANOTHER, Phase.FOREIGN),
        ("", None, Owner.UNKNOWN, Phase.READY),
        ("", "here", Owner.OURS, Phase.READY),
        ("", "there", Owner.ANOTHER, Phase.FOREIGN),
        (None, None, Owner.UNKNOWN, Phase.ADOPTED),
        (None, "here", Owner.OURS, Phase.ADOPTED),
        (None, "there", Owner.ANOTHER, Phase.FOREIGN),
    ],
)
def test_only_what_may_be_this_deployments_is_served(
    by_record: str | None, by_note: str | None, owner: Owner, phase: Phase
) -> None:
    entry = owned("here", by_record, by_note)
    assert (entry.owner, entry.phase) == (owner, phase)
    assert entry.deployment == (by_record or by_note or "")


def test_a_note_that_came_along_from_another_template_names_no_owner() -> None:
    notes = noted(ready_vm="vm-2", deployment="there")
    fake = FakeIndex(vm(custom_values=notes))
    index = EntryIndex(cast(Session, None), cast(InventoryIndex, fake), "b1", "here")
    assert [entry.owner for entry in index.entries()] == [Owner.UNKNOWN]


def test_a_template_is_found_by_the_name_of_its_own_deployment() -> None:
    name = template_name("b1", KEY, "here")
    text = Record("b1", KEY, GIB, NOW, "host:1", deployment="here").to_json()
    fake = FakeIndex(vm(), vm(moref="vm-2", name=name, extra_config_record=text))
    index = EntryIndex(cast(Session, None), cast(InventoryIndex, fake), "b1", "here")
    found = index.find(KEY)
    assert found is not None
    assert found.moref == "vm-2"


def test_an_entry_without_details_says_so() -> None:
    index, _ = index_of(vm(datastores=(), disks=(), host=None, has_config=False))
    (entry,) = index.entries()
    assert (entry.datastore, entry.disk_key, entry.size_bytes) == (None, None, 0)
    assert (entry.used_at, entry.warmed_at, entry.was_ready) == (None, None, False)
    assert (entry.content_id, entry.ready_content_id) == (None, None)
    assert (entry.host, entry.has_config) == (None, False)


@pytest.mark.parametrize(
    ("state", "accessible"),
    [
        ("connected", True),
        ("disconnected", True),
        ("inaccessible", False),
        ("orphaned", False),
        ("invalid", False),
    ],
)
def test_lost_files_are_not_a_host_that_is_away(state: str, accessible: bool) -> None:
    index, _ = index_of(vm(connection_state=state))
    assert index.entries()[0].accessible is accessible


@pytest.mark.parametrize(
    ("content_id", "notes", "phase"),
    [
        ("c1", {"ready_vm": "vm-1", "content_id": "c1"}, Phase.READY),
        ("c2", {"ready_vm": "vm-1", "content_id": "c1"}, Phase.ALTERED),
        ("c2", {"ready_vm": "vm-2", "content_id": "c1"}, Phase.READY),
        ("c2", {"ready_vm": "vm-1"}, Phase.READY),
        ("c2", {}, Phase.READY),
        (None, {"ready_vm": "vm-1", "content_id": "c1"}, Phase.READY),
    ],
)
def test_a_template_is_altered_only_if_both_content_ids_are_known_and_differ(
    content_id: str | None, notes: dict[str, str], phase: Phase
) -> None:
    disk = dataclasses.replace(DISK, content_id=content_id)
    index, _ = index_of(vm(disks=(disk,), custom_values=noted(**notes)))
    (entry,) = index.entries()
    assert entry.phase is phase
    assert entry.was_ready is bool(notes)
    assert bool(index.copies(KEY, fresh=True)) is (phase is Phase.READY)


def test_a_second_disk_is_no_disk_to_clone() -> None:
    second = dataclasses.replace(DISK, key=2001, capacity_bytes=2 * GIB, content_id="c9")
    index, _ = index_of(vm(disks=(DISK, second)))
    (entry,) = index.entries()
    assert (entry.phase, entry.disk_key, entry.content_id) == (Phase.FOREIGN, None, None)
    assert entry.size_bytes == 3 * GIB


def test_copies_are_the_ready_ones_of_the_very_key() -> None:
    replica = vm(moref="vm-2", name=replica_name("b1", KEY, "datastore-2"))
    other = vm(moref="vm-3", name=template_name("b1", OTHER), extra_config_record=record(OTHER))
    adopted = vm(moref="vm-4", extra_config_record=None)
    index, _ = index_of(vm(), replica, other, adopted)
    assert [entry.moref for entry in index.copies(KEY, fresh=True)] == ["vm-1", "vm-2"]
    assert [entry.moref for entry in index.copies(OTHER, fresh=True)] == ["vm-3"]
    assert index.copies(dataclasses.replace(KEY, fingerprint="else"), fresh=True) == ()
    assert [entry.moref for entry in index.entries()] == ["vm-1", "vm-2", "vm-3", "vm-4"]


def test_only_a_lookup_that_may_be_wrong_uses_cached_knowledge() -> None:
    index, fake = index_of(vm())
    index.copies(KEY, fresh=False)
    assert fake.asked == [A_MOMENT_S]
    index.copies(KEY, fresh=True)
    (entry,) = index.entries()
    index.look_again(entry)
    index.find(KEY)
    assert fake.asked[1:] == [0, 0, 0, 0]


def test_an_object_with_the_name_of_another_key_is_not_ours() -> None:
    """A name contains only a part of the key's digest; the record contains the key."""
    index, _ = index_of(vm(extra_config_record=record(dataclasses.replace(KEY, fingerprint="x"))))
    found = index.find(KEY)
    assert found is not None
    assert (found.moref, found.phase) == ("vm-1", Phase.FOREIGN)


def test_any_object_with_the_name_is_found() -> None:
    index, _ = index_of(vm(extra_config_record=None))
    found = index.find(KEY)
    assert found is not None
    assert found.phase is Phase.ADOPTED
    assert index.find(OTHER) is None


def test_the_first_of_two_with_the_name_is_found() -> None:
    """The two are in folders of two datacenters."""
    index, _ = index_of(vm(moref="vm-1"), vm(moref="vm-2"))
    found = index.find(KEY)
    assert found is not None
    assert found.moref == "vm-1"
    assert len(index.copies(KEY, fresh=True)) == 2


def test_another_look_sees_what_has_changed_or_gone() -> None:
    index, fake = index_of(vm())
    (entry,) = index.entries()
    assert index.look_again(entry) == entry
    fake.known = (vm(host="host-2"),)
    seen = index.look_again(entry)
    assert seen is not None
    assert seen.host == "host-2"
    fake.known = (vm(name="renamed"),)
    assert index.look_again(entry) is None
    fake.known = ()
    assert index.look_again(entry) is None


def test_entries_are_made_once_for_each_state_of_a_vm() -> None:
    first, second = vm(), vm(moref="vm-2", name=replica_name("b1", KEY, "datastore-2"))
    index, fake = index_of(first, second)
    before = index.entries()
    assert all(one is other for one, other in zip(before, index.entries(), strict=True))
    changed = dataclasses.replace(second, unshared_bytes=9)
    fake.known = (first, changed)
    after = index.entries()
    assert after[0] is before[0]
    assert after[1].unshared_bytes == 9
    assert fake.made == ["vm-1", "vm-2", "vm-2"]
