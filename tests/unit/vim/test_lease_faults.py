"""Imports that break at each step: nothing is left behind, and the cause is said."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import pytest
from pyVmomi import vim, vmodl

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import IMAGE, Place, import_request
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import eventually
from vmdk_cache import errors
from vmdk_cache.vim import lease
from vmdk_cache.vim.nfc_upload import NfcUpload
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter


class Importing:
    """One import of the test image, renewed often."""

    def __init__(self, session: Session, waiter: TaskWaiter, place: Place) -> None:
        self._parts = (session, waiter, place)

    def open(self) -> lease.ImportLease:
        session, waiter, place = self._parts
        return lease.open_import(
            session,
            waiter,
            place.host.pool,
            place.folder,
            place.host.moref,
            import_request(place),
            renew_every_s=0.01,
        )

    def run(self) -> None:
        with self.open() as held:
            held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
            held.complete()


@pytest.fixture
def importing(session: Session, waiter: TaskWaiter, place: Place) -> Importing:
    return Importing(session, waiter, place)


@pytest.fixture(autouse=True)
def nothing_is_left(vc: VCenter) -> Iterator[None]:
    yield
    assert vc.vms() == []
    assert vc.leases() == []
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("lease-")])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"method": "ImportVApp", "fault": vim.fault.NoPermission()}, errors.NoPermission),
        ({"method": "nfc:POST", "http_status": 500}, errors.TaskFailed),
        ({"method": "nfc:POST", "drop": "before"}, errors.Unreachable),
        ({"method": "nfc:POST", "drop": "after"}, errors.Unreachable),
        (
            {"method": "HttpNfcLeaseComplete", "fault": vim.fault.Timedout()},
            errors.TaskFailed,
        ),
    ],
    ids=["no-permission", "upload-refused", "upload-dropped", "answer-lost", "complete-fails"],
)
def test_a_step_that_fails_leaves_nothing(
    vc: VCenter, importing: Importing, rule: dict[str, object], expected: type[Exception]
) -> None:
    vc.fault_rules.add(**rule)  # type: ignore[arg-type]

    with pytest.raises(expected):
        importing.run()


def test_a_lease_that_cannot_be_renewed_ends_the_upload(vc: VCenter, importing: Importing) -> None:
    fault = vmodl.fault.ManagedObjectNotFound(obj=vim.HttpNfcLease("session-1"))
    rule = vc.fault_rules.add("HttpNfcLeaseProgress", fault)

    class Slow(io.BytesIO):
        """Sends a first block, and its next only once a renewal has failed."""

        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                eventually(lambda: rule.hits)
            return super().read(1000)

    with pytest.raises(errors.LeaseLost, match="could not be renewed"), importing.open() as held:
        held.upload(Slow(IMAGE.file_bytes), len(IMAGE.file_bytes))


def test_renewal_goes_on_until_completion(vc: VCenter, importing: Importing) -> None:
    with importing.open() as held:
        eventually(lambda: vc.request_log.count("HttpNfcLeaseProgress") >= 3)
        held.abort()


def test_a_lost_session_loses_the_lease(vc: VCenter, importing: Importing) -> None:
    with pytest.raises(errors.LeaseLost), importing.open() as held:
        vc.sessions.expire_all()
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        held.complete()


def test_completion_is_repeated_when_its_answer_is_lost(
    vc: VCenter, session: Session, waiter: TaskWaiter, importing: Importing
) -> None:
    from vmdk_cache.vim import template

    vc.fault_rules.add("HttpNfcLeaseComplete", drop="after")

    importing.run()

    (vm,) = vc.vms()
    template.destroy(session, waiter, vm.moref)


def test_the_hosts_certificate_is_checked_by_its_thumbprint(
    vc: VCenter, target: Target, session: Session
) -> None:
    url = f"https://localhost:{vc.port}/nfc/none/disk-0.vmdk"  # another name than vCenter's

    with pytest.raises(errors.CertificateRefused, match="is not the one that vCenter knows"):
        NfcUpload(session, url, "AA:" * 19 + "AA").send(io.BytesIO(b"x"), 1, lambda sent: None)
    with pytest.raises(errors.CertificateRefused, match="no usable thumbprint"):
        NfcUpload(session, url, "").send(io.BytesIO(b"x"), 1, lambda sent: None)
    with pytest.raises(errors.TaskFailed, match="HTTP 404"):  # trusted, so it is asked
        NfcUpload(session, url, vc.thumbprint).send(io.BytesIO(b"x"), 1, lambda sent: None)


def test_a_star_in_the_url_is_vcenters_own_host(vc: VCenter, session: Session) -> None:
    upload = NfcUpload(session, f"https://*:{vc.port}/nfc/none/disk-0.vmdk", "")

    assert upload.server == f"{vc.host}:{vc.port}"
    with pytest.raises(errors.TaskFailed, match="HTTP 404"):
        upload.send(io.BytesIO(b"x"), 1, lambda sent: None)


def test_an_upload_without_tls_is_refused(session: Session) -> None:
    with pytest.raises(errors.CertificateRefused, match="without TLS"):
        NfcUpload(session, "http://127.0.0.1:1/x", "").send(io.BytesIO(b""), 0, lambda sent: None)
