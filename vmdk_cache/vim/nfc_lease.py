"""A lease to send or receive the disk of a VM over HTTP: vCenter's HttpNfcLease.

vCenter drops a lease that is not renewed for 300 s (docs/assumptions.rst, A38 and A39).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from vmdk_cache import errors, retry
from vmdk_cache.vim import faults, properties
from vmdk_cache.vim.properties import Row
from vmdk_cache.vim.session import Session

#: State of a lease that vCenter no longer knows.
GONE = "gone"
RENEW_EVERY_S = 30.0
_READY_WITHIN_S = 600.0
#: Of a lease whose info names no time-out.
_TIMEOUT_S = 300.0


class NfcLease:
    """:param moref: as returned by the method
    :param method: ImportVApp or ExportVm
    """

    def __init__(self, session: Session, moref: str, method: str) -> None:
        self._session = session
        self._moref = moref
        self._method = method

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
            raise faults.translate(fault, method=self._method)
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


class Renewal:
    """Renews a lease until :meth:`stop`, in a thread of its own.

    :param info: the lease's HttpNfcLeaseInfo
    :param name: of the thread
    :param failed: called once, in that thread, with the error of a renewal
    :ivar percent: of the transfer, which vCenter shows for its task; 0 to 100
    """

    def __init__(
        self,
        lease: NfcLease,
        info: Any,
        name: str,
        failed: Callable[[Exception], None],
        renew_every_s: float = RENEW_EVERY_S,
    ) -> None:
        self.percent = 0
        self._lease = lease
        self._failed = failed
        self._pause_s = min(renew_every_s, (info.leaseTimeout or _TIMEOUT_S) / 4)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the lease is still being renewed."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Renew no more; a renewal under way is ignored."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            try:
                self._lease.renew(self.percent)
            except Exception as error:
                if not self._stop.is_set():
                    self._failed(error)
                return
