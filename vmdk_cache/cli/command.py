"""Base classes of the commands: they open the selected backends' caches, and close them at the end.

    class Warm(command.Lister):                     or command.ShowOne, command.Command
        def get_parser(self, prog_name): ...        its own options, added to super()'s
        def take_action(self, parsed_args):
            return COLUMNS, self.collect(rows)      rows(backend, cache), for each backend

Each error that is reported or raised prints one line on stderr. The exit code is the highest of all
errors (vmdk_cache/cli/exit_code.py). Rows are lists of strings, numbers and the column types of
vmdk_cache/cli/columns.py.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import logging
import os
import threading
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from cliff import command, lister, show

from vmdk_cache import errors
from vmdk_cache.cli import exit_code
from vmdk_cache.cli.app import TIMEOUT_S, add_shared_options
from vmdk_cache.cli.columns import cleaned, exact
from vmdk_cache.cli.help import SHARED, Formatter, refuse
from vmdk_cache.clock import SystemClock
from vmdk_cache.patience import LimitedPatience, Patience
from vmdk_cache.quoting import quoted, sentence

if TYPE_CHECKING:
    from vmdk_cache.cache.events import Event, Listener
    from vmdk_cache.cache.ports import Catalog
    from vmdk_cache.cli.configuration import BackendConfiguration, Configuration
    from vmdk_cache.cli.glance import Glance
    from vmdk_cache.ledger import Ledger
    from vmdk_cache.locks import Locks
    from vmdk_cache.wiring import RunningCache

LOG = logging.getLogger(__name__)
T = TypeVar("T")


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add ``--yes`` to a command that calls :meth:`Command.confirm`."""
    parser.add_argument("--yes", "-y", action="store_true", help="delete without asking")


def the_caches(backends: Sequence[str]) -> str:
    """The caches in messages: ``the cache of vmware1``."""
    return f"the cache{'s' if len(backends) > 1 else ''} of {', '.join(backends)}"


class CommandFailedError(Exception):
    """Ends the command; the text says why, and what exists instead."""

    code = exit_code.FAILED


class UsageError(CommandFailedError):
    """The command line is wrong; the text says what to write instead."""

    code = exit_code.USAGE


class _AlreadyToldError(Exception):
    """The command cannot continue, and has already reported why."""


