"""Quotes foreign text in messages: on one line, printable, and limited in length.

Users choose image properties, volume metadata and the names inside an OVA; Glance and vCenter
repeat this text in their responses. Printed unchanged, it could forge log lines, send control
sequences to a terminal, or fill a disk. Every message quotes it with one of these:

    quoted(value)       a value: in quotes
    identifier(value)   an id or a name: unchanged if it has only an identifier's characters
    sentence(text)      another program's message: on one line
    printable(text)     a cell of a table: complete, with escapes

``tests/unit/test_messages.py`` checks every message of the package.
"""

from __future__ import annotations

import re
from typing import Final

#: Maximum length of a quoted value, without the quotes and the ellipsis.
VALUE_LENGTH: Final = 80
#: Maximum length of another program's message, without the ellipsis.
SENTENCE_LENGTH: Final = 500
#: Maximum length of an identifier shown without quotes: that of a SHA-512 digest.
IDENTIFIER_LENGTH: Final = 128
_CUT: Final = "..."
_SPECIAL_IN_QUOTES: Final = frozenset("'\\")
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_.:@+-]+")


def quoted(value: object) -> str:
    """``value`` in quotes, with escapes as in Python: ``'vmdk'``, ``'a\\x1b[2J...'``."""
    return f"'{_escaped(str(value), VALUE_LENGTH, special=_SPECIAL_IN_QUOTES)}'"


def identifier(value: object) -> str:
    """``value`` unchanged if it looks like an id or a plain name, otherwise :func:`quoted`."""
    text = str(value)
    fits = len(text) <= IDENTIFIER_LENGTH and _IDENTIFIER.fullmatch(text)
    return text if fits else quoted(text)


def sentence(text: object, limit: int = SENTENCE_LENGTH) -> str:
    """``text`` on one line: whitespace becomes one blank, unprintable characters are escaped."""
    return _escaped(" ".join(str(text).split()), limit)


def printable(text: str) -> str:
    """All of ``text``, with unprintable characters escaped."""
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
    # The codec, not repr(), because it can also write a lone surrogate.
    return character if character.isprintable() else character.encode("unicode_escape").decode()
