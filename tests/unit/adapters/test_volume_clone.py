"""VolumeClone on a fake vCenter, branch by branch, without any other part of the cache.

Time is the fake's: it starts at a large number, and passes when a thread sleeps on it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from tests.contract.vim.conftest import MIB, RECORD_KEY, Place, clone_request, import_vm
from tests.fakes.clock import SharedClock
from tests.fakes.vcenter import Clock, Model, VCenter
from tests.fakes.vcenter.fault_rules import FaultRule
from vmdk_cache import errors
from vmdk_cache.adapters.disk_in_clone import Answer, Answers, trials_of
from vmdk_cache.adapters.volume_clone import ATTEMPTS, LET_GO_S, VolumeClone
from vmdk_cache.cache import ports
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.ports import Volume
from vmdk_cache.vim import clone_spec, folder, inventory, template, virtual_machine
from vmdk_cache.vim.endpoint import Endpoint
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_disk import VirtualDisk

NAME = "volume-1"
FOLDER = ("tests",)
UUID = str(uuid.uuid4())
TIMEOUT_S = 7200.0
LARGER = 4 * MIB
#: The longest time for a few requests and short pauses.
SOON_S = 30.0


class LosingWaiter(TaskWaiter):
    """Loses the outcome of a chosen number of tasks.

    :ivar losses: raised instead of outcomes, one per task
    :ivar meanwhile: called before each of them is raised
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.losses: list[BaseException] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def wait(self, task: str, **how: Any) -> Any:
        if self.losses:
            loss = self.losses.pop(0)
            self.meanwhile()
            raise loss
        return super().wait(task, **how)


class Lab:
    """A vCenter with a template, and the volume that a test creates from it."""

    def __init__(self, vc: VCenter, session: Session, waiter: LosingWaiter) -> None:
        self.vc = vc
        self.session = session
        self.waiter = waiter
        self.clock = session.clock
        found = inventory.snapshot(session)
        datacenter = found.datacenters[0]
        own = folder.ensure_folder(session, datacenter, FOLDER)
        self.place = Place(own, found.hosts[0], found.datastores[0], datacenter)
        moref = import_vm(session, waiter, self.place)
        template.mark_as_template(session, moref)
        source = virtual_machine.get_vm(session, moref, RECORD_KEY)
        assert source is not None
        self.source = source
        self.being_created = True
        self.deleted = False
        self.before_check: Callable[[], None] = lambda: None
        self.no_source_disk: Exception | None = None
        vc.request_log.reset()
        self.began_at = self.clock.monotonic()

    def request(self, name: str = NAME, **changes: object) -> clone_spec.CloneRequest:
        values: dict[str, object] = {"instance_uuid": UUID}
        return clone_request(self.place, self.source, name, **{**values, **changes})

    def make(
        self,
        capacity_bytes: int = LARGER,
        timeout_s: float = TIMEOUT_S,
        disk_type: str = "thin",
    ) -> bool:
        (disk,) = self.source.disks
        entry = CacheEntry(
            self.source.moref,
            "image",
            Phase.READY,
            None,
            self.place.datastore.moref,
            disk.key,
            disk.capacity_bytes,
        )
        request = self.request()
        volume = Volume(
            id="v1",
            name=request.name,
            instance_uuid=UUID,
            size_bytes=capacity_bytes,
            disk_type=disk_type,
            adapter_type="lsiLogic",
            storage_profile=None,
            folder=FOLDER,
            extra_config=request.extra_config,
            managed_by=None,
            is_being_created=lambda: self.being_created,
            is_wanted=self._is_wanted,
        )
        place = ports.Place(
            request.datastore,
            "ds",
            self.place.host.moref,
            request.pool,
            self.place.datacenter.moref,
        )
        return VolumeClone(
            self.session,
            self.waiter,
            entry,
            volume,
            place,
            source_disk=self._source_disk,
            timeout_s=timeout_s,
        ).make()

    def _source_disk(self) -> VirtualDisk:
        if self.no_source_disk is not None:
            raise self.no_source_disk
        return self.source.disks[0]

    def _is_wanted(self) -> bool:
        self.before_check()
        return not self.deleted

    def seconds(self) -> float:
        """How long it took, by the fake's clock."""
        return self.clock.monotonic() - self.began_at

    def clones(self) -> int:
        return self.vc.request_log.count("CloneVM_Task")

    @property
    def volume(self) -> Any:
        return self.vc.find_vm(NAME)

    def is_whole(self, capacity_bytes: int = LARGER) -> bool:
        (disk,) = self.volume.disks
        return bool(
            self.volume.config.instanceUuid == UUID
            and (disk.capacity_bytes, disk.uuid) == (capacity_bytes, UUID)
        )

    def other_clone(self, name: str, runs_s: float, **changes: object) -> None:
        """Another client's clone of the template, running when this returns."""
        rule = self.vc.fault_rules.add("CloneVM_Task", on="task", delay_s=runs_s)
        request = self.request(name, **{"instance_uuid": str(uuid.uuid4()), **changes})
        template.start_clone(self.session, self.source.moref, request)
        while rule.hits == 0:
            self.clock.sleep(0)
        self.vc.request_log.reset()

    def earlier(self, **changes: object) -> str:
        """A VM with the volume's name."""
        values: dict[str, object] = {"name": NAME, **changes}
        moref = template.clone(
            self.session,
            self.waiter,
            self.source.moref,
            self.request(**values),  # type: ignore[arg-type]
            timeout_s=TIMEOUT_S,
        )
        self.vc.request_log.reset()
        self.began_at = self.clock.monotonic()
        return moref

    def lose_answer(self, acts: bool, runs_s: float = 0.0, times: int = 1) -> FaultRule:
        """Break the connection before or after vCenter starts to clone."""
        if runs_s:
            self.vc.fault_rules.add("CloneVM_Task", on="task", delay_s=runs_s)
        return self.vc.fault_rules.add(
            "CloneVM_Task", drop="after" if acts else "before", times=times
        )


