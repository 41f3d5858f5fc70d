"""Detects govmomi's simulator, vcsim, whose limitations do not apply to a real vCenter.

vcsim can imitate the version of a recorded vCenter. But only vcsim answers ``GET /about`` with the
methods that it implements (govmomi, simulator/simulator.go).
"""

from __future__ import annotations

import json
from http.client import HTTPException, HTTPSConnection

from vmdk_cache.vim.session import Session

_MOST_BYTES = 1 << 20


def is_simulator(session: Session) -> bool:
    """Whether the session's vCenter is vcsim; False if that cannot be determined."""
    endpoint = session.endpoint
    connection = HTTPSConnection(
        endpoint.host.strip("[]"),
        endpoint.port,
        timeout=endpoint.connect_timeout_s,
        context=session.ssl_context,
    )
    try:
        connection.request("GET", "/about")
        answer = connection.getresponse()
        if answer.status != 200:
            return False
        said = json.loads(answer.read(_MOST_BYTES))
        return isinstance(said, dict) and isinstance(said.get("methods"), list)
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