class Command(command.Command):
    """Common to all commands; see the module docstring. By itself, a command that returns its exit
    code."""

    #: Set by :meth:`report`; a command may raise it for its own findings.
    result = exit_code.OK
    #: Whether :meth:`tell` has printed something.
    has_told = False
    #: If ``--timeout`` is not given.
    default_timeout_s = TIMEOUT_S

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.formatter_class = Formatter
        parser.error = functools.partial(refuse, parser)  # type: ignore[method-assign]
        group = parser.add_argument_group(SHARED, "also allowed before the command's name")
        add_shared_options(group)
        return parser

    def get_epilog(self) -> str:
        # cliff's version scans every installed package to find the one that owns this command.
        return self._epilog or ""

    def _load_hooks(self) -> None:
        # cliff's version scans every installed package for hooks of this command.
        self._hooks = []

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command and return its exit code; errors become messages."""
        try:
            self.check_usage(parsed_args)
            with contextlib.ExitStack() as self._opened:
                self.fail(super().run(parsed_args))
        except (CommandFailedError, errors.VmdkCacheError) as failure:
            self.report(failure)
        except _AlreadyToldError:
            pass
        except BrokenPipeError:
            raise  # handled by vmdk_cache/cli/main.py
        except KeyboardInterrupt:
            self.tell("interrupted")
            self.fail(exit_code.INTERRUPTED)
        except Exception as failure:
            self._trace(failure)
            self.tell(
                f"{type(failure).__name__}: {sentence(failure)} - this is a bug in vmdk-cache, "
                "please report it with the output of --debug"
            )
            self.fail()
        return self.result

    def check_usage(self, parsed_args: argparse.Namespace) -> None:
        """Called before anything else.

        :raises UsageError: the command line is wrong
        """

    @functools.cached_property
    def configuration(self) -> Configuration:
        """The configuration of the selected backends.

        :raises ConfigError: cinder.conf cannot be read, or an option is wrong
        """
        from vmdk_cache.cli import configuration

        options: Any = self.app_args
        return configuration.read(options.config_file, options.config_dir, options.backend)

    def collect(
        self,
        found_in: Callable[[BackendConfiguration, RunningCache], Iterable[T]],
        catalog: Catalog | None = None,
        *,
        opened: Iterable[tuple[BackendConfiguration, RunningCache]] | None = None,
    ) -> list[T]:
        """What ``found_in`` returns for each cache. Its errors are reported, and the next backend
        follows; parameters and errors otherwise as for :meth:`caches`.

        :param opened: what :meth:`caches` has yielded; None: call it
        """
        found: list[T] = []
        for configured, cache in self.caches(catalog) if opened is None else opened:
            with self.reporting(f"backend {configured.name}"):
                found += found_in(configured, cache)
        return found

    def end_if_unknown(self, found: Collection[Any]) -> None:
        """End the command if nothing was found because no backend answered, which was reported."""
        if not found and self.result >= exit_code.CONFIGURATION:
            raise _AlreadyToldError

    def caches(
        self, catalog: Catalog | None = None
    ) -> Iterator[tuple[BackendConfiguration, RunningCache]]:
        """Yield the cache of each selected backend, opening one at a time. A cache that cannot be
        opened is reported and skipped; if none can be opened, the command ends.

        :param catalog: where a purge looks up images; None to skip the lookup
        :raises VmdkCacheError: the configuration or the locks cannot be used
        """
        opened = 0
        for configured in self.configuration.backends:
            try:
                cache = self.open(configured, catalog)
            except errors.VmdkCacheError as failure:
                self.report(failure, f"backend {configured.name}")
                continue
            opened += 1
            yield configured, cache
        if not opened:
            raise _AlreadyToldError

    def open(
        self, configured: BackendConfiguration, catalog: Catalog | None = None
    ) -> RunningCache:
        """Open one cache; it is closed when the command ends.

        :raises VmdkCacheError: the cache cannot be opened
        """
        # Imported here because it takes as long as importing the rest of the command.
        from vmdk_cache import wiring
        from vmdk_cache.cache import events

        endpoint = configured.backend.endpoint
        patience = self.patience(f"vCenter {endpoint.server}", (errors.Unreachable,))
        endpoint = dataclasses.replace(endpoint, patience=patience)

        listener: Listener = events.log
        if configured.ledger_path is not None:
            listener = events.to_all(events.log, self._ledger(configured.ledger_path))
        cache = wiring.build(
            configured.settings,
            dataclasses.replace(configured.backend, endpoint=endpoint),
            self._locks(configured),
            events=listener,
            catalog=catalog,
        )
        self._opened.callback(cache.close)
        if self.app.stderr.isatty():  # completion needs a terminal
            self._opened.push(functools.partial(self._remember_names, configured, cache))
        return cache

    def _remember_names(
        self,
        configured: BackendConfiguration,
        cache: RunningCache,
        kind: type[BaseException] | None,
        *_: object,
    ) -> None:
        """For completion, unless the command ends with an error; costs vCenter a request."""
        from vmdk_cache.cli import known_names

        patience = self.patience(f"vCenter {configured.backend.endpoint.server}", ())
        if kind is not None or patience.wait_s < self.timeout_s:
            return
        with contextlib.suppress(errors.VmdkCacheError):
            entries = cache.store.entries()
            known_names.remember(
                known_names.path(),
                configured.backend.lock_scope,
                {each.image_id: each.image_name for each in entries if each.image_id},
                cache.placement.datastore_names().values(),
                SystemClock().now().timestamp(),
            )

    def _ledger(self, path: str) -> _LateLedger:
        if path not in self._ledgers:
            self._ledgers[path] = _LateLedger(path)
            self._opened.callback(self._ledgers[path].close)
        return self._ledgers[path]

    @functools.cached_property
    def _ledgers(self) -> dict[str, _LateLedger]:
        return {}

    @functools.cached_property
    def _locks(self) -> Callable[[BackendConfiguration], Locks]:
        from vmdk_cache.locks import named_coordinator

        try:
            name = named_coordinator(self.configuration.coordination_url)
        except errors.ConfigError:
            name = "the lock coordinator"  # the first lock reports the error
        patience = self.patience(name, (errors.LockUnavailable,))
        return self._opened.enter_context(self.configuration.locks(patience))

    @property
    def timeout_s(self) -> float:
        """How long to wait for a server that does not answer."""
        options: Any = self.app_args
        return float(options.timeout or self.default_timeout_s)

    def patience(self, server: str, silence: tuple[type[Exception], ...]) -> Patience:
        """The patience with one server, which everything that asks it shares.

        :param server: its name in the message that it does not answer
        :param silence: the errors that mean that it did not answer
        """
        if server not in self._patience:
            self._patience[server] = LimitedPatience(
                server, self.timeout_s, self._announce, silence
            )
        return self._patience[server]

    def patience_with_url(self, url: str) -> Patience:
        """The patience with a server of OpenStack, for the clients in vmdk_cache/cli."""
        from vmdk_cache.cli.identity import SILENCE

        return self.patience(url, SILENCE)

    @functools.cached_property
    def _patience(self) -> dict[str, Patience]:
        return {}

    def glance(self) -> Glance:
        """Glance, not asked anything yet.

        :raises ConfigError: no credentials are configured, or an option cannot be used
        """
        from vmdk_cache.cli import glance

        return glance.connect(
            self.configuration.options, os.environ, patience=self.patience_with_url
        )

    def check_can_confirm(self, parsed_args: argparse.Namespace, option: str) -> None:
        """Refuse ``option`` up front if there is no terminal to ask on and ``--yes`` is missing."""
        if not parsed_args.yes and not (self.app.stdin.isatty() and self.app.stderr.isatty()):
            raise UsageError(
                f"{option} deletes templates: without a terminal to confirm on, --yes is required"
            )

    def confirm(self, parsed_args: argparse.Namespace, question: str) -> None:
        """Ask on the terminal, unless ``--yes`` was given.

        :raises CommandFailedError: the answer is not yes
        """
        if parsed_args.yes:
            return
        print(f"{question} [y/N] ", end="", file=self.app.stderr, flush=True)
        if self.app.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandFailedError("not confirmed: nothing was deleted")

    def report(self, failure: errors.VmdkCacheError | CommandFailedError, what: str = "") -> None:
        """Print ``failure`` in one line, and let it raise the exit code.

        :param what: the object that failed, e.g. ``image 4f0c...``
        """
        if isinstance(failure, CommandFailedError):
            self.fail(failure.code)
        else:
            self.fail(exit_code.of(failure))
            self._trace(failure)
        self.tell(f"{what}: {failure}" if what else str(failure))

    @contextlib.contextmanager
    def reporting(self, what: str) -> Iterator[None]:
        """Report an error raised in the block, then continue; see :meth:`report`."""
        try:
            yield
        except (CommandFailedError, errors.VmdkCacheError) as failure:
            self.report(failure, what)

    def fail(self, code: int = exit_code.FAILED) -> None:
        """Raise the exit code to at least ``code``."""
        self.result = max(self.result, code)

    def tell(self, text: str) -> None:
        """Print one line on stderr."""
        self.has_told = True
        self._print(text)

    def _print(self, text: str) -> None:
        print(f"vmdk-cache: {sentence(text, errors.MESSAGE_LENGTH)}", file=self.app.stderr)

    def _announce(self, text: str) -> None:
        """Tell that a server is late, which says nothing about the command's result."""
        options: Any = self.app_args
        if options.verbose_level:
            self._print(text)

    def tell_unless_quiet(self, text: str) -> None:
        """Print one line on stderr that ``-q`` suppresses."""
        options: Any = self.app_args
        if options.verbose_level:
            self.tell(text)

    def _trace(self, failure: Exception) -> None:
        options: Any = self.app_args
        if options.debug:
            traceback.print_exception(failure, file=self.app.stderr)


