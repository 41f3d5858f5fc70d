"""HostCertificateManager: a host's certificate, which is the fake's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyVmomi import vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.host_config_manager import HostPart

if TYPE_CHECKING:
    from tests.fakes.vcenter.host_system import HostSystem


class HostCertificateManager(HostPart):
    """Reports an installed certificate, but connections still use the fake's."""

    TYPE = vim.host.CertificateManager
    NAME = "ha-certificate-manager"

    def __init__(self, host: HostSystem) -> None:
        super().__init__(host)
        self._installed: x509.Certificate | None = None

    @property
    def certificateInfo(self) -> Any:
        """Issuer, subject and validity."""
        served = self.vcenter.certificate.encode()
        shown = self._installed or x509.load_pem_x509_certificate(served)
        return vim.host.CertificateManager.CertificateInfo(
            issuer=shown.issuer.rfc4514_string(),
            subject=shown.subject.rfc4514_string(),
            notBefore=shown.not_valid_before_utc,
            notAfter=shown.not_valid_after_utc,
            status="good" if shown.not_valid_after_utc > datetime.now(UTC) else "expired",
        )

    def GenerateCertificateSigningRequest(
        self, ctx: Context, useIpAddressAsCommonName: bool, spec: Any = None
    ) -> str:
        """A PEM request for the host's name."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.host.name)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        request = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        return request.public_bytes(serialization.Encoding.PEM).decode()

    def InstallServerCertificate(self, ctx: Context, cert: str) -> None:
        """HostConfigFault for text that is not a certificate."""
        try:
            self._installed = x509.load_pem_x509_certificate(cert.encode())
        except ValueError:
            raise vim.fault.HostConfigFault(msg="The certificate is not valid.") from None
        self.changed("certificateInfo")

    def NotifyAffectedServices(self, ctx: Context, services: Any = None) -> None:
        """Does nothing, since no service runs."""

    def ListCACertificates(self, ctx: Context) -> list[str]:
        """The fake's CA."""
        with open(self.vcenter.ca_file) as file:
            return [file.read()]
