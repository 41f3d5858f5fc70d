"""HTTP headers that a vCenter adds to its answers, by release, as in recordings.

5.5 to 6.5 send short answers with a length and long ones in chunks, with a Connection header. 7 and
later send all answers in chunks; 8.0.3 is behind a proxy that adds its own timing. 9.0.1 names the
API version that it assumed for a call without one. Whatever is not recorded comes from the nearest
older release.
"""

from __future__ import annotations

import re

_LONG_BYTES = 8192
_OLD = {"Cache-Control": "no-cache", "Connection": "Keep-Alive"}
_NEW = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}


def is_chunked(release: str, size_bytes: int) -> bool:
    """Whether an answer to a SOAP call comes in chunks."""
    return _major(release) >= 7 or size_bytes > _LONG_BYTES


def of_sdk(release: str, api_version: str, soap_action: str) -> dict[str, str]:
    """Headers of an answer below /sdk.

    :param release: such as "8.0.3"
    :param soap_action: the request's SOAPAction header
    """
    if _major(release) >= 9:
        if re.search(r"/\d", soap_action):
            return _NEW
        return {**_NEW, "X-Applied-Soapaction": f"urn:vim25/{api_version}"}
    if _major(release) >= 7:
        return {**_NEW, "X-Envoy-Upstream-Service-Time": "1"}
    return _OLD if release.startswith("6.0") else {**_OLD, "X-Frame-Options": "DENY"}


def of_pbm() -> dict[str, str]:
    """Headers of an answer of /pbm/sdk."""
    return {"Server": "Apache"}


def _major(release: str) -> int:
    return int(release.partition(".")[0])
