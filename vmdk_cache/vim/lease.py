"""Importing a disk: ImportVApp and its NFC lease.

Life:  open_import -> held (VM exists, disk empty) -> upload -> complete (VM stays)
                                                  \\-> abort    (vCenter removes the VM)

While held, a thread renews the lease at most every 30 s with the percentage; vCenter drops a lease
that is not renewed for 300 s. A renewal that fails cancels the upload: nobody works on under a
lost lease. Leaving the ``with`` block by an exception aborts and sees to it that the VM is gone;
each lease touches only the VM that it created itself, by moref.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from oslo_log import log as logging
from pyVmomi import vim

from vmdk_cache import errors, retry
from vmdk_cache.vim import faults, properties, template
from vmdk_cache.vim.import_spec import config_spec
from vmdk_cache.vim.nfc_upload import NfcUpload, Readable
from vmdk_cache.vim.properties import Properties
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import find_child

LOG = logging.getLogger(__name__)

RENEW_EVERY_S = 30.0
_READY_WITHIN_S = 600.0
_GONE = "gone"
#: A lease that is ready may still be held by another operation for a moment.
_COMPLETE_ATTEMPTS = 6
_CREATE_ATTEMPTS = 3
#: After an abort vCenter holds the VM for a moment.
_UNDO_ATTEMPTS = 6


@dataclass(frozen=True)
class ImportRequest:
    """The VM that an import creates; hardware as upstream's driver makes it.

    :ivar datastore: NAME of the datastore (vmPathName is ``[name]``)
    :ivar capacity_bytes: virtual size of the disk
    :ivar disk_type: ``thin``, ``thick`` or ``eagerZeroedThick``
    :ivar adapter_type: ``lsiLogic``, ``busLogic``, ``lsiLogicsas``, ``paraVirtual`` or ``ide``
    :ivar managed_by: (extension key, type) or None
    :ivar hardware_version: e.g. ``vmx-13``; upstream's default is ``vmx-08``
    """

    name: str
    datastore: str
    capacity_bytes: int
    disk_type: str = "thin"
    adapter_type: str = "lsiLogic"
    extra_config: Mapping[str, str] = field(default_factory=dict)
    annotation: str = ""
    managed_by: tuple[str, str] | None = None
    profile_id: str | None = None
    instance_uuid: str | None = None
    guest_id: str = "otherGuest"
    cpus: int = 1
    memory_mb: int = 128
    hardware_version: str = "vmx-08"


def open_import(
    session: Session,
    waiter: TaskWaiter,
    pool: str,
    folder: str,
    host: str | None,
    request: ImportRequest,
    *,
    renew_every_s: float = RENEW_EVERY_S,
) -> ImportLease:
    """Create the VM with an empty disk and hold the lease to fill it; use in a ``with`` block.

    :param pool: moref; so are ``folder`` and ``host``
    :raises NameTaken: the folder has an object of that name
    :raises LeaseLost: vCenter did not get the lease ready
    :raises VCenterError: any other fault; nothing is left behind
    """

    def create() -> str:
        lease = session.invoke(
            "ResourcePool",
            pool,
            "ImportVApp",
            spec=vim.vm.VmImportSpec(configSpec=config_spec(request), resPoolEntity=None),
            folder=folder,
            host=host,
        )
        return str(lease)

    lease = retry.call(
        create,
        attempts=_CREATE_ATTEMPTS,
        when=lambda failure: _made_nothing(session, folder, request.name, failure),
        first_wait_s=1.0,
        clock=session.clock,
    )
    try:
        info = _until_ready(session, lease)["info"]
        return ImportLease(session, waiter, lease, info, request, renew_every_s)
    except BaseException:
        _abort(session, lease)
        raise


class ImportLease:
    """A held lease; see the module's text for its life.

    :ivar vm: moref of the VM
    """

    def __init__(
        self,
        session: Session,
        waiter: TaskWaiter,
        lease: str,
        info: Any,
        request: ImportRequest,
        renew_every_s: float,
    ) -> None:
        self.vm = str(info.entity._GetMoId())
        self._session = session
        self._waiter = waiter
        self._lease = lease
        self._request = request
        self._devices = list(info.deviceUrl or ())
        self._percent = 0
        self._lost: errors.LeaseLost | None = None
        self._upload: NfcUpload | None = None
        self._held = True
        self._stop = threading.Event()
        pause_s = min(renew_every_s, (info.leaseTimeout or 300) / 4)
        self._renewer = threading.Thread(
            target=self._renew, args=(pause_s,), name=f"lease-{self.vm}", daemon=True
        )
        self._renewer.start()

    def __enter__(self) -> ImportLease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.abort()  # does nothing after complete()
        else:
            self._undo()

    def upload(
        self,
        stream: Readable,
        length: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """Send the disk as a streamOptimized VMDK.

        :param stream: closed, if it can be, when the lease is lost while it is read: a source that
            is silent must not keep a lost import waiting
        :param length: bytes of the stream, None if unknown
        :param on_progress: told how many bytes have gone out, after each MiB or so
        :raises LeaseLost: the lease could not be renewed meanwhile
        :raises VCenterError: the ESXi host refused, or is out of reach
        :raises BaseException: what ``stream.read`` raises
        """
        upload = NfcUpload(self._session, *self._disk_url())
        self._upload = upload
        whole = max(1, length if length is not None else self._request.capacity_bytes)

        def sent(total: int) -> None:
            self._percent = min(99, total * 100 // whole)
            if on_progress is not None:
                on_progress(total)

        try:
            self._check_lost()
            upload.send(stream, length, sent)
        except Exception as error:
            self._check_lost(error)
            if isinstance(error, errors.VCenterError):
                self._check_held(error)
            raise
        finally:
            self._upload = None
        self._check_lost()

    def complete(self) -> None:
        """The disk is whole: end the lease, keep the VM. A second call does nothing.

        :raises LeaseLost: the lease is gone, and with it the VM
        :raises InUse: it is held, and another operation was in the way for too long
        """
        if not self._held:
            return
        self._end_renewal()
        self._check_lost()
        retry.call(
            self._complete_once,
            attempts=_COMPLETE_ATTEMPTS,
            when=lambda failure: isinstance(failure, errors.InUse),
            first_wait_s=0.5,
            clock=self._session.clock,
        )
        self._held = False

    def _complete_once(self) -> None:
        """:raises InUse: not now, but the lease is still ready"""
        try:
            self._session.invoke("HttpNfcLease", self._lease, "HttpNfcLeaseComplete", safe=True)
        except (errors.ObjectNotFound, errors.InUse) as error:
            state = self._state()
            if state == "ready":
                raise
            if not self._has_completed(state):
                raise errors.LeaseLost(
                    f"the lease of {self._request.name!r} has ended: {error}", moref=self.vm
                ) from error

    def abort(self) -> None:
        """Give up; vCenter removes the VM. Never raises for that; does nothing once it ended."""
        if self._held:
            self._held = False
            self._end_renewal()
            _abort(self._session, self._lease)

    def _undo(self) -> None:
        """Whatever happened in the block: no lease, no VM. Its error matters more than ours."""
        self.abort()
        try:
            retry.call(
                self._remove_vm,
                attempts=_UNDO_ATTEMPTS,
                first_wait_s=1.0,
                min_wait_s=0.5,
                max_wait_s=16.0,
                clock=self._session.clock,
            )
        except errors.VCenterError as failure:
            LOG.warning(
                "The VM %r (%s) of a failed import could not be removed, a reconcile will: %s",
                self._request.name,
                self.vm,
                failure,
            )

    def _remove_vm(self) -> None:
        if properties.read(self._session, "VirtualMachine", [self.vm], ["name"]):
            template.destroy(self._session, self._waiter, self.vm)

    def _disk_url(self) -> tuple[str, str]:
        for device in self._devices:
            if device.disk:
                return device.url, device.sslThumbprint or ""
        raise errors.LeaseLost(
            f"the lease of {self._request.name!r} has no disk to upload to", moref=self.vm
        )

    def _renew(self, pause_s: float) -> None:
        """The thread: renew until stopped; a renewal that fails ends the upload."""
        while not self._stop.wait(pause_s):
            try:
                self._session.invoke(
                    "HttpNfcLease",
                    self._lease,
                    "HttpNfcLeaseProgress",
                    safe=True,
                    percent=self._percent,
                )
            except Exception as error:
                if self._stop.is_set():
                    return
                self._lost = errors.LeaseLost(
                    f"the lease of {self._request.name!r} could not be renewed: {error}",
                    moref=self.vm,
                    fault=getattr(error, "fault", None),
                )
                upload = self._upload
                if upload is not None:
                    upload.cancel()
                return

    def _has_completed(self, state: str) -> bool:
        """Whether an earlier attempt, whose answer was lost, has completed the lease.

        Then it is done or, soon after, gone; and there is a VM, which vCenter would have removed
        had it dropped the lease.
        """
        if state not in ("done", _GONE):
            return False
        return bool(properties.read(self._session, "VirtualMachine", [self.vm], ["name"]))

    def _state(self) -> str:
        """What vCenter says of the lease, or that it is gone."""
        read = properties.read(self._session, "HttpNfcLease", [self._lease], ["state"])
        return str(read.get(self._lease, {}).get("state", _GONE))

    def _end_renewal(self) -> None:
        self._stop.set()

    def _check_held(self, cause: errors.VCenterError) -> None:
        """An upload also fails when vCenter ended the lease; then that is the error to report.

        :raises LeaseLost: it did
        """
        try:
            state = self._state()
        except errors.VCenterError:
            return  # nothing can be said; the upload's own error stands
        if state != "ready":
            raise errors.LeaseLost(
                f"the lease of {self._request.name!r} is {state}; the upload failed: {cause}",
                moref=self.vm,
            ) from cause

    def _check_lost(self, cause: BaseException | None = None) -> None:
        if self._lost is not None:
            raise self._lost from cause


def _until_ready(session: Session, lease: str) -> Properties:
    """Poll the lease until it is ready: it takes milliseconds to seconds."""
    deadline = session.clock.monotonic() + _READY_WITHIN_S
    pause_s = 0.05
    while True:
        values = properties.read_one(session, "HttpNfcLease", lease, ["state", "error", "info"])
        state = values.get("state")
        if state == "ready" and values.get("info") is not None:
            return values
        if state == "error":
            fault = values.get("error")
            raise _lease_error(fault)
        if state == "done" or session.clock.monotonic() > deadline:
            raise errors.LeaseLost(f"the import lease did not become ready, it is {state}")
        session.clock.sleep(pause_s)
        pause_s = min(2.0, pause_s * 2)


def _made_nothing(session: Session, folder: str, name: str, failure: BaseException) -> bool:
    """Whether a call without an answer left no VM of that name, so that it may be made again.

    One that shows up later refuses the next call by its name.
    """
    if not isinstance(failure, errors.Unreachable):
        return False
    try:
        return find_child(session, folder, name) is None
    except errors.VCenterError:
        return False


def _lease_error(fault: Any) -> BaseException:
    if fault is None:
        return errors.LeaseLost("the import lease failed, and vCenter does not say why")
    return faults.translate(fault, method="ImportVApp")


def _abort(session: Session, lease: str) -> None:
    try:
        session.invoke("HttpNfcLease", lease, "HttpNfcLeaseAbort", safe=True)
    except errors.VCenterError:
        pass  # ended already; if not, vCenter ends it when it is not renewed
