"""The man page vmdk-cache(1), from the parsers that print ``--help``.

    text(app)      the page, in the macros of man(7)

Options that every command of a kind takes, such as those of output formats, are described once.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from cliff import app as cliff_app
from cliff import command as cliff_command

import vmdk_cache
from vmdk_cache.cli import command

#: Commands that the list of commands describes.
_NOT_OURS = ("complete", "help")
_FILES = {
    "/etc/cinder/cinder.conf": "read if --config-file names no other",
    "/var/lib/cinder": "the default state_path: locks, and the ledger",
}


class _AnyTable(command.Lister):
    """A table: its options are those of every table."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        return (), ()


class _AnyRecord(command.ShowOne):
    """A record: its options are those of every record."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        return (), ()


def text(app: cliff_app.App) -> str:
    """The page.

    :param app: whose parser and commands it describes
    """
    summary, *_ = (app.parser.description or "").split("\n")
    blocks = _blocks(app.parser.epilog or "")
    lines = [
        f'.TH VMDK\\-CACHE 1 "" "vmdk_cache {vmdk_cache.__version__}" "User Commands"',
        # Neither hyphens in names of options, nor spaces to fill lines.
        *(".nh", ".ad l"),
        ".SH NAME",
        f"vmdk\\-cache \\- {_escaped(summary[:1].lower() + summary[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        ".B vmdk\\-cache",
        "[options] COMMAND [options of the command]",
        ".SH OPTIONS",
        *_options(app.parser, lambda action: False),
        ".SH COMMANDS",
        *blocks.pop("commands", ()),
        *_commands(app, _shared(app)),
        ".SH OPTIONS OF EVERY TABLE",
        *_options(_parser(app, _AnyTable, ""), lambda action: _is_of(app.parser, action)),
    ]
    for title, block in blocks.items():
        lines += [f".SH {_escaped(title.upper())}", *block]
    lines.append(".SH FILES")
    for path, purpose in _FILES.items():
        lines += [".TP", f".I {_escaped(path)}", _escaped(purpose)]
    return "\n".join([*lines, ""])


def _commands(app: cliff_app.App, shared: set[tuple[str, ...]]) -> Iterator[str]:
    for name in app.command_manager.commands:
        if name in _NOT_OURS:
            continue
        factory = app.command_manager.find_command([name])[0]
        parser = _parser(app, factory, f"vmdk-cache {name}")
        words = [_shown(parser, action)[0] for action in parser._get_positional_actions()]
        yield f'.SS "{_escaped(" ".join([name, "[options]", *words]))}"'
        yield from _paragraphs(parser.description or "")
        yield from _options(parser, lambda action: tuple(action.option_strings) in shared)


def _parser(
    app: cliff_app.App, factory: Callable[..., cliff_command.Command], prog: str
) -> argparse.ArgumentParser:
    return factory(app, None).get_parser(prog)


def _shared(app: cliff_app.App) -> set[tuple[str, ...]]:
    """The option strings that are not described for each command."""
    parsers = [_parser(app, kind, "") for kind in (_AnyTable, _AnyRecord)]
    return {tuple(action.option_strings) for parser in parsers for action in parser._actions} - {()}


def _is_of(parser: argparse.ArgumentParser, action: argparse.Action) -> bool:
    return action.option_strings[0] in parser._option_string_actions


def _options(
    parser: argparse.ArgumentParser, left_out: Callable[[argparse.Action], bool]
) -> Iterator[str]:
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or left_out(action):
            continue
        names, explained = _shown(parser, action)
        yield ".TP"
        yield f".B {_escaped(names)}"
        yield _escaped(explained)


def _shown(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, str]:
    """How ``--help`` writes an option or argument, and its help."""
    formatter = parser._get_formatter()
    if action.option_strings:
        names = formatter._format_action_invocation(action)
    else:
        names = formatter._format_args(action, action.dest)
    explained = formatter._expand_help(action) if action.help else ""
    return names, " ".join(explained.split())


def _blocks(epilog: str) -> dict[str, list[str]]:
    """Title -> what is below it. A block begins with a line such as ``exit codes:``."""
    blocks: dict[str, list[str]] = {}
    lines: list[str] = []
    for paragraph in re.split(r"\n\n(?=\S)", epilog.strip()):
        title, colon, body = paragraph.partition(":\n")
        if colon and "\n" not in title:
            rows = textwrap.dedent(body).splitlines()
            blocks[title] = lines = _typed(rows) if title == "examples" else _explained(rows)
        else:
            lines += _paragraphs(paragraph)
    return blocks


def _typed(rows: list[str]) -> list[str]:
    """Lines to type, as they are."""
    return [".nf", *map(_escaped, rows), ".fi"]


def _explained(rows: list[str]) -> list[str]:
    """``0    success``: a word and its meaning; a row that begins with blanks continues the one
    before it.
    """
    lines: list[str] = []
    for row in rows:
        if row.startswith(" "):
            lines.append(_escaped(row.strip()))
        else:
            word, _, meaning = row.partition(" ")
            lines += [".TP 12", f".B {_escaped(word)}", _escaped(meaning.strip())]
    return lines


def _paragraphs(plain: str) -> Iterator[str]:
    for paragraph in textwrap.dedent(plain).strip().split("\n\n"):
        yield ".PP"
        yield _escaped(" ".join(paragraph.split()))


def _escaped(plain: str) -> str:
    r"""As text of roff: ``\`` and ``-`` as they are, and no line that begins with a request."""
    shown = plain.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown
