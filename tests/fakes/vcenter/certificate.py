"""A throw-away CA, and a server certificate for 127.0.0.1, ::1 and localhost that it has signed."""

from __future__ import annotations

import hashlib
import ssl
import tempfile
from pathlib import Path

import trustme


class Certificate:
    """The files stay in a temporary directory until `remove`.

    Clients must trust `ca_file`. `thumbprint` is the SHA-1 of the server's certificate as
    "AA:BB:...", the form in HttpNfcLease device URLs; `pem` is that certificate itself.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="fake-vcenter-")
        ca = trustme.CA(organization_name="Fake vCenter")
        server = ca.issue_cert("127.0.0.1", "localhost", "::1")
        ca_path = Path(self._directory.name) / "ca.pem"
        ca.cert_pem.write_to_path(ca_path)
        self.ca_file = str(ca_path)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.configure_cert(self.context)
        self.pem = server.cert_chain_pems[0].bytes().decode()
        der = ssl.PEM_cert_to_DER_cert(self.pem)
        digest = hashlib.sha1(der).hexdigest().upper()
        self.thumbprint = ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))

    def remove(self) -> None:
        """Delete the files. A second call does nothing."""
        self._directory.cleanup()
