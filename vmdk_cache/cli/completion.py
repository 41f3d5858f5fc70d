"""What the shells offer when the user presses TAB.

The scripts that ``vmdk-cache complete SHELL`` prints pass the command line to ``vmdk-cache
__complete``, which answers from the parsers of the commands, cinder.conf and the names that were
last seen (vmdk_cache/cli/known_names.py), and never asks vCenter:

    __complete words WORD...          zsh, fish: the words up to the cursor, without their quotes
    __complete bash LINE WORDBREAKS   the line up to the cursor, as typed, and $COMP_WORDBREAKS

The first line of the answer says what the shell itself adds: ``values`` (nothing), ``files`` or
``directories``. Then follows a line for each value, for zsh and fish with a tab and a description.
Any user may have chosen an image's name, so no name with control characters is offered, and for
bash all characters with a meaning are escaped. An error means that nothing is offered.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vmdk_cache.cli import known_names
from vmdk_cache.clock import SystemClock
from vmdk_cache.quoting import printable

#: The first argument of the program that leads here.
ENTRANCE = "__complete"
VALUES, FILES, DIRECTORIES = "values", "files", "directories"

#: Value, and what it is.
Candidate = tuple[str, str]

_SCRIPTS = {
    "bash": r"""# bash completion of vmdk-cache
_vmdk_cache()
{
    local answer
    local line=${COMP_LINE:0:COMP_POINT}
    mapfile -t answer < <("$1" __complete bash "$line" "$COMP_WORDBREAKS" 2>/dev/null)
    COMPREPLY=("${answer[@]:1}")
    case ${answer[0]-} in
        files) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
        directories) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
    esac
}
complete -F _vmdk_cache vmdk-cache
""",
    "zsh": r"""#compdef vmdk-cache
_vmdk-cache()
{
    local -a answer values shown
    local line
    answer=("${(@f)$("${(Q)words[1]}" __complete words "${(@Q)words[1,CURRENT]}" 2>/dev/null)}")
    case ${answer[1]-} in
        files) _files; return ;;
        directories) _files -/; return ;;
    esac
    for line in "${(@)answer[2,-1]}"; do
        values+=("${line%%$'\t'*}")
        shown+=("${line/$'\t'/  -- }")
    done
    compadd -l -d shown -a values
}
if [ "$funcstack[1]" = "_vmdk-cache" ]; then # found in $fpath
    _vmdk-cache "$@"
else
    compdef _vmdk-cache vmdk-cache
fi
""",
    "fish": r"""# fish completion of vmdk-cache
function __vmdk_cache_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l answer ($words[1] __complete words $words 2>/dev/null)
    switch "$answer[1]"
        case files
            __fish_complete_path (commandline -ct)
        case directories
            __fish_complete_directories (commandline -ct)
        case '*'
            printf '%s\n' $answer[2..-1]
    end
