"""A Cinder volume driver for VMware vCenter that caches Glance images as VM templates.

Layers, top to bottom; a layer imports only layers below it (tests/unit/test_architecture.py):

    cinder/      what Cinder loads: the volume driver, the scheduler's host manager and weigher
    cli/         the command vmdk-cache; start at cli/main.py
    preflight/   probes of what the cache needs of a vCenter, an account and a configuration
    wiring.py    builds a running cache from settings
    periodic/    what happens by the clock: purge, reconcile, warm-up, report to the scheduler
    adapters/    what the engine needs of vCenter: its ports, served by vim/
    backend.py   one backend, as its section of cinder.conf describes it
    cache/       the engine; start reading at cache/engine.py, life of a template in cache/entry.py
    vmdk/        how an image's stream becomes a disk
    datastore/   where a volume goes
    vim/         everything said to vCenter: session, change stream, tasks, templates, leases
    glance_errors.py conf.py errors.py quoting.py clock.py retry.py patience.py locks.py
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    #: The version of the installed package.
    __version__: str


def __getattr__(name: str) -> str:
    """Read ``__version__`` from the package's metadata when asked for: this takes longer than
    importing the package.
    """
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version("vmdk-cache")
    raise AttributeError(f"module 'vmdk_cache' has no attribute '{name}'")
