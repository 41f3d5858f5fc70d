"""Directories and files of one datastore, and the bytes that they occupy.

Every file is charged for what it occupies: a thick file for its whole length, any other file for
the grains that hold data. The bytes in use are always the sum of the charges plus `foreign_bytes`
(those of other tenants). A change that would not fit raises NoDiskSpace and has no effect.

Code that writes to a file's content calls `settle` afterwards (an upload after each piece), so that
the charge follows the bytes. Errors are the vim faults of a real vCenter: FileNotFound,
FileAlreadyExists, NoDiskSpace.
"""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.disk import DiskContent

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_disk import VirtualDisk


@dataclass(eq=False, slots=True)
class DatastoreFile:
    """One file; `disk` is set on the descriptor of a virtual disk.

    `thick` files occupy their whole length, `delta` files the bytes written since the fork.
    """

    path: str
    content: DiskContent
    thick: bool = False
    delta: bool = False
    charged_bytes: int = 0
    disk: VirtualDisk | None = None
    modified: datetime | None = None

    @property
    def size_bytes(self) -> int:
        """The length of the file over HTTP."""
        return self.content.size_bytes

    @property
    def occupied_bytes(self) -> int:
        """The bytes that the file occupies on the datastore."""
        if self.thick:
            return self.content.size_bytes
        return self.content.delta_bytes if self.delta else self.content.written_bytes