@pytest.fixture
def vc() -> Iterator[VCenter]:
    clock = Clock(scale=0.0)
    clock.advance(1e6)
    with VCenter(Model(), clock=clock) as running:
        yield running
        assert running.errors == []


@pytest.fixture
def lab(vc: VCenter) -> Iterator[Lab]:
    endpoint = Endpoint(
        host=vc.host,
        port=vc.port,
        user=vc.user,
        password=vc.password,
        ca_file=str(vc.ca_file),
        api_retry_count=3,
    )
    with Session(endpoint, SharedClock(vc.clock)) as session:
        waiter = LosingWaiter(session)
        with contextlib.closing(waiter):
            yield Lab(vc, session, waiter)


# -- submit and finish


def test_a_volume_is_made(lab: Lab) -> None:
    lab.make()

    assert lab.is_whole()
    assert lab.clones() == 1
    assert lab.vc.request_log.count("ReconfigVM_Task") == 1
    assert lab.vc.request_log.count("ExtendVirtualDisk_Task") == 0


def test_a_volume_exactly_as_large_as_its_image_gets_no_disk_uuid(lab: Lab) -> None:
    """Nova finds the disk to detach by its uuid."""
    lab.make(capacity_bytes=MIB)

    assert lab.is_whole(MIB)


def test_a_template_that_is_gone_is_named(lab: Lab) -> None:
    template.destroy(lab.session, lab.waiter, lab.source.moref)

    with pytest.raises(errors.ObjectNotFound) as caught:
        lab.make()

    assert caught.value.moref == lab.source.moref
    assert lab.clones() == 1


def test_a_folder_that_was_deleted_is_made_again(lab: Lab) -> None:
    gone = lab.place.folder
    other = folder.ensure_folder(lab.session, lab.place.datacenter, ["other"])
    moref = lab.source.moref
    lab.session.invoke("Folder", other, "MoveIntoFolder_Task", list=[vim.VirtualMachine(moref)])
    while lab.vc.find_vm("image").parent.moref != other:
        lab.clock.sleep(0)
    lab.session.invoke("Folder", gone, "Destroy_Task")
    while any(one.moref == gone for one in lab.vc.registry.of_type(vim.Folder)):
        lab.clock.sleep(0)
    lab.vc.request_log.reset()

    lab.make()

    assert lab.vc.request_log.count("CreateFolder") == 1
    assert lab.is_whole()
    assert lab.clones() == 2


def test_a_folder_that_is_deleted_again_and_again_ends_the_attempts(lab: Lab) -> None:
    gone = vim.Folder(lab.place.folder)
    rule = lab.vc.fault_rules.add("CloneVM_Task", _not_found(gone), times=None)

    with pytest.raises(errors.ObjectNotFound) as caught:
        lab.make()

    assert caught.value.moref == lab.place.folder
    assert rule.hits == ATTEMPTS
    looks, cleaning_up = ATTEMPTS - 1, 1
    assert lab.vc.request_log.count("FindChild") == looks + cleaning_up


def _not_found(obj: Any) -> Exception:
    fault: Exception = vmodl.fault.ManagedObjectNotFound(obj=obj, msg="has been deleted")
    return fault


def test_finishing_is_repeated_a_few_times(lab: Lab) -> None:
    rule = lab.vc.fault_rules.add("ReconfigVM_Task", vim.fault.InvalidState(), times=ATTEMPTS - 1)

    lab.make()

    assert rule.hits == ATTEMPTS - 1
    assert lab.is_whole()


def test_a_volume_that_cannot_be_finished_is_removed(lab: Lab) -> None:
    rule = lab.vc.fault_rules.add("ReconfigVM_Task", vim.fault.InvalidState(), times=None)

    with pytest.raises(errors.InUse):
        lab.make()

    assert rule.hits == ATTEMPTS
    assert lab.volume is None


def test_leftovers_of_a_failed_attempt_are_removed_even_if_cinder_has_forgotten_the_volume(
    lab: Lab,
) -> None:
    """A task of ours shows that we created it."""
    lab.vc.fault_rules.add("ReconfigVM_Task", vim.fault.NoDiskSpace(), on="task", times=None)
    lab.being_created = False

    with pytest.raises(errors.NoSpace):
        lab.make()

    assert lab.volume is None


