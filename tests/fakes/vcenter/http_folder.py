"""/folder/<path>?dcPath=<datacenter>&dsName=<datastore>: files of datastores over HTTP.

PUT (201 for a new file, 200 for a replaced one; missing directories are created), GET (from any
byte on, since govmomi reads the tail of a file that way), HEAD, DELETE. Requires the cookie of a
live session, or a one-time ticket for exactly this URL; 401 otherwise. 404 for an unknown
datacenter (the full inventory path is needed), datastore or file, 405 for a PUT on a directory, 507
if the datastore is full. An uploaded file occupies its whole length.
"""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from pyVmomi import vim

from tests.fakes.vcenter.datastore import Datastore
from tests.fakes.vcenter.datastore_files import DatastoreFile
from tests.fakes.vcenter.datastore_path import clean
from tests.fakes.vcenter.http_exchange import HttpExchange
from tests.fakes.vcenter.http_nfc import drop_answer
from tests.fakes.vcenter.http_transfer import pass_file_time

_PIECE_BYTES = 1 << 20
_TICKET = re.compile(r"vmware_cgi_ticket\s*=\s*\"?([^\";\s]+)")


def handle(exchange: HttpExchange) -> None:
    """Serve one request below /folder."""
    vcenter = exchange.vcenter
    method = f"folder:{exchange.method}"
    path = clean(exchange.path.removeprefix("/folder"))
    vcenter.request_log.record(method, path)
    rule = vcenter.fault_rules.match(method, path, exchange.query.get("dsName", ""))
    if rule is not None:
        vcenter.clock.sleep(rule.delay_s)
        if rule.action is not None:
            rule.action()
        if rule.drop == "before":
            exchange.drop()
        if rule.http_status is not None or rule.fault is not None:
            exchange.respond(rule.http_status or 500, b"Injected by a fault rule\n")
            return
        if rule.drop == "after":
            drop_answer(exchange)
    _serve(exchange, path)


def _serve(exchange: HttpExchange, path: str) -> None:
    if not _is_allowed(exchange):
        exchange.respond(401, b"Unauthorized\n", headers={"WWW-Authenticate": "Basic"})
        return
    datastore = _find_datastore(exchange)
    if datastore is None or path.startswith(".."):
        exchange.respond(404, b"No such datastore\n")
    elif exchange.method == "PUT":
        _put(exchange, datastore, path)
    elif exchange.method in ("GET", "HEAD"):
        _get(exchange, datastore, path)
    elif exchange.method == "DELETE":
        _delete(exchange, datastore, path)
    else:
        exchange.respond(405, b"Method Not Allowed\n")


def _is_allowed(exchange: HttpExchange) -> bool:
    if exchange.session is not None:
        return True
    match = _TICKET.search(exchange.headers.get("Cookie") or "")
    if match is None:
        return False
    url = exchange.vcenter.http_tickets.pop(match[1], None)
    return url is not None and unquote(urlsplit(url).path) == exchange.path


def _client(exchange: HttpExchange) -> str:
    """Identifies the client process: by session, if it has one."""
    session = exchange.session
    return session.key if session is not None else exchange.client_address


def _find_datastore(exchange: HttpExchange) -> Datastore | None:
    vcenter = exchange.vcenter
    wanted = exchange.query.get("dcPath", "").strip("/")
    with vcenter.lock:
        for datastore in vcenter.registry.of_class(Datastore):
            if datastore.name != exchange.query.get("dsName"):
                continue
            if wanted in ("", "ha-datacenter") or _inventory_path(datastore) == wanted:
                return datastore if datastore.accessible else None
    return None


def _inventory_path(datastore: Datastore) -> str:
    """The path of the datastore's datacenter from the root folder, such as "F0/DC0"."""
    datacenter: Any = datastore.datacenter
    names = [datacenter.name, *(step.name for step in datacenter.ancestors[:-1])]
    return "/".join(reversed(names))


def _put(exchange: HttpExchange, datastore: Datastore, path: str) -> None:
    storage = datastore.storage
    if storage.is_directory(path):
        exchange.respond(405, b"A directory is in the way\n")
        return
    status = 200 if storage.get(path) is not None else 201
    try:
        file = storage.create(path, thick=True, overwrite=True, parents=True)
        _receive(exchange, datastore, file)
        route = exchange.vcenter.cost_model.import_route(_client(exchange), None, datastore)
        pass_file_time(exchange.vcenter, file.content.size_bytes, route)
    except vim.fault.NoDiskSpace:
        if storage.get(path) is not None:
            storage.delete(path)
        datastore.refresh()
        exchange.respond(507, b"Insufficient disk space on the datastore\n")
    except vim.fault.FileFault as fault:
        exchange.respond(409, f"{fault.msg}\n".encode())
    else:
        exchange.respond(status)


def _receive(exchange: HttpExchange, datastore: Datastore, file: DatastoreFile) -> None:
    """Append the body, in pieces of whole grains; a partial upload stays, as on ESXi."""
    storage = datastore.storage
    if exchange.content_length:
        storage.require(exchange.content_length, file.path)
    pending = bytearray()
    try:
        while data := exchange.read(_PIECE_BYTES):
            pending += data
            if len(pending) >= _PIECE_BYTES:
                file.content.append(bytes(pending[:_PIECE_BYTES]))
                del pending[:_PIECE_BYTES]
                storage.settle(file)
    finally:
        file.content.append(bytes(pending))
        storage.settle(file)
        datastore.refresh()


def _get(exchange: HttpExchange, datastore: Datastore, path: str) -> None:
    storage = datastore.storage
    file = storage.get(path)
    if file is None:
        if not storage.is_directory(path):
            exchange.respond(404, b"No such file\n")
            return
        names = "".join(f"<li>{html.escape(name)}</li>" for name in storage.listing(path))
        exchange.respond(200, f"<ul>{names}</ul>\n".encode(), "text/html; charset=utf-8")
        return
    content = file.content.copy()
    first = _first_byte(exchange)
    if first and first >= content.size_bytes:
        whole = {"Content-Range": f"bytes */{content.size_bytes}"}
        exchange.respond(416, b"The file is shorter\n", headers=whole)
        return
    rest = content.size_bytes - first
    if exchange.method == "GET":
        route = exchange.vcenter.cost_model.export_route(_client(exchange), None, datastore)
        pass_file_time(exchange.vcenter, rest, route)
    headers = {"Accept-Ranges": "bytes"}
    if first:
        last = content.size_bytes - 1
        headers["Content-Range"] = f"bytes {first}-{last}/{content.size_bytes}"
    status = 206 if first else 200
    exchange.start(status, rest, "application/octet-stream", headers)
    if exchange.method == "GET":
        for offset in range(first, content.size_bytes, _PIECE_BYTES):
            exchange.write(content.read(offset, _PIECE_BYTES))


def _first_byte(exchange: HttpExchange) -> int:
    """The N of "Range: bytes=N-"; 0 without one, and for ranges that no client here sends (RFC
    9110: a server may ignore the header).
    """
    match = re.fullmatch(r"bytes=(\d+)-", exchange.headers.get("Range") or "")
    return int(match[1]) if match else 0


def _delete(exchange: HttpExchange, datastore: Datastore, path: str) -> None:
    try:
        datastore.storage.delete(path)
    except vim.fault.FileNotFound:
        exchange.respond(404, b"No such file\n")
        return
    datastore.refresh()
    exchange.respond(204)
