"""Reads the disk of a powered-off VM: ExportVm and its NFC lease.

The host sends the disk as a streamOptimized VMDK. The lease is not renewed, so the read must finish
within vCenter's 300 s: it is only for disks of a few MiB.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

from vmdk_cache import errors
from vmdk_cache.quoting import sentence
from vmdk_cache.vim import faults
from vmdk_cache.vim.nfc_address import NfcAddress
from vmdk_cache.vim.nfc_lease import NfcLease
from vmdk_cache.vim.session import Session

_CHUNK_BYTES = 1 << 20
_METHOD = "NFC download"


@contextmanager
def open_export(session: Session, vm: str) -> Iterator[Iterator[bytes]]:
    """Chunks of the VM's first disk; the lease ends with the block.

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
        address = NfcAddress(session, disk.url, disk.sslThumbprint or "", _METHOD)
        connection = address.connect()
        try:
            yield _chunks(connection, address)
        finally:
            connection.close()
        lease.complete()
    except BaseException:
        lease.abort()
        raise


def _chunks(connection: HTTPConnection, address: NfcAddress) -> Iterator[bytes]:
    with faults.translated(method=_METHOD, server=address.server):
        connection.request("GET", address.path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise errors.TaskFailed(
                f"{address.server} refused the download: HTTP {answer.status} "
                f"{sentence(answer.reason)}",
                method=_METHOD,
            )
        while chunk := answer.read(_CHUNK_BYTES):
            yield chunk
