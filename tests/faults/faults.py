"""What can go wrong at a call: its possible faults, and how to inject them.

Typed faults are those that the vSphere API reference declares for the method, by pyVmomi's type
data, and those that vCenter is known to raise without declaring them (:data:`UNDECLARED`). For a
method that starts a task, they are the task's error, as in a real vCenter.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pyVmomi import VmomiSupport, vim, vmodl

from tests.fakes.images import FakeImageSource, bit_flipped, truncated
from tests.fakes.vcenter.dispatch import methods_of
from tests.fakes.vcenter.fault_rules import Where
from tests.faults.coordinator import LockFault
from tests.faults.recording import GLANCE, LOCK, Call
from tests.faults.world import DATASTORES, LEASE_TIMEOUT_S, World

#: Faults of tasks that no reference declares: full and locked datastores, hosts that go away, lost
#: files, cancellation (seen in production by users of CloneVM_Task; govmomi, Cluster API and SAP's
#: nova fork handle them).
UNDECLARED: dict[str, tuple[str, ...]] = {
    "CloneVM_Task": (
        "vim.fault.DuplicateName",
        "vim.fault.FileLocked",
        "vim.fault.FileNotFound",
        "vim.fault.InvalidHostState",
        "vim.fault.NoDiskSpace",
        "vim.fault.VirtualHardwareVersionNotSupported",
        "vmodl.fault.HostCommunication",
        "vmodl.fault.HostNotConnected",
        "vmodl.fault.ManagedObjectNotFound",
        "vmodl.fault.RequestCanceled",
    ),
    "ReconfigVM_Task": (
        "vim.fault.FileLocked",
        "vim.fault.NoDiskSpace",
        "vmodl.fault.HostNotConnected",
        "vmodl.fault.ManagedObjectNotFound",
        "vmodl.fault.RequestCanceled",
    ),
    "RelocateVM_Task": (
        "vim.fault.InvalidHostState",
        "vmodl.fault.HostNotConnected",
        "vmodl.fault.ManagedObjectNotFound",
        "vmodl.fault.RequestCanceled",
    ),
    "Destroy_Task": (
        "vim.fault.FileLocked",
        "vim.fault.FileNotFound",
        "vim.fault.InvalidState",
        "vim.fault.TaskInProgress",
        "vmodl.fault.HostNotConnected",
        "vmodl.fault.ManagedObjectNotFound",
        "vmodl.fault.RequestCanceled",
    ),
    "ImportVApp": ("vim.fault.NoDiskSpace", "vmodl.fault.HostNotConnected"),
    "HttpNfcLeaseComplete": ("vim.fault.InvalidState", "vim.fault.Timedout"),
    "MarkAsTemplate": ("vim.fault.TaskInProgress", "vmodl.fault.NotSupported"),
    "WaitForUpdatesEx": ("vmodl.fault.RequestCanceled",),
}
#: Faults that every call can raise (vSphere API reference, RuntimeFault and its descendants).
ANY_CALL = ("vmodl.fault.SystemError", "vmodl.fault.ManagedObjectNotFound")
TYPES = (
    vim.VirtualMachine,
    vim.Folder,
    vim.ResourcePool,
    vim.HttpNfcLease,
    vim.view.ListView,
    vim.view.ViewManager,
    vim.SearchIndex,
    vim.CustomFieldsManager,
    vim.Task,
    vim.ServiceInstance,
    vim.SessionManager,
    vim.FileManager,
    vim.VirtualDiskManager,
    vim.host.DatastoreBrowser,
    vmodl.query.PropertyCollector,
)


@dataclass(frozen=True)
class Fault:
    """:ivar kind: its row of the table
    :ivar name: distinguishes it from others of its kind, '' if there are none
    :ivar inject: injects it; returns a function that says how often it has struck
    """

    kind: str
    name: str
    inject: Callable[[World, Call], Callable[[], int]]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".rstrip()


# -- answers by something other than vCenter


def by_rule(
    kind: str, act: Callable[[World], Callable[[], object]] | None = None, **rule: Any
) -> Fault:
    """A fault rule of the fake vCenter.

    :param act: creates the rule's action
    """

    def inject(world: World, call: Call) -> Callable[[], int]:
        action = act(world) if act is not None else None
        made = world.vcenter.fault_rules.add(
            call.method, skip=call.number - 1, action=action, **rule
        )
        return lambda: made.hits

    return Fault(kind, "", inject)


def typed(kind: str, name: str, on: Where, times: int | None = 1) -> Fault:
    """A fault of the vSphere API."""

    def inject(world: World, call: Call) -> Callable[[], int]:
        skip = call.number - 1
        fault = instance(name)
        made = world.vcenter.fault_rules.add(call.method, fault, on=on, skip=skip, times=times)
        return lambda: made.hits

    return Fault(kind, name.rpartition(".")[2], inject)


def instance(name: str) -> Exception:
    """A fault by its type's name, with its required properties."""
    kind = VmomiSupport.GetVmodlType(name)
    values: dict[str, Any] = {"msg": f"made up: {name}"}
    required = {
        "privilegeId": "made.up",
        "object": vim.Folder("group-v0"),
        "obj": vim.VirtualMachine("vm-0"),
        "host": vim.HostSystem("host-0"),
        "name": "made up",
        "file": "[made up] x.vmdk",
        "task": vim.Task("task-0"),
        "reason": "made up",
        "requestedState": vim.VirtualMachine.PowerState.poweredOff,
        "existingState": vim.VirtualMachine.PowerState.poweredOn,
    }
    for field in kind._GetPropertyList():
        if field.name in required and isinstance(required[field.name], field.type):
            values[field.name] = required[field.name]
    made: Exception = kind(**values)
    return made


