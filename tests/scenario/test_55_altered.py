"""Templates that an administrator altered by hand, on the fake vCenter."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim

from tests.fakes.images import FakeImage
from tests.fakes.vcenter import VCenter
from tests.scenario.conftest import Lab, volume
from tests.scenario.test_25_replicas import settle
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.events import Evicted, Reason, Rule
from vmdk_cache.cache.findings import Kind
from vmdk_cache.cache.key import CacheKey
from vmdk_cache.cache.record import ATTRIBUTE, Notes
from vmdk_cache.conf import Settings
from vmdk_cache.vim import inventory, template, virtual_machine
from vmdk_cache.vim.custom_attribute import CustomAttributes

GRAFFITI = b"written by somebody who booted the template"


@pytest.fixture
def lab(vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path) -> Iterator[Lab]:
    made = Lab(vcenter, disk_image, tmp_path)
    with made.stack:
        yield made
        settle()


def key_of(lab: Lab) -> CacheKey:
    return CacheKey.of(lab.image, volume().adapter_type)


def copies(lab: Lab) -> tuple[CacheEntry, ...]:
    return lab.cache.store.copies(key_of(lab), fresh=True)


def convert(lab: Lab, moref: str) -> None:
    """Make a virtual machine of the template."""
    session = lab.cache.session
    seen = virtual_machine.get_vm(session, moref, "")
    assert seen is not None
    pools = {host.moref: host.pool for host in inventory.snapshot(session).hosts}
    host = seen.host or ""
    session.invoke(
        "VirtualMachine",
        moref,
        "MarkAsVirtualMachine",
        pool=vim.ResourcePool(pools[host]),
        host=vim.HostSystem(host),
    )


def boot(lab: Lab, moref: str) -> None:
    """Let the virtual machine write to its disk."""
    session = lab.cache.session
    for power in ("PowerOnVM_Task", "PowerOffVM_Task"):
        lab.cache.waiter.wait(session.invoke("VirtualMachine", moref, power), timeout_s=60)
        with lab.vcenter.lock:
            (vm,) = [vm for vm in lab.vcenter.vms() if vm.moref == moref]
            lab.vcenter.read_disk(vm).write(4096, GRAFFITI)
            vm.touch()


def alter(lab: Lab, moref: str) -> None:
    convert(lab, moref)
    boot(lab, moref)
    template.mark_as_template(lab.cache.session, moref)
    lab.cache.store.entries()  # in life, all this takes longer than an answer counts as new


def notes(lab: Lab, moref: str) -> Notes:
    found = virtual_machine.get_vm(lab.cache.session, moref, "", attributes=[ATTRIBUTE])
    assert found is not None
    return Notes.from_json(found.custom_values.get(ATTRIBUTE))


def has_graffiti(lab: Lab, name: str) -> bool:
    with lab.vcenter.lock:
        disk = lab.vcenter.read_disk(name)
        return bool(disk.read(4096, len(GRAFFITI)) == GRAFFITI)


def evicted(lab: Lab) -> list[tuple[str, Rule]]:
    return [(e.template, e.rule) for e in lab.events if isinstance(e, Evicted)]


def test_a_template_that_was_booted_is_not_served_and_goes(lab: Lab) -> None:
    assert not lab.create(1)
    (made,) = copies(lab)
    alter(lab, made.moref)
    with pytest.raises(errors.NotCacheable) as refused:
        lab.create(2)
    assert refused.value.reason == Reason.NAME_TAKEN
    assert "other content" in str(refused.value)
    (finding,) = lab.cache.reconcile.check().findings
    assert (finding.kind, finding.where, finding.fixed) == (Kind.ALTERED, made.moref, False)
    assert [entry.moref for entry in lab.cache.purge.run()] == [made.moref]
    assert evicted(lab) == [(made.name, Rule.ALTERED)]
    assert not lab.create(3)
    assert lab.create(4)
    assert not has_graffiti(lab, volume(4).name)


def test_a_template_that_was_converted_to_a_vm_is_left_to_the_administrator(lab: Lab) -> None:
    lab.create(1)
    (made,) = copies(lab)
    convert(lab, made.moref)
    lab.vcenter.clock.advance(10**6)
    for cache in (lab.cache, lab.process()):
        for _ in range(2):
            (finding,) = cache.reconcile.check(fix=True).findings
            assert (finding.kind, finding.where, finding.fixed) == (Kind.FOREIGN, made.moref, False)
            assert "convert it back" in finding.says
            assert cache.purge.run() == []
            lab.vcenter.clock.advance(3600)
    with pytest.raises(errors.NotCacheable) as refused:
        lab.create(2)
    assert refused.value.reason == Reason.NAME_TAKEN
    assert "convert it back" in str(refused.value)
    assert evicted(lab) == []
    template.mark_as_template(lab.cache.session, made.moref)
    lab.vcenter.clock.advance(60)
    assert [entry.moref for entry in copies(lab)] == [made.moref]


def test_a_check_removes_an_altered_template_as_well(lab: Lab) -> None:
    lab.create(1)
    (made,) = copies(lab)
    alter(lab, made.moref)
    (finding,) = lab.cache.reconcile.check(fix=True).findings
    assert (finding.kind, finding.fixed) == (Kind.ALTERED, True)
    assert lab.templates() == []


def test_another_process_knows_the_template_as_altered(lab: Lab) -> None:
    lab.create(1)
    (made,) = copies(lab)
    alter(lab, made.moref)
    lab.cache = lab.process()
    assert [entry.phase for entry in lab.cache.store.entries()] == [Phase.ALTERED]
    with pytest.raises(errors.NotCacheable):
        lab.create(2)


def test_a_template_that_was_converted_and_not_booted_is_served_again(lab: Lab) -> None:
    lab.create(1)
    (made,) = copies(lab)
    convert(lab, made.moref)
    (seen,) = lab.cache.store.entries()
    assert (seen.phase, seen.was_ready) == (Phase.FOREIGN, True)
    template.mark_as_template(lab.cache.session, made.moref)
    assert lab.create(2)


def test_a_vcenter_without_content_ids_serves_what_it_has(lab: Lab) -> None:
    lab.vcenter.switches.disks_have_content_ids = False
    lab.create(1)
    (made,) = copies(lab)
    assert (made.content_id, made.was_ready) == (None, True)
    alter(lab, made.moref)
    assert lab.create(2)
    assert lab.cache.purge.run() == []


def test_a_vcenter_that_no_longer_shows_content_ids_keeps_its_templates(lab: Lab) -> None:
    lab.create(1)
    lab.vcenter.switches.disks_have_content_ids = False
    lab.cache = lab.process()
    for vm in lab.vcenter.vms():
        vm.touch()
    assert lab.create(2)
    assert lab.cache.purge.run() == []


@pytest.mark.parametrize("fault", ["refused", "lost"])
def test_a_note_that_was_not_written_is_made_up_for_by_the_next_use(lab: Lab, fault: str) -> None:
    """As after a crash between MarkAsTemplate and SetField."""
    rule = (
        lab.vcenter.fault_rules.add("SetField", vim.fault.InvalidState(), times=2)
        if fault == "refused"
        else lab.vcenter.fault_rules.add("SetField", drop="before", times=None)
    )
    assert not lab.create(1)
    (made,) = copies(lab)
    assert (made.phase, made.was_ready) == (Phase.READY, False)
    assert rule.hits > 0
    lab.vcenter.fault_rules.clear()
    lab.cache = lab.process()
    assert lab.create(2)
    assert notes(lab, made.moref).content_of(made.moref) == made.content_id is not None
    alter(lab, made.moref)
    assert copies(lab) == ()


def test_a_use_noted_after_an_alteration_does_not_make_up_for_it(lab: Lab) -> None:
    """A volume was cloned just before, and its use is noted after."""
    lab.create(1)
    (made,) = copies(lab)
    alter(lab, made.moref)
    lab.cache.store.touch(made)
    (seen,) = lab.cache.store.entries()
    assert (seen.phase, seen.ready_content_id) == (Phase.ALTERED, made.content_id)


def test_notes_of_an_earlier_version_are_made_up_for(lab: Lab) -> None:
    lab.create(1)
    (made,) = copies(lab)
    text = json.dumps({"used_at": "2026-01-01T00:00:00+00:00"})
    CustomAttributes.of(lab.cache.session).set(made.moref, ATTRIBUTE, text)
    (seen,) = copies(lab)
    assert (seen.was_ready, seen.ready_content_id) == (True, None)
    lab.cache = lab.process()
    assert lab.create(2)
    (seen,) = copies(lab)
    assert seen.ready_content_id == made.content_id


def test_a_missing_note_is_made_up_for_before_the_template_is_converted(lab: Lab) -> None:
    """As after a crash between MarkAsTemplate and SetField, with no use since."""
    rule = lab.vcenter.fault_rules.add("SetField", vim.fault.InvalidState(), times=2)
    lab.create(1)
    (made,) = copies(lab)
    assert (rule.hits, made.was_ready) == (2, False)
    assert lab.process().reconcile.check(fix=True).findings == ()
    assert notes(lab, made.moref) == Notes(ready_vm=made.moref, content_id=made.content_id)
    writes = lab.vcenter.request_log.count("SetField")
    lab.cache.reconcile.check(fix=True)
    assert lab.vcenter.request_log.count("SetField") == writes
    convert(lab, made.moref)
    lab.vcenter.clock.advance(10**6)
    (finding,) = lab.process().reconcile.check(fix=True).findings
    assert (finding.kind, finding.where) == (Kind.FOREIGN, made.moref)


def test_a_missing_note_undoes_none_that_was_written_since(lab: Lab) -> None:
    lab.vcenter.fault_rules.add("SetField", vim.fault.InvalidState(), times=2)
    lab.create(1)
    (made,) = copies(lab)
    used_at = lab.process().store.touch(made)
    lab.cache.store.note_ready(made)
    assert notes(lab, made.moref).used_at == used_at
    alter(lab, made.moref)
    written = notes(lab, made.moref)
    lab.cache.store.note_ready(made)
    assert notes(lab, made.moref) == written


def test_a_converted_template_that_never_had_a_note_is_taken_for_a_broken_import(lab: Lab) -> None:
    """The limit that docs/lifecycle.rst states."""
    lab.vcenter.fault_rules.add("SetField", vim.fault.NoPermission(), times=None)
    lab.create(1)
    (made,) = copies(lab)
    convert(lab, made.moref)
    lab.vcenter.clock.advance(61)
    (finding,) = lab.process().reconcile.check(fix=True).findings
    assert (finding.kind, finding.fixed) == (Kind.HALF_IMPORTED, True)


@pytest.mark.parametrize("inherits", [True, False], ids=["attributes inherited", "not inherited"])
@pytest.mark.parametrize("keeps", [True, False], ids=["content id kept", "content id new"])
class TestReplica:
    @pytest.fixture(autouse=True)
    def replica(self, lab: Lab, inherits: bool, keeps: bool) -> None:
        lab.vcenter.switches.clone_inherits_custom_values = inherits
        lab.vcenter.switches.copies_keep_content_ids = keeps
        lab.cache = lab.process(Settings(enabled=True))
        lab.create(1)
        self.first = copies(lab)[0]
        self.elsewhere = next(
            datastore.moref
            for datastore in inventory.snapshot(lab.cache.session).datastores
            if datastore.moref != self.first.datastore
        )

    def make(self, lab: Lab) -> CacheEntry:
        made, is_new = lab.cache.replication.make(key_of(lab), self.elsewhere)
        assert is_new
        return made

    def test_a_replica_is_served_and_kept(self, lab: Lab) -> None:
        replica = self.make(lab)
        assert {entry.moref for entry in copies(lab)} == {self.first.moref, replica.moref}
        lab.cache.store.destroy(self.first)
        assert lab.create(2)
        assert lab.cache.purge.run() == []

    def test_a_replica_that_was_not_noted_is_served_and_kept(self, lab: Lab) -> None:
        """As after a crash between CloneVM_Task and SetField."""
        lab.vcenter.fault_rules.add("SetField", vim.fault.InvalidState(), times=1)
        replica = self.make(lab)
        assert {entry.moref for entry in copies(lab)} == {self.first.moref, replica.moref}
        lab.cache.store.destroy(self.first)
        assert lab.create(2)
        assert notes(lab, replica.moref).content_of(replica.moref) is not None

    def test_an_altered_replica_goes_and_the_template_serves(self, lab: Lab) -> None:
        replica = self.make(lab)
        alter(lab, replica.moref)
        assert [entry.moref for entry in copies(lab)] == [self.first.moref]
        assert lab.create(2)
        assert [entry.moref for entry in lab.cache.purge.run()] == [replica.moref]
        assert evicted(lab) == [(replica.name, Rule.ALTERED)]
        self.make(lab)

    def test_an_altered_template_goes_and_the_replica_serves(self, lab: Lab) -> None:
        replica = self.make(lab)
        alter(lab, self.first.moref)
        assert [entry.moref for entry in copies(lab)] == [replica.moref]
        assert lab.create(2)
        assert not has_graffiti(lab, volume(2).name)
        assert [entry.moref for entry in lab.cache.purge.run()] == [self.first.moref]


def test_volumes_carry_nothing_of_their_templates_notes(lab: Lab) -> None:
    lab.create(1)
    assert lab.create(2)
    for number in (1, 2):
        vm: Any = lab.vcenter.find_vm(volume(number).name)
        assert [value.value for value in vm.customValue if value.value] == []
