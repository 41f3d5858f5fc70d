"""Can vCenter be reached, does it take the account, and which vCenter is it?"""

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

#: A certificate that ends sooner gets a warning.
_EXPIRES_SOON = datetime.timedelta(days=30)
#: Clocks that are further apart get a warning.
_CLOCKS_APART_S = 60.0
#: vSphere API reference: what the engine asks for is there from this version on.
_OLDEST_API = "6.0"


def tls(target: Target) -> Iterator[Finding]:
    """A handshake with vCenter's port, the certificate checked as the session will check it."""
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
            f"{endpoint.server} answers; its certificate is not checked",
            "set vmware_ca_file to the certificate of its issuer, and vmware_insecure = false",
        )
    elif ends is not None and ends - target.clock.now() < _EXPIRES_SOON:
        yield warning(
            f"the certificate of {endpoint.server} is trusted{validity}",
            "renew vCenter's certificate before that day",
        )
    else:
        yield ok(f"the certificate of {endpoint.server} is trusted{validity}")


def log_in(target: Target) -> Iterator[Finding]:
    """A session of the account."""
    target.session.open()
    yield ok(f"{quoted(target.session.endpoint.user)} is logged in")


def version(target: Target) -> Iterator[Finding]:
    """Product, version and build."""
    about = target.session.content.about
    seen = f"{sentence(about.fullName)}, API {sentence(about.apiVersion)}"
    if about.apiType != "VirtualCenter":
        yield failed(
            f"{seen}: this is no vCenter", "set vmware_host_ip to the vCenter of this ESXi host"
        )
    elif not is_at_least(str(about.apiVersion), _OLDEST_API):
        yield failed(seen, f"upgrade vCenter to {_OLDEST_API} or later")
    else:
        yield ok(seen)


def clock(target: Target) -> Iterator[Finding]:
    """How far vCenter's clock and this machine's are apart."""
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
            "have both follow the same time server: templates are dated by vCenter's clock, logs "
            "and the ledger by this machine's",
        )


def _end_of(certificate: bytes) -> datetime.datetime | None:
    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return None  # some certificates can be used and not be parsed in full
