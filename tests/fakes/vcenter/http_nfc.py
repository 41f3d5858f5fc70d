"""/nfc/<lease>/<disk>: the bytes of leases.

An import takes POST with the content type of a stream VMDK, or PUT with "Overwrite: t", as older
clients send it; an export answers GET with a streamOptimized VMDK. The URL is the ticket, so no
cookie is needed. 404 if the lease is not, or no longer, ready, 405 and 415 for the wrong request,
400 for bytes that are not a streamOptimized VMDK, 507 if the datastore is full. 507 also ends the
lease, and so does 400 with the switch `refused_stream_fails_lease`.
"""

from __future__ import annotations

import hashlib
import tempfile
from typing import IO

from pyVmomi import vim, vmodl

from tests.fakes.vcenter import vmdk
from tests.fakes.vcenter.fault_rules import FaultRule
from tests.fakes.vcenter.http_exchange import BodyIncomplete, HttpExchange
from tests.fakes.vcenter.http_nfc_lease import HttpNfcLease
from tests.fakes.vcenter.http_transfer import pass_lease_time
from tests.fakes.vcenter.lease_device import DiskUpload, LeaseDevice

STREAM_VMDK = "application/x-vnd.vmware-streamvmdk"
# The content type that Python's urllib sends by default; deploy_ova.py of pyvmomi-community-samples
# uploads with it.
_URLLIB = "application/x-www-form-urlencoded"
_PIECE_BYTES = 1 << 18
_SPOOL_BYTES = 1 << 24


def handle(exchange: HttpExchange) -> None:
    """Serve one request below /nfc/."""
    vcenter = exchange.vcenter
    _, _, ticket, target_id = (*exchange.path.split("/", 3), "", "")[:4]
    with vcenter.lock:
        lease = next((x for x in vcenter.registry.of_class(HttpNfcLease) if x.uuid == ticket), None)
        device = lease.device(target_id) if lease and lease.state == "ready" else None
    method = f"nfc:{exchange.method}"
    vcenter.request_log.record(method, exchange.path)
    names = (device.vm.name, device.vm.moref, target_id) if device else (target_id,)
    rule = vcenter.fault_rules.match(method, *names)
    if rule is not None and _hit(rule, exchange, lease):
        return
    if rule is not None and rule.drop == "after":
        drop_answer(exchange)
    if lease is None or device is None:
        exchange.respond(404, b"No such transfer\n")
    elif lease.kind == "export":
        _download(exchange, lease, device)
    elif _is_upload(exchange):
        _upload(exchange, lease, device)


def drop_answer(exchange: HttpExchange) -> None:
    """Let the request take effect, but close the connection when its answer would begin."""

    def drop(*_args: object, **_headers: object) -> None:
        exchange.drop()

    for name in ("respond", "start"):
        setattr(exchange, name, drop)


def _hit(rule: FaultRule, exchange: HttpExchange, lease: HttpNfcLease | None) -> bool:
    """Apply a fault rule; returns whether the request is answered."""
    exchange.vcenter.clock.sleep(rule.delay_s)
    if rule.action is not None:
        rule.action()
    if rule.drop == "before":
        exchange.drop()
    if rule.fault is not None and lease is not None:
        lease.fail(rule.fault)
    status = rule.http_status or (500 if rule.fault is not None else None)
    if status is None:
        return False
    exchange.respond(status, b"Injected by a fault rule\n")
    return True


def _is_upload(exchange: HttpExchange) -> bool:
    """Whether method and headers are those of a disk upload; answers the request if not."""
    content_type = (exchange.headers.get("Content-Type") or "").split(";")[0].strip().lower()
    if exchange.method == "POST":
        if content_type in (STREAM_VMDK, _URLLIB):
            return True
        exchange.respond(415, f"A disk is sent as {STREAM_VMDK}\n".encode())
    elif exchange.method == "PUT":
        if (exchange.headers.get("Overwrite") or "").lower() == "t":
            return True
        exchange.respond(412, b"The file exists; send Overwrite: t\n")
    else:
        exchange.respond(405, b"Method Not Allowed\n", headers={"Allow": "POST, PUT"})
    return False


def _upload(exchange: HttpExchange, lease: HttpNfcLease, device: LeaseDevice) -> None:
    with lease.vcenter.lock:
        if device.is_arriving:
            exchange.respond(409, b"This disk is being uploaded already\n")
            return
        upload = DiskUpload(device)
    exchange.heard()
    try:
        while data := exchange.read(_PIECE_BYTES):
            if not lease.is_open:
                exchange.drop()
            upload.feed(data)
        pass_lease_time(lease, device, device.received_bytes)
        if not lease.is_open:
            exchange.drop()
    except vmdk.VmdkError as error:
        why = f"Not a streamOptimized VMDK: {error}"
        _end(upload, lease, whole=False, refusal=why)
        exchange.respond(400, f"{why}\n".encode())
    except vim.fault.NoDiskSpace as fault:
        _end(upload, lease, whole=False)
        lease.fail(fault)
        exchange.respond(507, b"Insufficient disk space on the datastore\n")
    except vim.fault.FileNotFound:
        # The lease ended during this piece, which also removed the disk.
        _end(upload, lease, whole=False)
        exchange.drop()
    except (BodyIncomplete, OSError):
        _end(upload, lease, whole=False)
        raise
    else:
        why = "The streamOptimized VMDK is not complete"
        if _end(upload, lease, whole=True, refusal=why):
            exchange.respond(200)
        else:
            exchange.respond(400, f"{why}\n".encode())


def _end(upload: DiskUpload, lease: HttpNfcLease, *, whole: bool, refusal: str = "") -> bool:
    """Close an upload, unless the lease and its VM are gone; returns whether a whole disk arrived.
    If `refusal` says why not, the lease fails in the same step, so that no client can complete it
    first.
    """
    with lease.vcenter.lock:
        if lease.is_open:
            try:
                upload.end(whole=whole)
            except vmodl.MethodFault as fault:
                lease.fail(fault)
        else:
            upload.device.is_broken = True
        upload.device.is_arriving = False
        if (
            refusal
            and upload.device.is_broken
            and lease.vcenter.switches.refused_stream_fails_lease
        ):
            lease.fail(vim.fault.InvalidDiskFormat(msg=refusal))
        lease.upload_ended()
        return not upload.device.is_broken


def _download(exchange: HttpExchange, lease: HttpNfcLease, device: LeaseDevice) -> None:
    if exchange.method not in ("GET", "HEAD"):
        exchange.respond(405, b"Method Not Allowed\n", headers={"Allow": "GET, HEAD"})
        return
    content = device.disk.content.copy()
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
        for piece in vmdk.stream_optimized(content, adapter_type=device.disk.adapter_type.lower()):
            sha1.update(piece)
            sha256.update(piece)
            spool.write(piece)
        size_bytes = spool.tell()
        if exchange.method == "GET":
            pass_lease_time(lease, device, size_bytes)
            # Set these before the last byte: a client that has it may ask for the manifest at once.
            device.received_bytes = size_bytes
            device.sha1, device.sha256 = sha1.hexdigest(), sha256.hexdigest()
        exchange.start(200, size_bytes, "application/x-vnd.vmware-streamVmdk")
        if exchange.method == "GET":
            _send(exchange, lease, spool)


def _send(exchange: HttpExchange, lease: HttpNfcLease, spool: IO[bytes]) -> None:
    spool.seek(0)
    while piece := spool.read(_PIECE_BYTES):
        if not lease.is_open:
            exchange.drop()
        exchange.write(piece)
