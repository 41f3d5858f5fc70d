"""The host that sends or receives a leased disk, and the verification of its certificate.

The host's certificate differs from vCenter's: it is pinned by the thumbprint in the lease (vSphere
API reference, HttpNfcLeaseDeviceUrl.sslThumbprint). Without a thumbprint it is verified like
vCenter's own (as in govmomi, nfc/lease.go).
"""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPConnection, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from vmdk_cache import errors
from vmdk_cache.vim import faults
from vmdk_cache.vim.server_certificate import check_thumbprint, unverified
from vmdk_cache.vim.session import Session


class NfcAddress:
    """The URL of one device of a lease.

    :param url: ``*`` means vCenter's own host
    :param thumbprint: thumbprint of the host's certificate, '' if vCenter provides none
    :param method: the operation, for errors
    :ivar path: path of the disk, for the request
    """

    def __init__(self, session: Session, url: str, thumbprint: str, method: str) -> None:
        self._endpoint = session.endpoint
        self._own_tls = session.ssl_context
        self._thumbprint = thumbprint
        self._method = method
        self._vcenter = session.endpoint.host.strip("[]").lower()
        parts = urlsplit(url.replace("://*", f"://{_in_url(self._vcenter)}", 1))
        self._host = parts.hostname or self._vcenter
        self._port = parts.port or 443
        self._secure = parts.scheme == "https"
        self.path = parts.path + (f"?{parts.query}" if parts.query else "")

    @property
    def server(self) -> str:
        """``host:port``."""
        return f"{_in_url(self._host)}:{self._port}"

    def connect(
        self, made: Callable[[HTTPConnection], None] = lambda connection: None
    ) -> HTTPConnection:
        """A connection to the host, its certificate checked.

        :param made: called with the connection as soon as it can be closed from another thread
        :raises Unreachable, CertificateRefused: the host, with its name
        """
        if not self._secure and not self._endpoint.insecure:
            raise errors.CertificateRefused(
                f"the lease's disk is at {self.server} without TLS; refused, as vmware_insecure is "
                "not set",
                method=self._method,
            )
        is_foreign = self._host != self._vcenter and not self._endpoint.insecure
        is_pinned = is_foreign and bool(self._thumbprint)
        with faults.translated(method=self._method, server=self.server):
            timeout_s = self._endpoint.read_timeout_s
            connection = HTTPConnection(self._host, self._port, timeout=timeout_s)
            if self._secure:
                tls = unverified() if is_pinned else self._own_tls
                connection = HTTPSConnection(self._host, self._port, timeout=timeout_s, context=tls)
            made(connection)
            connection.connect()
            if is_pinned:
                try:
                    tls_socket: Any = connection.sock
                    certificate = tls_socket.getpeercert(binary_form=True) or b""
                    check_thumbprint(
                        certificate, self._thumbprint, self.server, method=self._method
                    )
                except BaseException:
                    connection.close()
                    raise
            return connection


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
