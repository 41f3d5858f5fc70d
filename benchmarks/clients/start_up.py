"""From a bare interpreter to a session that works: ours, and the one of oslo.vmware.

Nothing of either is imported before ``go``, so the imports count.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from benchmarks.clients.stopwatch import resident_mib, stopwatch


def cache(go: Callable[[], None], *, endpoint: dict[str, Any]) -> dict[str, Any]:
    """The whole engine: connected, its options checked, ready for a volume."""
    go()
    with stopwatch() as importing:
        from benchmarks.clients.cache import running_cache
    with contextlib.ExitStack() as stack:
        with stopwatch() as elapsed:
            stack.enter_context(running_cache(endpoint))
        ready_mib = resident_mib()
        go()
    return {"import_s": importing.wall_s, "connect_s": elapsed.wall_s, "mib": ready_mib}


def oslo_session(go: Callable[[], None], *, endpoint: dict[str, Any]) -> dict[str, Any]:
    """oslo.vmware's session on suds, as Cinder's driver opens it: logged in."""
    go()
    with stopwatch() as importing:
        from oslo_vmware import api
    with stopwatch() as elapsed:
        session = api.VMwareAPISession(
            endpoint["host"],
            endpoint["user"],
            endpoint["password"],
            api_retry_count=1,
            task_poll_interval=1,
            port=endpoint["port"],
            cacert=endpoint["ca_file"],
            insecure=False,
        )
    ready_mib = resident_mib()
    go()
    session.logout()
    return {"import_s": importing.wall_s, "connect_s": elapsed.wall_s, "mib": ready_mib}
