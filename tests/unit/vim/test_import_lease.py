"""Imports that break at each step: nothing is left behind, and the error names the cause."""

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
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.vim import import_lease, template
from vmdk_cache.vim.nfc_transfer import NfcUpload
from vmdk_cache.vim.session import Endpoint, Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vmdk.transfer import open_disk


class Importing:
    """One import of the test image, renewed often unless a test says otherwise."""

    def __init__(
        self, session: Session, waiter: TaskWaiter, place: Place, renew_every_s: float = 0.01
    ) -> None:
        self._parts = (session, waiter, place)
        self._renew_every_s = renew_every_s

    def open(self) -> import_lease.ImportLease:
        session, waiter, place = self._parts
        return import_lease.open_import(
            session,
            waiter,
            place.host.pool,
            place.folder,
            place.host.moref,
            import_request(place),
            renew_every_s=self._renew_every_s,
        )

    def run(self) -> None:
        with self.open() as held:
            held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
            held.complete()


@pytest.fixture
def importing(session: Session, waiter: TaskWaiter, place: Place) -> Importing:
    return Importing(session, waiter, place)


@pytest.fixture
def patient(passing: Session, place: Place) -> Iterator[Importing]:
    """An import whose pauses take time, and which ends before its first renewal."""
    waiter = TaskWaiter(passing)
    yield Importing(passing, waiter, place, renew_every_s=3600)
    waiter.close()


@pytest.fixture(autouse=True)
def nothing_is_left(vc: VCenter) -> Iterator[None]:
    yield
    wait_until(lambda: vc.vms() == [])
    assert vc.leases() == []
    wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("lease-")])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"method": "ImportVApp", "fault": vim.fault.NoPermission()}, errors.NoPermission),
        ({"method": "nfc:POST", "http_status": 500}, errors.UploadRefused),
        ({"method": "nfc:POST", "http_status": 400}, errors.UploadRefused),
        (
            {"method": "nfc:POST", "fault": vim.fault.InvalidDiskFormat()},  # ends the lease too
            errors.UploadRefused,
        ),
        ({"method": "nfc:POST", "drop": "before"}, errors.Unreachable),
        ({"method": "nfc:POST", "drop": "after"}, errors.Unreachable),
        (
            {"method": "HttpNfcLeaseComplete", "fault": vim.fault.Timedout()},
            errors.TaskFailed,
        ),
    ],
    ids=["no-permission", "upload-refused", "data-refused", "data-end-the-lease", "upload-dropped",
         "answer-lost", "complete-fails"],
)  # fmt: skip
def test_a_step_that_fails_leaves_nothing(
    vc: VCenter, patient: Importing, rule: dict[str, object], expected: type[Exception]
) -> None:
    """It fails before its first renewal, which might otherwise notice the end of the lease
    first.
    """
    vc.fault_rules.add(**rule)  # type: ignore[arg-type]

    with pytest.raises(expected):
        patient.run()


@pytest.mark.parametrize("status", [401, 403, 404, 409, 503, 507])
def test_an_answer_that_is_not_about_the_data_is_no_refusal_of_them(
    vc: VCenter, importing: Importing, status: int
) -> None:
    vc.fault_rules.add("nfc:POST", http_status=status)
    with pytest.raises(errors.TaskFailed, match=f"HTTP {status}") as caught:
        importing.run()
    assert not isinstance(caught.value, errors.UploadRefused)