# -- a volume that was deleted


@pytest.mark.parametrize("at", ["CloneVM_Task", "ReconfigVM_Task"])
def test_a_volume_that_was_deleted_while_it_was_cloned_is_removed(lab: Lab, at: str) -> None:
    def delete() -> None:
        lab.deleted = True
        lab.being_created = False

    lab.vc.fault_rules.add(at, on="task", action=delete)

    with pytest.raises(errors.VolumeDeleted):
        lab.make()

    assert lab.volume is None
    assert lab.vc.request_log.count("Destroy_Task") == 1


def test_a_deletion_by_cinder_that_is_under_way_is_waited_for(lab: Lab) -> None:
    """vCenter refuses a second deletion while the first one runs."""
    lab.deleted = True
    rule = lab.vc.fault_rules.add("Destroy_Task", vim.fault.InvalidState(), times=2)

    with pytest.raises(errors.VolumeDeleted):
        lab.make()

    assert rule.hits == 2
    assert lab.volume is None


def test_a_deleted_volume_whose_vm_cinder_has_removed_is_no_error(lab: Lab) -> None:
    lab.deleted = True
    lab.before_check = lambda: template.destroy(lab.session, lab.waiter, lab.volume.moref)

    with pytest.raises(errors.VolumeDeleted):
        lab.make()

    assert lab.volume is None
    assert lab.vc.request_log.count("Destroy_Task") == 1


# -- a clone that failed


def test_a_failed_clone_waits_for_no_clone_of_others(lab: Lab) -> None:
    for number in range(3):
        lab.other_clone(f"other-{number}", runs_s=10_000)
    lab.vc.fault_rules.add("CloneVM_Task", vim.fault.NoDiskSpace(), on="task")

    with pytest.raises(errors.NoSpace):
        lab.make()

    assert lab.seconds() < SOON_S
    assert lab.clones() == 1


def test_a_call_that_vcenter_refuses_is_not_settled(lab: Lab) -> None:
    lab.other_clone("other", runs_s=10_000)
    lab.vc.fault_rules.add("CloneVM_Task", vim.fault.NoPermission(), times=None)

    with pytest.raises(errors.NoPermission):
        lab.make()

    assert lab.seconds() < SOON_S
    assert lab.vc.request_log.count("CurrentTime") == 0


def test_a_failed_clone_is_not_repeated_here(lab: Lab) -> None:
    """A locked template needs time, for which the caller waits without the slot."""
    rule = lab.vc.fault_rules.add("CloneVM_Task", vim.fault.FileLocked(), on="task", times=None)

    with pytest.raises(errors.FileLocked):
        lab.make()

    assert rule.hits == 1


# -- lost answers and outcomes


def test_a_clone_whose_answer_was_lost_is_adopted(lab: Lab) -> None:
    lab.lose_answer(acts=True)

    lab.make()

    assert lab.clones() == 1
    assert lab.is_whole()


def test_a_clone_that_never_began_is_asked_for_again(lab: Lab) -> None:
    lab.lose_answer(acts=False)

    lab.make()

    assert lab.clones() == 2
    assert lab.is_whole()
    assert lab.seconds() < SOON_S


def test_answers_that_are_always_lost_end_the_attempts(lab: Lab) -> None:
    rule = lab.lose_answer(acts=False, times=10)

    with pytest.raises(errors.Unreachable):
        lab.make()

    assert rule.hits == ATTEMPTS
    assert lab.volume is None


def test_the_last_attempt_is_adopted_as_the_first_is(lab: Lab) -> None:
    lab.lose_answer(acts=False, times=ATTEMPTS - 1)
    lab.lose_answer(acts=True)

    lab.make()

    assert lab.clones() == ATTEMPTS
    assert lab.is_whole()


@pytest.mark.parametrize("request_s", [0.02, 3.0])
def test_a_slow_clone_is_waited_for_by_the_clock_and_not_by_counted_pauses(
    lab: Lab, request_s: float
) -> None:
    """The window in which it was queued does not move while requests take time."""
    lab.lose_answer(acts=True, runs_s=900)
    lab.vc.cost_model.request_s = request_s

    lab.make()

    assert lab.clones() == 1
    assert lab.is_whole()
    assert 900 <= lab.seconds() < 1000


def test_clones_of_others_that_were_queued_before_or_after_are_not_waited_for(lab: Lab) -> None:
    lab.other_clone("before", runs_s=10_000)
    lab.clock.sleep(60)
    lab.began_at = lab.clock.monotonic()
    lab.lose_answer(acts=True, runs_s=50)
    lab.vc.clock.call_later(20, lambda: lab.other_clone("after", runs_s=10_000))

    lab.make()

    assert lab.is_whole()
    assert lab.seconds() < 50 + SOON_S
    assert lab.vc.find_vm("after") is None, "it is still under way"