def slow(world: World) -> Callable[[], object]:
    return lambda: world.vcenter.clock.advance(LEASE_TIMEOUT_S - 60)


def lease_runs_out(world: World) -> Callable[[], object]:
    return lambda: world.vcenter.clock.advance(LEASE_TIMEOUT_S + 1)


def session_lost(world: World) -> Callable[[], object]:
    return world.vcenter.sessions.expire_all


def restarted(world: World) -> Callable[[], object]:
    return world.vcenter.restart


def full(world: World) -> Callable[[], object]:
    """Let another tenant fill the datastores."""

    def fill() -> None:
        with world.vcenter.lock:
            for name in DATASTORES:
                datastore = world.vcenter.datastore(name)
                datastore.fill(datastore.free_bytes)

    return fill


def host_gone(world: World) -> Callable[[], object]:
    """Disconnect all hosts except the last, and so the ones that work."""

    def go() -> None:
        for host in world.hosts()[:-1]:
            host.set_connected(False)

    return go


# -- faults that take more than a rule


def restarted_in_the_middle(world: World, call: Call) -> Callable[[], int]:
    """vCenter restarts while the task runs: what it has created so far stays, and no client knows
    of it.

    Cloning takes time from here on, so there is a middle.
    """
    vcenter = world.vcenter
    costs = vcenter.cost_model
    hits = 0

    def take_time() -> None:
        costs.enabled, costs.fixed_clone_s = True, 60.0

    def restart() -> None:
        nonlocal hits
        _wait_for(lambda: any(not vm.complete for vm in vcenter.vms()))
        vcenter.restart()
        costs.enabled = False
        hits += 1

    vcenter.fault_rules.add(call.method, skip=call.number - 1, action=take_time)
    vcenter.fault_rules.add(
        call.method, on="task", skip=call.number - 1, action=lambda: later(restart)
    )
    return lambda: hits


def later(action: Callable[[], None]) -> None:
    """Run it in a separate thread: a task's rule acts before the task does."""
    threading.Thread(target=action, daemon=True).start()


