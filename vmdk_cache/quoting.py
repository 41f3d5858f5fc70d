"""Shows text that others wrote in our messages: on one line, printable, and no longer than a limit.

Users choose image properties, volume metadata and the names inside an OVA; Glance and vCenter
repeat such text in their answers. Printed as it is, it could forge a line of a log, send control
sequences to a terminal, or fill a disk. Every message shows it through one of these:

    quoted(value)       a value: in quotes
    identifier(value)   an id or a name: as it is if it has only the characters of one, else quoted
    sentence(text)      the words of another program: on one line
    printable(text)     a cell of a table: whole, with escapes

``tests/unit/test_messages.py`` looks at every message of the package.
"""

from __future__ import annotations

import re
from typing import Final

#: Characters of a quoted value, without the quotes and the mark of a cut.
VALUE_LENGTH: Final = 80
#: Characters of another program's words, without the mark of a cut.
SENTENCE_LENGTH: Final = 500
#: Characters of an identifier that is shown without quotes: a SHA-512 has as many.
IDENTIFIER_LENGTH: Final = 128
_CUT: Final = "..."
_SPECIAL_IN_QUOTES: Final = frozenset("'\\")
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.:@+-]+")


def quoted(value: object) -> str:
    """``value`` in quotes, with escapes as in Python: ``'vmdk'``, ``'a\\x1b[2J...'``."""
    return f"'{_escaped(str(value), VALUE_LENGTH, special=_SPECIAL_IN_QUOTES)}'"


def identifier(value: object) -> str:
    """``value`` as it is if it looks like an id or a plain name, else :func:`quoted`."""
    text = str(value)
    fits = len(text) <= IDENTIFIER_LENGTH and _IDENTIFIER.fullmatch(text)
    return text if fits else quoted(text)


def sentence(text: object, limit: int = SENTENCE_LENGTH) -> str:
    """``text`` on one line: white space becomes one blank, what is not printable an escape."""
    return _escaped(" ".join(str(text).split()), limit)


def printable(text: str) -> str:
    """All of ``text``, with an escape for each character that is not printable."""
    return "".join(_escape(character) for character in text)


def _escaped(text: str, limit: int, special: frozenset[str] = frozenset()) -> str:
    shown: list[str] = []
    length = 0
    for character in text:
        part = _escape(character, special)
        length += len(part)
        if length > limit:
            return "".join(shown) + _CUT
        shown.append(part)
    return "".join(shown)


def _escape(character: str, special: frozenset[str] = frozenset()) -> str:
    if character in special:
        return f"\\{character}"
    # The codec, and not repr(), since it also writes half of a surrogate pair.
    return character if character.isprintable() else character.encode("unicode_escape").decode()
