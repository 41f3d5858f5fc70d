"""The commands of vmdk-cache and the options that they share.

A command's module is imported when the command runs, so ``vmdk-cache --help`` does not import the
vCenter client.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
from collections.abc import Sequence
from typing import Any

from cliff import app, commandmanager
from cliff.help import HelpCommand

import vmdk_cache
from vmdk_cache.cli import exit_code, help
from vmdk_cache.quoting import quoted

#: Name -> help text. The command ``list`` is the class ``List`` in vmdk_cache/cli/list.py, etc.
COMMANDS = {
    "status": "show the state of the caches on one screen",
    "list": "list the cached images",
    "warm": "import images before the first volume asks for them",
    "verify": "compare the disks of templates with Glance's images",
    "show": "show everything about one image's templates",
    "pin": "keep images in the cache, whatever their age and the limits",
    "unpin": "let pinned images expire and be evicted again",
    "purge": "delete templates: expired ones, or those asked for",
    "check": "find problems, and repair what is safe to repair",
    "preflight": "check vCenter, the account and the configuration, read-only",
    "capacity": "show the space that templates use, and how close the limits are",
    "history": "show counts of hits, misses, imports and other events",
    "exporter": "serve metrics to Prometheus, and a status page",
    "samples": "write sample configuration, dashboard and alerts to files",
}

_EXAMPLES = """\
examples:
  vmdk-cache list
  vmdk-cache list --sort used --limit 10
  vmdk-cache list -f json --backend vmware1
  vmdk-cache purge --dry-run
  vmdk-cache purge --image ubuntu-24.04
  vmdk-cache history --days 7 --by reason
  vmdk-cache --config-file /etc/kolla/cinder-volume/cinder.conf list

The vCenter password is read from cinder.conf, or from the environment variable
OS_<BACKEND>__VMWARE_HOST_PASSWORD. It cannot be given as an option.
"""

_CONSOLE_LEVELS = {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO}


#: How long a command waits for a server that does not answer.
TIMEOUT_S = 60.0
_LONGEST_TIMEOUT_S = 3600


def add_shared_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that select the caches, and the time limit."""
    parser.add_argument(
        "--config-file",
        action="append",
        default=[],
        metavar="FILE",
        help="configuration file of cinder-volume; may be repeated (default: Cinder's search path, "
        "such as ~/.cinder and /etc/cinder)",
    )
    parser.add_argument(
        "--config-dir",
        action="append",
        default=[],
        metavar="DIRECTORY",
        help="directory with further *.conf files; may be repeated",
    )
    parser.add_argument(
        "--backend",
        action="append",
        default=[],
        metavar="NAME",
        help="section name of a backend; may be repeated (default: every backend in "
        "enabled_backends that has an image cache)",
    )
    parser.add_argument(
        "--timeout",
        type=_timeout,
        metavar="SECONDS",
        help="how long to wait for a server that does not answer: vCenter, Keystone, Glance, "
        f"Cinder or the lock coordinator (default: {TIMEOUT_S:g}; preflight: 30 for each request)",
    )


