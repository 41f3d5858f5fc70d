"""The directives ``vmdk-cache-options`` and ``vmdk-cache-commands``: what the parsers say.

As cliff's ``autoprogram-cliff``, for commands that are registered in code and not as entry points.
What all commands share is left to the page.
"""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

from cliff import command, sphinxext
from docutils import nodes
from sphinx.application import Sphinx

from vmdk_cache.cli.app import App

_NOT_OURS = ("complete", "help")
PROGRAM = "vmdk-cache"
#: Options that every command with a table takes.
_SHARED = [
    *("--help", "--config-file", "--config-dir", "--backend", "--timeout"),
    *("--format", "--column", "--sort-column", "--sort-ascending", "--sort-descending"),
    *("--quote", "--noindent", "--prefix", "--print-empty", "--max-width", "--fit-width"),
]


class Options(sphinxext.AutoprogramCliffDirective):
    """The options that come before a command's name."""

    required_arguments = 0
    ignored: ClassVar[list[str]] = ["--help"]

    def run(self) -> list[nodes.Node]:
        self.env = self.state.document.settings.env
        return self._generate_app_node(App(), PROGRAM)

    def _get_ignored_opts(self) -> list[str]:
        return self.ignored

    def _drop_ignored_options(
        self, parser: argparse.ArgumentParser, ignored_opts: list[str]
    ) -> None:
        super()._drop_ignored_options(parser, ignored_opts)
        parser.epilog = None  # the page says it
        for action in parser._actions:
            action.help = (action.help or "").replace("*", r"\*")


class Commands(Options):
    """A section for each command."""

    ignored = _SHARED

    def run(self) -> list[nodes.Node]:
        self.env = self.state.document.settings.env
        manager = App().command_manager
        found: dict[str, type[command.Command]] = {
            name: manager.find_command([name])[0]
            for name in manager.commands
            if name not in _NOT_OURS
        }
        return self._generate_command_nodes(found, PROGRAM)


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("cliff.sphinxext")
    app.add_directive("vmdk-cache-options", Options)
    app.add_directive("vmdk-cache-commands", Commands)
    return {"parallel_read_safe": True}
