"""HttpNfcLease: the right to upload a new VM's disks (ImportVApp) or to download a VM's (ExportVm).

Life: initializing -> ready -> done | error. If the VM cannot be created (DuplicateName, no space),
the fault is the lease's `error`, not ImportVApp's. A ready lease ends as `error` with Timedout
`LEASE_TIMEOUT_S` after the last HttpNfcLeaseProgress, and when its session ends. The task
ResourcePool.ImportVAppLRO (entity: the VM) runs as long as the lease and locks the VM. If an import
ends by anything but HttpNfcLeaseComplete, the same task removes the VM and its files
`lease_cleanup_s` seconds later (switch); until then its name is taken.

HttpNfcLeaseComplete trusts the client: a disk that was never sent stays empty, and a disk whose
upload broke off or was refused has BROKEN_BYTES, unless the refusal ended the lease (switch
`refused_stream_fails_lease`). It waits for an upload that is still arriving. http_nfc.py carries
the bytes. (vSphere API reference, HttpNfcLease; production reports of imports of exactly 4096000
bytes)
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.clock import Passing
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.disk import DiskContent
from tests.fakes.vcenter.lease_device import LeaseDevice, nvram_info
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.session_manager import Session
    from tests.fakes.vcenter.virtual_machine import VirtualMachine
    from tests.fakes.vcenter.virtual_machine_devices import Devices

LEASE_TIMEOUT_S = 300
BROKEN_BYTES = 4_096_000
_STALLED_UPLOAD_S = 10.0
_SILENCE_S = 60.0


class _Start:
    """Admission of a lease's task: immediate, but only when the lease calls `admitted`."""

    def __init__(self) -> None:
        self.admitted: Callable[[], None] = lambda: None

    def request(self, admitted: Callable[[], None]) -> None:
        self.admitted = admitted

    def release(self) -> None:
        """Does nothing, since the admission takes no units."""