def test_a_lease_that_cannot_be_renewed_ends_the_upload(vc: VCenter, importing: Importing) -> None:
    fault = vmodl.fault.ManagedObjectNotFound(obj=vim.HttpNfcLease("session-1"))
    rule = vc.fault_rules.add("HttpNfcLeaseProgress", fault)

    class Slow(io.BytesIO):
        """Sends a first block, and the next one only after a renewal has failed."""

        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                wait_until(lambda: rule.hits)
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
    """Any failure after vCenter has granted it; here in the pause between renewals."""
    session, waiter, place = importing._parts
    host, request = place.host, import_request(place)
    with pytest.raises(TypeError):
        import_lease.open_import(
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
        wait_until(lambda: vc.request_log.count("HttpNfcLeaseProgress") >= 3)
        held.abort()
    assert vc.request_log.count("HttpNfcLeaseAbort") == 1


def test_a_lost_session_loses_the_lease(vc: VCenter, importing: Importing) -> None:
    with pytest.raises(errors.LeaseLost), importing.open() as held:
        vc.sessions.expire_all()
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        held.complete()


def test_a_completed_lease_is_neither_completed_again_nor_aborted(
    vc: VCenter, session: Session, waiter: TaskWaiter, importing: Importing
) -> None:
    with importing.open() as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        held.complete()
        held.complete()

    assert vc.request_log.count("HttpNfcLeaseComplete") == 1
    assert vc.request_log.count("HttpNfcLeaseAbort") == 0
    template.destroy(session, waiter, held.vm)


def test_completion_is_repeated_when_its_answer_is_lost(
    vc: VCenter, session: Session, waiter: TaskWaiter, importing: Importing
) -> None:
    vc.fault_rules.add("HttpNfcLeaseComplete", drop="after")

    importing.run()

    (vm,) = vc.vms()
    template.destroy(session, waiter, vm.moref)


def test_completion_is_repeated_while_something_else_holds_the_lease(
    vc: VCenter, session: Session, waiter: TaskWaiter, importing: Importing
) -> None:
    rule = vc.fault_rules.add("HttpNfcLeaseComplete", vim.fault.InvalidState(), times=3)

    importing.run()

    assert rule.hits == 3
    (vm,) = vc.vms()
    template.destroy(session, waiter, vm.moref)


def test_completion_is_not_repeated_forever(vc: VCenter, importing: Importing) -> None:
    rule = vc.fault_rules.add("HttpNfcLeaseComplete", vim.fault.InvalidState(), times=None)

    with pytest.raises(errors.InUse):
        importing.run()

    assert rule.hits == 6


def test_an_import_that_failed_returns_after_vcenter_has_removed_its_vm(
    vc: VCenter, patient: Importing
) -> None:
    """A deletion before that would be refused, or leave the disk's file behind."""
    vc.switches.lease_cleanup_s = 20

    with pytest.raises(ZeroDivisionError), patient.open():
        _ = 1 // 0

    assert vc.vms() == []
    assert vc.datastore("DC0_DS0").directories() == []
    assert vc.request_log.count("Destroy_Task") == 0


def test_a_removal_that_takes_too_long_is_not_waited_for(
    vc: VCenter, patient: Importing, caplog: pytest.LogCaptureFixture
) -> None:
    vc.switches.lease_cleanup_s = 3600
    began = vc.clock.monotonic()

    with pytest.raises(ZeroDivisionError), patient.open() as held:
        _ = 1 // 0

    assert 60 <= vc.clock.monotonic() - began < 180
    assert f"'image' ({held.vm}) of a failed import could not be removed" in caplog.text
    vc.clock.advance(3600)


def test_a_vm_that_was_imported_whole_is_deleted_at_once(vc: VCenter, patient: Importing) -> None:
    vc.switches.lease_cleanup_s = 3600
    began = vc.clock.monotonic()

    with pytest.raises(ZeroDivisionError), patient.open() as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        held.complete()
        _ = 1 // 0

    assert vc.vms() == []
    assert vc.clock.monotonic() - began < 60


def test_a_template_made_in_the_block_outlives_an_error_after_it(
    vc: VCenter, session: Session, waiter: TaskWaiter, importing: Importing
) -> None:
    """Others may already clone from it."""
    with pytest.raises(ZeroDivisionError), importing.open() as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        held.complete()
        template.mark_as_template(session, held.vm)
        _ = 1 // 0

    assert [vm.moref for vm in vc.vms()] == [held.vm]
    template.destroy(session, waiter, held.vm)


@pytest.mark.parametrize(
    "fault", [vim.fault.Timedout(), vmodl.fault.RequestCanceled()], ids=["timed-out", "aborted"]
)
@pytest.mark.parametrize("cleanup_s", [0, 20])
def test_a_lease_that_vcenter_ended_before_completion_is_lost(
    vc: VCenter, patient: Importing, fault: Exception, cleanup_s: float
) -> None:
    vc.switches.lease_cleanup_s = cleanup_s

    with pytest.raises(errors.LeaseLost, match="has ended"), patient.open() as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        vc.leases()[0].fail(fault)
        held.complete()


@pytest.mark.parametrize("cleanup", ["visible", "hidden"])
@pytest.mark.parametrize("cleanup_s", [0, 20])
def test_a_lease_that_ended_with_its_session_is_lost_however_slowly_its_vm_goes(
    vc: VCenter, patient: Importing, cleanup: str, cleanup_s: float
) -> None:
    vc.switches.lease_cleanup = cleanup  # type: ignore[assignment]
    vc.switches.lease_cleanup_s = cleanup_s

    with pytest.raises(errors.LeaseLost, match="has ended"), patient.open() as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        vc.fault_rules.add("HttpNfcLeaseComplete", action=vc.sessions.expire_all)
        held.complete()


def test_a_completed_lease_that_vcenter_has_forgotten_is_not_lost(
    vc: VCenter, session: Session, waiter: TaskWaiter, importing: Importing
) -> None:
    with importing.open() as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        (lease_object,) = vc.leases()
        vc.fault_rules.add("HttpNfcLeaseComplete", drop="after")
        vc.fault_rules.add("HttpNfcLeaseComplete", action=lease_object.forget)
        held.complete()

    assert [vm.moref for vm in vc.vms()] == [held.vm]
    template.destroy(session, waiter, held.vm)


def test_a_completed_import_whose_vm_was_deleted_is_lost(
    vc: VCenter, session: Session, waiter: TaskWaiter, importing: Importing
) -> None:
    """Its answer was lost, and another client deleted the VM before the repeat."""
    with pytest.raises(errors.LeaseLost, match="has ended"), importing.open() as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        vc.fault_rules.add("HttpNfcLeaseComplete", drop="after")
        vc.fault_rules.add("HttpNfcLeaseComplete", action=lambda: destroy(vc, held.vm))
        held.complete()


def destroy(vc: VCenter, moref: str) -> None:
    with vc.lock:
        vc.registry.get(moref).destroy()


def test_a_lost_lease_is_not_completed(vc: VCenter, importing: Importing) -> None:
    rule = vc.fault_rules.add("HttpNfcLeaseProgress", vim.fault.Timedout())

    with (
        pytest.raises(errors.LeaseLost, match="could not be renewed"),
        importing.open() as held,
    ):
        wait_until(lambda: rule.hits and not held._renewal.is_running)
        held.complete()

    assert vc.request_log.count("HttpNfcLeaseComplete") == 0


@pytest.mark.parametrize("known", [True, False], ids=["with-length", "chunked"])
def test_renewals_report_progress(vc: VCenter, importing: Importing, known: bool) -> None:
    size = len(IMAGE.file_bytes)

    def percent(sent: int) -> int:
        return sent * 99 // size

    class Halves(io.BytesIO):
        """The second half is sent once vCenter knows of the first."""

        def read(self, count: int | None = -1, /) -> bytes:
            if self.tell():
                wait_until(lambda: vc.leases()[0].transferProgress == percent(size // 2))
            return super().read(size // 2 if not self.tell() else -1)

    with importing.open() as held:
        told: list[int] = []
        length = size if known else None
        assert held.upload(Halves(IMAGE.file_bytes), length, told.append, percent=percent) == size
        assert told == [size // 2, size]
        wait_until(lambda: vc.leases()[0].transferProgress == 99)
        held.abort()


def test_a_lease_whose_upload_vcenter_ends_is_lost(vc: VCenter, patient: Importing) -> None:
    vc.fault_rules.add("nfc:POST", vim.fault.NoDiskSpace(), http_status=507)
    with pytest.raises(errors.LeaseLost, match=r"is error; the upload failed: .*HTTP 507"):
        patient.run()


def test_a_refusal_of_the_data_counts_though_a_renewal_fails_by_it(
    vc: VCenter, patient: Importing
) -> None:
    """Otherwise the image would not be checked for damage."""
    with pytest.raises(errors.UploadRefused), patient.open() as held:

        def fail_renewal() -> None:
            held._lost = errors.LeaseLost("the lease could not be renewed")

        vc.fault_rules.add("nfc:POST", vim.fault.InvalidDiskFormat(), action=fail_renewal)
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))


def test_an_upload_whose_lease_cannot_be_asked_fails_with_its_own_error(
    vc: VCenter, patient: Importing
) -> None:
    def lose_the_next_read() -> None:
        vc.fault_rules.add("RetrievePropertiesEx", drop="before", times=3)

    vc.fault_rules.add("nfc:POST", http_status=500, action=lose_the_next_read)
    with pytest.raises(errors.TaskFailed, match="refused the upload: HTTP 500"):
        patient.run()


def test_a_lost_lease_is_lost_before_an_upload_as_well(vc: VCenter, importing: Importing) -> None:
    vc.fault_rules.add("HttpNfcLeaseProgress", vim.fault.Timedout())
    with pytest.raises(errors.LeaseLost) as lost, importing.open() as held:
        wait_until(lambda: not held._renewal.is_running)
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
    assert (lost.value.moref, lost.value.fault) == (held.vm, "vim.fault.Timedout")
    assert vc.request_log.count("nfc:POST") == 0


@pytest.mark.parametrize(("lost", "calls"), [(2, 3), (3, 3)])
def test_an_import_that_never_began_is_asked_for_three_times(
    vc: VCenter, patient: Importing, lost: int, calls: int
) -> None:
    vc.fault_rules.add("ImportVApp", drop="before", times=lost)
    if lost < calls:
        patient.open().abort()
    else:
        with pytest.raises(errors.Unreachable):
            patient.open()
    assert vc.request_log.count("ImportVApp") == calls


def test_an_import_with_an_unknown_outcome_is_not_requested_again(
    vc: VCenter, patient: Importing
) -> None:
    def lose_the_next_read() -> None:
        vc.fault_rules.add("RetrievePropertiesEx", drop="before", times=3)
        vc.fault_rules.add("FindChild", drop="before", times=3)

    vc.fault_rules.add("ImportVApp", drop="before", action=lose_the_next_read)
    with pytest.raises(errors.Unreachable):
        patient.open()
    assert vc.request_log.count("ImportVApp") == 1


@pytest.mark.parametrize("refusals", [5, 6])
def test_a_vm_that_is_in_use_is_removed_later_or_named(
    vc: VCenter, patient: Importing, caplog: pytest.LogCaptureFixture, refusals: int
) -> None:
    rule = vc.fault_rules.add("Destroy_Task", vim.fault.InvalidState(), times=refusals)
    with pytest.raises(ZeroDivisionError), patient.open() as held:
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        held.complete()
        _ = 1 // 0
    assert rule.hits == refusals
    assert len(vc.vms()) == (refusals == 6)
    assert ("could not be removed" in caplog.text) == (refusals == 6)
    if refusals == 6:
        destroy(vc, held.vm)


def test_an_import_without_a_disk_to_upload_to_is_lost(vc: VCenter, patient: Importing) -> None:
    with pytest.raises(errors.LeaseLost, match="has no disk to upload to"), patient.open() as held:
        held._devices = [device for device in held._devices if not device.disk]
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))


def test_the_nvram_device_gets_no_upload(
    vc: VCenter, session: Session, waiter: TaskWaiter, patient: Importing
) -> None:
    """vCenter 6.7 and later list it, not always last."""
    with patient.open() as held:
        held._devices.reverse()
        assert not held._devices[0].disk
        held.upload(io.BytesIO(IMAGE.file_bytes), len(IMAGE.file_bytes))
        held.complete()
    template.destroy(session, waiter, held.vm)


def test_a_lease_that_never_becomes_ready_is_given_up(vc: VCenter, patient: Importing) -> None:
    vc.fault_rules.add("ImportVApp", on="task", delay_s=10_000)
    began = vc.clock.monotonic()

    with pytest.raises(errors.LeaseLost, match="did not become ready: its state is initializing"):
        patient.open()

    assert 600 <= vc.clock.monotonic() - began < 700
    assert vc.request_log.count("HttpNfcLeaseAbort") == 1


def test_a_lease_that_takes_its_time_is_waited_for(vc: VCenter, patient: Importing) -> None:
    vc.fault_rules.add("ImportVApp", on="task", delay_s=500)

    with patient.open() as held:
        assert held.vm
        held.abort()


def test_a_lease_that_is_done_at_once_is_given_up(vc: VCenter, patient: Importing) -> None:
    vc.fault_rules.add("ImportVApp", on="task", action=lambda: vc.leases()[0]._end("done", None))
    began = vc.clock.monotonic()

    with pytest.raises(errors.LeaseLost, match="did not become ready: its state is done"):
        patient.open()

    assert vc.clock.monotonic() - began < 60


def test_a_lease_that_fails_says_why(vc: VCenter, importing: Importing) -> None:
    vc.fault_rules.add("ImportVApp", vim.fault.NoDiskSpace(datastore="DC0_DS0"), on="task")

    with pytest.raises(errors.NoSpace, match="DC0_DS0"):
        importing.open()


def test_a_lease_that_fails_without_a_reason_says_so(vc: VCenter, importing: Importing) -> None:
    vc.fault_rules.add("ImportVApp", on="task", action=lambda: vc.leases()[0]._end("error", None))

    with pytest.raises(errors.LeaseLost, match="vCenter gave no reason"):
        importing.open()


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST"])
def test_an_upload_goes_to_the_host_that_the_lease_vouches_for(
    vc: VCenter, session: Session, waiter: TaskWaiter, importing: Importing, name: str
) -> None:
    """A real lease names an ESXi host, whose certificate vCenter's issuer has not signed."""
    vc.switches.nfc_host = name
    vc.switches.nfc_thumbprint = ":".join(["AA"] * 20)
    with pytest.raises(errors.CertificateRefused, match="is not the one that vCenter expects"):
        importing.run()

    vc.switches.nfc_thumbprint = None
    importing.run()

    (vm,) = vc.vms()
    template.destroy(session, waiter, vm.moref)


def send_to(session: Session, url: str, thumbprint: str = "") -> None:
    """One byte; a trusted host answers with 404."""
    NfcUpload(session, url, thumbprint).send(io.BytesIO(b"x"), 1, lambda sent: None)


def test_the_hosts_certificate_is_checked_by_its_thumbprint(
    vc: VCenter, target: Target, session: Session
) -> None:
    url = f"https://localhost:{vc.port}/nfc/none/disk-0.vmdk"  # another name than vCenter's

    with pytest.raises(errors.CertificateRefused, match="is not the one that vCenter expects"):
        send_to(session, url, "AA:" * 19 + "AA")
    with pytest.raises(errors.CertificateRefused, match="is not the one that vCenter expects"):
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
