"""What every command is: it opens the caches of the chosen backends, and closes them at its end.

    class Warm(command.Lister):                     or command.ShowOne, command.Command
        def get_parser(self, prog_name): ...        its own options, added to super()'s
        def take_action(self, parsed_args):
            for configured, cache in self.caches():         what cannot be opened is reported
                with self.reporting(f"backend {configured.name}"):
                    ...                                     so is what fails here, and it goes on
            return COLUMNS, rows

What is reported, or raised, is one line on stderr and counts for the exit code, the highest of all
(vmdk_cache/cli/exit_code.py). Rows are lists of strings, numbers and vmdk_cache/cli/columns.py.
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
    from vmdk_cache.cache.events import Events
    from vmdk_cache.cache.ports import Catalog
    from vmdk_cache.cli.configuration import BackendConfiguration, Configuration
    from vmdk_cache.cli.late_ledger import LateLedger
    from vmdk_cache.locks import Locks
    from vmdk_cache.wiring import RunningCache


def add_yes(parser: argparse.ArgumentParser) -> None:
    """For commands that :meth:`confirm <_Base.confirm>`."""
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask, delete")


class UsageError(Exception):
    """The command line asks for what there is not; the text says what to write."""


class CommandFailedError(Exception):
    """The command ends here, with exit code 1; the text says why, and what there is instead."""


class NotConfirmedError(CommandFailedError):
    """Somebody was asked, and did not say yes."""


class _AlreadyToldError(Exception):
    """The command cannot go on, and has said why."""


class _Base(command.Command):
    """Common to all commands; see the module's text."""

    #: Set by :meth:`report`; a command may raise it for findings of its own.
    result = exit_code.OK

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        group = parser.add_argument_group(
            "configuration", "which caches; also allowed before the command's name"
        )
        add_configuration_options(group)
        return parser

    def get_epilog(self) -> str:
        # cliff's would look through every installed package for the one that this is from.
        return self._epilog or ""

    def _load_hooks(self) -> None:
        # cliff's would look through every installed package for extensions of this command.
        self._hooks = []

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run it, whatever happens: returns the exit code."""
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
            raise  # vmdk_cache/cli/main.py knows what to do
        except KeyboardInterrupt:
            self.tell("interrupted")
            code = exit_code.INTERRUPTED
        except Exception as failure:
            self._trace(failure)
            self.tell(
                f"{type(failure).__name__}: {sentence(failure)} - a defect of this program, "
                f"please report it "
                f"with what --debug prints"
            )
            code = exit_code.FAILED
        return max(code, self.result)

    @functools.cached_property
    def configuration(self) -> Configuration:
        """What cinder.conf says of the chosen backends.

        :raises ConfigError: it cannot be used
        """
        from vmdk_cache.cli import configuration

        options: Any = self.app_args
        return configuration.read(options.config_file, options.config_dir, options.backend)

    def caches(
        self, catalog: Catalog | None = None
    ) -> Iterator[tuple[BackendConfiguration, RunningCache]]:
        """The caches of the chosen backends, each opened when it is its turn. Those that cannot be
        opened are reported and left out; if there is no other, the command ends.

        :param catalog: whom a purge asks what became of the images; None: nobody
        :raises VmdkCacheError: a configuration, or locks, that cannot be used
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
        """One cache, closed at the command's end.

        :raises VmdkCacheError: it cannot be opened
        """
        # Here, since it takes as long to import as the rest of the command.
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

    def _events(self, ledger_path: str | None) -> Events:
        """The log, and the ledger if there is one: opened by the first event, so that commands
        which only look make no file."""
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
        """Refuse ``option``, before anything is done, where nobody can be asked and ``--yes`` is
        not given."""
        if not parsed_args.yes and not (self.app.stdin.isatty() and self.app.stderr.isatty()):
            raise UsageError(f"{option} deletes: add --yes, for there is no terminal to ask on")

    def confirm(self, parsed_args: argparse.Namespace, question: str) -> None:
        """Ask on the terminal, unless ``--yes`` has answered.

        :raises NotConfirmedError: the answer is not yes; the command ends if nobody catches it
        """
        if parsed_args.yes:
            return
        print(f"{question} [y/N] ", end="", file=self.app.stderr, flush=True)
        if self.app.stdin.readline().strip().lower() not in ("y", "yes"):
            raise NotConfirmedError("not confirmed: nothing was deleted")

    def report(self, failure: errors.VmdkCacheError, what: str = "") -> None:
        """Tell of ``failure`` in one line, and count it for the exit code.

        :param what: it happened to, e.g. ``image 4f0c...``
        """
        self.fail(exit_code.of(failure))
        self._trace(failure)
        self.tell(f"{what}: {failure}" if what else str(failure))

    @contextlib.contextmanager
    def reporting(self, what: str) -> Iterator[None]:
        """Reports what fails in the block, after which the command goes on; see :meth:`report`."""
        try:
            yield
        except errors.VmdkCacheError as failure:
            self.report(failure, what)

    def fail(self, code: int = exit_code.FAILED) -> None:
        """Count ``code`` for the exit code."""
        self.result = max(self.result, code)

    def tell(self, text: str) -> None:
        """A line on stderr."""
        print(f"vmdk-cache: {sentence(text, errors.MESSAGE_LENGTH)}", file=self.app.stderr)

    def _trace(self, failure: Exception) -> None:
        options: Any = self.app_args
        if options.debug:
            traceback.print_exception(failure, file=self.app.stderr)


class _DisplayBase(_Base):
    """Common to commands with output in cliff's formats."""

    def _generate_columns_and_selector(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str]
    ) -> Any:
        try:
            return super()._generate_columns_and_selector(  # type: ignore[misc]
                parsed_args, column_names
            )
        except ValueError:
            raise UsageError(
                f"argument -c: there is no column {' or '.join(parsed_args.columns)}; the columns "
                f"are {', '.join(column_names)}"
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
            raise  # vmdk_cache/cli/main.py knows what to do
        except OSError as failure:
            raise CommandFailedError(
                f"the output cannot be written: {sentence(failure)}"
            ) from failure
        return code


class Command(_Base):
    """A command that returns its exit code."""


class Lister(_DisplayBase, lister.Lister):
    """A command that returns a table: names of columns, and rows in their order."""

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        # Else a table without rows is an empty line, which looks like something that went wrong.
        parsed_args.print_empty = True
        rows = list(data)
        if not rows and self.result >= exit_code.CONFIGURATION:
            return self.result  # that is not known, so an empty table would be a lie
        rows = [[_clean(value) for value in row] for row in rows]
        if parsed_args.formatter == "csv":
            # cliff's makes text of them: "None", and numbers in quotes.
            rows = [[_exact(value) for value in row] for row in rows]
        return super().produce_output(parsed_args, column_names, rows)


def _clean(value: Any) -> Any:
    """A cell without what would steer a terminal: anybody may have chosen the name of an image."""
    if isinstance(value, FormattableColumn):
        return type(value)(_clean(value._value))
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return printable(value) if isinstance(value, str) else value


def _exact(value: Any) -> Any:
    exact = value.machine_readable() if isinstance(value, FormattableColumn) else value
    # A list in a cell: as JSON, which programs can read, and not as Python.
    return json.dumps(exact) if isinstance(exact, list | dict) else exact


class ShowOne(_DisplayBase, show.ShowOne):
    """A command that returns one thing: names of fields, and their values."""

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        return super().produce_output(parsed_args, column_names, [_clean(value) for value in data])