class HttpNfcLease(ManagedObject):
    """One lease. For tests: `state`, `vm`, `devices`, `kind` ("import" or "export")."""

    TYPE = vim.HttpNfcLease

    def __init__(self, ctx: Context, kind: str, source: Devices | None = None) -> None:
        assert ctx.session is not None, "dispatch has checked the session"
        super().__init__(ctx.vcenter, ctx.session.new_moref())
        self.session: Session = ctx.session
        self.session.own(self)
        self.kind = kind
        self.source = source  # what is exported, if not the VM itself
        self.uuid = str(uuid.uuid4())
        self.host = ctx.host
        self.state = "initializing"
        self.error: Any = None
        self.vm: VirtualMachine | None = None
        self.devices: list[LeaseDevice] = []
        self.initializeProgress = 0
        self.transferProgress = 0
        self.mode = "pushOrGet"
        self._task: Task | None = None
        self._timer: Any = None
        self._upload_changed = threading.Condition(self.vcenter.lock)
        self._busy: list[Callable[[], None]] = []  # each ends a transfer's wait
        self._cleaning = False

    @property
    def is_open(self) -> bool:
        return self.state in ("initializing", "ready")

    @property
    def capabilities(self) -> Any:
        return vim.HttpNfcLease.Capabilities(pullModeSupported=False, corsSupported=False)

    @property
    def info(self) -> Any:
        """Set only while the lease is ready."""
        if self.state != "ready" or self.vm is None:
            return None
        total = sum(device.disk.capacity_bytes for device in self.devices) // 1024
        return vim.HttpNfcLease.Info(
            lease=self.ref,
            entity=self.vm.ref,
            deviceUrl=self._urls(),
            totalDiskCapacityInKB=total,
            leaseTimeout=LEASE_TIMEOUT_S,
        )

    def _urls(self) -> list[Any]:
        urls = [device.url_info(self) for device in self.devices]
        if self.kind == "import":
            urls.append(nvram_info(self, len(urls)))
        return urls

    # Life

    def begin(self, method: str, make: Any, *names: str) -> None:
        """Prepare the lease on a worker thread. A fault rule for `method` with on="task" acts on
        the lease.
        """
        rule = self.vcenter.fault_rules.match(method, *names, on="task")

        def prepare() -> None:
            if rule is not None and rule.action is not None:
                rule.action()
            self._prepare(make, rule.fault if rule is not None else None)

        def submit() -> None:
            self.vcenter.tasks.submit(prepare)

        delay_s: float = Passing(self.vcenter.cost_model.task_s)
        if rule is not None and rule.delay_s:
            delay_s += rule.delay_s
        if delay_s:
            self.vcenter.clock.call_later(delay_s, submit)
        else:
            submit()

    def _prepare(self, make: Any, injected: Exception | None) -> None:
        """initializing -> ready, or error with the fault of the VM's creation."""
        with self.vcenter.lock:
            if not self.is_open:
                return
            try:
                if injected is not None:
                    raise injected
                vm = make()
                if self._task is None:
                    self.hold(vm)
            except vmodl.MethodFault as fault:
                self._end("error", fault)
                return
            except Exception as error:
                self._end("error", self.vcenter.record_error("HttpNfcLease.prepare", error))
                return
            source = self.source or vm.devices
            self.devices = [
                LeaseDevice(vm, source, attached, number)
                for number, attached in enumerate(source.disks)
            ]
            self.initializeProgress = 100
            self.state = "ready"
            self._renew()
            self.changed("initializeProgress", "info", "state")

    def hold(self, vm: VirtualMachine) -> None:
        """Lock the VM by a task that lasts as long as the lease."""
        method, description = (
            ("ImportVApp", "ResourcePool.ImportVAppLRO")
            if self.kind == "import"
            else ("ExportVm", "VirtualMachine.ExportVmLRO")
        )
        start = _Start()
        vm.lock.check_not_exclusive()
        self.vm = vm
        self._task = task = self.vcenter.tasks.start(
            vm,
            method,
            description,
            self._last,
            session=self.session,
            result_entity=vm,
            delay_s=0.0,
            admission=start,
        )
        # Fault rules match this name, so that a rule for the call's own task is not counted twice.
        task.method = f"{method}LRO"
        start.admitted()
        if self.kind == "import":
            vm.lock.take(task)
        else:
            vm.lock.take_shared(task)

    def _last(self, task: Task) -> Generator[float, None, None]:
        """The body of the task: waits for the end of the lease, and fails with its error."""
        try:
            while self.is_open or self._cleaning:
                yield math.inf
        except vmodl.fault.RequestCanceled as fault:
            self._fail(fault)
            raise
        if self.error is not None:
            raise self.error

    def _renew(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.vcenter.clock.call_later(LEASE_TIMEOUT_S, self._time_out, awaited=False)

    def _time_out(self) -> None:
        with self.vcenter.lock:
            if self.is_open and self._busy:
                self._renew()
            elif self.is_open:
                self._fail(vim.fault.Timedout(msg="The lease has timed out."))
            else:
                self.forget()

    def session_ended(self) -> None:
        """End the lease, since its client has gone."""
        if self.is_open:
            self._fail(vmodl.fault.RequestCanceled(msg="The session of the lease has ended."))
        self.forget()

    def fail(self, fault: Exception) -> None:
        """End as `error` because a transfer failed."""
        with self.vcenter.lock:
            if self.is_open:
                self._fail(fault)

    def forget(self) -> None:
        """Leave the registry; an ended lease stays readable until its timer or session ends."""
        self.session.disown(self)
        if self._timer is not None:
            self._timer.cancel()
        self.destroy_object()

    def _fail(self, fault: Exception) -> None:
        """End as `error`; an import's VM is removed later, and its task then ends."""
        vm, switches = self.vm, self.vcenter.switches
        self._cleaning = self.kind == "import" and vm is not None and vm.exists
        self._end("error", fault)
        if not self._cleaning or vm is None:
            return
        folder = vm.parent
        if switches.lease_cleanup == "hidden":
            folder.keep_name(vm)
            vm.destroy()
        self.vcenter.clock.call_later(switches.lease_cleanup_s, lambda: self._clean_up(vm, folder))

    def _clean_up(self, vm: VirtualMachine, folder: Any) -> None:
        with self.vcenter.lock:
            self._cleaning = False
            folder.give_name_back(vm)
            if vm.exists:
                vm.lock.release(self._task)
                vm.destroy()
            self._end_task()

    def _end(self, state: str, fault: Exception | None) -> None:
        self.state, self.error = state, fault
        if self.vm is not None and self._task is not None and not self._cleaning:
            self.vm.lock.release(self._task)
        self._upload_changed.notify_all()
        for end in self._busy:
            end()
        self._renew()
        self.changed("state", "error", "info")
        if not self._cleaning:
            self._end_task()

    def _end_task(self) -> None:
        if self._task is not None and self._task.info.state == "running":
            # A worker thread resumes the waiting body, which sees no cancellation and just goes on.
            self.vcenter.tasks.cancel(self._task)

    # Transfers, for http_nfc

    def device(self, target_id: str) -> LeaseDevice | None:
        return next((one for one in self.devices if one.target_id == target_id), None)

    def upload_ended(self) -> None:
        """Note the end of an upload, so that HttpNfcLeaseComplete looks again at once."""
        with self.vcenter.lock:
            self._upload_changed.notify_all()

    @contextlib.contextmanager
    def busy(self, end: Callable[[], None]) -> Iterator[None]:
        """Mark a transfer as running during the block: neither lease nor session expires. `end` is
        called when the lease ends, or at once if it has already ended.
        """
        with self.vcenter.lock:
            self._busy.append(end)
            self.session.outstanding += 1
            if not self.is_open:
                end()
        try:
            yield
        finally:
            with self.vcenter.lock:
                self._busy.remove(end)
                self.session.outstanding -= 1
                self.session.last_active = self.vcenter.clock.monotonic()
                if self.is_open:
                    self._renew()

    def _wait_for_requests(self) -> None:
        """Wait for the upload of a client that has connected, and may have sent all of it, to
        begin: oslo.vmware completes its lease before it reads the answer.
        """
        deadline = time.monotonic() + _SILENCE_S
        while (
            any(not device.is_arriving and device.sha1 is None for device in self.devices)
            and self.vcenter.has_silent_connections
            and self.state == "ready"
            and time.monotonic() < deadline
        ):
            with self.vcenter.clock.activity.pause():
                self._upload_changed.wait(0.02)

    def _wait_for_uploads(self) -> None:
        """Wait for a running upload as long as bytes arrive."""
        last, since = -1, time.monotonic()
        while any(device.is_arriving for device in self.devices) and self.state == "ready":
            received = sum(device.received_bytes for device in self.devices)
            if received != last:
                last, since = received, time.monotonic()
            elif self._busy:
                since = time.monotonic()
            elif time.monotonic() - since > _STALLED_UPLOAD_S:
                return
            with self.vcenter.clock.activity.pause():
                self._upload_changed.wait(None if self._busy else 0.1)

    # The vSphere API

    def HttpNfcLeaseProgress(self, ctx: Context, percent: int) -> None:
        """Renew the lease, whatever the percentage."""
        self._require_ready()
        if not 0 <= percent <= 100:
            raise vmodl.fault.InvalidArgument(
                msg="A specified parameter was not correct: percent", invalidProperty="percent"
            )
        self.transferProgress = percent
        if self._task is not None:
            self._task.set_progress(percent)
        self._renew()
        self.changed("transferProgress")

    def HttpNfcLeaseComplete(self, ctx: Context) -> None:
        """Always succeeds, whatever was sent."""
        self._require_ready()
        if self.kind == "import":
            self._wait_for_requests()
        self._wait_for_uploads()
        self._require_ready()
        vm = self.vm
        assert vm is not None
        if self.kind == "import":
            for device in self.devices:
                if device.is_arriving or device.is_broken:
                    device.disk.fill(DiskContent(BROKEN_BYTES))
            vm.imported_at = self.vcenter.clock.monotonic()
        self._end("done", None)
        vm.touch()

    def HttpNfcLeaseAbort(self, ctx: Context, fault: Any = None) -> None:
        """End the lease, and remove an imported VM. InvalidState if the lease has already ended."""
        if not self.is_open:
            raise self._invalid_state()
        self._fail(fault or vmodl.fault.RequestCanceled(msg="The lease was aborted by the client."))

    def HttpNfcLeaseGetManifest(self, ctx: Context) -> list[Any]:
        """The transfers so far, with checksums; not after the end."""
        self._require_ready()
        return [device.manifest() for device in self.devices if device.sha1 is not None]

    def HttpNfcLeaseSetManifestChecksumType(
        self, ctx: Context, deviceUrlsToChecksumTypes: Any
    ) -> None:
        """Choose sha256 in addition to or instead of sha1, by device key."""
        self._require_ready()
        for pair in deviceUrlsToChecksumTypes or []:
            for device in self.devices:
                if device.key == pair.key:
                    device.checksum_type = pair.value.lower()

    def _require_ready(self) -> None:
        if isinstance(self.error, vim.fault.Timedout):
            raise vim.fault.Timedout(msg="The lease has timed out.")
        if self.state != "ready":
            raise self._invalid_state()

    def _invalid_state(self) -> Exception:
        return vim.fault.InvalidState(
            msg=f"The operation is not allowed in the current state: the lease is {self.state}."
        )