end
complete -c vmdk-cache -f -a '(__vmdk_cache_complete)'
""",
}
SHELLS = tuple(_SCRIPTS)


def script(shell: str) -> str:
    """The completion script for one of :data:`SHELLS`."""
    return _SCRIPTS[shell]


def main(arguments: Sequence[str]) -> int:
    """Answer one press of TAB; see the module docstring."""
    try:
        kind, *given = arguments
        lines = _for_bash(*given) if kind == "bash" else _for_words(given)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except (Exception, SystemExit, KeyboardInterrupt):
        return 1  # and nothing on the user's line
    return 0


@dataclass
class Offer:
    """What can follow.

    :ivar add: what the shell adds: VALUES, FILES or DIRECTORIES
    """

    add: str = VALUES
    candidates: Sequence[Candidate] = ()

    def beginning_with(self, typed: str) -> list[Candidate]:
        """The candidates that begin so, in order, without those that a line cannot hold, and
        without names that would be options."""
        fit = {
            value: says
            for value, says in self.candidates
            if value.startswith(typed)
            and value == printable(value)
            and (typed.startswith("-") or not value.startswith("-"))
        }
        return [(value, printable(says)) for value, says in fit.items()]


def offer(words: Sequence[str]) -> Offer:
    """What can be the last of the words.

    :param words: those of the command line up to the cursor, from the program's name on; the last
        one, perhaps empty, is being typed
    """
    from vmdk_cache.cli.app import App

    app = App()
    line = _Line(app)
    for word in words[1:-1]:
        line.read(word)
    return line.offer(words[-1])


class _Line:
    """A command line that is being read."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._command = ""
        self._parsers: list[argparse.ArgumentParser] = [app.parser]
        self._open: argparse.Action | None = None
        self._arguments = 0
        self._files: list[str] = []
        self._directories: list[str] = []

    def read(self, word: str) -> None:
        """Read a complete word."""
        is_option = word.startswith("-") and word != "-"
        if self._open is not None and not is_option:
            self._note(self._open, word)
            if not isinstance(self._open.nargs, str):
                self._open = None
        elif is_option:
            name, equals, value = word.partition("=")
            action = self._options().get(name)
            self._open = None
            if action is not None and equals:
                self._note(action, value)
            elif action is not None and action.nargs != 0:
                self._open = action
        elif not self._command:
            self._begin(word)
        else:
            self._arguments += 1

    def offer(self, typed: str) -> Offer:
        """What the word that is being typed can become."""
        name, equals, _ = typed.partition("=")
        if typed.startswith("--") and equals:
            action = self._options().get(name)
            inside = Offer() if action is None else self._values(action)
            return Offer(candidates=[(f"{name}={v}", says) for v, says in inside.candidates])
        if typed.startswith("-"):
            return Offer(candidates=self._option_names())
        if self._open is not None:
            return self._values(self._open)
        if not self._command:
            return Offer(candidates=self._commands())
        arguments = self._parsers[-1]._get_positional_actions()
        if not arguments:
            return Offer()
        return self._values(arguments[min(self._arguments, len(arguments) - 1)])

    def _begin(self, name: str) -> None:
        self._command = name
        factory = self._app.command_manager.find_command([name])[0]
        self._parsers.append(factory(self._app, None).get_parser(name))

    def _note(self, action: argparse.Action, value: str) -> None:
        if action.dest == "config_file":
            self._files.append(value)
        elif action.dest == "config_dir":
            self._directories.append(value)

    def _options(self) -> dict[str, argparse.Action]:
        return {k: v for parser in self._parsers for k, v in parser._option_string_actions.items()}

    def _option_names(self) -> list[Candidate]:
        # After the command's name, the options of the program are those that all commands share.
        actions = self._parsers[-1]._get_optional_actions()
        return [
            (name, _first_words(action.help))
            for action in actions
            if action.help != argparse.SUPPRESS
            for name in action.option_strings
            if name.startswith("--") or len(action.option_strings) == 1
        ]

    def _commands(self) -> list[Candidate]:
        from vmdk_cache.cli.app import every_command

        return list(every_command().items())

    def _values(self, action: argparse.Action) -> Offer:
        if action.choices is not None:
            return Offer(candidates=[(str(choice), "") for choice in action.choices])
        if action.metavar == "FILE" or action.dest == "log_file":
            return Offer(FILES)
        if action.metavar == "DIRECTORY":
            return Offer(DIRECTORIES)
        find: Callable[[], Iterable[Candidate]] | None = {
            "backend": self._backends,
            "datastore": _datastores,
            "cmd": self._commands,
        }.get(action.dest, _images if action.metavar in ("IMAGE", "ID") else None)
        return Offer(candidates=list(find()) if find is not None else ())

    def _backends(self) -> list[Candidate]:
        """The sections of cinder.conf that name a driver."""
        from vmdk_cache.cli.configuration import option_names

        sections = option_names(self._files, self._directories)
        return [
            (name, "")
            for name, options in sections.items()
            if "volume_driver" in options and name not in ("DEFAULT", "backend_defaults")
        ]


def _images() -> list[Candidate]:
    images = _known().images
    by_name = sorted((name, id_) for id_, name in images.items() if name)
    return [*by_name, *sorted((id_, name) for id_, name in images.items())]


def _datastores() -> list[Candidate]:
    return [(name, "") for name in _known().datastores]


def _known() -> known_names.Names:
    return known_names.known(known_names.path(), SystemClock().now().timestamp())


def _first_words(text: str | None) -> str:
    """The beginning of an option's help."""
    return re.split(r"[;:(.]", " ".join((text or "").split()))[0].strip().replace("%%", "%")


def _for_words(words: Sequence[str]) -> list[str]:
    found = offer(words)
    return [
        found.add,
        *(f"{value}\t{says}" if says else value for value, says in found.beginning_with(words[-1])),
    ]


def _for_bash(line: str, breaks: str) -> list[str]:
    words, typed, is_quoted = _split(line)
    found = offer(words)
    values = [value for value, _ in found.beginning_with(words[-1])]
    if is_quoted:
        # bash inserts the value as it is, after the quote.
        values = [value for value in values if _escaped(value) == value]
        return [found.add, *values]
    # bash replaces only what follows the last of these characters.
    end = max((typed.rfind(each) for each in breaks if each in ":=@"), default=-1) + 1
    kept = len(_split(typed[:end])[0][-1]) if end else 0
    return [found.add, *(_escaped(value[kept:]) for value in values)]


def _split(line: str) -> tuple[list[str], str, bool]:
    """The line's words as bash reads them, without quotes and backslashes.

    :returns: the words, of which the last is perhaps empty; how that one is typed; whether it is in
        an open quote
    """
    words, word, start, quote = [], "", 0, ""
    position = 0
    while position < len(line):
        character = line[position]
        if quote and character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        elif character == "\\" and quote != "'" and position + 1 < len(line):
            position += 1
            word += line[position]
        elif not quote and character.isspace():
            if position > start:
                words.append(word)
            word, start = "", position + 1
        else:
            word += character
        position += 1
    return [*words, word], line[start:], bool(quote)


def _escaped(value: str) -> str:
    """As a word of bash: each character but those without a meaning gets a backslash."""
    return re.sub(r"([^\w./:=@%+,-])", r"\\\1", value)