def _wait_for(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check() and time.monotonic() < deadline:
        time.sleep(0.002)


def glance(name: str, source: Callable[[World], FakeImageSource]) -> Fault:
    """The image's stream is wrong."""

    def inject(world: World, call: Call) -> Callable[[], int]:
        broken = world.source = source(world)
        return lambda: broken.opened

    return Fault("Glance", name, inject)


def _cut(world: World, part: float) -> FakeImageSource:
    length = len(world.disk_image.file_bytes)
    return FakeImageSource(world.disk_image, fail_after_bytes=max(0, int(length * part)))


GLANCE_FAULTS = (
    glance("refuses", lambda world: _cut(world, 0)),
    glance("cut after a quarter", lambda world: _cut(world, 0.25)),
    glance("cut in the middle", lambda world: _cut(world, 0.5)),
    glance("cut at the end", lambda world: _cut(world, 1)),
    glance("sends less", lambda world: FakeImageSource(truncated(world.disk_image))),
    glance("sends other bytes", lambda world: FakeImageSource(bit_flipped(world.disk_image))),
)


def lock_fault(name: str, how: LockFault) -> Fault:
    def inject(world: World, call: Call) -> Callable[[], int]:
        world.coordinator.fail(how, call.number)
        return lambda: world.coordinator.hits

    return Fault("coordinator", name, inject)


LOCK_FAULTS = (
    lock_fault("gone", "gone"),
    lock_fault("gone while the lock is held", "lost"),
    lock_fault("gives it to another", "held"),
)
ANSWERS = (
    by_rule("HTTP 503, once", http_status=503),
    by_rule("HTTP 503, from then on", http_status=503, times=None),
    by_rule("dropped before it acted", drop="before"),
    by_rule("dropped after it acted", drop="after"),
    by_rule("dropped after it acted, from then on", drop="after", times=None),
    by_rule("slow answer", slow),
    by_rule("session lost", session_lost),
    by_rule("vCenter restarted", restarted, drop="before"),
)
UNAUTHORIZED = by_rule("HTTP 401", http_status=401)
LEASED = by_rule("lease run out", lease_runs_out)
FULL = by_rule("datastores full", full)
HOST_GONE = by_rule("host gone", host_gone)
NO_PRIVILEGE = typed("privilege missing", "vim.fault.NoPermission", "call", times=None)
OF_A_TASK = (
    by_rule("slow task", slow, on="task"),
    by_rule("session lost while a task runs", session_lost, on="task"),
    by_rule("vCenter restarted before a task began", restarted, on="task"),
    by_rule("host gone while a task runs", host_gone, on="task"),
)
HALF_MADE = Fault("vCenter restarted in the middle of a task", "", restarted_in_the_middle)


def faults_of(call: Call) -> Iterator[Fault]:
    """Everything that can go wrong at this call."""
    if call.method == GLANCE:
        yield from GLANCE_FAULTS
        return
    if call.method == LOCK:
        yield from LOCK_FAULTS
        return
    yield from ANSWERS
    if call.number == 1:  # the same at each call of a method
        yield UNAUTHORIZED
    if call.leased:
        yield LEASED
    if call.method in ("ImportVApp", "nfc:POST", "CloneVM_Task", "ReconfigVM_Task"):
        yield FULL
        yield HOST_GONE
    if call.method == "nfc:POST":
        yield by_rule("HTTP 500", http_status=500)
        return
    if call.number == 1:
        yield NO_PRIVILEGE
    is_task = call.method.endswith("_Task")
    for name in ANY_CALL:
        yield typed("fault of the call", name, "call")
    for name in sorted({*declared(call.method), *UNDECLARED.get(call.method, ())}):
        if is_task:
            yield typed("fault of the task", name, "task")
        else:
            yield typed("fault of the call", name, "call")
    if is_task:
        yield from OF_A_TASK
    if call.method == "CloneVM_Task":
        yield HALF_MADE


@functools.cache
def declared(method: str) -> tuple[str, ...]:
    """Names of the faults that the reference declares for a method."""
    for kind in TYPES:
        info = methods_of(kind).get(method)
        if info is not None:
            return tuple(str(getattr(fault, "__name__", fault)) for fault in info.faults or ())
    return ()
