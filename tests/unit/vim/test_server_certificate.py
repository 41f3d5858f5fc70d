"""A host's certificate is the one whose thumbprint vCenter publishes, or it is refused."""

from __future__ import annotations

import hashlib

import pytest

from vmdk_cache import errors
from vmdk_cache.vim.server_certificate import check_thumbprint

CERTIFICATE = b"a certificate in DER form"


def thumbprint_of(certificate: bytes, algorithm: str) -> str:
    return ":".join(f"{byte:02X}" for byte in hashlib.new(algorithm, certificate).digest())


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("written", [str, str.lower, lambda text: text.replace(":", "")])
def test_a_certificate_with_the_expected_thumbprint_is_accepted(
    algorithm: str, written: type[str]
) -> None:
    check_thumbprint(CERTIFICATE, written(thumbprint_of(CERTIFICATE, algorithm)), "esx1:443")


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_another_certificate_is_refused_with_the_servers_name(algorithm: str) -> None:
    expected = thumbprint_of(b"another certificate", algorithm)
    with pytest.raises(
        errors.CertificateRefused, match=r"certificate of esx1:443 is not"
    ) as caught:
        check_thumbprint(CERTIFICATE, expected, "esx1:443", method="HttpNfcLease")
    assert caught.value.method == "HttpNfcLease"


@pytest.mark.parametrize(
    "thumbprint", ["", "AB:CD", thumbprint_of(CERTIFICATE, "md5"), "zz" * 20, "é" * 40]
)
def test_a_thumbprint_is_sha1_or_sha256(thumbprint: str) -> None:
    with pytest.raises(errors.CertificateRefused):
        check_thumbprint(CERTIFICATE, thumbprint, "esx1:443")
