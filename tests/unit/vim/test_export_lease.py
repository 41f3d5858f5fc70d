"""Exports that break at each step: the template stays as it is, and no lease is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from pyVmomi import vim

from tests.contract.vim.conftest import IMAGE, Place
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import Background
from tests.waiting import wait_until
from vmdk_cache import errors
from vmdk_cache.vim import template
from vmdk_cache.vim.export_lease import ExportedDisk, open_export
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vim.virtual_machine import VmInfo
from vmdk_cache.vmdk.stream_optimized import read_disk

BUSY = vim.fault.TaskInProgress(task=vim.Task("task-1"))


class Exporting:
    """Exports of one template, renewed often."""

    def __init__(self, session: Session, template: VmInfo) -> None:
        self.session, self.template = session, template

    def open(self, renew_every_s: float = 0.01) -> AbstractContextManager[ExportedDisk]:
        return open_export(self.session, self.template.moref, renew_every_s=renew_every_s)

    def read(self) -> bytes:
        content = bytearray(len(IMAGE.disk))

        def found(offset: int, data: bytes) -> None:
            content[offset : offset + len(data)] = data

        with self.open() as disk:
            read_disk(disk, found)
        return bytes(content)


@pytest.fixture
def exporting(session: Session, source: VmInfo) -> Exporting:
    return Exporting(session, source)


@pytest.fixture(autouse=True)
def nothing_is_left(vc: VCenter, exporting: Exporting) -> Iterator[None]:
    yield
    assert [vm.moref for vm in vc.vms()] == [exporting.template.moref]
    assert vc.leases() == []
    wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("lease-")])


def test_the_disk_of_a_template_is_read(vc: VCenter, exporting: Exporting) -> None:
    before = vc.request_log.count("HttpNfcLeaseComplete")  # that of the import
    assert exporting.read() == IMAGE.disk
    assert vc.request_log.count("HttpNfcLeaseComplete") == before + 1
    assert vc.request_log.count("HttpNfcLeaseAbort") == 0


def test_renewals_report_the_share_that_was_read(vc: VCenter, exporting: Exporting) -> None:
    with exporting.open() as disk:
        disk.progress(40)
        wait_until(lambda: vc.leases()[0].transferProgress == 40)
        disk.progress(250)
        wait_until(lambda: vc.leases()[0].transferProgress == 100)


def test_a_template_that_is_being_exported_is_in_use(
    session: Session, waiter: TaskWaiter, exporting: Exporting
) -> None:
    with exporting.open(), pytest.raises(errors.InUse):
        template.destroy(session, waiter, exporting.template.moref)


def test_an_error_in_the_block_aborts_the_lease(vc: VCenter, exporting: Exporting) -> None:
    with pytest.raises(ZeroDivisionError), exporting.open() as disk:
        next(disk)
        _ = 1 // 0
    assert vc.request_log.count("HttpNfcLeaseAbort") == 1


def test_a_busy_template_is_tried_again(vc: VCenter, exporting: Exporting) -> None:
    rule = vc.fault_rules.add("ExportVm", BUSY, times=2)
    assert exporting.read() == IMAGE.disk
    assert rule.hits == 2


def test_a_template_that_stays_busy_is_in_use(vc: VCenter, exporting: Exporting) -> None:
    vc.fault_rules.add("ExportVm", BUSY, times=None)
    with pytest.raises(errors.InUse):
        exporting.read()


def test_a_vcenter_that_exports_no_templates_says_so(vc: VCenter, exporting: Exporting) -> None:
    vc.switches.exports_templates = False
    with pytest.raises(errors.NotSupported):
        exporting.read()


def test_a_lease_that_fails_says_why(vc: VCenter, exporting: Exporting) -> None:
    vc.fault_rules.add("ExportVm", vim.fault.FileFault(file="disk.vmdk"), on="task")
    with pytest.raises(errors.TaskFailed, match=r"disk\.vmdk") as caught:
        exporting.read()
    assert caught.value.method == "ExportVm"


def test_a_host_that_refuses_is_named(vc: VCenter, exporting: Exporting) -> None:
    vc.fault_rules.add("nfc:GET", http_status=500)
    with pytest.raises(errors.TaskFailed, match=f"{vc.port} refused the download: HTTP 500"):
        exporting.read()


def test_a_host_with_another_certificate_is_refused(vc: VCenter, exporting: Exporting) -> None:
    vc.switches.nfc_host, vc.switches.nfc_thumbprint = "localhost", "AA:" * 19 + "AA"
    with pytest.raises(errors.CertificateRefused):
        exporting.read()


def test_a_lease_that_cannot_be_renewed_ends_a_download_that_waits(
    vc: VCenter, exporting: Exporting
) -> None:
    go_on = threading.Event()
    vc.fault_rules.add("nfc:GET", action=go_on.wait)
    vc.fault_rules.add("HttpNfcLeaseProgress", vim.fault.Timedout())
    reading = Background(exporting.read)
    try:
        with pytest.raises(errors.LeaseLost, match="could not be renewed"):
            reading.join()
    finally:
        go_on.set()


def test_a_lease_that_vcenter_ends_is_lost(vc: VCenter, exporting: Exporting) -> None:
    vc.fault_rules.add("nfc:GET", fault=vim.fault.Timedout())
    with (
        pytest.raises(errors.LeaseLost, match="the export lease is error"),
        exporting.open(renew_every_s=3600) as disk,
    ):
        next(disk)


def test_a_lost_answer_to_the_end_does_not_matter(vc: VCenter, exporting: Exporting) -> None:
    vc.fault_rules.add("HttpNfcLeaseComplete", vim.fault.Timedout())
    assert exporting.read() == IMAGE.disk


def test_a_machine_without_a_disk_has_nothing_to_read(
    vc: VCenter, session: Session, place: Place, exporting: Exporting
) -> None:
    devices = vc.find_vm(exporting.template.name).devices
    with vc.lock:
        removed, devices.disks = devices.disks, []
    with pytest.raises(errors.LeaseLost, match="no disk"):
        exporting.read()
    devices.disks = removed
