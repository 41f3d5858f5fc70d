"""What ``--help`` prints, which fits a screen; ``--help-all`` and the man page leave out nothing.

Folded away are the options of cliff's output formatters, the options that all commands share, and
the end of a description that does not fit.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import NoReturn

from cliff import _argparse

#: Lines of a small terminal, less one for the next prompt.
SCREEN_LINES = 23
#: Title of the group of options that all commands share.
SHARED = "shared options"


class Formatter(_argparse.SmartHelpFormatter):
    """Keeps the paragraphs of a description apart."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(super(Formatter, self)._fill_text(p, width, indent) for p in paragraphs)


def of_command(parser: argparse.ArgumentParser) -> str:
    """The short help of a command; changes its parser."""
    output, has_shared = _fold_common(parser)
    lines = []
    if output is not None:
        choices = sorted(output.choices or (), key=lambda name: (name != output.default, name))
        lines.append(f"Output: -f {{{','.join(choices)}}}, -c COLUMN; more with --help-all")
    if has_shared:
        lines.append("Also: --backend NAME, --timeout SECONDS, ...; see vmdk-cache --help")
    return _fitting(parser, lines)


def refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """End the program because of wrong usage, after the short usage of the command."""
    _fold_common(parser)
    argparse.ArgumentParser.error(parser, message)


def of_program(parser: argparse.ArgumentParser, commands: str) -> str:
    """The short help of the program; changes its parser.

    :param commands: their names, and what each does
    """
    fold(parser, {"version", "log_file", "debug", "deferred_help", "help_all"})
    parser.description = f"{parser.description}\n\n{commands}"
    parser.epilog = (
        "vmdk-cache COMMAND --help shows the options of a command; vmdk-cache --help-all\n"
        "also exit codes and examples."
    )
    return parser.format_help()


def fold(parser: argparse.ArgumentParser, names: Collection[str]) -> None:
    """Hide the parser's options whose values have these names."""
    for action in parser._actions:
        if action.dest in names:
            action.help = argparse.SUPPRESS


def _fold_common(parser: argparse.ArgumentParser) -> tuple[argparse.Action | None, bool]:
    """Hide the options that many commands have. Returns the option of the output's format, if the
    command has it, and whether it has the shared options."""
    fold(parser, {"help"})
    output = None
    has_shared = False
    for group in parser._action_groups:
        title = (group.title or "").lower()
        has_shared |= title == SHARED
        if title == SHARED or title.endswith(("formatter", "formatters")):
            group.description = None
            for action in group._group_actions:
                output = action if action.dest == "formatter" else output
                action.help = argparse.SUPPRESS
    return output, has_shared


def _fitting(parser: argparse.ArgumentParser, footer: list[str]) -> str:
    """The parser's help with as many paragraphs of the description as fit, but at least one."""
    paragraphs = (parser.description or "").split("\n\n")
    for count in range(len(paragraphs), 0, -1):
        parser.description = "\n\n".join(paragraphs[:count])
        is_cut = count < len(paragraphs)
        last = [*footer, *(["More about this command: --help-all"] if is_cut else [])]
        text = parser.format_help().rstrip() + "\n\n" + "\n".join(last)
        if len(text.splitlines()) <= SCREEN_LINES:
            break
    return text.rstrip() + "\n"
