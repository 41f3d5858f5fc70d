"""Probes of cinder.conf: option names, the ledger, workers, Glance."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator, Mapping

from vmdk_cache import errors
from vmdk_cache.ledger import Ledger
from vmdk_cache.preflight.probe import Finding, failed, ok, warning
from vmdk_cache.preflight.target import Target
from vmdk_cache.quoting import identifier, quoted

#: Options whose names begin like this belong to Cinder's VMware driver or to this package.
_PREFIXES = ("vmware_", "image_cache_", "enable_image_cache")
#: Any other name counts as a misspelling if it is this similar to one of these options.
_CLOSE = 0.9
#: Options that the scheduler reads in [DEFAULT].
_OF_SCHEDULER = frozenset({"image_cache_weight_multiplier"})
#: Default of oslo.messaging.
USUAL_WORKERS = 64
#: Default that the driver sets instead (vmdk_cache/cinder/workers.py).
WORKERS = 564


def options(target: Target) -> Iterator[Finding]:
    """Check the option names in the backend's section and in [DEFAULT]."""
    around = target.surroundings
    strange = list(strange_options(target.backend.name, around.sections, around.known_options))
    yield from strange
    if not strange:
        yield ok(f"every image_cache_* and vmware_* option of [{target.backend.name}] is known")


def strange_options(
    backend: str, sections: Mapping[str, Collection[str]], known: Collection[str]
) -> Iterator[Finding]:
    """Yield the backend's options that nothing reads."""
    for section in (backend, "backend_defaults"):
        for name in sorted(sections.get(section, ())):
            if name in known:
                continue
            nearest = difflib.get_close_matches(name, sorted(known), 1, 0.6)
            ours = name.startswith(_PREFIXES)
            if ours or difflib.get_close_matches(name, sorted(known), 1, _CLOSE):
                hint = f"did you mean {nearest[0]}? " if nearest else ""
                yield failed(
                    f"[{identifier(section)}] {quoted(name)} is not an option of this driver and "
                    "has no effect",
                    f"{hint}correct the name, or remove the line",
                )
    for name in sorted(sections.get("DEFAULT", ())):
        if name in known and name.startswith(_PREFIXES) and name not in _OF_SCHEDULER:
            yield warning(
                f"{name} is set in [DEFAULT], where backends do not read it",
                f"move it to [{backend}], or to [backend_defaults] for all backends",
            )


def enabled(target: Target) -> Iterator[Finding]:
    """Check whether the cache is enabled."""
    if target.settings.enabled:
        yield ok("enable_image_cache = true")
    else:
        yield warning(
            "enable_image_cache is false: volumes bypass the cache",
            f"set enable_image_cache = true in [{target.backend.name}] to use it",
        )


def ledger(target: Target) -> Iterator[Finding]:
    """Check whether events can be counted."""
    path = target.surroundings.ledger_path
    to_do = "run this command as cinder-volume's user, or change image_cache_ledger"
    if path is None:
        yield ok("image_cache_ledger is empty: nothing is counted")
    elif os.path.exists(path):
        Ledger.open(path, read_only=True, clock=target.clock).close()
        if os.access(path, os.W_OK):
            yield ok(f"{path} is writable")
        else:
            yield warning(f"{path} is not writable by this user: nothing is counted", to_do)
    elif os.access(os.path.dirname(os.path.abspath(path)), os.W_OK | os.X_OK):
        yield ok(f"{path} does not exist yet; its directory is writable")
    else:
        yield warning(f"{path} does not exist, and this user cannot create it", to_do)


def workers(target: Target) -> Iterator[Finding]:
    """Check whether workers stay free for other operations while many volumes are created."""
    count = target.surroundings.workers
    if count is None:
        yield ok(
            f"executor_thread_pool_size is unset: the driver sets it to {WORKERS} if the "
            "cache is enabled"
        )
    elif count >= WORKERS:
        yield ok(
            f"executor_thread_pool_size = {count}: other operations do not have to wait while up "
            f"to {count - USUAL_WORKERS} volumes are created at once"
        )
    else:
        yield warning(
            f"executor_thread_pool_size = {count}: while that many volumes are being created, "
            "attaching, detaching and deleting volumes has to wait",
            f"remove the option from [DEFAULT], or set it to {WORKERS} or more, which allows "
            f"{WORKERS - USUAL_WORKERS} volumes to be created at once",
        )


def glance(target: Target) -> Iterator[Finding]:
    """Check whether Glance answers the requests of a purge and a warm-up."""
    needed = target.settings.enabled and target.settings.auto_warm
    say = failed if needed else warning
    without = (
        "images are not kept warm"
        if needed
        else "templates of deleted images stay until they expire"
    )
    try:
        images = target.surroundings.images()
        images.look()
        every = images.sees_every_image()
    except (errors.ConfigError, errors.SourceUnavailable) as failure:
        yield say(str(failure), f"correct this; until then {without}")
        return
    if every:
        yield ok("Glance answers and shows this user every image")
    else:
        yield say(
            "Glance answers, but hides other projects' private images from this user",
            f"give the user of [glance] or [service_user] the admin role: until then {without}",
        )
