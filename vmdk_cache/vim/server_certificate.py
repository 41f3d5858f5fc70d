"""Certificates of vCenter and of ESXi hosts: read, and compared with a thumbprint.

vCenter vouches for the certificates of its hosts by thumbprint (vSphere API reference,
HttpNfcLeaseDeviceUrl.sslThumbprint, HostConfigSummary.sslThumbprint): SHA-1 or SHA-256, as
hexadecimal numbers with colons.
"""

from __future__ import annotations

import socket
import ssl

from urllib3.exceptions import SSLError
from urllib3.util import assert_fingerprint

from vmdk_cache import errors
from vmdk_cache.quoting import sentence


def check_thumbprint(
    certificate: bytes, thumbprint: str, server: str, *, method: str | None = None
) -> None:
    """Compare a certificate with the thumbprint that vCenter gives.

    :param certificate: in DER form
    :param server: ``host:port``, for the error
    :raises CertificateRefused: it is another certificate, or the thumbprint cannot be read
    """
    try:
        assert_fingerprint(certificate, thumbprint)
    except (SSLError, ValueError) as refused:
        raise errors.CertificateRefused(
            f"the certificate of {server} is not the one that vCenter knows: {sentence(refused)}",
            method=method,
        ) from None


def unverified() -> ssl.SSLContext:
    """For a certificate that is checked by its thumbprint instead."""
    # create_default_context would read the system's authorities, which takes a tenth of a second.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def handshake(host: str, port: int, context: ssl.SSLContext, timeout_s: float) -> bytes:
    """Connect, shake hands, hang up; the server's certificate in DER form.

    :param timeout_s: for the connection, and again for the handshake
    :raises OSError: also what ssl raises
    """
    with (
        socket.create_connection((host, port), timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""