class App(app.App):
    """Parses the shared options, before or after the command's name, and runs the command."""

    NAME = "vmdk-cache"
    LOG = logging.getLogger("vmdk_cache.cli")

    def __init__(self) -> None:
        manager = commandmanager.CommandManager("")
        for name in COMMANDS:
            target = f"vmdk_cache.cli.{name}:{name.capitalize()}"
            manager.commands[name] = importlib.metadata.EntryPoint(name, target, "vmdk_cache.cli")
        super().__init__(
            description="Inspect and manage the image caches of Cinder's VMware backends.",
            version=vmdk_cache.__version__,
            command_manager=manager,
            deferred_help=True,
        )
        manager.add_command("help", _Help)
        # Instead of cliff's, which knows only bash.
        manager.commands["complete"] = importlib.metadata.EntryPoint(
            "complete", "vmdk_cache.cli.complete:Complete", "vmdk_cache.cli"
        )

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, Any] | None = None,
    ) -> argparse.ArgumentParser:
        parser = super().build_option_parser(
            description,
            version,
            {
                "prog": self.NAME,
                "epilog": _epilog(),
                "formatter_class": argparse.RawDescriptionHelpFormatter,
                # Otherwise argparse would take a command's options for abbreviations of these.
                "allow_abbrev": False,
                "usage": f"{self.NAME} [options] COMMAND [options of the command]",
                **(argparse_kwargs or {}),
            },
        )
        parser.add_argument(
            "--help-all",
            action=_HelpAll,
            nargs=0,
            default=False,
            help="show the help with everything in it, and exit",
        )
        add_shared_options(parser)
        for action in parser._actions:
            if action.dest == "version":
                action.version = f"{self.NAME} {version}"  # type: ignore[attr-defined]
        return parser

    def run(self, argv: Sequence[str]) -> int:
        return super().run(_ids_of_list(list(argv)))

    def configure_logging(self) -> None:
        """Log WARNING and above to stderr, INFO with ``-v``, everything with ``-vv`` or
        ``--debug``. A log file gets everything. Other packages log only warnings and errors: their
        debug messages may contain secrets."""
        level = _CONSOLE_LEVELS.get(self.options.verbose_level, logging.DEBUG)
        console = logging.StreamHandler(self.stderr)
        console.setLevel(logging.DEBUG if self.options.debug else level)
        console.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        handlers: list[logging.Handler] = [console]
        if self.options.log_file:
            try:
                file = logging.FileHandler(self.options.log_file)
            except OSError as failure:
                self.parser.error(f"argument --log-file: {failure}")
            file.setFormatter(logging.Formatter(self.LOG_FILE_MESSAGE_FORMAT))
            handlers.append(file)
        root = logging.getLogger()
        root.setLevel(logging.WARNING)
        logging.getLogger("vmdk_cache").setLevel(min(handler.level for handler in handlers))
        for handler in handlers:
            root.addHandler(handler)
        logging.captureWarnings(True)
        if not self.options.debug:
            # Deprecation warnings of other packages do not concern operators.
            logging.getLogger("py.warnings").setLevel(logging.ERROR)
            # It warns that it will try again, and the error that follows says more.
            logging.getLogger("keystoneauth.identity").setLevel(logging.ERROR)

    def initialize_app(self, argv: Sequence[str]) -> None:
        if not argv:
            asked = self.options.deferred_help
            print(self.help(), end="", file=self.stdout if asked else self.stderr)
            raise SystemExit(exit_code.OK if asked else exit_code.USAGE)

    def run_subcommand(self, argv: list[str]) -> int:
        named = argv[1:] if argv[0] == "help" else argv
        try:
            if named:
                self.command_manager.find_command(named)
        except ValueError:
            if named[0].startswith("-"):
                self.parser.error(
                    f"unknown option {named[0]}; put a command's options after its name"
                )
            known = ", ".join(sorted(self.command_manager.commands))
            self.parser.error(f"unknown command {quoted(named[0])}: use one of {known}")
        return super().run_subcommand(argv)

    def help(self, named: Sequence[str] = ()) -> str:
        """The help that was asked for: of a command or, without a name, of the program."""
        if not named:
            if self.options.help_all:
                return self.parser.format_help()
            return help.of_program(self.parser, _commands())
        factory, name, _ = self.command_manager.find_command(list(named))
        parser = factory(self, self.options).get_parser(f"{self.NAME} {name}")
        return parser.format_help() if self.options.help_all else help.of_command(parser)


def _ids_of_list(argv: list[str]) -> list[str]:
    """The arguments with ``list ... -q`` as ``list ... --ids``: as in docker, after the command's
    name. The application's parser would take it for ``--quiet``, wherever it stands."""
    if "list" not in argv:
        return argv
    at = argv.index("list")
    return argv[:at] + ["--ids" if each == "-q" else each for each in argv[at:]]


class _Help(HelpCommand):
    """print help, in general or for one command"""

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        app: Any = self.app
        print(app.help(parsed_args.cmd), end="", file=app.stdout)
        return exit_code.OK


class _HelpAll(argparse.Action):
    """Like ``--help``, for which cliff's App looks after it has parsed the command line."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, *values: Any) -> None:
        namespace.deferred_help = namespace.help_all = True


def _timeout(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= _LONGEST_TIMEOUT_S:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {_LONGEST_TIMEOUT_S}")
    return seconds


_timeout.__name__ = "number of seconds"  # argparse's name for it: "invalid ... value"


def every_command() -> dict[str, str]:
    """Like :data:`COMMANDS`, with those that concern no cache."""
    return {
        **COMMANDS,
        "complete": "print a completion script for bash, zsh or fish",
        "help": "print help, in general or for one command",
    }


def _commands() -> str:
    lines = "\n".join(f"  {name:<10}{says}" for name, says in every_command().items())
    return f"commands:\n{lines}"


def _epilog() -> str:
    codes = (exit_code.__doc__ or "").split("\n\n")[1].replace("    ", "  ")
    return f"{_commands()}\n\nexit codes:\n{codes}\n\n{_EXAMPLES}"
