"""From a bare interpreter to a working session: ours, and that of oslo.vmware.

Nothing of either is imported before ``go``, so the imports count.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks.clients.stopwatch import resident_mib, stopwatch

FOLDER = ("OpenStack", "Project (b1_image_cache)", "Volumes")


def cache(
    go: Callable[[], None], *, endpoint: dict[str, Any], coordinated: bool = False
) -> dict[str, Any]:
    """The whole engine: connected, its options checked, ready for a volume.

    :param coordinated: with its own tooz coordinator; inside Cinder one already exists
    """
    go()
    with stopwatch() as importing:
        from vmdk_cache import conf, locks, wiring
        from vmdk_cache.vim.endpoint import Endpoint
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="vmdk-cache-bench-"))
        with stopwatch() as elapsed:
            get_lock = _cinders_lock
            if coordinated:
                get_lock = stack.enter_context(locks.coordinator(f"file://{directory}"))
            backend = wiring.Backend("b1", Endpoint(**endpoint), FOLDER)
            engine = wiring.build(
                conf.Settings(enabled=True),
                backend,
                locks.ToozLocks(get_lock, "fake/b1"),
                events=lambda event: None,
            )
            stack.callback(engine.close)
        ready_mib = resident_mib()
        go()
    return {"import_s": importing.wall_s, "connect_s": elapsed.wall_s, "mib": ready_mib}


def _cinders_lock(name: str) -> Any:
    raise RuntimeError(f"no volume is created here, so the lock {name} is not needed")


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
