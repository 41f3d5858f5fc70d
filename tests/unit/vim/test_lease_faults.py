"""Imports that break at each step: nothing is left behind, and the cause is said."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import pytest
from pyVmomi import vim, vmodl

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import IMAGE, Place, import_request
from tests.fakes.images import FakeImageSource
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import eventually
from vmdk_cache import errors
from vmdk_cache.datastore.transfer import open_disk
from vmdk_cache.vim import lease
from vmdk_cache.vim.nfc_upload import NfcUpload
from vmdk_cache.vim.session import Endpoint, Session
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


def test_a_lost_lease_ends_an_import_whose_source_is_silent(
    vc: VCenter, importing: Importing
) -> None:
    gate = threading.Event()
    source = FakeImageSource(IMAGE, gate=gate, gate_after_bytes=100_000, chunk_bytes=10_000)
    with open_disk(IMAGE.image(), source) as disk:
        with pytest.raises(errors.LeaseLost, match="could not be renewed"), importing.open() as it:
            vc.fault_rules.add("HttpNfcLeaseProgress", vim.fault.Timedout())
            it.upload(disk, disk.length)
        gate.set()


def test_a_lease_that_cannot_be_held_is_aborted(vc: VCenter, importing: Importing) -> None:
    """Whatever fails after vCenter has granted it; here the pause between renewals."""
    session, waiter, place = importing._parts
    host, request = place.host, import_request(place)
    with pytest.raises(TypeError):
        lease.open_import(
            session,
            waiter,
            host.pool,
            place.folder,
            host.moref,
            request,
            renew_every_s="often",  # type: ignore[arg-type]
        )
    assert vc.request_log.count("HttpNfcLeaseAbort") == 1


def test_a_vm_that_cannot_be_removed_is_named(
    vc: VCenter, importing: Importing, caplog: pytest.LogCaptureFixture
) -> None:
    vc.fault_rules.add("HttpNfcLeaseAbort", vim.fault.NoPermission())
    vc.fault_rules.add("Destroy_Task", vim.fault.NoPermission())

    with pytest.raises(ZeroDivisionError), importing.open() as held:
        _ = 1 // 0

    assert f"'image' ({held.vm}) of a failed import could not be removed" in caplog.text
    vc.sessions.expire_all()  # which ends the lease, and with it the VM


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


def test_completion_is_repeated_while_something_else_holds_the_lease(
    vc: VCenter, session: Session, waiter: TaskWaiter, importing: Importing
) -> None:
    from vmdk_cache.vim import template

    rule = vc.fault_rules.add("HttpNfcLeaseComplete", vim.fault.InvalidState(), times=3)

    importing.run()

    assert rule.hits == 3
    (vm,) = vc.vms()
    template.destroy(session, waiter, vm.moref)


def test_completion_is_not_repeated_without_end(vc: VCenter, importing: Importing) -> None:
    rule = vc.fault_rules.add("HttpNfcLeaseComplete", vim.fault.InvalidState(), times=None)

    with pytest.raises(errors.InUse):
        importing.run()

    assert rule.hits == 6


def send_to(session: Session, url: str, thumbprint: str = "") -> None:
    """One byte; a host that is trusted answers with 404."""
    NfcUpload(session, url, thumbprint).send(io.BytesIO(b"x"), 1, lambda sent: None)


def test_the_hosts_certificate_is_checked_by_its_thumbprint(
    vc: VCenter, target: Target, session: Session
) -> None:
    url = f"https://localhost:{vc.port}/nfc/none/disk-0.vmdk"  # another name than vCenter's

    with pytest.raises(errors.CertificateRefused, match="is not the one that vCenter knows"):
        send_to(session, url, "AA:" * 19 + "AA")
    with pytest.raises(errors.CertificateRefused, match="no usable thumbprint"):
        send_to(session, url, "AA:AA")
    with pytest.raises(errors.TaskFailed, match="HTTP 404"):
        send_to(session, url, vc.thumbprint)


def test_without_a_thumbprint_the_hosts_certificate_is_verified(
    vc: VCenter, target: Target, session: Session
) -> None:
    url = f"https://localhost:{vc.port}/nfc/none/disk-0.vmdk"
    stranger = Session(target.endpoint(ca_file=None))

    with pytest.raises(errors.CertificateRefused, match="vmware_ca_file"):
        send_to(stranger, url)
    with pytest.raises(errors.TaskFailed, match="HTTP 404"):
        send_to(session, url)


def test_vcenters_own_name_is_known_however_it_is_written(vc: VCenter, target: Target) -> None:
    """Its certificate is verified as for SOAP, whatever thumbprint the lease gives."""
    session = Session(target.endpoint(host="LOCALHOST"))

    for host in ("*", "localhost", "LocalHost"):
        with pytest.raises(errors.TaskFailed, match="HTTP 404"):
            send_to(session, f"https://{host}:{vc.port}/nfc/none/disk-0.vmdk", "AA:" * 19 + "AA")


@pytest.mark.parametrize("host", ["fd00::1", "[fd00::1]", "FD00::1"])
def test_a_star_may_stand_for_an_ipv6_address(host: str) -> None:
    session = Session(Endpoint(host, "user", "password"))

    assert NfcUpload(session, "https://*/nfc/none/disk-0.vmdk", "").server == "[fd00::1]:443"


def test_a_cancelled_upload_sends_nothing_in_plain_text(vc: VCenter, session: Session) -> None:
    upload = NfcUpload(session, f"https://*:{vc.port}/nfc/none/disk-0.vmdk", "")
    connection = upload._connect()

    upload.cancel()

    assert connection.sock.version(), "TLS is off, and the next send would go out in plain text"
    with pytest.raises(OSError):
        connection.send(b"secret")


def test_an_upload_that_was_cancelled_before_it_began_does_not_begin(session: Session) -> None:
    upload = NfcUpload(session, "https://*:1/nfc/none/disk-0.vmdk", "")
    upload.cancel()

    with pytest.raises(errors.LeaseLost, match="cancelled"):
        upload.send(io.BytesIO(b"x"), 1, lambda sent: None)


def test_a_star_in_the_url_is_vcenters_own_host(vc: VCenter, session: Session) -> None:
    upload = NfcUpload(session, f"https://*:{vc.port}/nfc/none/disk-0.vmdk", "")

    assert upload.server == f"{vc.host}:{vc.port}"
    with pytest.raises(errors.TaskFailed, match="HTTP 404"):
        upload.send(io.BytesIO(b"x"), 1, lambda sent: None)


def test_an_upload_without_tls_is_refused(session: Session) -> None:
    with pytest.raises(errors.CertificateRefused, match="without TLS"):
        NfcUpload(session, "http://127.0.0.1:1/x", "").send(io.BytesIO(b""), 0, lambda sent: None)