class _Volume:
    """The stored files, which several datastore objects may share under names of their own."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.foreign_bytes = 0
        self.charged = 0
        self.files: dict[str, DatastoreFile] = {}
        self.directories: dict[str, dict[str, None]] = {"": {}}
        self.directories_modified: dict[str, datetime] = {}
        self.lock = threading.RLock()


class DatastoreFiles:
    """The files of the datastore `name`; thread-safe.

    `owner` is the managed object that they belong to; this class does not use it. `twin` is the
    files of another datastore object for the same storage.
    """

    def __init__(
        self,
        name: str,
        capacity_bytes: int,
        owner: Any = None,
        twin: DatastoreFiles | None = None,
    ) -> None:
        self._name = name
        self.owner = owner
        self._volume = _Volume(capacity_bytes) if twin is None else twin._volume
        self._files = self._volume.files
        self._directories = self._volume.directories
        self._lock = self._volume.lock

    @property
    def name(self) -> str:
        """The datastore's name as it appears in paths."""
        return self._name if self.owner is None else self.owner.path_name  # type: ignore[no-any-return]

    @property
    def capacity_bytes(self) -> int:
        return self._volume.capacity_bytes

    @capacity_bytes.setter
    def capacity_bytes(self, size_bytes: int) -> None:
        self._volume.capacity_bytes = size_bytes

    @property
    def foreign_bytes(self) -> int:
        return self._volume.foreign_bytes

    @foreign_bytes.setter
    def foreign_bytes(self, size_bytes: int) -> None:
        self._volume.foreign_bytes = size_bytes

    @property
    def used_bytes(self) -> int:
        with self._lock:
            return self._volume.charged + self.foreign_bytes

    @property
    def free_bytes(self) -> int:
        return max(0, self.capacity_bytes - self.used_bytes)

    def require(self, size_bytes: int, path: str = "") -> None:
        """NoDiskSpace unless `size_bytes` more would fit now."""
        if size_bytes > self.free_bytes:
            raise vim.fault.NoDiskSpace(
                msg=f"Insufficient disk space on datastore '{self.name}'.",
                datastore=self.name,
                file=self.text(path),
            )

    def text(self, path: str) -> str:
        """The datastore path as text: "[name] path"."""
        return f"[{self.name}] {path}"

    # Looking

    def get(self, path: str) -> DatastoreFile | None:
        return self._files.get(path)

    def file(self, path: str) -> DatastoreFile:
        """The file; FileNotFound if it does not exist."""
        found = self._files.get(path)
        if found is None:
            raise self.not_found(path)
        return found

    def is_directory(self, path: str) -> bool:
        return path in self._directories

    def exists(self, path: str) -> bool:
        return path in self._files or path in self._directories

    def listing(self, directory: str) -> list[str]:
        """Names in a directory, sorted; FileNotFound if it does not exist."""
        with self._lock:
            if directory not in self._directories:
                raise self.not_found(directory)
            return sorted(self._directories[directory])

    def files(self) -> dict[str, int]:
        """Occupied bytes of every file by path."""
        with self._lock:
            return {path: file.charged_bytes for path, file in sorted(self._files.items())}

    def directories(self) -> list[str]:
        """Paths of all directories except the root."""
        with self._lock:
            return sorted(path for path in self._directories if path)

    def below(self, directory: str) -> Iterator[DatastoreFile]:
        """Every file in a directory and its subdirectories."""
        with self._lock:
            names = sorted(self._directories.get(directory, ()))
        for name in names:
            path = posixpath.join(directory, name)
            file = self._files.get(path)
            if file is not None:
                yield file
            else:
                yield from self.below(path)

    def modified(self, path: str) -> datetime | None:
        """When a file was last written to, or a directory last gained or lost an entry; None for
        the root of a datastore that was always empty.
        """
        file = self._files.get(path)
        return file.modified if file else self._volume.directories_modified.get(path)

    # Changing

    def make_directory(self, path: str, parents: bool = False) -> None:
        """Create a directory; FileAlreadyExists if it exists, FileNotFound if its parent does
        not.
        """
        with self._lock:
            if self.exists(path):
                raise self._exists(path)
            self._require_parent(path, parents)
            self._directories[path] = {}
            self._volume.directories_modified[path] = self._now()
            self._enter(path)

    def make_unique_directory(self, name: str) -> str:
        """Create the directory `name`, or `name_1`, `name_2` ... if that exists already."""
        with self._lock:
            path, number = name, 0
            while self.exists(path):
                number += 1
                path = f"{name}_{number}"
            self.make_directory(path)
            return path

    def create(
        self,
        path: str,
        content: DiskContent | None = None,
        *,
        thick: bool = False,
        delta: bool = False,
        overwrite: bool = False,
        parents: bool = False,
    ) -> DatastoreFile:
        """Create a file with this content, charged at once.

        FileAlreadyExists (unless `overwrite`), FileNotFound without the parent (unless `parents`),
        NoDiskSpace if it does not fit.
        """
        with self._lock:
            if self.is_directory(path) or (path in self._files and not overwrite):
                raise self._exists(path)
            file = DatastoreFile(path, content or DiskContent(), thick, delta)
            old = self._files.get(path)
            self.require(file.occupied_bytes - (old.charged_bytes if old else 0), path)
            self._require_parent(path, parents)
            if old is not None:
                self._forget(old)
            self._files[path] = file
            self._enter(path)
            self.settle(file)
            return file

    def settle(self, file: DatastoreFile) -> None:
        """Charge what `file` occupies now; NoDiskSpace if it has outgrown the datastore.

        The written bytes stay charged even then; the caller removes the file.
        """
        with self._lock:
            if self._files.get(file.path) is not file:
                return
            before = self.capacity_bytes - self._volume.charged - self.foreign_bytes
            file.modified = self._now()
            growth = file.occupied_bytes - file.charged_bytes
            file.charged_bytes += growth
            self._volume.charged += growth
            if growth > max(0, before):
                self.require(1, file.path)

    def delete(self, path: str) -> None:
        """Remove a file, or a directory with its content; FileNotFound if it does not exist."""
        with self._lock:
            if path in self._files:
                self._forget(self._files[path])
            elif path in self._directories and path:
                for name in list(self._directories[path]):
                    self.delete(posixpath.join(path, name))
                self._forget_directory(path)
            else:
                raise self.not_found(path)

    def delete_if_empty(self, directory: str) -> None:
        """Remove a directory if it is empty."""
        with self._lock:
            if directory and self._directories.get(directory) == {}:
                self._forget_directory(directory)

    def adopt(self, file: DatastoreFile, path: str, overwrite: bool = False) -> None:
        """Put a file that was taken from elsewhere (`release`) here, with its charge."""
        with self._lock:
            if self.is_directory(path) or (path in self._files and not overwrite):
                raise self._exists(path)
            self._require_parent(path, False)
            self.require(file.occupied_bytes, path)
            if path in self._files:
                self._forget(self._files[path])
            file.path, modified = path, file.modified
            self._files[path] = file
            self._enter(path)
            self.settle(file)
            file.modified = modified

    def release(self, path: str) -> DatastoreFile:
        """Take a file out with its content unchanged, to `adopt` it elsewhere."""
        with self._lock:
            file = self.file(path)
            self._forget(file)
            return file

    def not_found(self, path: str) -> Exception:
        text = self.text(path)
        return vim.fault.FileNotFound(msg=f"File {text} was not found", file=text)

    def _exists(self, path: str) -> Exception:
        text = self.text(path)
        return vim.fault.FileAlreadyExists(
            msg=f"Cannot complete the operation because the file or folder {text} already exists",
            file=text,
        )

    def _require_parent(self, path: str, parents: bool) -> None:
        parent = posixpath.dirname(path)
        if parent in self._directories:
            return
        if not parents or parent in self._files:
            raise self.not_found(parent)
        self.make_directory(parent, parents=True)

    def _enter(self, path: str) -> None:
        directory, name = posixpath.split(path)
        self._directories[directory][name] = None
        self._volume.directories_modified[directory] = self._now()

    def _leave(self, path: str) -> None:
        directory, name = posixpath.split(path)
        self._directories[directory].pop(name, None)
        self._volume.directories_modified[directory] = self._now()

    def _now(self) -> datetime:
        return datetime.now(UTC) if self.owner is None else self.owner.vcenter.clock.now()  # type: ignore[no-any-return]

    def _forget_directory(self, path: str) -> None:
        del self._directories[path]
        self._volume.directories_modified.pop(path, None)
        self._leave(path)

    def _forget(self, file: DatastoreFile) -> None:
        del self._files[file.path]
        self._leave(file.path)
        self._volume.charged -= file.charged_bytes
        file.charged_bytes = 0
