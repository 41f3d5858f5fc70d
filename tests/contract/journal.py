"""Writes the keys of a run's sessions to a file, so that a later run can end those of a killed one.
A key is not a secret: it cannot be used to log in."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vmdk_cache.vim.endpoint import Exchange

_KEY = re.compile(r"<key>([^<]+)</key>\s*<userName>([^<]+)</userName>")


class Journal:
    """A listener for a session's exchanges; several threads can use it for one file."""

    def __init__(self, path: str | Path) -> None:
        self._path = path

    def __call__(self, exchange: Exchange) -> None:
        found = _KEY.search(exchange.response) if "LoginResponse" in exchange.response else None
        if found is None:
            return
        line = f"{found[1]} {found[2]}\n".encode()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line)  # one write, so that lines of two threads do not mix
        finally:
            os.close(file)


def sessions_in(path: Path) -> list[tuple[str, str]]:
    """Key and user of each session."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [(key, user) for key, _, user in (line.partition(" ") for line in lines)]
