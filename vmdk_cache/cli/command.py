"""Base classes of the commands: they open the selected backends' caches, and close them at the end.

    class Warm(command.Lister):                     or command.ShowOne, command.Command
        def get_parser(self, prog_name): ...        its own options, added to super()'s
        def take_action(self, parsed_args):
            for configured, cache in self.caches():         what cannot be opened is reported
                with self.reporting(f"backend {configured.name}"):
                    ...                                     so is what fails here, and it goes on
            return COLUMNS, rows

Each error that is reported or raised prints one line on stderr. The exit code is the highest of all
errors (vmdk_cache/cli/exit_code.py). Rows are lists of strings, numbers and the column types of
vmdk_cache/cli/columns.py.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cliff import command, lister, show
from cliff.columns import FormattableColumn

from vmdk_cache import errors
from vmdk_cache.cli import exit_code
from vmdk_cache.cli.app import add_configuration_options
from vmdk_cache.quoting import printable, sentence

if TYPE_CHECKING:
    from vmdk_cache.cache.events import Listener
    from vmdk_cache.cache.ports import Catalog
    from vmdk_cache.cli.configuration import BackendConfiguration, Configuration
    from vmdk_cache.cli.late_ledger import LateLedger
    from vmdk_cache.locks import Locks
    from vmdk_cache.wiring import RunningCache


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add ``--yes`` to a command that calls :meth:`confirm <_Base.confirm>`."""
    parser.add_argument("--yes", "-y", action="store_true", help="delete without asking")


class UsageError(Exception):
    """The command line is wrong; the text says what to write instead."""


class CommandFailedError(Exception):
    """The command ends with exit code 1; the text says why, and what exists instead."""


class NotConfirmedError(CommandFailedError):
    """The user did not confirm."""


class _AlreadyToldError(Exception):
    """The command cannot continue, and has already reported why."""


