"""Certificates of vCenter and of ESXi hosts: read, and compared with a thumbprint.

vCenter vouches for the certificates of its hosts by thumbprint (vSphere API reference,
HttpNfcLeaseDeviceUrl.sslThumbprint, HostConfigSummary.sslThumbprint). It is SHA-1, or a longer
digest, as hexadecimal numbers with colons.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl

from vmdk_cache import errors
from vmdk_cache.quoting import quoted

_DIGESTS = {20: "sha1", 32: "sha256", 64: "sha512"}


def check_thumbprint(
    certificate: bytes, thumbprint: str, server: str, *, method: str | None = None
) -> None:
    """Compare a certificate with the thumbprint that vCenter gives.

    :param certificate: in DER form
    :param server: ``host:port``, for the error
    :raises CertificateRefused: it is another certificate, or the thumbprint cannot be read
    """
    try:
        expected = bytes.fromhex(thumbprint.replace(":", ""))
        seen = hashlib.new(_DIGESTS[len(expected)], certificate).digest()
    except (KeyError, ValueError):
        raise errors.CertificateRefused(
            f"vCenter gives no usable thumbprint of the certificate of {server} "
            f"({quoted(thumbprint)})",
            method=method,
        ) from None
    if not hmac.compare_digest(seen, expected):
        raise errors.CertificateRefused(
            f"the certificate of {server} is not the one that vCenter knows: its "
            f"thumbprint is {seen.hex(':')}, not {quoted(thumbprint.lower())}",
            method=method,
        )


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
