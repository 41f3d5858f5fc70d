"""Names of the objects that one run of the contract suite creates in a vCenter.

A run works in one folder below the VM folder of a datacenter. All other names begin with the run's
id: those of virtual machines and their directories, of directories that tests create, of custom
attributes, of backends and so of their templates. So a run's objects can be told from all others,
even by a later run.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

#: Prefix of all runs' ids.
PREFIX = "vct"
_FOLDER = "vmdk_cache contract suite"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_ID = re.compile(
    rf"({re.escape(_FOLDER)} \()?{PREFIX}(?P<machine>[0-9a-f]{{5}})(?P<run>[0-9a-f]{{5}})"
)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Run:
    """:ivar machine: identifies this machine and checkout, which run the suite once at a time"""

    machine: str
    number: str

    @classmethod
    def new(cls) -> Run:
        return cls(this_machine(), secrets.token_hex(3)[:5])

    @property
    def id(self) -> str:
        return f"{PREFIX}{self.machine}{self.number}"

    @property
    def folder(self) -> str:
        """The name of the run's folder."""
        return f"{_FOLDER} ({self.id})"

    def path(self, *names: str) -> tuple[str, ...]:
        """The path of a folder in the run's folder."""
        return (self.folder, *names)

    def named(self, text: str) -> str:
        """A name with the run's id."""
        return f"{self.id}-{text}"

    def new_backend(self) -> str:
        """A new backend name at each call. Longer names are cut in a template's name."""
        number = next(_numbers)
        return f"{self.id}{_DIGITS[number // 36]}{_DIGITS[number % 36]}"


def run_of(name: str) -> Run | None:
    """The run that created the object with this name; None if no run did."""
    found = _ID.match(name)
    return None if found is None else Run(found["machine"], found["run"])


def this_machine() -> str:
    """Five digits that identify this machine and checkout."""
    text = f"{socket.gethostname()} {Path(__file__).parent}"
    return hashlib.sha256(text.encode()).hexdigest()[:5]
