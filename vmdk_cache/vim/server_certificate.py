"""Reads certificates of vCenter and ESXi hosts, and compares them with a thumbprint.

vCenter publishes the thumbprints of its hosts' certificates (vSphere API reference,
HttpNfcLeaseDeviceUrl.sslThumbprint, HostConfigSummary.sslThumbprint): SHA-1 or SHA-256, as
hexadecimal numbers with colons.
"""

from __future__ import annotations

import socket
import ssl

from urllib3.exceptions import SSLError
from urllib3.util import assert_fingerprint

from vmdk_cache import errors
from vmdk_cache.quoting import quoted, sentence

#: Hexadecimal digits of SHA-1 and SHA-256; urllib3 also accepts MD5.
_THUMBPRINT_DIGITS = (40, 64)


def check_thumbprint(
    certificate: bytes, thumbprint: str, server: str, *, method: str | None = None
) -> None:
    """Compare a certificate with the thumbprint from vCenter.

    :param certificate: in DER form
    :param server: ``host:port``, for the error
    :raises CertificateRefused: the certificate differs, or the thumbprint is invalid
    """
    try:
        if len(thumbprint.replace(":", "")) not in _THUMBPRINT_DIGITS:
            raise ValueError(f"{quoted(thumbprint)} is neither SHA-1 nor SHA-256")
        assert_fingerprint(certificate, thumbprint)
    except (SSLError, ValueError) as refused:
        raise errors.CertificateRefused(
            f"the certificate of {server} is not the one that vCenter expects: {sentence(refused)}",
            method=method,
        ) from None


def unverified() -> ssl.SSLContext:
    """A context without verification, for certificates that are checked by thumbprint."""
    # create_default_context would load the system's CA certificates, which takes 0.1 s.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def handshake(host: str, port: int, context: ssl.SSLContext, timeout_s: float) -> bytes:
    """Perform a TLS handshake and disconnect; return the server's certificate in DER form.

    :param timeout_s: timeout of the connection, and again of the handshake
    :raises OSError: connection and TLS errors
    """
    with (
        socket.create_connection((host, port), timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""