def test_a_clone_that_was_queued_at_the_same_time_may_be_ours(lab: Lab) -> None:
    """Before it ends, it cannot be told from ours; afterwards, its result shows the difference."""
    lab.other_clone("other", runs_s=40)
    lab.lose_answer(acts=False)

    lab.make()

    assert lab.is_whole()
    assert 40 <= lab.seconds() < 40 + SOON_S
    assert lab.vc.find_vm("other") is not None


@pytest.mark.parametrize(
    "loss", [errors.Unreachable("vCenter is away"), errors.SessionExpired("the session is gone")]
)
def test_a_clone_with_a_known_task_is_never_confused_with_others(lab: Lab, loss: Exception) -> None:
    lab.other_clone("other", runs_s=10_000)
    lab.vc.fault_rules.add("CloneVM_Task", on="task", delay_s=40)
    lab.waiter.losses = [loss]

    lab.make()

    assert lab.clones() == 1
    assert lab.is_whole()
    assert 40 <= lab.seconds() < 40 + SOON_S


@pytest.mark.parametrize(
    "failure",
    [errors.TaskFailed("tasks could not be watched"), errors.LoginRefused("wrong password")],
    ids=["not watched", "log-in refused"],
)
def test_a_clone_that_cannot_be_watched_any_more_leaves_nothing_when_it_ends(
    lab: Lab, failure: Exception
) -> None:
    """The error comes from the waiter; the task keeps running."""
    lab.vc.fault_rules.add("CloneVM_Task", on="task", delay_s=40)
    lab.waiter.losses = [failure]

    with pytest.raises(type(failure)):
        lab.make()

    assert lab.seconds() >= 40
    assert lab.volume is None
    assert lab.vc.tasks.running() == []


def test_a_clone_that_vcenter_forgot_is_not_adopted(lab: Lab) -> None:
    """Its files may be incomplete, as after a restart in the middle of the copy."""
    lab.waiter.losses = [errors.TaskLost("vCenter no longer knows the task")]
    first: list[str] = []

    def forget() -> None:
        while lab.volume is None or not lab.volume.complete:
            lab.clock.sleep(0)
        first.append(lab.volume.moref)
        lab.vc.tasks.forget_all()

    lab.waiter.meanwhile = forget

    lab.make()

    assert lab.clones() == 2
    assert lab.volume.moref not in first
    assert lab.is_whole()


def test_a_clone_that_vcenter_forgot_stays_when_cinder_has_finished_the_volume(lab: Lab) -> None:
    lab.waiter.losses = [errors.TaskLost("vCenter no longer knows the task")]

    def forget() -> None:
        while lab.volume is None or not lab.volume.complete:
            lab.clock.sleep(0)
        lab.vc.tasks.forget_all()
        lab.being_created = False

    lab.waiter.meanwhile = forget

    with pytest.raises(errors.NameTaken):
        lab.make()

    assert lab.volume is not None


def test_a_clone_that_never_ends_is_given_up(lab: Lab) -> None:
    lab.lose_answer(acts=True, runs_s=1e6)

    with pytest.raises(errors.Unreachable):
        lab.make(timeout_s=1000)

    assert lab.clones() == 1
    assert 1000 + LET_GO_S <= lab.seconds() < 1000 + LET_GO_S + 10 * SOON_S


def test_a_thread_that_is_ended_leaves_no_clone_behind(lab: Lab) -> None:
    """GreenletExit and eventlet.Timeout are not subclasses of Exception."""
    lab.vc.fault_rules.add("CloneVM_Task", on="task", delay_s=100)
    lab.waiter.losses = [KeyboardInterrupt()]

    with pytest.raises(KeyboardInterrupt):
        lab.make()

    assert lab.seconds() >= 100
    assert lab.volume is None
    assert lab.vc.tasks.running() == []


def test_a_clone_that_takes_too_long_leaves_nothing_when_it_ends(lab: Lab) -> None:
    """It is cancelled, and ends when it can."""
    lab.vc.fault_rules.add("CloneVM_Task", on="task", delay_s=200)
    lab.waiter.losses = [errors.TaskTimedOut("it was cancelled but still runs")]

    with pytest.raises(errors.TaskTimedOut):
        lab.make()

    assert lab.clones() == 1
    assert lab.seconds() >= 200
    assert lab.volume is None


# -- a name that is taken


def test_leftovers_of_an_earlier_attempt_are_replaced(lab: Lab) -> None:
    left = lab.earlier()

    lab.make()

    assert lab.volume.moref != left
    assert lab.is_whole()


@pytest.mark.parametrize("answer", ["received", "lost"])
def test_a_finished_volume_is_neither_removed_nor_taken_for_a_new_one(
    lab: Lab, answer: str
) -> None:
    finished = lab.earlier()
    lab.being_created = False
    lab.clock.sleep(60)
    if answer == "lost":
        lab.lose_answer(acts=True)

    with pytest.raises(errors.NameTaken):
        lab.make()

    assert lab.volume.moref == finished
    assert lab.volume.disks[0].capacity_bytes == MIB
    assert lab.vc.request_log.count("Destroy_Task") == 0
    assert lab.vc.request_log.count("ReconfigVM_Task") == 0


