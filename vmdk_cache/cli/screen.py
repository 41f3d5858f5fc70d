"""Draws text over and over in the same place of a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import TextIO

from rich.cells import cell_len, set_cell_size

# Control sequences (ECMA-48): cursor to the first cell, erase to the end of the line, erase below.
_HOME, _ERASE_LINE, _ERASE_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_DEFAULT_SIZE = (80, 24)


class Screen:
    """A terminal that is drawn again from its first line, without flicker.

    :param terminal: receives control sequences
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal

    @property
    def height(self) -> int:
        """Lines that can be drawn. Two are left for the cursor, and for a message on stderr, which
        would otherwise scroll the terminal."""
        return shutil.get_terminal_size(_DEFAULT_SIZE).lines - 2

    def draw(self, lines: Iterable[str]) -> None:
        """Replace what is shown; what exceeds the terminal is cut off.

        :param lines: without control characters
        """
        width = shutil.get_terminal_size(_DEFAULT_SIZE).columns
        shown = [f"{_cropped(line, width)}{_ERASE_LINE}\n" for line in [*lines][: self.height]]
        self._terminal.write("".join([_HOME, *shown, _ERASE_BELOW]))
        self._terminal.flush()


def _cropped(line: str, width: int) -> str:
    return set_cell_size(line, width) if cell_len(line) > width else line
