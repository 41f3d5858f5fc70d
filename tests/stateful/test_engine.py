"""Random histories of a cache: whatever happened, the invariants of docs/lifecycle.rst hold.

``pytest --hypothesis-profile=long tests/stateful`` looks for longer, and elsewhere each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pyVmomi import vim, vmodl

from tests.stateful.world import DATASTORES, GIB, IMAGE_IDS, World
from vmdk_cache import errors
from vmdk_cache.adapters.entry_index import A_MOMENT_S
from vmdk_cache.cache.entry import Phase, pins_of
from vmdk_cache.conf import EXPIRY_AGE, EXPIRY_IDLE, Settings

AGE_S = 1000
#: Calls of vCenter, and how many of each are worth a fault of their own.
IMPORT_CALLS = {
    "CreateFolder": 5,
    "Destroy_Task": 2,
    "HttpNfcLeaseComplete": 1,
    "ImportVApp": 1,
    "MarkAsTemplate": 1,
    "RefreshStorageInfo": 1,
    "UnregisterVM": 1,
    "nfc:POST": 1,
}
REPLICA_CALLS = {"CloneVM_Task": 1, "SetField": 1}
CLONE_CALLS = {"AddCustomFieldDef": 1, "CloneVM_Task": 1, "ReconfigVM_Task": 1, "SetField": 2}
LOOKS = {
    "CreateFilter": 1,
    "CreateListView": 1,
    "CreatePropertyCollector": 1,
    "CurrentTime": 2,
    "FindChild": 4,
    "ModifyListView": 2,
    "RetrievePropertiesEx": 8,
    "WaitForUpdatesEx": 3,
}
WAYS: dict[str, dict[str, Any]] = {
    "fault": {"fault": vmodl.fault.SystemError(reason="made up")},
    "no permission": {"fault": vim.fault.NoPermission(privilegeId="made.up")},
    "dropped before": {"drop": "before"},
    "dropped after": {"drop": "after"},
    "busy server": {"http_status": 503},
    "failing task": {"fault": vmodl.fault.SystemError(reason="made up"), "on": "task"},
    "locked file": {"fault": vim.fault.FileLocked(file="x.vmdk"), "on": "task"},
}

image_ids = st.sampled_from(IMAGE_IDS)
adapters = st.sampled_from(["lsiLogic", "ide"])


def calls_of(*tables: dict[str, int]) -> st.SearchStrategy[tuple[str, int]]:
    """A call, and how many of its kind come before it."""
    return st.one_of(
        st.sampled_from([(call, skip) for call, count in table.items() for skip in range(count)])
        for table in tables
    )


changes = calls_of(IMPORT_CALLS, CLONE_CALLS)
moments = calls_of(IMPORT_CALLS, CLONE_CALLS, LOOKS)
any_number = st.integers(0, 99)
policies = st.builds(
    Settings,
    enabled=st.just(True),
    age_s=st.sampled_from([0, AGE_S]),
    expiry=st.sampled_from([EXPIRY_AGE, EXPIRY_IDLE]),
    max_size_bytes=st.sampled_from([2 * GIB, 100 * GIB]),
    max_count=st.sampled_from([0, 2]),
    max_total_bytes=st.sampled_from([0, 4 * GIB]),
    max_percent=st.sampled_from([0, 2]),
    min_free_percent=st.sampled_from([0, 20]),
)


class CacheMachine(RuleBasedStateMachine):
    """Users, an administrator, faults and time; ``world`` is what they act on."""

    world: World

    @initialize(policy=policies)
    def start(self, policy: Settings) -> None:
        self.world = World(policy)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()

    # -- users

    @rule(image_id=image_ids, adapter=adapters)
    def create(self, image_id: str, adapter: str) -> None:
        world = self.world
        if world.glance.file(image_id) is None:
            return
        served = world.serves(image_id, adapter)
        try:
            hit = world.create(image_id, world.new_volume(adapter))
        except errors.VmdkCacheError as failure:
            if not world.may_refuse(image_id, adapter, failure):
                raise
        else:
            assert hit is served
            assert hit or world.keeps_its_limits()

    @rule(adapter=adapters)
    def create_one_of_each(self, adapter: str) -> None:
        for image_id in IMAGE_IDS:
            self.create(image_id, adapter)

    @rule(adapter=adapters)
    def crowd(self, adapter: str) -> None:
        """Volumes of each image, enough on all datastores for a replica on each."""
        for image_id in IMAGE_IDS:
            self.create(image_id, adapter)
            if self.world.glance.file(image_id) is not None:
                self.world.replicate(image_id, adapter)

    @rule(number=any_number)
    @precondition(lambda self: self.world.volumes)
    def delete_volume(self, number: int) -> None:
        wanted = list(self.world.volumes.values())
        self.world.delete_volume(wanted[number % len(wanted)].volume)

    @rule(image_id=image_ids)
    def update_image(self, image_id: str) -> None:
        self.world.glance.update(image_id)

    @rule(image_id=image_ids)
    @precondition(lambda self: len(self.world.glance.ids()) == len(IMAGE_IDS))
    def delete_image(self, image_id: str) -> None:
        self.world.glance.delete(image_id)

    # -- an operator

    @rule(image_id=image_ids, pinned=st.sampled_from([True, True, False]))
    def pin(self, image_id: str, pinned: bool) -> None:
        pinning = self.world.cache.pinning
        if pinned:
            pinning.pin(image_id, "alice", "ctl1")
        else:
            pinning.unpin(image_id)
            assert image_id not in pins_of(self.world.entries())

    @rule(image_id=image_ids, adapter=adapters)
    def keep(self, image_id: str, adapter: str) -> None:
        """Pin an image until it would have expired long ago."""
        self.create(image_id, adapter)
        self.pin(image_id, pinned=True)
        self.tick(3600)
        self.purge()

    @rule(name=st.sampled_from(DATASTORES), replicate=st.booleans())
    def evacuate(self, name: str, replicate: bool) -> None:
        held = self.world.held(pinned_only=not replicate)
        self.world.evacuate(name, replicate=replicate)
        assert held <= self.world.held(pinned_only=False), "an evacuation lost an image"

    # -- time and the periodic tasks

    @rule(seconds=st.sampled_from([10, 400, 1100, 3600]))
    def tick(self, seconds: int) -> None:
        self.world.vcenter.clock.advance(seconds)

    @rule()
    def purge(self) -> None:
        pinned = self.world.held(pinned_only=True)
        self.world.cache.purge.run()
        self.world.check_purged()
        assert pinned <= self.world.held(pinned_only=True), "a pinned image was purged"

    @rule()
    def reconcile(self) -> None:
        self.world.cache.reconcile.check(fix=True)
        self.world.vcenter.clock.advance(61)
        self.world.cache.reconcile.check(fix=True)
        self.world.check_reconciled()

    # -- trouble

    @rule(image_id=image_ids, adapter=adapters, moment=moments, way=st.sampled_from([*WAYS]))
    def create_under_a_fault(
        self, image_id: str, adapter: str, moment: tuple[str, int], way: str
    ) -> None:
        world = self.world
        if world.glance.file(image_id) is None:
            return
        served = world.serves(image_id, adapter)
        fault = world.add_fault(*moment, **WAYS[way])
        try:
            hit = world.create(image_id, world.new_volume(adapter))
            assert served or not hit
        except errors.VmdkCacheError as failure:
            if not fault.hits and not world.may_refuse(image_id, adapter, failure):
                raise
        world.vcenter.fault_rules.clear()
        if fault.hits:
            world.trouble()

    @rule(image_id=image_ids, moment=moments, way=st.sampled_from([*WAYS]))
    def create_two_under_a_fault_of_the_second(
        self, image_id: str, moment: tuple[str, int], way: str
    ) -> None:
        self.create(image_id, "lsiLogic")
        self.create_under_a_fault(image_id, "lsiLogic", moment, way)

    @rule(
        image_id=image_ids,
        adapter=adapters,
        moment=calls_of(REPLICA_CALLS, LOOKS),
        way=st.sampled_from([*WAYS]),
    )
    def replicate_under_a_fault(
        self, image_id: str, adapter: str, moment: tuple[str, int], way: str
    ) -> None:
        self.create(image_id, adapter)
        if self.world.glance.file(image_id) is None:
            return
        fault = self.world.add_fault(*moment, **WAYS[way])
        try:
            self.world.replicate(image_id, adapter)
        except errors.VCenterError:
            assert fault.hits  # the copies could not be listed
        self.world.vcenter.fault_rules.clear()
        if fault.hits:
            self.world.trouble()

    @rule(moment=moments, way=st.sampled_from([*WAYS]))
    def housekeeping_under_a_fault(self, moment: tuple[str, int], way: str) -> None:
        fault = self.world.add_fault(*moment, **WAYS[way])
        self.world.cache.housekeeping.run()
        self.world.vcenter.fault_rules.clear()
        if fault.hits:
            self.world.trouble()

    @rule(
        image_id=image_ids,
        adapter=adapters,
        moment=changes,
        acted=st.booleans(),
        again=st.booleans(),
    )
    def die_creating(
        self, image_id: str, adapter: str, moment: tuple[str, int], acted: bool, again: bool
    ) -> None:
        """The user tries again, or gives up and deletes the volume."""
        world = self.world
        if world.glance.file(image_id) is None:
            return
        made = world.new_volume(adapter)
        served = world.serves(image_id, adapter)

        def create() -> None:
            try:
                hit = world.create(image_id, made)
                assert served or not hit
            except errors.VmdkCacheError as failure:
                if not world.process.clock.dead and not world.may_refuse(
                    image_id, adapter, failure
                ):
                    raise

        if not world.until_it_dies(*moment, acted, create):
            return
        world.settle()
        world.volumes.pop(made.name, None)
        if again:
            served = world.serves(image_id, adapter)
            create()
        if made.name not in world.volumes:
            world.delete_volume(made)

    @rule(image_id=image_ids, adapter=adapters, moment=calls_of(REPLICA_CALLS), acted=st.booleans())
    def die_replicating(
        self, image_id: str, adapter: str, moment: tuple[str, int], acted: bool
    ) -> None:
        self.create(image_id, adapter)
        if self.world.glance.file(image_id) is not None:
            self.world.until_it_dies(
                *moment, acted, lambda: self.world.replicate(image_id, adapter)
            )

    @rule(moment=moments, acted=st.booleans())
    def die_housekeeping(self, moment: tuple[str, int], acted: bool) -> None:
        self.world.until_it_dies(*moment, acted, self.world.cache.housekeeping.run)

    @rule(enabled=st.sampled_from([True, True, True, False]))
    def restart_the_service(self, enabled: bool) -> None:
        self.world.restart(enabled=enabled)

    @rule()
    def restart_vcenter(self) -> None:
        self.world.settle()
        self.world.vcenter.restart()

    # -- others

    @rule(name=st.sampled_from(DATASTORES), percent=st.sampled_from([0, 0, 85, 100]))
    def fill(self, name: str, percent: int) -> None:
        self.world.fill(name, percent)

    @rule(number=any_number)
    @precondition(lambda self: self.world.has_templates())
    def delete_a_template(self, number: int) -> None:
        self._with_a_template(number, lambda moref: self.world.vm(moref).destroy())

    @rule(number=any_number)
    @precondition(lambda self: self.world.has_templates())
    def lose_the_files_of_a_template(self, number: int) -> None:
        self._with_a_template(number, self.world.rob)

    @rule(number=any_number)
    @precondition(lambda self: self.world.has_templates())
    def rename_a_template(self, number: int) -> None:
        def rename(moref: str) -> None:
            self.world.vm(moref).rename(f"renamed {moref}")
            self.world.others[moref] = self.world.as_it_is(moref)
            # It serves for as long as the cache's last look at vCenter does.
            self.world.vcenter.clock.advance(A_MOMENT_S + 1)

        self._with_a_template(number, rename)

    @rule(number=any_number, with_record=st.booleans(), as_template=st.booleans())
    @precondition(lambda self: self.world.has_templates())
    def keep_a_copy_in_the_folder(self, number: int, with_record: bool, as_template: bool) -> None:
        def copy(moref: str) -> None:
            made = self.world.put_beside(
                moref,
                f"copy {next(self.world.numbers)}",
                with_record=with_record,
                as_template=as_template,
            )
            self.world.others[made] = self.world.as_it_is(made)

        self._with_a_template(number, copy)

    @rule(number=any_number, image_id=image_ids)
    @precondition(lambda self: self.world.has_templates())
    def find_a_template_of_the_prior_art(self, number: int, image_id: str) -> None:
        name = f"b1_image_cache ({image_id})"
        if self.world.vcenter.find_vm(name) is None:
            self._with_a_template(
                number,
                lambda moref: self.world.put_beside(
                    moref, name, with_record=False, as_template=True
                ),
            )

    @rule()
    @precondition(lambda self: self.world.has_templates())
    def remove_the_cache_folder(self) -> None:
        self.world.remove_the_cache_folder()

    def _with_a_template(self, number: int, act: Callable[[str], object]) -> None:
        """Of those that are whole; nothing happens where there is none, or no room."""
        whole = [
            entry
            for entry in self.world.templates()
            if entry.moref not in self.world.robbed and entry.phase is Phase.READY
        ]
        if whole:
            try:
                act(whole[number % len(whole)].moref)
            except errors.NoSpace:
                pass

    @invariant()
    def all_is_well(self) -> None:
        if hasattr(self, "world"):
            self.world.check()


def test_no_history_breaks_an_invariant() -> None:
    long = settings.get_current_profile_name() == "long"
    run_state_machine_as_test(
        CacheMachine,
        settings=settings(
            max_examples=500 if long else 18,
            stateful_step_count=80 if long else 25,
            derandomize=not long,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
