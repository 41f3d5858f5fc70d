"""Runs one cell, and judges what is left of it.

prepare    the state that the operation finds
fault      is active
work       the operation, to its outcome: made, done, or refused with an error of ours
mended     the fault is over; vCenter ends what it has begun, leases expire
round      housekeeping: one purge, one reconcile
look       no object without an owner
again      the next volume from the image; after a failure the same volume once more
look       the same as after a day without faults
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from tests.faults.matrix import Cell, recording
from tests.faults.operations import MADE
from tests.faults.world import DATASTORES, GIB, World, volume
from vmdk_cache.cache.entry import Phase

#: An operation takes milliseconds; after this time it waits for something that never happens.
HANGS_AFTER_S = 60.0
#: Most runs of a cell until its poll is sent.
POLL_TRIES = 5
NOT_MADE = "the call was not made"
#: The second look removes what might be another process's import
#: (vmdk_cache/periodic/reconcile.py).
LOOKS_APART_S = 61.0


@dataclass(frozen=True)
class Result:
    """:ivar extra_requests: beyond those of a clean run
    :ivar left: what a failed volume leaves until its next attempt or its deletion
    :ivar problems: broken promises; none if the cell held
    """

    cell: Cell
    outcome: str
    extra_requests: int
    left: str
    problems: tuple[str, ...]


def run(cell: Cell) -> Result | None:
    """The cell's result, including errors of the cache itself.

    None if the call is a poll that was never sent. How often a thread polls depends on the speed of
    the machine at that time, and a recording counts the polls of every clean run (recording.py). A
    run in which the fault never struck was a clean run, and shows that this poll does not count.
    """
    for _ in range(POLL_TRIES):
        with World() as world:
            result = _Run(cell, world).result()
        if not (cell.call.is_poll and NOT_MADE in result.problems):
            return result
    return None


class _Run:
    def __init__(self, cell: Cell, world: World) -> None:
        self.cell = cell
        self.operation = cell.operation
        self.world = world
        self.outcome = ""
        self.left = ""
        self.problems: list[str] = []

    def result(self) -> Result:
        self.operation.prepare(self.world)
        if not self.operation.opens:
            self.world.open()
        extra = self._fault()
        if self.outcome != "hangs":
            self.world.settle()
            self._housekeeping()
            self._look_for_what_nobody_owns()
            self._again()
            self.world.close()
            self._look_at_sessions()
        for error in self.world.vcenter.errors:
            self.problems.append(f"the fake vCenter failed: {error}")
        return Result(self.cell, self.outcome, extra, self.left, tuple(self.problems))

    def _fault(self) -> int:
        """Do the work under the fault; returns how many more requests it took than a clean run."""
        world = self.world
        world.vcenter.request_log.reset()
        world.coordinator.reset()
        hits = self.cell.fault.inject(world, self.cell.call)
        worker = threading.Thread(target=self._work, daemon=True)
        worker.start()
        worker.join(HANGS_AFTER_S)
        if worker.is_alive():
            self.outcome = "hangs"
            self.problems.append(f"no outcome after {HANGS_AFTER_S:g} s")
        extra = world.vcenter.request_log.total() - recording(self.operation).requests
        if not hits():
            self.problems.append(NOT_MADE)
        if extra > self.operation.most_extra_requests:
            self.problems.append(f"{extra} more requests than without the fault")
        world.vcenter.fault_rules.clear()
        world.coordinator.reset()
        world.mend()
        return extra

    def _work(self) -> None:
        try:
            self.outcome = self.operation.run(self.world)
        except Exception as failure:
            self.outcome = f"raises {type(failure).__name__}"
            self.problems.append(f"raised an error of no class of ours: {failure!r}")

    def _housekeeping(self) -> None:
        cache = self.world.running
        cache.purge.run()
        cache.reconcile.check(directories=False)
        self.world.vcenter.clock.advance(LOOKS_APART_S)
        cache.reconcile.check(fix=True, remove_directories=True)

    def _look_for_what_nobody_owns(self) -> None:
        """After one round: ready templates, complete volumes, and at most the failed volume."""
        world = self.world
        made = self.outcome in MADE
        with world.vcenter.lock:
            for vm in world.vcenter.vms():
                if vm.name == volume(1).name:
                    if not made:
                        self.left = "its VM"
                    elif not self._is_whole(vm):
                        self.problems.append("the volume is incomplete")
                elif vm.config is None or not vm.config.template:
                    self.problems.append(f"left behind: {vm.name}")
            if made and world.vcenter.find_vm(volume(1).name) is None:
                self.problems.append("the volume was reported as created but does not exist")
        self._look_at_the_rest()

    def _again(self) -> None:
        """Try the failed volume again; if the volume succeeded, create another."""
        number = 2 if self.outcome in MADE else 1
        try:
            self.world.create(number)
        except Exception as failure:
            self.problems.append(f"the next volume fails: {failure!r}")
            return
        self.world.settle()
        expected = {volume(n).name for n in range(1, number + 1)}
        with self.world.vcenter.lock:
            vms = {vm.name: vm for vm in self.world.vcenter.vms() if not vm.config.template}
        if vms.keys() != expected:
            self.problems.append(f"in the end there are {sorted(vms)}")
        for vm in vms.values():
            if not self._is_whole(vm):
                self.problems.append(f"in the end {vm.name} is incomplete")
        self._look_at_the_rest()

    def _look_at_the_rest(self) -> None:
        """No lease, task, snapshot or unused directory is left, and one template per datastore."""
        world = self.world
        with world.vcenter.lock:
            vms = world.vcenter.vms()
            if world.vcenter.leases():
                self.problems.append("a lease is left")
            if world.vcenter.tasks.running():
                self.problems.append("a task never ends")
            if any(vm.snapshot for vm in vms):
                self.problems.append("a snapshot is left")
            held = [
                path for name in DATASTORES for path in world.vcenter.datastore(name).directories()
            ]
            if sorted(held) != sorted(vm.directory for vm in vms):
                self.problems.append(f"directories {sorted(held)} of {sorted(v.name for v in vms)}")
        entries = world.running.store.entries()
        if {entry.phase for entry in entries} - {Phase.READY}:
            self.problems.append(f"entries {[(e.name, e.phase) for e in entries]}")
        if len({entry.datastore for entry in entries}) < len(entries):
            self.problems.append("two templates on one datastore")

    def _is_whole(self, vm: object) -> bool:
        """Size, uuid and bytes are the volume's."""
        image = self.world.disk_image
        disk = self.world.vcenter.read_disk(vm)
        uuids = {volume(n).instance_uuid for n in (1, 2)}
        return bool(
            disk.size_bytes == GIB
            and vm.disks[0].uuid in uuids  # type: ignore[attr-defined]
            and disk.read(0, len(image.disk)) == image.disk
        )

    def _look_at_sessions(self) -> None:
        """No session of an ended process is left, except one whose log-in got no answer, or one
        that vCenter denied when asked (Fetch of currentSession)."""
        left = len(self.world.vcenter.sessions.active())
        unheard = self.cell.call.method in ("Login", "Fetch") or "dropped" in self.cell.fault.kind
        if left > (10 if unheard else 0):
            self.problems.append(f"{left} sessions are left")
