"""Parses datastore paths, "[datastore] directory/file.vmdk", and raises the faults for bad ones."""

from __future__ import annotations

import posixpath
import re
from typing import NamedTuple

from pyVmomi import vim

_PATH = re.compile(r"^\s*\[([^\]]*)\]\s*(.*?)\s*$")


class DatastorePath(NamedTuple):
    """A datastore's name and a relative path without leading or trailing slash ("" is the root)."""

    datastore: str
    path: str

    @classmethod
    def parse(cls, text: str | None) -> DatastorePath:
        """Parse a path; InvalidDatastorePath for anything without "[name]" or with ".." in it."""
        match = _PATH.match(text or "")
        if not match or not match[1]:
            raise vim.fault.InvalidDatastorePath(
                msg=f"Invalid datastore path '{text}'.", datastorePath=text or "", name=text or ""
            )
        path = clean(match[2])
        if path.startswith(".."):
            raise vim.fault.InvalidDatastorePath(
                msg=f"Invalid datastore path '{text}'.", datastorePath=text, name=match[1]
            )
        return cls(match[1], path)

    @property
    def parent(self) -> DatastorePath:
        return DatastorePath(self.datastore, posixpath.dirname(self.path))

    @property
    def name(self) -> str:
        return posixpath.basename(self.path)

    def __truediv__(self, name: str) -> DatastorePath:
        return DatastorePath(self.datastore, posixpath.join(self.path, name))

    def __str__(self) -> str:
        return f"[{self.datastore}] {self.path}"


def clean(path: str) -> str:
    """A relative path with single slashes and no "." parts."""
    normal = posixpath.normpath("/" + path.strip("/")).strip("/")
    return ".." if ".." in path.split("/") else normal
