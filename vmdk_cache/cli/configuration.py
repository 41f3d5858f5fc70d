"""Reads the configuration of the backends with a cache from cinder.conf, without Cinder.

The files are those that cinder-volume reads, in the same order: ``--config-file`` and
``--config-dir``, or those that oslo.config finds for the project ``cinder`` (~/.cinder, /etc/cinder
and so on). Environment variables (``OS_<SECTION>__<OPTION>``) override them. An option that is
missing from a backend's section comes from ``[backend_defaults]``, as in Cinder
(cinder/volume/configuration.py).

Locks are those of cinder-volume: the same coordinator, the same names.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import pwd
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from oslo_config import cfg

from vmdk_cache import conf, deployment, errors
from vmdk_cache.backend import Backend
from vmdk_cache.cli import cinder_options
from vmdk_cache.locks import Locks, ToozLocks, coordinator
from vmdk_cache.patience import Patience
from vmdk_cache.quoting import quoted, sentence

if TYPE_CHECKING:
    from vmdk_cache.preflight.target import Scheduling, Volumes

SHARED_SECTION = "backend_defaults"
#: Options of Cinder's VMware driver and of this package that a backend's section may hold.
KNOWN_OPTIONS = frozenset(
    {
        *cinder_options.OTHER_VMWARE,
        *(option.dest for option in cinder_options.BACKEND),
        *(option.dest for group in conf.list_opts() for option in group[1]),
    }
)
_SECRETS = frozenset(option.name for option in cinder_options.BACKEND if option.secret)


@dataclass(frozen=True)
class BackendConfiguration:
    """One backend that has a cache.

    :ivar name: section name
    :ivar settings: settings of its cache
    :ivar backend: its vCenter, and the cache's place in it
    :ivar adapter_type: adapter type of volumes that do not set one
    :ivar storage_profiles: those that are configured for its volumes
    :ivar ledger_path: path of the ledger; None if nothing is counted
    """

    name: str
    settings: conf.Settings
    backend: Backend
    adapter_type: str
    storage_profiles: tuple[str, ...]
    ledger_path: str | None


class Section:
    """The options of one backend, as attributes.

    :raises ConfigError: on access to an attribute whose value is invalid
    """

    def __init__(self, options: cfg.ConfigOpts, name: str) -> None:
        self._options = options
        self._name = name
        every = [*cinder_options.BACKEND, *conf.OPTIONS]
        options.register_opts(every, group=SHARED_SECTION)
        options.register_opts(every, group=name)
        for option in every:
            # Otherwise the option's default would hide the value in [backend_defaults].
            options.set_default(option.name, None, group=name)

    def __getattr__(self, option: str) -> Any:
        with _clear_errors(f"[{self._name}] {option}", secret=option in _SECRETS):
            value = self._options[self._name][option]
            return self._options[SHARED_SECTION][option] if value is None else value


@dataclass(frozen=True)
class Configuration:
    """The configuration that was read; see :func:`read`.

    :ivar backends: the selected backends, in the order of ``enabled_backends``
    :ivar options: oslo.config's object, on which further options may be registered
    """

    backends: tuple[BackendConfiguration, ...]
    options: cfg.ConfigOpts = field(repr=False)

    @contextlib.contextmanager
    def locks(
        self, patience: Patience | None = None
    ) -> Iterator[Callable[[BackendConfiguration], Locks]]:
        """Yield a function that returns the locks that cinder-volume uses for a backend. The first
        lock opens the coordinator, so read-only commands need none.

        :param patience: with the coordinator; None: as long as its driver waits
        """
        opening = threading.Lock()
        with contextlib.ExitStack() as stack:

            @functools.cache
            def opened() -> Callable[[str], Any]:
                url = self.coordination_url
                if url.startswith("file://"):
                    check_owner(url.removeprefix("file://"), "[coordination] backend_url")
                return stack.enter_context(coordinator(url, cinder_options.LOCK_PREFIX, patience))

            def get_lock(name: str) -> Any:
                with opening:  # several threads may ask for the first lock
                    get = opened()
                return get(name)

            yield lambda chosen: ToozLocks(
                get_lock, chosen.backend.lock_scope, lambda: self.coordination_url
            )

    @property
    def coordination_url(self) -> str:
        """``[coordination] backend_url``, which may contain a password.

        :raises ConfigError: the value is invalid
        """
        with _clear_errors("[coordination] backend_url", secret=True):
            return str(self.options.coordination.backend_url)

    @property
    def workers(self) -> int | None:
        """``[DEFAULT] executor_thread_pool_size``; None if no file sets it.

        :raises ConfigError: the value is invalid
        """
        [option] = cinder_options.RPC
        self.options.register_opt(option)
        with _clear_errors(f"[DEFAULT] {option.name}"):
            count = int(self.options[option.name])
        location = self.options.get_location(option.dest)
        return count if location and location.location.is_user_controlled else None

    def scheduling(self, backend: str, volumes: Callable[[], Volumes]) -> Scheduling:
        """The options and volumes that the scheduler's decisions depend on.

        :param volumes: connects to Cinder's API
        :raises ConfigError: the value of an option is invalid
        """
        from vmdk_cache.preflight.scheduling import DEFAULT_POOL
        from vmdk_cache.preflight.target import Scheduling

        options = self.options
        options.register_opts([*cinder_options.SCHEDULER, *conf.SCHEDULER_OPTIONS])
        section = Section(options, backend)
        enabled = _enabled(options)
        others = (Section(options, name) for name in enabled if name != backend)
        with _clear_errors("[DEFAULT] of the scheduler's options"):
            return Scheduling(
                backend_name=section.volume_backend_name or None,
                other_names=frozenset(
                    other.volume_backend_name or DEFAULT_POOL for other in others
                ),
                vmware_backends=sum(_may_have_cache(options, name) for name in enabled),
                stats=section.vmware_enable_volume_stats,
                extra_capabilities=section.extra_capabilities,
                ratio=section.max_over_subscription_ratio,
                host_manager=options.scheduler_host_manager,
                weighers=tuple(options.scheduler_default_weighers),
                filters=tuple(options.scheduler_default_filters),
                multiplier=options.image_cache_weight_multiplier,
                volumes=volumes,
            )


def read(
    files: Sequence[str] = (), directories: Sequence[str] = (), names: Sequence[str] = ()
) -> Configuration:
    """Return the configuration of the backends ``names``; if empty, of all enabled backends with
    our driver.

    A backend selected by name need not be enabled, and may have been switched back to Cinder's own
    driver: its templates still exist.

    :param files: files to read instead of Cinder's search path
    :raises ConfigError: a file cannot be read, a value is invalid, or a backend does not exist
    """
    options = _loaded(files, directories)
    chosen = tuple(dict.fromkeys(names)) or _enabled_with_cache(options)
    return Configuration(
        tuple(_backend(options, name, by_name=bool(names)) for name in chosen),
        options,
    )


def option_names(files: Sequence[str], directories: Sequence[str]) -> dict[str, frozenset[str]]:
    """The names of all options that are set, known or unknown, by section. Files that cannot be
    read or parsed are skipped.

    :param files: if empty, those that are read without ``--config-file``
    :param directories: of ``*.conf`` files, as ``--config-dir`` takes them
    """
    found: dict[str, set[str]] = {}
    inside = [path for each in directories for path in glob.glob(os.path.join(each, "*.conf"))]
    for path in (*(files or cfg.find_config_files("cinder", "cinder-volume")), *inside):
        sections: dict[str, dict[str, list[str]]] = {}
        try:
            cfg.ConfigParser(path, sections).parse()
        except (cfg.ParseError, OSError, UnicodeDecodeError):
            continue
        for section, options in sections.items():
            found.setdefault(section, set()).update(options)
    return {section: frozenset(names) for section, names in found.items()}


def check_owner(path: str, option: str) -> None:
    """Refuse to run as root if the directory belongs to another user.

    Every process opens lock files and the ledger for writing. cinder-volume could not open files
    that root created, and its cache would stop working.

    :param path: a directory, or a file in it that need not exist
    :param option: the option that sets the path, for the error
    :raises ConfigError: run the command as the directory's owner
    """
    directory = path if os.path.isdir(path) else os.path.dirname(path) or "."
    try:
        owner = os.stat(directory).st_uid
    except OSError:
        return  # opening it will fail with a better message
    if os.geteuid() != 0 or owner == 0:
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"
    raise errors.ConfigError(
        f"{option}: {directory} belongs to {name}, and files that root creates there lock it out: "
        f"run this command as that user, e.g. sudo -u {name} vmdk-cache"
    )


def _loaded(files: Sequence[str], directories: Sequence[str]) -> cfg.ConfigOpts:
    options = cfg.ConfigOpts()
    options.register_opts(cinder_options.DEFAULT)
    options.register_opts(cinder_options.COORDINATION, group="coordination")
    arguments = [f"--config-file={path}" for path in files]
    arguments += [f"--config-dir={path}" for path in directories]
    with _clear_errors("the configuration"):
        options(arguments, project="cinder", prog="cinder-volume")
        if not options.config_file and not options.config_dir:
            raise errors.ConfigError(
                "no cinder.conf found in Cinder's search path (~/.cinder, /etc/cinder): give "
                "cinder-volume's file with --config-file"
            )
    return options


def _enabled_with_cache(options: cfg.ConfigOpts) -> tuple[str, ...]:
    enabled = _enabled(options)
    ours = tuple(
        name for name in enabled if Section(options, name).volume_driver == cinder_options.DRIVER
    )
    if not ours:
        raise errors.ConfigError(
            f"no backend of {_where(options)} has volume_driver = {cinder_options.DRIVER} "
            f"(enabled_backends: {', '.join(enabled) or 'empty'}): enable one, or select one with "
            "--backend"
        )
    return ours


def _backend(options: cfg.ConfigOpts, name: str, *, by_name: bool) -> BackendConfiguration:
    if by_name and name not in options.list_all_sections():
        others = ("DEFAULT", SHARED_SECTION, "coordination")
        known = ", ".join(
            sorted(
                section
                for section in options.list_all_sections()
                if not section.startswith("_")
                and section not in others
                and _may_have_cache(options, section)
            )
        )
        raise errors.ConfigError(
            f"no backend {quoted(name)} in {_where(options)}; backends that may have a cache: "
            f"{known or 'none'}"
        )
    section = Section(options, name)
    driver = section.volume_driver
    if driver not in cinder_options.DRIVERS:
        raise errors.ConfigError(
            f"backend {quoted(name)} has no image cache: its volume_driver is {driver}, not "
            f"{cinder_options.DRIVER}"
        )
    for required in ("vmware_host_ip", "vmware_host_username", "vmware_host_password"):
        if not getattr(section, required):
            raise errors.ConfigError(f"[{name}] {required} is not set in {_where(options)}")
    return BackendConfiguration(
        name=name,
        settings=conf.Settings.from_options(section),
        backend=Backend.from_options(
            name,
            section,
            lambda: deployment.derived_id(options.config_file or (), options.config_dir or ()),
        ),
        adapter_type=section.vmware_adapter_type,
        storage_profiles=tuple(section.vmware_storage_profile or ()),
        ledger_path=section.image_cache_ledger or None,
    )


def _enabled(options: cfg.ConfigOpts) -> tuple[str, ...]:
    with _clear_errors("[DEFAULT] enabled_backends"):
        return tuple(dict.fromkeys(filter(None, options.enabled_backends or ())))


def _may_have_cache(options: cfg.ConfigOpts, name: str) -> bool:
    return Section(options, name).volume_driver in cinder_options.DRIVERS


def _where(options: cfg.ConfigOpts) -> str:
    return ", ".join([*(options.config_file or ()), *(options.config_dir or ())])


@contextlib.contextmanager
def _clear_errors(what: str, *, secret: bool = False) -> Iterator[None]:
    """Translate errors of oslo.config and the system into ConfigError.

    :param what: what is being read, for the message
    :param secret: omit the value, which oslo.config's messages may quote
    """
    try:
        yield
    except cfg.ConfigFilesPermissionDeniedError as failure:
        raise errors.ConfigError(
            f"{', '.join(failure.config_files)} cannot be read by this user: run the command as "
            f"the user of cinder-volume, e.g. sudo -u cinder vmdk-cache ..."
        ) from failure
    except cfg.ConfigFileParseError as failure:
        # The line that cannot be parsed may contain a part of a password.
        why = re.sub(r": (['\"]).*\1$", "", str(failure), flags=re.DOTALL)
        raise errors.ConfigError(f"{sentence(why)}: correct that line") from None
    except cfg.Error as failure:
        why = "the value is invalid: write $ as $$" if secret else conf.explained(failure)
        raise errors.ConfigError(f"{what}: {sentence(why)}") from (None if secret else failure)
    except (OSError, UnicodeDecodeError, SystemExit) as failure:
        raise errors.ConfigError(f"{what} cannot be read: {sentence(failure)}") from failure
