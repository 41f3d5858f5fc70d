"""``vmdk-cache complete``: prints a completion script; see vmdk_cache/cli/completion.py."""

from __future__ import annotations

import argparse

from cliff import command

from vmdk_cache.cli import completion, exit_code
from vmdk_cache.cli.help import Formatter


class Complete(command.Command):
    """Print a completion script for a shell.

    It completes commands, options, the backends of cinder.conf, and the images and datastores that
    a command in this user's terminal saw within the last day. It never asks vCenter.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.formatter_class = Formatter
        parser.add_argument(
            "shell",
            nargs="?",
            choices=completion.SHELLS,
            default="bash",
            help="the shell that reads the script (default: bash)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        self.app.stdout.write(completion.script(parsed_args.shell))
        return exit_code.OK
