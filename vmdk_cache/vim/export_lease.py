"""Exporting a disk: ExportVm and its NFC lease.

The host sends the disk as a streamOptimized VMDK, which it compresses anew, so that its bytes
differ from those of an import. While the lease is held, vCenter refuses to delete or move the VM,
but clones it (docs/assumptions.rst, A39, A96 and A97). A thread renews the lease. If a renewal
fails, the download ends with LeaseLost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from vmdk_cache import errors, retry
from vmdk_cache.vim.nfc_lease import RENEW_EVERY_S, NfcLease, Renewal
from vmdk_cache.vim.nfc_transfer import NfcDownload
from vmdk_cache.vim.session import Session

#: Another operation may hold the VM for a moment.
_OPEN_ATTEMPTS = 5


@contextlib.contextmanager
def open_export(
    session: Session, vm: str, *, renew_every_s: float = RENEW_EVERY_S
) -> Iterator[ExportedDisk]:
    """The first disk of a powered-off VM or template, to be read within the block.

    The lease ends with the block: completed, or aborted if an exception leaves it.

    :param vm: moref
    :raises InUse: another operation holds the VM
    :raises NotSupported: the VM is powered on, or vCenter does not export it
    :raises NoPermission: the account lacks VApp.Export
    :raises LeaseLost: the lease did not become ready, or has no disk
    :raises VCenterError: any other fault
    """
    moref = retry.call(
        lambda: session.invoke("VirtualMachine", vm, "ExportVm"),
        attempts=_OPEN_ATTEMPTS,
        when=lambda failure: isinstance(failure, errors.InUse),
        first_wait_s=1.0,
        clock=session.clock,
    )
    lease = NfcLease(session, str(moref), "ExportVm")
    try:
        exported = ExportedDisk(session, vm, lease, lease.until_ready(), renew_every_s)
        with contextlib.closing(exported):
            yield exported
    except BaseException:
        lease.abort()
        raise
    try:
        lease.complete()
    except errors.VCenterError:
        lease.abort()  # the disk has been read; how the lease ends does not matter


class ExportedDisk:
    """Iterator over the chunks of a leased disk; see :func:`open_export`.

    :raises LeaseLost: (while iterating) the lease ended, or could not be renewed
    :raises Unreachable, CertificateRefused, TaskFailed: (while iterating) errors of the host, with
        its name
    """

    def __init__(
        self, session: Session, vm: str, lease: NfcLease, info: Any, renew_every_s: float
    ) -> None:
        disk = next((device for device in info.deviceUrl or () if device.disk), None)
        if disk is None:
            raise errors.LeaseLost("the lease has no disk to download", moref=vm)
        self._vm = vm
        self._lease = lease
        self._lost: errors.LeaseLost | None = None
        self._download = NfcDownload(session, disk.url, disk.sslThumbprint or "")
        self._chunks = iter(self._download)
        self._renewal = Renewal(lease, info, f"lease-{vm}", self._renewal_failed, renew_every_s)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            self._check_lost()
            raise
        except errors.VCenterError as failure:
            self._check_lost(failure)
            self._check_state(failure)
            raise

    def progress(self, percent: int) -> None:
        """Have vCenter show, for its task, how much of the disk has been read."""
        self._renewal.percent = max(0, min(100, percent))

    def close(self) -> None:
        """End the download and the renewals."""
        self._renewal.stop()
        self._chunks.close()

    def _renewal_failed(self, error: Exception) -> None:
        self._lost = errors.LeaseLost(
            f"the export lease could not be renewed: {error}",
            moref=self._vm,
            fault=getattr(error, "fault", None),
        )
        self._download.cancel()

    def _check_lost(self, cause: BaseException | None = None) -> None:
        if self._lost is not None:
            raise self._lost from cause

    def _check_state(self, failure: errors.VCenterError) -> None:
        """:raises LeaseLost: the download failed because the lease had ended"""
        try:
            state = self._lease.state()
        except errors.VCenterError:
            return  # the state is unknown: report the download's own error
        if state != "ready":
            raise errors.LeaseLost(
                f"the export lease is {state}; the download failed: {failure}", moref=self._vm
            ) from failure
