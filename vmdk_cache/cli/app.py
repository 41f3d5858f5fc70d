"""The commands of vmdk-cache and the options that all of them take.

A command is a line in :data:`COMMANDS`: its module is imported when it is run, so that
``vmdk-cache --help`` need not import what speaks to vCenter.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from cliff import app, commandmanager, help

from vmdk_cache.cli import exit_code
from vmdk_cache.quoting import quoted

#: Name -> where it is, and what ``--help`` says of it.
COMMANDS = {
    "list": ("vmdk_cache.cli.list:List", "list the templates"),
    "warm": ("vmdk_cache.cli.warm:Warm", "import images before the first volume asks for them"),
    "show": ("vmdk_cache.cli.show:Show", "show everything about one image's templates"),
    "purge": (
        "vmdk_cache.cli.purge:PurgeTemplates",
        "delete templates: expired ones, or those asked for",
    ),
    "check": ("vmdk_cache.cli.check:Check", "find what is not as it should be, and put it right"),
    "preflight": (
        "vmdk_cache.cli.preflight:Preflight",
        "check vCenter, the account and the configuration; changes nothing",
    ),
    "capacity": (
        "vmdk_cache.cli.capacity:ShowCapacity",
        "show what templates take, and how far limits are used",
    ),
    "history": ("vmdk_cache.cli.history:History", "show what the caches did, in counts"),
    "exporter": ("vmdk_cache.cli.exporter:Exporter", "serve metrics to Prometheus"),
}

_EXAMPLES = """\
examples:
  vmdk-cache list
  vmdk-cache list -f json --backend vmware1
  vmdk-cache purge --dry-run
  vmdk-cache purge --image 2f6c0f0e-... --yes
  vmdk-cache history --days 7 --by reason
  vmdk-cache --config-file /etc/kolla/cinder-volume/cinder.conf list

The password for vCenter is read from cinder.conf, or from the environment as
OS_<BACKEND>__VMWARE_HOST_PASSWORD; no option takes one.
"""

_CONSOLE_LEVELS = {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO}


def add_configuration_options(parser: argparse._ActionsContainer) -> None:
    """The options that say which caches are meant."""
    parser.add_argument(
        "--config-file",
        action="append",
        default=[],
        metavar="FILE",
        help="a cinder.conf that cinder-volume reads, may be repeated (default: where Cinder looks "
        "for it: ~/.cinder, /etc/cinder)",
    )
    parser.add_argument(
        "--config-dir",
        action="append",
        default=[],
        metavar="DIRECTORY",
        help="a directory of further *.conf files, may be repeated",
    )
    parser.add_argument(
        "--backend",
        action="append",
        default=[],
        metavar="NAME",
        help="section of a backend, may be repeated (default: all of enabled_backends with an "
        "image cache)",
    )


class App(app.App):
    """Reads the options that come before or after any command's name, then runs the command."""

    NAME = "vmdk-cache"
    LOG = logging.getLogger("vmdk_cache.cli")

    def __init__(self) -> None:
        manager = commandmanager.CommandManager("")
        for name, (target, _) in COMMANDS.items():
            manager.commands[name] = importlib.metadata.EntryPoint(name, target, "vmdk_cache.cli")
        super().__init__(
            description="Look into and manage the image caches of Cinder's VMware backends.",
            version=importlib.metadata.version("vmdk-cache"),
            command_manager=manager,
            deferred_help=True,
        )
        manager.add_command("help", _Help)

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
                # Else the options of commands would be taken for abbreviations of these.
                "allow_abbrev": False,
                "usage": f"{self.NAME} [options] COMMAND [options of the command]",
                **(argparse_kwargs or {}),
            },
        )
        add_configuration_options(parser)
        for action in parser._actions:
            if action.dest == "version":
                action.version = f"{self.NAME} {version}"  # type: ignore[attr-defined]
        return parser

    def configure_logging(self) -> None:
        """WARNING and worse on stderr, with ``-v`` INFO, with ``-vv`` or ``--debug`` all of ours;
        a log file gets all of ours. Other packages only tell of trouble: what they say otherwise
        may hold what nobody should read."""
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
            # Other packages' deprecations are news for their developers.
            logging.getLogger("py.warnings").setLevel(logging.ERROR)

    def initialize_app(self, argv: Sequence[str]) -> None:
        if not argv and not self.options.deferred_help:
            self.parser.print_help(self.stderr)
            raise SystemExit(exit_code.USAGE)

    def print_help_if_requested(self) -> None:
        if self.options.deferred_help:
            self.parser.print_help(self.stdout)
            raise SystemExit(exit_code.OK)

    def run_subcommand(self, argv: list[str]) -> int:
        try:
            self.command_manager.find_command(argv)
        except ValueError:
            self.refuse(argv[0])
        return super().run_subcommand(argv)

    def refuse(self, name: str) -> NoReturn:
        """End with usage: there is no command of that name."""
        if name.startswith("-"):
            self.parser.error(f"there is no option {name}; those of a command come after its name")
        known = ", ".join(sorted(self.command_manager.commands))
        self.parser.error(f"there is no command {quoted(name)}: use one of {known}")


class _Help(help.HelpCommand):
    """print help, of a command if one is named"""

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        if parsed_args.cmd:
            try:
                self.app.command_manager.find_command(parsed_args.cmd)
            except ValueError:
                assert isinstance(self.app, App)
                self.app.refuse(parsed_args.cmd[0])
            return super().take_action(parsed_args)
        self.app.parser.print_help(sys.stdout)
        return exit_code.OK


def _epilog() -> str:
    every = {
        **{name: says for name, (_, says) in COMMANDS.items()},
        "complete": "print a completion script for bash",
        "help": "print help, of a command if one is named",
    }
    commands = "\n".join(f"  {name:<10}{says}" for name, says in every.items())
    codes = (exit_code.__doc__ or "").split("\n\n")[1].replace("    ", "  ")
    return f"commands:\n{commands}\n\nexit codes:\n{codes}\n\n{_EXAMPLES}"
