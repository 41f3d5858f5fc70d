"""A virtual disk on a datastore: a descriptor file and the extent that it names.

Kinds: a flat disk ("x.vmdk" + "x-flat.vmdk"; thin, preallocated or eagerZeroedThick), a delta on a
parent ("x-000001.vmdk" + "x-000001-delta.vmdk"), and an uploaded sparse file, which is its own
extent and can only be copied, moved or deleted.

`open_disk` finds a disk by its descriptor. The descriptor's text is real: clients can download it,
and the fake parses an uploaded one. Errors are vim faults.
"""

from __future__ import annotations

import posixpath
import uuid as uuids
from typing import Any, Literal

from pyVmomi import vim

from tests.fakes.vcenter import vmdk
from tests.fakes.vcenter.datastore_files import DatastoreFile, DatastoreFiles
from tests.fakes.vcenter.datastore_path import DatastorePath
from tests.fakes.vcenter.disk import DiskContent
from tests.fakes.vcenter.switches import Switches

Provisioning = Literal["thin", "preallocated", "eagerZeroedThick"]
_TEXT_LIMIT_BYTES = 64 * 1024


class VirtualDisk:
    """One disk; `files` and `path` locate its descriptor.

    `users` are the virtual machines that have it in one of their chains. `extending` is set while a
    task zeroes its new part. `shown_capacity_bytes` is the capacity that VMs still show for a disk
    that was extended without them; None if they show the real one.
    """

    def __init__(
        self,
        files: DatastoreFiles,
        descriptor: DatastoreFile,
        extent_path: str,
        *,
        provisioning: Provisioning,
        adapter_type: str = "lsiLogic",
        uuid: str | None = None,
        parent: VirtualDisk | None = None,
    ) -> None:
        self.files = files
        self.descriptor = descriptor
        self.extent_path = extent_path
        self.provisioning = provisioning
        self.adapter_type = adapter_type
        self.uuid = uuid or new_disk_uuid()
        self.parent = parent
        self.users: set[Any] = set()
        self.extending = False
        self.shown_capacity_bytes: int | None = None
        self._capacity_bytes: int | None = None
        self._object_id = str(uuids.uuid4())

    @property
    def datastore(self) -> Any:
        """The managed object of the disk's datastore; None in a test without one."""
        return self.files.owner

    @property
    def path(self) -> DatastorePath:
        return DatastorePath(self.files.name, self.descriptor.path)

    @property
    def extent(self) -> DatastoreFile:
        """The file with the bytes; FileNotFound if it was deleted."""
        return self.files.file(self.extent_path)

    @property
    def content(self) -> DiskContent:
        """The bytes of the disk, including its parents'."""
        return self.extent.content

    @property
    def object_id(self) -> str | None:
        """The disk's object on a vSAN; None elsewhere."""
        is_on_vsan = self.datastore is not None and self.datastore.is_vsan
        return self._object_id if is_on_vsan else None

    @property
    def content_id(self) -> str | None:
        """`backing.contentId`; None without an extent, or if the switch hides it."""
        extent = self.files.get(self.extent_path)
        if extent is None or not self._switches.disks_have_content_ids:
            return None
        return extent.content.content_id

    @property
    def _switches(self) -> Switches:
        if self.datastore is None:
            return Switches()
        switches: Switches = self.datastore.vcenter.switches
        return switches

    @property
    def capacity_bytes(self) -> int:
        """The capacity in the descriptor; the extent may be missing or replaced by an upload."""
        if self._capacity_bytes is None:
            self._capacity_bytes = self.content.size_bytes
        return self._capacity_bytes

    @capacity_bytes.setter
    def capacity_bytes(self, size_bytes: int) -> None:
        self._capacity_bytes = size_bytes

    @property
    def sparse(self) -> bool:
        """Whether this is an uploaded sparse file, not a disk that a VM can use."""
        return self.extent_path == self.descriptor.path

    @property
    def occupied_bytes(self) -> int:
        """Bytes that descriptor and extent occupy, without parents."""
        return self.descriptor.charged_bytes + (0 if self.sparse else self.extent_bytes)

    @property
    def extent_bytes(self) -> int:
        """Bytes that the extent alone occupies; 0 if it was deleted."""
        extent = self.files.get(self.extent_path)
        return extent.charged_bytes if extent is not None else 0

    @property
    def chain(self) -> list[VirtualDisk]:
        """This disk and its ancestors, base last."""
        return [self, *(self.parent.chain if self.parent else [])]

    def is_intact(self) -> bool:
        """Whether both files exist."""
        return (
            self.files.get(self.descriptor.path) is self.descriptor
            and self.files.get(self.extent_path) is not None
        )

    def write_descriptor(self) -> None:
        """Write this object's state to the descriptor."""
        thin = self.provisioning == "thin"
        cylinders, heads, sectors = vmdk.geometry(self.capacity_bytes)
        kind = "VMFSSPARSE" if self.parent else "VMFS"
        ddb = {
            "ddb.adapterType": self.adapter_type.lower(),
            "ddb.geometry.cylinders": str(cylinders),
            "ddb.geometry.heads": str(heads),
            "ddb.geometry.sectors": str(sectors),
            "ddb.uuid": spaced(self.uuid),
            "ddb.virtualHWVersion": "8",
        }
        if thin:
            ddb["ddb.thinProvisioned"] = "1"
        text = vmdk.Descriptor(
            create_type="vmfsSparse" if self.parent else "vmfs",
            extents=[(self.capacity_bytes, kind, posixpath.basename(self.extent_path))],
            parent_hint=self.parent.path.name if self.parent else None,
            ddb=ddb,
        ).text()
        self.descriptor.content = DiskContent.of(text)
        self.files.settle(self.descriptor)

    def extend(self, size_bytes: int, *, eager_zero: bool = False) -> None:
        """Grow the disk. A delta cannot grow, and no disk shrinks (the caller raises its own
        fault).

        An eagerZeroedThick disk whose new part is not zeroed at once loses that type.
        """
        assert size_bytes >= self.capacity_bytes and self.parent is None
        extent = self.extent
        if extent.thick:
            self.files.require(size_bytes - extent.content.size_bytes, extent.path)
        if size_bytes > extent.content.size_bytes:
            extent.content.extend(size_bytes)
        if self.provisioning == "eagerZeroedThick" and not eager_zero:
            self.provisioning = "preallocated"
        self.capacity_bytes = size_bytes
        self.files.settle(extent)
        self.write_descriptor()

    def fill(self, content: DiskContent) -> None:
        """Replace the bytes (an import, a revert); the capacity becomes the content's."""
        extent = self.extent
        extent.content = content
        self.capacity_bytes = content.size_bytes
        self.files.settle(extent)
        self.write_descriptor()

    def delete(self) -> None:
        """Remove both files, as far as they exist."""
        for path in {self.descriptor.path, self.extent_path}:
            if self.files.get(path) is not None:
                self.files.delete(path)

    def copy_to(
        self,
        files: DatastoreFiles,
        path: str,
        *,
        provisioning: Provisioning | None = None,
        adapter_type: str | None = None,
        size_bytes: int | None = None,
    ) -> VirtualDisk:
        """A full, independent copy with a new uuid and a consolidated chain; may be larger."""
        content = vmdk_content(self).copy() if self.sparse else self.content.copy()
        content.extend(max(content.size_bytes, size_bytes or 0))
        if not self._switches.copies_keep_content_ids:
            content.renew_id()
        return create_disk(
            files,
            path,
            content.size_bytes,
            provisioning=provisioning or self.provisioning,
            adapter_type=adapter_type or self.adapter_type,
            content=content,
        )

    def move_to(self, files: DatastoreFiles, path: str, overwrite: bool = False) -> None:
        """Move both files; the extent is named after the new descriptor."""
        if files.exists(path) and not overwrite:
            raise vim.fault.FileAlreadyExists(
                msg=f"File {files.text(path)} already exists", file=files.text(path)
            )
        extent_path = path if self.sparse else extent_name(path, delta=self.parent is not None)
        if self.sparse:
            files.adopt(self.files.release(self.descriptor.path), path, overwrite)
        else:
            files.require(0 if files is self.files else self.occupied_bytes, path)
            extent = self.files.release(self.extent_path)
            descriptor = self.files.release(self.descriptor.path)
            files.adopt(extent, extent_path, overwrite=True)
            files.adopt(descriptor, path, overwrite)
            if files is not self.files and not self._switches.copies_keep_content_ids:
                extent.content.renew_id()
        self.files, self.extent_path = files, extent_path
        if not self.sparse:
            self.write_descriptor()

    def convert(self, provisioning: Provisioning) -> None:
        """Become thin, preallocated or eagerZeroedThick; NoDiskSpace if a thick disk does not
        fit.
        """
        extent, thick = self.extent, provisioning != "thin"
        if not extent.delta and thick != extent.thick:
            if thick:
                self.files.require(extent.size_bytes - extent.charged_bytes, extent.path)
            extent.thick = thick
            self.files.settle(extent)
        self.provisioning = provisioning
        self.write_descriptor()

    def create_child(self, files: DatastoreFiles, path: str) -> VirtualDisk:
        """A delta on this disk (the running disk above a snapshot, or a linked clone's disk)."""
        extent = files.create(extent_name(path, delta=True), self.content.copy(), delta=True)
        descriptor = files.create(path)
        child = VirtualDisk(
            files,
            descriptor,
            extent.path,
            provisioning=self.provisioning,
            adapter_type=self.adapter_type,
            parent=self,
        )
        child.capacity_bytes = self.capacity_bytes
        descriptor.disk = child
        child.write_descriptor()
        return child


def extent_name(path: str, *, delta: bool = False) -> str:
    """ "dir/x.vmdk" -> "dir/x-flat.vmdk" or "dir/x-delta.vmdk"."""
    stem = path[:-5] if path.endswith(".vmdk") else path
    return f"{stem}{'-delta' if delta else '-flat'}.vmdk"


def create_disk(
    files: DatastoreFiles,
    path: str,
    size_bytes: int,
    *,
    provisioning: Provisioning = "thin",
    adapter_type: str = "lsiLogic",
    content: DiskContent | None = None,
    uuid: str | None = None,
    overwrite: bool = False,
) -> VirtualDisk:
    """Create a flat disk; FileAlreadyExists, FileNotFound (no directory) or NoDiskSpace."""
    if files.exists(path) and not overwrite:
        raise vim.fault.FileAlreadyExists(
            msg=f"Cannot complete the operation because the file {files.text(path)} already exists",
            file=files.text(path),
        )
    extent = files.create(
        extent_name(path),
        content if content is not None else DiskContent(size_bytes),
        thick=provisioning != "thin",
        overwrite=True,
    )
    try:
        descriptor = files.create(path, overwrite=overwrite)
    except vim.fault.VimFault:
        files.delete(extent.path)
        raise
    disk = VirtualDisk(
        files,
        descriptor,
        extent.path,
        provisioning=provisioning,
        adapter_type=adapter_type,
        uuid=uuid,
    )
    descriptor.disk = disk
    disk.write_descriptor()
    return disk


def open_disk(files: DatastoreFiles, path: str) -> VirtualDisk:
    """The disk whose descriptor (or sparse file) is at `path`.

    FileNotFound if there is no such file, InvalidDiskFormat if it is not a disk.
    """
    file = files.file(path)
    if file.disk is not None:
        return file.disk
    if vmdk.is_sparse_extent(file.content):
        return VirtualDisk(files, file, path, provisioning="thin")
    try:
        text = vmdk.Descriptor.parse(file.content.read(0, _TEXT_LIMIT_BYTES))
    except vmdk.VmdkError as exc:
        raise vim.fault.InvalidDiskFormat(
            msg=f"The disk format of {files.text(path)} is invalid: {exc}"
        ) from exc
    if len(text.extents) != 1 or "/" in text.extents[0][2]:
        raise vim.fault.InvalidDiskFormat(
            msg=f"{files.text(path)} does not name exactly one extent beside it"
        )
    disk = VirtualDisk(
        files,
        file,
        posixpath.join(posixpath.dirname(path), text.extents[0][2]),
        provisioning="thin" if text.ddb.get("ddb.thinProvisioned") == "1" else "preallocated",
        adapter_type={"lsilogic": "lsiLogic", "buslogic": "busLogic"}.get(
            text.ddb.get("ddb.adapterType", "lsilogic").lower(), "ide"
        ),
    )
    disk.capacity_bytes = text.capacity_bytes
    file.disk = disk
    return disk


def vmdk_content(disk: VirtualDisk) -> DiskContent:
    """The disk inside a sparse file; InvalidDiskFormat if it is damaged."""
    try:
        return vmdk.open_extent(disk.descriptor.content)
    except vmdk.VmdkError as exc:
        raise vim.fault.InvalidDiskFormat(
            msg=f"The disk format of {disk.path} is invalid: {exc}"
        ) from exc


def new_disk_uuid() -> str:
    """A uuid in the form of ESXi's: 6000C29..."""
    return "6000C29" + str(uuids.uuid4())[7:]


def spaced(uuid: str) -> str:
    """ "6000C298-..." in the VirtualDiskManager's form: "60 00 C2 98 ... - ..."."""
    digits = uuid.replace("-", "").replace(" ", "")
    pairs = [digits[i : i + 2] for i in range(0, len(digits), 2)]
    return " ".join(pairs[:8]) + "-" + " ".join(pairs[8:])


def unspaced(uuid: str) -> str:
    """The reverse of `spaced`; accepts other spellings of a uuid too."""
    digits = "".join(char for char in uuid if char not in " -")
    return str(uuids.UUID(digits))