def test_a_foreign_vm_of_that_name_is_never_removed(lab: Lab) -> None:
    strangers = lab.earlier(instance_uuid=str(uuid.uuid4()))

    with pytest.raises(errors.NameTaken):
        lab.make()

    assert lab.volume.moref == strangers
    assert lab.vc.request_log.count("Destroy_Task") == 0
    assert lab.clones() == 1


def test_the_clone_of_an_earlier_attempt_is_waited_for_and_replaced(lab: Lab) -> None:
    """A killed process left it in vCenter's queue."""
    lab.vc.cost_model.enabled = True
    lab.vc.cost_model.fixed_clone_s = 1000.0
    lab.vc.cost_model.datastore_bandwidth = lab.vc.cost_model.host_bandwidth = 0
    template.start_clone(lab.session, lab.source.moref, lab.request())
    while lab.volume is None:
        lab.clock.sleep(0)
    lab.vc.cost_model.fixed_clone_s = lab.vc.cost_model.fixed_task_s = 0.0
    left = lab.volume.moref

    lab.make()

    assert lab.volume.moref != left
    assert lab.is_whole()
    assert lab.seconds() >= 1000


def test_an_earlier_attempts_clone_that_never_ends_is_not_waited_for_forever(
    lab: Lab,
) -> None:
    lab.vc.cost_model.enabled = True
    lab.vc.cost_model.fixed_clone_s = 1e6
    lab.vc.cost_model.datastore_bandwidth = lab.vc.cost_model.host_bandwidth = 0
    template.start_clone(lab.session, lab.source.moref, lab.request())
    while lab.volume is None:
        lab.clock.sleep(0)
    lab.vc.cost_model.fixed_clone_s = lab.vc.cost_model.fixed_task_s = 0.0

    with pytest.raises(errors.NameTaken):
        lab.make(timeout_s=1000)

    assert 1000 <= lab.seconds() < 1000 + 10 * SOON_S
    assert lab.vc.request_log.count("Destroy_Task") < 400


def test_a_name_that_is_taken_again_and_again_ends_the_attempts(lab: Lab) -> None:
    fault = vim.fault.DuplicateName(name=NAME, object=vim.VirtualMachine(lab.earlier()))
    rule = lab.vc.fault_rules.add("CloneVM_Task", fault, on="task", times=None)

    with pytest.raises(errors.NameTaken):
        lab.make()

    assert rule.hits <= ATTEMPTS


# -- clean up


def test_a_busy_vm_is_removed_when_its_task_lets_go(lab: Lab) -> None:
    lab.vc.fault_rules.add("ReconfigVM_Task", vim.fault.NoDiskSpace(), on="task")
    rule = lab.vc.fault_rules.add("Destroy_Task", vim.fault.InvalidState(), on="task", times=4)

    with pytest.raises(errors.NoSpace):
        lab.make()

    assert rule.hits == 4
    assert lab.volume is None


