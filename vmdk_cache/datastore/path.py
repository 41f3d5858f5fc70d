"""A file or directory on a datastore, in vSphere's notation: ``[datastore] directory/file``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NOTATION = re.compile(r"\[(?P<datastore>[^\[\]]+)\] ?(?P<path>.*)", re.DOTALL)


@dataclass(frozen=True)
class DatastorePath:
    """``[datastore] path``; the path is relative, has no empty part and never points upwards.

    :ivar datastore: name of the datastore
    :ivar path: parts joined by ``/``; empty for the datastore's root
    :raises ValueError: the parts cannot stand in such a path
    """

    datastore: str
    path: str = ""

    def __post_init__(self) -> None:
        if not self.datastore or set("[]") & set(self.datastore):
            raise ValueError(f"{self.datastore!r} is not the name of a datastore")
        if "\0" in self.path:
            raise ValueError(f"datastore path {self.path!r} holds a NUL character")
        if self.path and not all(self.path.split("/")):
            raise ValueError(f"datastore path {self.path!r} is absolute or has an empty part")
        if {".", ".."} & set(self.path.split("/")):
            raise ValueError(f"datastore path {self.path!r} must not use '.' or '..'")

    @classmethod
    def parse(cls, text: str) -> DatastorePath:
        """The path that `text`, e.g. ``VirtualMachine.config.files.vmPathName``, stands for.

        :raises ValueError: not in that notation, or a path that points upwards
        """
        match = _NOTATION.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a datastore path like '[datastore1] dir/file'")
        return cls(match["datastore"], match["path"].rstrip("/"))

    def __str__(self) -> str:
        return f"[{self.datastore}] {self.path}" if self.path else f"[{self.datastore}]"

    def join(self, *parts: str) -> DatastorePath:
        """The path with more parts behind it; a part may hold several, with ``/`` between."""
        return DatastorePath(self.datastore, "/".join([self.path, *parts] if self.path else parts))

    @property
    def parent(self) -> DatastorePath:
        """The directory it is in; the root's parent is the root."""
        return DatastorePath(self.datastore, self.path.rpartition("/")[0])

    @property
    def name(self) -> str:
        """The last part; empty for the root."""
        return self.path.rpartition("/")[2]
