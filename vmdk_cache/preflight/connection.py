"""Probes: vCenter's certificate, the log-in, the version, the clock."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from cryptography import x509

from vmdk_cache.preflight.probe import Finding, failed, ok, warning
from vmdk_cache.preflight.target import Target
from vmdk_cache.quoting import quoted, sentence
from vmdk_cache.vim import faults
from vmdk_cache.vim.api_version import is_at_least
from vmdk_cache.vim.server_certificate import handshake

#: A certificate that expires sooner causes a warning.
_EXPIRES_SOON = datetime.timedelta(days=30)
#: A larger difference of the clocks causes a warning.
_CLOCKS_APART_S = 60.0
#: According to the vSphere API reference, this version has everything that the engine uses.
_OLDEST_API = "6.0"


def tls(target: Target) -> Iterator[Finding]:
    """Perform a TLS handshake with vCenter and check the certificate as the session will."""
    endpoint = target.session.endpoint
    context = target.session.ssl_context
    with faults.translated(server=endpoint.server):
        certificate = handshake(
            endpoint.host.strip("[]"), endpoint.port, context, endpoint.connect_timeout_s
        )
    ends = _end_of(certificate)
    validity = f", valid until {ends:%Y-%m-%d}" if ends else ""
    if endpoint.insecure:
        yield warning(
            f"{endpoint.server} answers; its certificate is not verified",
            "set vmware_ca_file to the certificate of its issuer, and set vmware_insecure = false",
        )
    elif ends is not None and ends - target.clock.now() < _EXPIRES_SOON:
        yield warning(
            f"the certificate of {endpoint.server} is trusted{validity}",
            "renew vCenter's certificate before that date",
        )
    else:
        yield ok(f"the certificate of {endpoint.server} is trusted{validity}")


def log_in(target: Target) -> Iterator[Finding]:
    """Log in with the account."""
    target.session.open()
    yield ok(f"{quoted(target.session.endpoint.user)} is logged in")


def version(target: Target) -> Iterator[Finding]:
    """Product, version and build."""
    about = target.session.content.about
    seen = f"{sentence(about.fullName)}, API {sentence(about.apiVersion)}"
    if about.apiType != "VirtualCenter":
        yield failed(
            f"{seen}: this is not a vCenter",
            "set vmware_host_ip to the vCenter that manages this ESXi host",
        )
    elif not is_at_least(str(about.apiVersion), _OLDEST_API):
        yield failed(seen, f"upgrade vCenter to {_OLDEST_API} or later")
    else:
        yield ok(seen)


def clock(target: Target) -> Iterator[Finding]:
    """Compare vCenter's clock with this host's."""
    before = target.clock.now()
    theirs = target.session.server_time()
    ours = before + (target.clock.now() - before) / 2
    apart_s = (theirs - ours).total_seconds()
    seen = f"vCenter's clock is {abs(apart_s):.0f} s {'ahead' if apart_s > 0 else 'behind'}"
    if abs(apart_s) <= _CLOCKS_APART_S:
        yield ok(seen)
    else:
        yield warning(
            seen,
            "synchronize both with the same time server: templates are dated by vCenter's clock, "
            "logs and the ledger by this host's clock",
        )


def _end_of(certificate: bytes) -> datetime.datetime | None:
    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return None  # some usable certificates cannot be parsed completely
