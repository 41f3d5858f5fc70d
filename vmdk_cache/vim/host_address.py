"""The addresses of hosts for uploads, and the thumbprints of their certificates.

A lease's URLs name an ESXi host (recorded: ``https://<address of the host>/nfc/...``): if this host
can reach the ESXi host by its name, so can an import.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vmdk_cache.vim import properties
from vmdk_cache.vim.session import Session

_NAME = "name"
_PORT = "summary.config.port"
_THUMBPRINT = "summary.config.sslThumbprint"
_PRODUCT = "summary.config.product"
_HTTPS = 443


@dataclass(frozen=True)
class HostAddress:
    """One host.

    :ivar thumbprint: thumbprint of its certificate, '' if vCenter has none
    :ivar product: such as ``VMware ESXi 8.0.3 build-24022510``
    """

    name: str
    port: int
    thumbprint: str
    product: str


def host_addresses(session: Session, morefs: Iterable[str]) -> dict[str, HostAddress]:
    """The addresses by moref, in one request per 500 hosts.

    :raises VCenterError: the request failed
    """
    found = properties.read(session, "HostSystem", morefs, [_NAME, _PORT, _THUMBPRINT, _PRODUCT])
    return {
        moref: HostAddress(
            name=str(values.get(_NAME, "")),
            port=int(values.get(_PORT) or _HTTPS),
            thumbprint=str(values.get(_THUMBPRINT) or ""),
            product=str(getattr(values.get(_PRODUCT), "fullName", "") or ""),
        )
        for moref, values in found.items()
    }
