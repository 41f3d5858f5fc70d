"""Importing a disk: ImportVApp and its NFC lease.

Life:  open_import -> held (VM exists, disk empty) -> upload -> complete (VM stays)
                                                  \\-> abort    (vCenter removes the VM, later)

While the lease is held, a thread renews it at least every 30 s with the percentage. A failed
renewal cancels the upload, so no work continues under a lost lease. If an exception leaves the
``with`` block, the lease is aborted and the VM removed, unless the block has turned it into a
template, which is complete. A lease changes only the VM that it created, by moref.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oslo_log import log as logging
from pyVmomi import vim

from vmdk_cache import errors, retry
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import properties, recent_task, template
from vmdk_cache.vim.datastore_path import in_each_way
from vmdk_cache.vim.folder import find_child
from vmdk_cache.vim.import_spec import ImportRequest, config_spec
from vmdk_cache.vim.nfc_lease import GONE, RENEW_EVERY_S, NfcLease, Renewal
from vmdk_cache.vim.nfc_transfer import NfcUpload, Readable
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

LOG = logging.getLogger(__name__)

#: A lease that is ready may still be held by another operation for a moment.
_COMPLETE_ATTEMPTS = 6
_CREATE_ATTEMPTS = 3
#: How long to wait for vCenter to remove the VM of a failed import. vCenter does so after it has
#: ended the lease, and refuses other operations on the VM meanwhile. After this time, the VM is
#: deleted like any other.
_REMOVED_WITHIN_S = 60.0
_REMOVAL_POLL_S = 2.0
#: Another operation may hold the VM for a moment.
_UNDO_ATTEMPTS = 6


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
    """Create the VM with an empty disk, and hold the lease to upload it; use in a ``with`` block.

    :param pool: moref; so are ``folder`` and ``host``
    :raises NameTaken: the folder has an object of that name
    :raises LeaseLost: the lease did not become ready
    :raises Unreachable: there was no answer, so vCenter may have created the VM; it removes that VM
        when the lease, which no client renews, expires
    :raises VCenterError: any other fault; nothing is left behind
    """
    unanswered: list[BaseException] = []

    def create(datastore: str) -> str:
        spec = vim.vm.VmImportSpec(configSpec=config_spec(request, datastore), resPoolEntity=None)
        return str(
            session.invoke("ResourcePool", pool, "ImportVApp", spec=spec, folder=folder, host=host)
        )

    def has_created_nothing(failure: BaseException) -> bool:
        if not isinstance(failure, errors.Unreachable):
            return False
        unanswered.append(failure)
        try:
            return find_child(session, folder, request.name) is None
        except errors.VCenterError:
            return False

    def open_on(datastore: str) -> ImportLease:
        moref = retry.call(
            lambda: create(datastore),
            attempts=_CREATE_ATTEMPTS,
            when=has_created_nothing,
            first_wait_s=1.0,
            clock=session.clock,
        )
        lease = NfcLease(session, moref, "ImportVApp")
        try:
            return ImportLease(session, waiter, lease, lease.until_ready(), request, renew_every_s)
        except BaseException:
            lease.abort()
            raise

    try:
        return in_each_way(request.datastores, open_on)
    except errors.NameTaken as taken:
        if unanswered:
            raise unanswered[0] from taken  # the name is that of its VM, whose lease is unknown
        raise


class ImportLease:
    """A held lease; see the module docstring for its life.

    :ivar vm: moref of the VM
    """

    def __init__(
        self,
        session: Session,
        waiter: TaskWaiter,
        lease: NfcLease,
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
        self._lost: errors.LeaseLost | None = None
        self._upload: NfcUpload | None = None
        self._held = True
        self._kept = False
        self._renewal = Renewal(
            lease, info, f"lease-{self.vm}", self._renewal_failed, renew_every_s
        )

    def __enter__(self) -> ImportLease:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.abort()  # does nothing after complete()
        if kind is not None and not self._kept:
            self._remove_vm()

    def upload(
        self,
        stream: Readable,
        length: int | None = None,
        on_progress: Callable[[int], None] = lambda sent_bytes: None,
        *,
        percent: Callable[[int], int] = lambda sent_bytes: 0,
    ) -> int:
        """Upload the disk as a streamOptimized VMDK; the number of bytes sent.

        :param stream: closed, if it has ``close``, when the lease is lost during a read: a source
            that sends nothing must not keep a lost import waiting
        :param length: of the stream in bytes, None if unknown
        :param on_progress: called after each MiB or so with the number of bytes sent so far
        :param percent: for the same number, what vCenter is told with the next renewal, 0 to 100
        :raises LeaseLost: the lease could not be renewed meanwhile
        :raises UploadRefused: the ESXi host refused the data
        :raises VCenterError: the host refused for another reason, or is unreachable
        :raises BaseException: whatever ``stream.read`` raises
        """
        upload = NfcUpload(self._session, *self._disk_url())
        self._upload = upload

        def sent(total: int) -> None:
            self._renewal.percent = percent(total)
            on_progress(total)

        try:
            self._check_lost()
            sent_bytes = upload.send(stream, length, sent)
        except Exception as error:
            self._check_lease(error)
            raise
        finally:
            self._upload = None
        self._check_lost()
        return sent_bytes

    def complete(self) -> None:
        """End the lease of a complete disk and keep the VM. A second call does nothing.

        :raises LeaseLost: the lease and the VM are gone
        :raises InUse: the lease is still held; another operation blocked it for too long
        """
        if not self._held:
            return
        self._renewal.stop()
        self._check_lost()
        retry.call(
            self._complete_once,
            attempts=_COMPLETE_ATTEMPTS,
            when=lambda failure: isinstance(failure, errors.InUse),
            first_wait_s=0.5,
            clock=self._session.clock,
        )
        self._held = False

    def keep(self) -> None:
        """Do not touch the VM any more, whatever exception leaves the block."""
        self._kept = True

    def abort(self) -> None:
        """End the lease without success; vCenter removes the VM. Never raises; does nothing if the
        lease has ended."""
        if self._held:
            self._held = False
            self._renewal.stop()
            self._lease.abort()

    def _disk_url(self) -> tuple[str, str]:
        for device in self._devices:
            if device.disk:
                return device.url, device.sslThumbprint or ""
        raise self._lease_lost("has no disk to upload to")

    def _renewal_failed(self, error: Exception) -> None:
        self._lost = self._lease_lost(
            f"could not be renewed: {error}", fault=getattr(error, "fault", None)
        )
        upload = self._upload
        if upload is not None:
            upload.cancel()

    def _check_lost(self, cause: BaseException | None = None) -> None:
        if self._lost is not None:
            raise self._lost from cause

    def _check_lease(self, failure: Exception) -> None:
        """Check whether an upload failed because the lease had ended. A lease that ended because of
        the data does not count.

        :raises LeaseLost: it had
        """
        is_refusal = isinstance(failure, errors.UploadRefused)
        if not is_refusal:
            self._check_lost(failure)
        if not isinstance(failure, errors.VCenterError):
            return
        try:
            state = self._lease.state()
        except errors.VCenterError:
            return  # the state is unknown: report the upload's own error
        if state != "ready" and not (state == "error" and is_refusal):
            raise self._lease_lost(f"is {state}; the upload failed: {failure}") from failure

    def _complete_once(self) -> None:
        """:raises InUse, TaskFailed: the call failed, but the lease is still ready"""
        try:
            self._lease.complete()
        except (errors.ObjectNotFound, errors.InUse, errors.TaskFailed) as error:
            state = self._lease.state()
            if state == "ready":
                raise
            if not self._has_completed(state):
                raise self._lease_lost(f"has ended: {error}") from error

    def _has_completed(self, state: str) -> bool:
        """Whether an earlier attempt, whose answer was lost, has completed the lease.

        A completed lease is done and, soon after, gone. A lease that vCenter dropped may be gone as
        well; in that case the import's task removes the VM, which can take a while.
        """
        if state == GONE:
            self._wait_while(self._import_runs)
            return not self._import_runs() and self._has_vm()
        return state == "done" and self._has_vm()

    def _remove_vm(self) -> None:
        """Remove the VM of a failed block, unless it is a template. Errors are only logged, because
        the block's own error matters more."""
        try:
            # A deletion while vCenter removes the VM could leave the disk's file behind.
            self._wait_while(lambda: self._has_vm() and self._is_being_removed())
            retry.call(
                self._destroy,
                attempts=_UNDO_ATTEMPTS,
                first_wait_s=1.0,
                min_wait_s=0.5,
                max_wait_s=16.0,
                clock=self._session.clock,
            )
        except errors.VCenterError as failure:
            LOG.warning(
                "The VM %s (%s) of a failed import could not be removed; a later reconcile removes "
                "it: %s",
                quoted(self._request.name),
                self.vm,
                failure,
            )

    def _is_being_removed(self) -> bool:
        state = self._lease.state()
        return state == "error" or (state == GONE and self._import_runs())

    def _destroy(self) -> None:
        paths = ["name", "config.template"]
        read = properties.read(self._session, "VirtualMachine", [self.vm], paths)
        if read and not read[self.vm].get("config.template"):
            template.destroy(self._session, self._waiter, self.vm)

    def _wait_while(self, condition: Callable[[], bool]) -> None:
        """Return when the condition no longer holds, or after :data:`_REMOVED_WITHIN_S`."""
        retry.poll(
            condition,
            until=lambda holds: not holds,
            within_s=_REMOVED_WITHIN_S,
            first_wait_s=_REMOVAL_POLL_S,
            clock=self._session.clock,
        )

    def _import_runs(self) -> bool:
        """Whether vCenter's task of this import, which also removes the VM, is still running."""
        return recent_task.is_importing(self._session, self.vm)

    def _has_vm(self) -> bool:
        return bool(properties.read(self._session, "VirtualMachine", [self.vm], ["name"]))

    def _lease_lost(self, what: str, fault: str | None = None) -> errors.LeaseLost:
        return errors.LeaseLost(
            f"the lease of {quoted(self._request.name)} {what}", moref=self.vm, fault=fault
        )