class _Base(command.Command):
    """Common to all commands; see the module docstring."""

    #: Set by :meth:`report`; a command may raise it for its own findings.
    result = exit_code.OK

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        group = parser.add_argument_group(
            "configuration", "which caches; also allowed before the command's name"
        )
        add_configuration_options(group)
        return parser

    def get_epilog(self) -> str:
        # cliff's version scans every installed package to find the one that owns this command.
        return self._epilog or ""

    def _load_hooks(self) -> None:
        # cliff's version scans every installed package for hooks of this command.
        self._hooks = []

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command and return its exit code; errors become messages."""
        code = exit_code.OK
        try:
            with contextlib.ExitStack() as self._opened:
                code = super().run(parsed_args)
        except UsageError as wrong:
            self.tell(str(wrong))
            code = exit_code.USAGE
        except errors.VmdkCacheError as failure:
            self.report(failure)
        except CommandFailedError as wrong:
            self.tell(str(wrong))
            code = exit_code.FAILED
        except _AlreadyToldError:
            pass
        except BrokenPipeError:
            raise  # handled by vmdk_cache/cli/main.py
        except KeyboardInterrupt:
            self.tell("interrupted")
            code = exit_code.INTERRUPTED
        except Exception as failure:
            self._trace(failure)
            self.tell(
                f"{type(failure).__name__}: {sentence(failure)} - this is a bug in vmdk-cache, "
                "please report it with the output of --debug"
            )
            code = exit_code.FAILED
        return max(code, self.result)

    @functools.cached_property
    def configuration(self) -> Configuration:
        """The configuration of the selected backends.

        :raises ConfigError: cinder.conf cannot be read, or an option is wrong
        """
        from vmdk_cache.cli import configuration

        options: Any = self.app_args
        return configuration.read(options.config_file, options.config_dir, options.backend)

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

        cache = wiring.build(
            configured.settings,
            configured.backend,
            self._locks(configured),
            events=self._events(configured.ledger_path),
            catalog=catalog,
        )
        self._opened.callback(cache.close)
        return cache

    def _events(self, ledger_path: str | None) -> Listener:
        """The log, and the ledger if one is configured. The first event opens the ledger, so
        read-only commands create no file."""
        from vmdk_cache.cache import events

        if ledger_path is None:
            return events.log
        from vmdk_cache.cli.late_ledger import LateLedger

        if ledger_path not in self._ledgers:
            self._ledgers[ledger_path] = LateLedger(ledger_path)
            self._opened.callback(self._ledgers[ledger_path].close)
        return events.to_all(events.log, self._ledgers[ledger_path])

    @functools.cached_property
    def _ledgers(self) -> dict[str, LateLedger]:
        return {}

    @functools.cached_property
    def _locks(self) -> Callable[[BackendConfiguration], Locks]:
        return self._opened.enter_context(self.configuration.locks())

    def check_can_confirm(self, parsed_args: argparse.Namespace, option: str) -> None:
        """Refuse ``option`` up front if there is no terminal to ask on and ``--yes`` is missing."""
        if not parsed_args.yes and not (self.app.stdin.isatty() and self.app.stderr.isatty()):
            raise UsageError(
                f"{option} deletes templates: without a terminal to confirm on, --yes is required"
            )

    def confirm(self, parsed_args: argparse.Namespace, question: str) -> None:
        """Ask on the terminal, unless ``--yes`` was given.

        :raises NotConfirmedError: the answer is not yes; ends the command unless caught
        """
        if parsed_args.yes:
            return
        print(f"{question} [y/N] ", end="", file=self.app.stderr, flush=True)
        if self.app.stdin.readline().strip().lower() not in ("y", "yes"):
            raise NotConfirmedError("not confirmed: nothing was deleted")

    def report(self, failure: errors.VmdkCacheError, what: str = "") -> None:
        """Print ``failure`` in one line, and let it raise the exit code.

        :param what: the object that failed, e.g. ``image 4f0c...``
        """
        self.fail(exit_code.of(failure))
        self._trace(failure)
        self.tell(f"{what}: {failure}" if what else str(failure))

    @contextlib.contextmanager
    def reporting(self, what: str) -> Iterator[None]:
        """Report an error raised in the block, then continue; see :meth:`report`."""
        try:
            yield
        except errors.VmdkCacheError as failure:
            self.report(failure, what)

    def fail(self, code: int = exit_code.FAILED) -> None:
        """Raise the exit code to at least ``code``."""
        self.result = max(self.result, code)

    def tell(self, text: str) -> None:
        """Print one line on stderr."""
        print(f"vmdk-cache: {sentence(text, errors.MESSAGE_LENGTH)}", file=self.app.stderr)

    def _trace(self, failure: Exception) -> None:
        options: Any = self.app_args
        if options.debug:
            traceback.print_exception(failure, file=self.app.stderr)


class _DisplayBase(_Base):
    """Common to commands whose output cliff formats."""

    def _generate_columns_and_selector(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str]
    ) -> Any:
        try:
            return super()._generate_columns_and_selector(  # type: ignore[misc]
                parsed_args, column_names
            )
        except ValueError:
            raise UsageError(
                f"argument -c: unknown column {' or '.join(parsed_args.columns)}; the columns are "
                f"{', '.join(column_names)}"
            ) from None

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


class Command(_Base):
    """A command that returns its exit code."""


class Lister(_DisplayBase, lister.Lister):
    """A command that returns a table: column names and rows."""

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        # Otherwise cliff prints an empty line for a table without rows, which looks like a fault.
        parsed_args.print_empty = True
        rows = list(data)
        if not rows and self.result >= exit_code.CONFIGURATION:
            return self.result  # the rows are unknown: an empty table would mislead
        rows = [[_clean(value) for value in row] for row in rows]
        if parsed_args.formatter == "csv":
            # cliff writes "None", and numbers in quotes.
            rows = [[_exact(value) for value in row] for row in rows]
        return super().produce_output(parsed_args, column_names, rows)


def _clean(value: Any) -> Any:
    """The cell with control characters escaped: users choose the names of images."""
    if isinstance(value, FormattableColumn):
        return type(value)(_clean(value._value))
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return printable(value) if isinstance(value, str) else value


def _exact(value: Any) -> Any:
    exact = value.machine_readable() if isinstance(value, FormattableColumn) else value
    # A list in a cell becomes JSON, which programs can parse.
    return json.dumps(exact) if isinstance(exact, list | dict) else exact


class ShowOne(_DisplayBase, show.ShowOne):
    """A command that returns one record: field names and values."""

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        return super().produce_output(parsed_args, column_names, [_clean(value) for value in data])
