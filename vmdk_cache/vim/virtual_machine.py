"""VMs and templates, read in bulk into frozen values."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vmdk_cache.vim import properties
from vmdk_cache.vim.api_version import is_at_least
from vmdk_cache.vim.custom_attribute import NO_VALUES, CustomAttributes
from vmdk_cache.vim.folder import find_child
from vmdk_cache.vim.properties import Row
from vmdk_cache.vim.reference import unescape_name
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_disk import DEVICES, VirtualDisk, disks_of

_PATHS = (
    "name",
    "config.template",
    "config.instanceUuid",
    "config.annotation",
    "config.files.vmPathName",
    DEVICES,
    "runtime.host",
    "runtime.connectionState",
    "datastore",
    "storage.perDatastoreUsage",
)
#: vSphere API reference, VirtualMachineConfigInfo.createDate: since API 6.7; an older vCenter
#: refuses a request for it.
_CREATE_DATE = "config.createDate"
_CREATE_DATE_SINCE = "6.7"


@dataclass(frozen=True)
class VmInfo:
    """A VM or template as it was when read.

    :ivar host: moref of the host it is registered on, None if vCenter did not report it
    :ivar datastores: morefs of the datastores that hold its files
    :ivar extra_config_record: value of the requested extraConfig key, None if not set
    :ivar committed_bytes: space that its files use on all datastores
    :ivar unshared_bytes: space that deleting it frees
    :ivar has_config: False if vCenter has no configuration of it (its files are lost, or it is
        being created)
    :ivar connection_state: ``connected``, ``inaccessible``, ``orphaned``, ``invalid``, ...
    :ivar custom_values: name -> value of the requested custom attributes that are set
    :ivar created_at: aware, UTC; None if vCenter does not report it. A clone may have the date of
        its source, so this does not prove its age (vSphere API reference,
        VirtualMachineConfigInfo.createDate)
    """

    moref: str
    name: str
    is_template: bool
    host: str | None
    datastores: tuple[str, ...]
    extra_config_record: str | None
    disks: tuple[VirtualDisk, ...]
    committed_bytes: int
    unshared_bytes: int
    has_config: bool
    instance_uuid: str | None = None
    annotation: str = ""
    connection_state: str = "connected"
    custom_values: Mapping[str, str] = field(default_factory=lambda: NO_VALUES, hash=False)
    created_at: datetime.datetime | None = None


def list_vms(
    session: Session, folder: str, record_key: str, *, attributes: Sequence[str] = ()
) -> list[VmInfo]:
    """VMs and templates that are children of a folder, in one request per page.

    :param folder: moref
    :param record_key: extraConfig key to include, see ``VmInfo.extra_config_record``
    :param attributes: custom attributes to include, see ``VmInfo.custom_values``; the first values
        after a log-in cost a second request
    :raises ObjectNotFound: the folder is gone
    """
    found = properties.read_through(
        session,
        "Folder",
        folder,
        [("Folder", "childEntity")],
        "VirtualMachine",
        paths(session, record_key, attributes),
    )
    return [
        info_of(session, moref, values, record_key, attributes) for moref, values in found.items()
    ]


def get_vm(
    session: Session, moref: str, record_key: str, *, attributes: Sequence[str] = ()
) -> VmInfo | None:
    """One VM, in one request; None if it is gone. Same parameters as
    :func:`list_vms`."""
    return get_vms(session, [moref], record_key, attributes=attributes).get(moref)


def get_vms(
    session: Session, morefs: Iterable[str], record_key: str, *, attributes: Sequence[str] = ()
) -> dict[str, VmInfo]:
    """The existing VMs among ``morefs``, by moref, in one request per 500 VMs. Same
    parameters as :func:`list_vms`."""
    wanted = paths(session, record_key, attributes)
    found = properties.read(session, "VirtualMachine", morefs, wanted)
    return {
        moref: info_of(session, moref, values, record_key, attributes)
        for moref, values in found.items()
    }


def find_vm(session: Session, folder: str, name: str, record_key: str) -> VmInfo | None:
    """The VM with that (plain) name in a folder, in two requests; None if there is none."""
    moref = find_child(session, folder, name)
    if moref is None:
        return None
    return get_vm(session, moref, record_key)


def extra_config_path(key: str) -> str:
    """Property path of that key in a VM's extraConfig."""
    return f'config.extraConfig["{key}"]'


def paths(session: Session, record_key: str, attributes: Sequence[str]) -> list[str]:
    """The property paths that :func:`info_of` needs."""
    wanted = [*_PATHS, extra_config_path(record_key)]
    if is_at_least(str(session.content.about.apiVersion), _CREATE_DATE_SINCE):
        wanted.append(_CREATE_DATE)
    if attributes:
        wanted.append("customValue")
    return wanted


def info_of(
    session: Session,
    moref: str,
    values: Row,
    record_key: str,
    attributes: Sequence[str],
) -> VmInfo:
    """A VmInfo of these properties. The first values of custom attributes after a log-in cost a
    request."""
    record = values.get(extra_config_path(record_key))
    usage = values.get("storage.perDatastoreUsage") or ()
    return VmInfo(
        moref=moref,
        name=unescape_name(values.get("name", "")),
        is_template=bool(values.get("config.template")),
        host=values.get("runtime.host"),
        datastores=tuple(values.get("datastore") or ()),
        extra_config_record=None if record is None else str(getattr(record, "value", record)),
        disks=disks_of(values.get(DEVICES) or ()),
        committed_bytes=sum(part.committed or 0 for part in usage),
        unshared_bytes=sum(part.unshared or 0 for part in usage),
        has_config="config.files.vmPathName" in values,
        instance_uuid=values.get("config.instanceUuid"),
        annotation=values.get("config.annotation") or "",
        connection_state=str(values.get("runtime.connectionState") or "connected"),
        custom_values=CustomAttributes.of(session).named(
            values.get("customValue") or (), attributes
        ),
        created_at=in_utc(values.get(_CREATE_DATE)),
    )


def storage_usage(session: Session, moref: str) -> tuple[int, datetime.datetime | None]:
    """Bytes that the VM's files use on all datastores, and the time of vCenter's last refresh of
    them, which may be days ago (aware, UTC; None if there was none).

    :raises ObjectNotFound: the VM is gone
    """
    paths = ["storage.perDatastoreUsage", "storage.timestamp"]
    values = properties.read_one(session, "VirtualMachine", moref, paths)
    usage = values.get("storage.perDatastoreUsage") or ()
    committed_bytes = sum(part.committed or 0 for part in usage)
    return committed_bytes, in_utc(values.get("storage.timestamp"))


def refresh_storage(session: Session, moref: str) -> None:
    """Have vCenter refresh the sizes of the VM's files: they are outdated for a while after an
    import (vSphere API reference, VirtualMachineStorageInfo.timestamp)."""
    session.invoke("VirtualMachine", moref, "RefreshStorageInfo", safe=True)


def in_utc(time: datetime.datetime | None) -> datetime.datetime | None:
    """The time in UTC; a time from vCenter without a zone is UTC."""
    if time is None or time.tzinfo is not None:
        return time and time.astimezone(datetime.UTC)
    return time.replace(tzinfo=datetime.UTC)
