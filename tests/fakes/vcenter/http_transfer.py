"""The time that an upload or a download takes, with costs on.

The bytes themselves take almost no time; the time that the model gives them passes before the
answer. The wait ends early if the lease does. While it lasts, neither lease nor session expires,
since a client cannot renew them in time that does not really pass.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fakes.vcenter.http_nfc_lease import HttpNfcLease
    from tests.fakes.vcenter.lease_device import LeaseDevice
    from tests.fakes.vcenter.transfers import Route
    from tests.fakes.vcenter.vcenter import VCenter


def pass_lease_time(lease: HttpNfcLease, device: LeaseDevice, size_bytes: int) -> None:
    """Wait for the time that size_bytes of a lease's disk take. Never call it under the lock."""
    costs = lease.vcenter.cost_model
    if not costs.enabled:
        return
    route_of = costs.import_route if lease.kind == "import" else costs.export_route
    route = route_of(lease.session.key, device.vm.host, device.disk.datastore)
    _wait(lease.vcenter, size_bytes, route, lease)


def pass_file_time(vcenter: VCenter, size_bytes: int, route: Route) -> None:
    """Wait for the time that size_bytes of a datastore's file take. Never call it under the
    lock.
    """
    if vcenter.cost_model.enabled:
        _wait(vcenter, size_bytes, route, None)


def _wait(vcenter: VCenter, size_bytes: int, route: Route, lease: HttpNfcLease | None) -> None:
    transfer = vcenter.transfers.new(vcenter.cost_model.counted(size_bytes), route)
    over = threading.Event()
    with vcenter.clock.activity.pause() as pause:

        def end() -> None:
            pause.end()
            over.set()

        with lease.busy(end) if lease is not None else contextlib.nullcontext():
            transfer.begin(end)
            over.wait()
            transfer.cancel()
