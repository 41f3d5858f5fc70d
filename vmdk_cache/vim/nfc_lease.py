"""A lease to send or receive the disk of a VM over HTTP: vCenter's HttpNfcLease.

vCenter drops a lease that is not renewed for 300 s (docs/assumptions.rst, A38 and A39).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from vmdk_cache import errors, retry
from vmdk_cache.vim import faults, properties
from vmdk_cache.vim.nfc_transfer import download
from vmdk_cache.vim.properties import Row
from vmdk_cache.vim.session import Session

#: State of a lease that vCenter no longer knows.
GONE = "gone"
_READY_WITHIN_S = 600.0


class NfcLease:
    """:param moref: as returned by ImportVApp or ExportVm"""

    def __init__(self, session: Session, moref: str) -> None:
        self._session = session
        self._moref = moref

    def until_ready(self) -> Any:
        """Poll until the lease is ready, which takes milliseconds to seconds; its
        HttpNfcLeaseInfo.

        :raises LeaseLost: it does not become ready
        :raises VCenterError: the fault with which it failed
        """
        values = retry.poll(
            lambda: properties.read_one(
                self._session, "HttpNfcLease", self._moref, ["state", "error", "info"]
            ),
            until=_is_settled,
            within_s=_READY_WITHIN_S,
            first_wait_s=0.05,
            max_wait_s=2.0,
            clock=self._session.clock,
        )
        state, fault = values.get("state"), values.get("error")
        if state == "error" and fault is not None:
            raise faults.translate(fault, method="ImportVApp")
        if state == "error":
            raise errors.LeaseLost("the lease failed; vCenter gave no reason")
        if state != "ready" or values.get("info") is None:
            raise errors.LeaseLost(f"the lease did not become ready: its state is {state}")
        return values["info"]

    def state(self) -> str:
        """``initializing``, ``ready``, ``done``, ``error`` or :data:`GONE`."""
        read = properties.read(self._session, "HttpNfcLease", [self._moref], ["state"])
        return str(read.get(self._moref, {}).get("state", GONE))

    def renew(self, percent: int) -> None:
        """Renew the lease, and report the progress of the transfer."""
        self._call("HttpNfcLeaseProgress", percent=percent)

    def complete(self) -> None:
        """End the lease after a transfer."""
        self._call("HttpNfcLeaseComplete")

    def abort(self) -> None:
        """End the lease without success; vCenter removes an imported VM. Never raises a
        VCenterError."""
        try:
            self._call("HttpNfcLeaseAbort")
        except errors.VCenterError:
            pass  # it has ended, or vCenter ends it because it is no longer renewed

    def _call(self, method: str, **args: Any) -> None:
        self._session.invoke("HttpNfcLease", self._moref, method, safe=True, **args)


def _is_settled(lease: Row) -> bool:
    state = lease.get("state")
    return state in ("error", "done") or (state == "ready" and lease.get("info") is not None)


@contextlib.contextmanager
def open_export(session: Session, vm: str) -> Iterator[Iterator[bytes]]:
    """Chunks of the first disk of a powered-off VM, as a streamOptimized VMDK.

    The lease ends with the block and is not renewed, so this is only for disks of a few MiB.

    :param vm: moref
    :raises LeaseLost: the lease did not become ready, or has no disk
    :raises Unreachable, CertificateRefused, TaskFailed: an error of the host, with its name
    :raises VCenterError: any other fault
    """
    lease = NfcLease(session, str(session.invoke("VirtualMachine", vm, "ExportVm")))
    try:
        devices = lease.until_ready().deviceUrl or ()
        disk = next((device for device in devices if device.disk), None)
        if disk is None:
            raise errors.LeaseLost("the lease has no disk to download", moref=vm)
        with contextlib.closing(download(session, disk.url, disk.sslThumbprint or "")) as chunks:
            yield chunks
        lease.complete()
    except BaseException:
        lease.abort()
        raise