class _DisplayBase(Command):
    """Common to commands whose output cliff formats."""

    #: The columns of a command that changes something: a wrong one is reported before it does.
    columns: Sequence[str] = ()

    def check_usage(self, parsed_args: argparse.Namespace) -> None:
        if self.columns:
            self._check_columns("-c", parsed_args.columns, self.columns)
            sort_columns = getattr(parsed_args, "sort_columns", ())
            self._check_columns("--sort-column", sort_columns, self.columns)

    def _generate_columns_and_selector(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str]
    ) -> Any:
        self._check_columns("-c", parsed_args.columns, column_names)
        return super()._generate_columns_and_selector(  # type: ignore[misc]
            parsed_args, column_names
        )

    def _check_columns(
        self, option: str, wanted: Iterable[str], column_names: Sequence[str]
    ) -> None:
        """:raises UsageError: a column does not exist"""
        normalized: Any = self._normalize_column_name  # type: ignore[attr-defined]
        known = {normalized(column) for column in column_names}
        for column in wanted:
            if normalized(column) not in known:
                raise UsageError(
                    f"argument {option}: unknown column {quoted(column)}; the columns are "
                    f"{', '.join(column_names)}"
                )

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        try:
            code: int = super().produce_output(  # type: ignore[misc]
                parsed_args, column_names, data
            )
            self.app.stdout.flush()
        except BrokenPipeError:
            raise  # handled by vmdk_cache/cli/main.py
        except OSError as failure:
            raise CommandFailedError(f"cannot write the output: {sentence(failure)}") from failure
        return code