def test_a_vm_that_stays_busy_is_named_in_the_log_and_the_first_error_counts(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.vc.fault_rules.add("ReconfigVM_Task", vim.fault.NoDiskSpace(), on="task")
    rule = lab.vc.fault_rules.add("Destroy_Task", vim.fault.InvalidState(), on="task", times=None)

    with pytest.raises(errors.NoSpace):
        lab.make()

    assert rule.hits == 2 * ATTEMPTS
    assert "Could not remove what the failed clone of 'volume-1' left behind" in caplog.text


def test_a_folder_that_vanishes_with_the_vm_leaves_nothing_to_clean_up(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.vc.fault_rules.add("ReconfigVM_Task", vim.fault.NoDiskSpace(), on="task")
    lab.vc.fault_rules.add("FindChild", _not_found(vim.Folder(lab.place.folder)), times=None)

    with pytest.raises(errors.NoSpace):
        lab.make()

    assert "Could not remove" not in caplog.text


# -- disks that are zeroed in advance


def eager(lab: Lab, capacity_bytes: int = LARGER, **how: float) -> None:
    lab.make(capacity_bytes, disk_type="eagerZeroedThick", **how)


@pytest.mark.parametrize("shown_at_once", [True, False])
def test_an_eager_zeroed_disk_grows_lazily(lab: Lab, shown_at_once: bool) -> None:
    lab.vc.switches.extended_disks_show_at_once = shown_at_once

    eager(lab)

    assert lab.is_whole()
    assert lab.volume.disks[0].provisioning == "eagerZeroedThick"
    assert lab.vc.request_log.count("ExtendVirtualDisk_Task") == 1
    found = virtual_machine.find_vm(lab.session, lab.place.folder, NAME, RECORD_KEY)
    assert found is not None
    assert found.disks[0].capacity_bytes == LARGER


def test_an_eager_zeroed_disk_that_is_large_enough_is_not_extended(lab: Lab) -> None:
    eager(lab, MIB)

    assert lab.is_whole(MIB)
    assert lab.volume.disks[0].provisioning == "eagerZeroedThick"
    assert lab.vc.request_log.count("ExtendVirtualDisk_Task") == 0


@pytest.mark.parametrize("shown_at_once", [True, False])
@pytest.mark.parametrize("drop", ["before", "after"])
def test_an_extension_whose_answer_was_lost_is_not_made_twice(
    lab: Lab, drop: Any, shown_at_once: bool
) -> None:
    lab.vc.switches.extended_disks_show_at_once = shown_at_once
    lab.vc.fault_rules.add("ExtendVirtualDisk_Task", drop=drop)

    eager(lab)

    assert lab.is_whole()
    assert lab.volume.disks[0].provisioning == "eagerZeroedThick"


@pytest.mark.parametrize("shown_at_once", [True, False])
def test_an_extension_that_ends_after_the_disk_was_read_again_is_no_failure(
    lab: Lab, shown_at_once: bool
) -> None:
    lab.vc.switches.extended_disks_show_at_once = shown_at_once
    lost = lab.vc.fault_rules.add("ExtendVirtualDisk_Task", drop="before")

    def end_the_lost_one() -> None:
        disk = lab.volume.disks[0]
        if not shown_at_once:
            disk.shown_capacity_bytes = disk.capacity_bytes
        disk.extend(LARGER, eager_zero=True)

    late = lab.vc.fault_rules.add("ExtendVirtualDisk_Task", action=end_the_lost_one)

    eager(lab)

    assert (lost.hits, late.hits) == (1, 1)
    assert lab.is_whole()
    assert lab.vc.request_log.count("ExtendVirtualDisk_Task") == 2


def test_a_capacity_that_vcenter_refuses_is_a_failure(lab: Lab) -> None:
    refusal = vmodl.fault.InvalidArgument(invalidProperty="newCapacityKb")
    lab.vc.fault_rules.add("ExtendVirtualDisk_Task", refusal, on="task")

    with pytest.raises(errors.TaskFailed, match="newCapacityKb"):
        eager(lab)

    assert lab.vc.find_vm(NAME) is None


def test_an_extension_that_is_still_under_way_is_waited_for(lab: Lab) -> None:
    lab.vc.cost_model.enabled = True
    lab.vc.cost_model.fixed_clone_s = lab.vc.cost_model.fixed_task_s = 0.0
    lab.vc.cost_model.host_bandwidth = 0
    rule = lab.vc.fault_rules.add("ExtendVirtualDisk_Task", drop="after")

    def slow_zeroes() -> None:
        lab.vc.cost_model.datastore_bandwidth = 2 * (LARGER - MIB) / 1000

    lab.vc.cost_model.datastore_bandwidth = 0
    lab.vc.fault_rules.add("ReconfigVM_Task", action=slow_zeroes)

    eager(lab)

    assert rule.hits == 1
    assert lab.is_whole()
    assert 1000 <= lab.seconds() < 1000 + 10 * SOON_S


@pytest.mark.parametrize(
    ("fault", "error", "calls"),
    [
        (vim.fault.NoDiskSpace(), errors.NoSpace, 1),
        (vim.fault.FileLocked(), errors.FileLocked, 2 * ATTEMPTS),
    ],
    ids=["refused", "locked"],
)
def test_a_volume_whose_disk_cannot_be_extended_is_removed(
    lab: Lab, fault: Exception, error: type[errors.VCenterError], calls: int
) -> None:
    rule = lab.vc.fault_rules.add("ExtendVirtualDisk_Task", fault, on="task", times=None)

    with pytest.raises(error):
        eager(lab)

    assert rule.hits == calls
    assert lab.volume is None


def test_extensions_whose_answers_are_always_lost_end_the_attempts(lab: Lab) -> None:
    rule = lab.vc.fault_rules.add("ExtendVirtualDisk_Task", drop="before", times=None)

    with pytest.raises(errors.Unreachable):
        eager(lab)

    assert rule.hits == ATTEMPTS
    assert lab.volume is None


# -- one task


WAYS = ["kept", "ignored", "refused"]


def known(lab: Lab, disk_type: str = "thin") -> Answers:
    return trials_of(lab.session).answers(disk_type)


def switch(lab: Lab, capacity: Any = "kept", uuid: Any = "kept") -> None:
    lab.vc.switches.disk_capacity_in_clone = capacity
    lab.vc.switches.disk_uuid_in_clone = uuid


def remove(lab: Lab) -> None:
    """Remove the volume; the next one with its name is another volume."""
    template.destroy(lab.session, lab.waiter, lab.volume.moref)
    lab.vc.request_log.reset()


def another(lab: Lab, **how: Any) -> bool:
    remove(lab)
    return lab.make(**how)


@pytest.mark.parametrize("disk_type", ["thin", "thick"])
@pytest.mark.parametrize("capacity", WAYS)
@pytest.mark.parametrize("uuid", WAYS)
def test_the_volume_is_complete_whatever_vcenter_does_with_the_edit(
    lab: Lab, capacity: str, uuid: str, disk_type: str
) -> None:
    switch(lab, capacity, uuid)
    in_one_task = (capacity, uuid) == ("kept", "kept")
    was_refused = "refused" in (capacity, uuid)

    assert lab.make(disk_type=disk_type) == in_one_task

    assert lab.is_whole()
    assert lab.volume.disks[0].provisioning == {"thin": "thin", "thick": "preallocated"}[disk_type]
    assert lab.clones() == 1 + was_refused
    assert lab.vc.request_log.count("ReconfigVM_Task") == (not in_one_task)
    found = known(lab, disk_type)
    assert (found.capacity is Answer.YES) == (capacity == "kept" and not was_refused)
    assert (found.uuid is Answer.YES) == (uuid == "kept" and not was_refused)

    assert another(lab, disk_type=disk_type) == in_one_task
    assert lab.is_whole()
    assert lab.clones() == 1
    assert lab.vc.request_log.count("ReconfigVM_Task") == (not in_one_task)


@pytest.mark.parametrize("uuid", WAYS)
def test_a_volume_of_its_images_size_needs_the_uuid_only(lab: Lab, uuid: str) -> None:
    switch(lab, "refused", uuid)

    assert lab.make(capacity_bytes=MIB) == (uuid == "kept")

    assert lab.is_whole(MIB)
    assert known(lab).capacity is Answer.UNKNOWN
    assert known(lab).uuid is (Answer.YES if uuid == "kept" else Answer.NO)


def test_a_disk_that_is_zeroed_in_advance_is_never_edited_in_the_clone(lab: Lab) -> None:
    switch(lab, "refused", "refused")

    assert not lab.make(disk_type="eagerZeroedThick")

    assert lab.is_whole()
    assert lab.clones() == 1
    assert lab.volume.disks[0].provisioning == "eagerZeroedThick"


@pytest.mark.parametrize(
    "fault",
    [
        vim.fault.InvalidDeviceSpec(deviceIndex=0, property="x"),
        vim.fault.InvalidDeviceBacking(deviceIndex=0, property="x"),
        vim.fault.GenericVmConfigFault(reason="x"),
        vim.fault.InvalidDatastorePath(datastorePath="x"),
        vmodl.fault.InvalidArgument(invalidProperty="spec.config.deviceChange"),
        vmodl.fault.InvalidRequest(),
        vmodl.fault.NotSupported(),
        vmodl.fault.SystemError(reason="x"),
        vim.fault.NoPermission(privilegeId="VirtualMachine.Config.DiskExtend"),
    ],
    ids=lambda fault: type(fault).__name__.rpartition(".")[2],
)
@pytest.mark.parametrize("on", ["call", "task"])
@pytest.mark.parametrize("after_a_yes", [False, True])
def test_a_fault_that_may_be_about_the_edit_costs_one_more_clone(
    lab: Lab, fault: Exception, on: Any, after_a_yes: bool
) -> None:
    switch(lab)
    if after_a_yes:
        assert lab.make()
        remove(lab)
    rule = lab.vc.fault_rules.add("CloneVM_Task", fault, on=on)

    assert not lab.make()

    assert rule.hits == 1
    assert lab.is_whole()
    assert lab.clones() == 2
    assert known(lab) == Answers(Answer.NO, Answer.NO)


def test_a_fault_that_stays_without_the_edit_decides_nothing(lab: Lab) -> None:
    rule = lab.vc.fault_rules.add("CloneVM_Task", vmodl.fault.InvalidRequest(), times=None)

    with pytest.raises(errors.TaskFailed):
        lab.make()

    assert rule.hits == 2
    assert known(lab) == Answers()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (vim.fault.NoDiskSpace(), errors.NoSpace),
        (vim.fault.FileLocked(), errors.FileLocked),
        (vim.fault.FileNotFound(file="x"), errors.ObjectNotFound),
        (vim.fault.InvalidState(), errors.InUse),
        (vim.fault.InvalidHostState(), errors.HostUnavailable),
        (
            vim.fault.VirtualHardwareVersionNotSupported(
                hostName="h", host=vim.HostSystem("host-0")
            ),
            errors.HardwareTooNew,
        ),
        (vmodl.fault.RequestCanceled(), errors.TaskFailed),
    ],
    ids=lambda case: type(case).__name__.rpartition(".")[2] if isinstance(case, Exception) else "",
)
def test_a_fault_that_is_not_about_the_edit_decides_nothing(
    lab: Lab, fault: Exception, error: type[errors.VCenterError]
) -> None:
    """The same volume does not ask again: its retries are sent without the edit."""
    switch(lab, "kept", "ignored")
    lab.vc.fault_rules.add("CloneVM_Task", fault, on="task")

    with pytest.raises(error):
        lab.make()

    assert lab.clones() == 1
    assert lab.volume is None
    assert known(lab) == Answers()

    assert not lab.make()
    assert lab.is_whole()
    assert known(lab) == Answers(), "the volume asked again"


