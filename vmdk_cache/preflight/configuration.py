"""Does cinder.conf say what it is meant to say, and can what it names be used?"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator, Mapping

from vmdk_cache import errors, ledger_file
from vmdk_cache.preflight.probe import Finding, failed, ok, warning
from vmdk_cache.preflight.target import Target
from vmdk_cache.quoting import identifier, quoted

#: Options whose names begin like this belong to Cinder's VMware driver or to this package.
_PREFIXES = ("vmware_", "image_cache_", "enable_image_cache")
#: Of a name that begins otherwise: it must be this close to one of these options to be a mistake.
_CLOSE = 0.9
#: The scheduler reads these, in [DEFAULT].
_OF_SCHEDULER = frozenset({"image_cache_weight_multiplier"})
_LEDGER_BUSY_S = 1.0
#: Of oslo.messaging, by default.
USUAL_WORKERS = 64
#: What the driver raises that to (vmdk_cache/cinder/workers.py).
WORKERS = 564


def options(target: Target) -> Iterator[Finding]:
    """Names of options in the backend's section and in [DEFAULT]."""
    around = target.surroundings
    strange = list(strange_options(target.backend.name, around.sections, around.known_options))
    yield from strange
    if not strange:
        yield ok(f"every image_cache_* and vmware_* option of [{target.backend.name}] is known")


def strange_options(
    backend: str, sections: Mapping[str, Collection[str]], known: Collection[str]
) -> Iterator[Finding]:
    """Options of the backend that no program reads."""
    for section in (backend, "backend_defaults"):
        for name in sorted(sections.get(section, ())):
            if name in known:
                continue
            nearest = difflib.get_close_matches(name, sorted(known), 1, 0.6)
            ours = name.startswith(_PREFIXES)
            if ours or difflib.get_close_matches(name, sorted(known), 1, _CLOSE):
                hint = f"did you mean {nearest[0]}? " if nearest else ""
                yield failed(
                    f"[{identifier(section)}] {quoted(name)} is no option of this driver, and has "
                    f"no effect",
                    f"{hint}correct the name, or remove the line",
                )
    for name in sorted(sections.get("DEFAULT", ())):
        if name in known and name.startswith(_PREFIXES) and name not in _OF_SCHEDULER:
            yield warning(
                f"{name} stands in [DEFAULT], where a backend does not read it",
                f"move it to [{backend}], or to [backend_defaults] for all backends",
            )


def enabled(target: Target) -> Iterator[Finding]:
    """Whether the cache is switched on."""
    if target.settings.enabled:
        yield ok("enable_image_cache = true")
    else:
        yield warning(
            "enable_image_cache is false: volumes are created without the cache",
            f"set enable_image_cache = true in [{target.backend.name}] to use it",
        )


def ledger(target: Target) -> Iterator[Finding]:
    """Whether what happens can be counted."""
    path = target.surroundings.ledger_path
    to_do = "run this command as cinder-volume's user, or change image_cache_ledger"
    if path is None:
        yield ok("image_cache_ledger is empty: nothing is counted")
    elif os.path.exists(path):
        ledger_file.connect(path, target.clock, read_only=True, busy_s=_LEDGER_BUSY_S).close()
        if os.access(path, os.W_OK):
            yield ok(f"{path} can be written")
        else:
            yield warning(f"{path} cannot be written by this user: nothing is counted", to_do)
    elif os.access(os.path.dirname(os.path.abspath(path)), os.W_OK | os.X_OK):
        yield ok(f"{path} is not there yet; its directory can be written")
    else:
        yield warning(f"{path} is not there, and this user cannot make it", to_do)


def workers(target: Target) -> Iterator[Finding]:
    """Whether other operations are served while many volumes are created."""
    count = target.surroundings.workers
    if count is None:
        yield ok(f"executor_thread_pool_size is unset: with the cache enabled it is {WORKERS}")
    elif count >= WORKERS:
        yield ok(
            f"executor_thread_pool_size = {count}: {count - USUAL_WORKERS} volumes can be created "
            f"at once, and other operations do not wait for them"
        )
    else:
        yield warning(
            f"executor_thread_pool_size = {count}: while so many volumes are created, attaching, "
            f"detaching and deleting volumes waits for them",
            f"remove the option from [DEFAULT], or set it to {WORKERS} or more: then "
            f"{WORKERS - USUAL_WORKERS} volumes can be created at once",
        )


def glance(target: Target) -> Iterator[Finding]:
    """Whether Glance can be asked, as a purge and a warm-up ask it."""
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
        yield say(str(failure), f"until this is mended, {without}")
        return
    if every:
        yield ok("Glance answers, and shows this user every image")
    else:
        yield say(
            "Glance answers, and hides other projects' private images from this user",
            f"give the user of [glance] or [service_user] the admin role: until then {without}",
        )