class Lister(_DisplayBase, lister.Lister):
    """A command that returns a table: column names and rows."""

    def is_for_people(self, parsed_args: argparse.Namespace) -> bool:
        """Whether the output is a table whose columns the command chooses."""
        chosen = parsed_args.columns or parsed_args.sort_columns
        return parsed_args.formatter == "table" and not chosen

    def fitted(
        self,
        parsed_args: argparse.Namespace,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        **how: Any,
    ) -> tuple[Sequence[str], list[list[Any]]]:
        """The table in the width of the terminal, or in that of ``--max-width``.

        :param how: see :func:`~vmdk_cache.cli.narrow_table.fit`
        """
        from vmdk_cache.cli import narrow_table

        parsed_args.max_width = parsed_args.max_width or narrow_table.width()
        return narrow_table.fit(columns, rows, parsed_args.max_width, **how)

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        # Otherwise cliff prints an empty line for a table without rows, which looks like a fault.
        parsed_args.print_empty = True
        self._check_columns("-c", parsed_args.columns, column_names)
        self._check_columns("--sort-column", parsed_args.sort_columns, column_names)
        rows = list(data)
        if not rows and self.result >= exit_code.CONFIGURATION:
            return self.result  # the rows are unknown: an empty table would mislead
        if not rows and parsed_args.formatter == "table" and self.has_told:
            return self.result  # a line says it better than an empty table
        rows = [[cleaned(value) for value in row] for row in rows]
        if parsed_args.formatter == "csv":
            # cliff writes "None", and numbers in quotes.
            rows = [[exact(value) for value in row] for row in rows]
        return super().produce_output(parsed_args, column_names, rows)


class ShowOne(_DisplayBase, show.ShowOne):
    """A command that returns one record: field names and values."""

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        return super().produce_output(parsed_args, column_names, [cleaned(value) for value in data])


class _LateLedger:
    """A ledger that the first event opens, so that read-only commands create no file. If that
    fails, it logs a warning and counts nothing. Thread-safe.

    :param path: path of the file, see :class:`~vmdk_cache.ledger.Ledger`
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._ledger: Ledger | None = None
        self._failed = False

    def __call__(self, event: Event, /) -> None:
        from vmdk_cache.cli.configuration import check_owner
        from vmdk_cache.ledger import Ledger

        with self._lock:
            if self._ledger is None and not self._failed:
                try:
                    check_owner(self._path, "image_cache_ledger")
                    self._ledger = Ledger.open(self._path)
                except errors.ConfigError as failure:
                    self._failed = True
                    LOG.warning("Events of this command are not counted: %s", failure)
        if self._ledger is not None:
            self._ledger(event)

    def close(self) -> None:
        """Safe to call twice."""
        with self._lock:
            if self._ledger is not None:
                self._ledger.close()