def test_a_clone_that_asked_and_whose_answer_was_lost_is_adopted_and_proves_nothing(
    lab: Lab,
) -> None:
    switch(lab)
    lab.lose_answer(acts=True)

    assert lab.make()

    assert lab.clones() == 1
    assert lab.is_whole()
    assert lab.vc.request_log.count("ReconfigVM_Task") == 0
    assert known(lab) == Answers()


def test_a_volume_that_is_cloned_again_does_not_ask_again(lab: Lab) -> None:
    switch(lab)
    lab.lose_answer(acts=False)

    assert not lab.make()

    assert lab.clones() == 2
    assert lab.is_whole()
    assert known(lab) == Answers()


def test_a_vcenter_that_stops_doing_it_fails_no_volume(lab: Lab) -> None:
    switch(lab)
    assert lab.make()
    switch(lab, "ignored", "ignored")

    assert not another(lab)

    assert lab.is_whole()
    assert known(lab) == Answers(Answer.NO, Answer.NO)


def test_a_lost_answer_to_the_reconfiguration_proves_nothing(lab: Lab) -> None:
    switch(lab, "kept", "ignored")
    lab.vc.fault_rules.add("ReconfigVM_Task", drop="after")

    assert not lab.make()

    assert lab.is_whole()
    assert known(lab) == Answers(Answer.YES, Answer.NO)


def test_an_upgraded_vcenter_is_tried_again(lab: Lab) -> None:
    switch(lab, "kept", "ignored")
    lab.make()
    assert known(lab) == Answers(Answer.YES, Answer.NO)

    lab.session.content.about.build = "later"

    assert known(lab) == Answers()


def test_a_template_whose_disk_is_not_known_is_cloned_without_an_edit(lab: Lab) -> None:
    switch(lab, "refused", "refused")
    (disk,) = lab.source.disks
    lab.source = dataclasses.replace(lab.source, disks=(dataclasses.replace(disk, device=None),))

    assert not lab.make()

    assert lab.is_whole()
    assert lab.clones() == 1
    assert known(lab) == Answers()


@pytest.mark.parametrize(
    "failure",
    [
        errors.ObjectNotFound("x", moref="session[1]2", fault="vmodl.fault.ManagedObjectNotFound"),
        errors.TaskFailed("x", fault="vmodl.fault.SystemError"),
        errors.Unreachable("x"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_failed_look_at_the_templates_disk_fails_no_volume(lab: Lab, failure: Exception) -> None:
    switch(lab)
    lab.no_source_disk = failure

    assert not lab.make()

    assert lab.is_whole()
    assert lab.clones() == 1
    assert known(lab) == Answers()


def test_a_delta_disk_is_not_edited_in_the_clone(lab: Lab) -> None:
    """Disks with parents cannot be expanded."""
    switch(lab, "refused", "refused")
    (disk,) = lab.source.disks
    lab.source = dataclasses.replace(
        lab.source, disks=(dataclasses.replace(disk, has_parent=True),)
    )

    assert not lab.make()

    assert lab.clones() == 1
    assert known(lab) == Answers()


def test_the_templates_disk_is_neither_changed_nor_sent_changed(lab: Lab) -> None:
    switch(lab)
    before = virtual_machine.get_vm(lab.session, lab.source.moref, RECORD_KEY)
    device = lab.source.disks[0].device
    seen = (device.capacityInKB, device.backing.uuid, device.backing.thinProvisioned)

    lab.make(disk_type="thick")

    assert virtual_machine.get_vm(lab.session, lab.source.moref, RECORD_KEY) == before
    assert (device.capacityInKB, device.backing.uuid, device.backing.thinProvisioned) == seen


@pytest.mark.parametrize("lost", [False, True], ids=["answer received", "answer lost"])
def test_a_clone_that_has_the_templates_own_disk_is_removed_without_it(
    lab: Lab, lost: bool
) -> None:
    """govmomi's simulator creates such clones; deleting one deletes the template's disk."""
    switch(lab)
    (source,) = (vm for vm in lab.vc.vms() if vm.moref == lab.source.moref)

    def share() -> None:
        if lab.volume is not None and lab.volume.complete:
            lab.volume.devices.disks[0].disk = source.devices.disks[0].disk
            lab.volume.sync()

    if lost:
        lab.waiter.losses = [errors.TaskTimedOut("it took too long")]
        lab.waiter.meanwhile = lambda: (until_made(lab), share())
    else:
        lab.vc.fault_rules.add("RetrievePropertiesEx", action=share, times=None)

    with pytest.raises(errors.TaskTimedOut if lost else errors.TaskFailed):
        lab.make()

    assert lab.volume is None
    assert lab.vc.request_log.count("Destroy_Task") == 0
    (disk,) = virtual_machine.get_vm(lab.session, lab.source.moref, RECORD_KEY).disks  # type: ignore[union-attr]
    assert disk.file_name == lab.source.disks[0].file_name
    assert lab.vc.read_disk(source).read(0, 1) is not None
    if not lost:
        assert known(lab) == Answers(Answer.NO, Answer.NO)


def until_made(lab: Lab) -> None:
    while lab.volume is None or not lab.volume.complete:
        lab.clock.sleep(0)
