"""What a VM or template is, read in bulk into frozen values."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vmdk_cache.vim import properties
from vmdk_cache.vim.api_version import is_at_least
from vmdk_cache.vim.custom_attribute import NO_VALUES, CustomAttributes
from vmdk_cache.vim.folder import find_child
from vmdk_cache.vim.object_table import Row
from vmdk_cache.vim.reference import unescape_name
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_disk import VirtualDisk, disks_of

_PATHS = (
    "name",
    "config.template",
    "config.instanceUuid",
    "config.annotation",
    "config.files.vmPathName",
    "config.hardware.device",
    "runtime.host",
    "runtime.connectionState",
    "datastore",
    "storage.perDatastoreUsage",
)
#: vSphere API reference, VirtualMachineConfigInfo.createDate: since API 6.7; an older vCenter
#: refuses to be asked.
_CREATE_DATE = "config.createDate"
_CREATE_DATE_SINCE = "6.7"


@dataclass(frozen=True)
class VmInfo:
    """A VM or template as it was when read.

    :ivar host: moref of the host it is registered on, None if vCenter did not say
    :ivar datastores: morefs of the datastores that it has files on
    :ivar extra_config_record: value of the extraConfig key that was asked for, None if not set
    :ivar committed_bytes: space its files take, all datastores together
    :ivar unshared_bytes: space that deleting it frees
    :ivar has_config: False when vCenter has no configuration of it (files lost, or just being made)
    :ivar connection_state: ``connected``, ``inaccessible``, ``orphaned``, ``invalid``, ...
    :ivar custom_values: name -> value of the custom attributes that were asked for and are set
    :ivar created_at: aware, UTC; None if vCenter does not say. A clone may show its source's, so
        this proves no age (vSphere API reference, VirtualMachineConfigInfo.createDate)
    :ivar folder: plain name of the folder that it is in, None if that was not asked for
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
    folder: str | None = None


def list_vms(
    session: Session, folder: str, record_key: str, *, attributes: Sequence[str] = ()
) -> list[VmInfo]:
    """VMs and templates that are children of a folder, in one request per page.

    :param folder: moref
    :param record_key: extraConfig key to read along, see ``VmInfo.extra_config_record``
    :param attributes: custom attributes to read along, see ``VmInfo.custom_values``; costs a
        second request when values turn up for the first time after a log-in
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
    """One VM, in one request; None if it is gone. Parameters as of :func:`list_vms`."""
    return get_vms(session, [moref], record_key, attributes=attributes).get(moref)


def get_vms(
    session: Session, morefs: Iterable[str], record_key: str, *, attributes: Sequence[str] = ()
) -> dict[str, VmInfo]:
    """Those of the VMs that exist, by moref, in one request per 500. Parameters as of
    :func:`list_vms`."""
    wanted = paths(session, record_key, attributes)
    found = properties.read(session, "VirtualMachine", morefs, wanted)
    return {
        moref: info_of(session, moref, values, record_key, attributes)
        for moref, values in found.items()
    }


def find_vm(session: Session, folder: str, name: str, record_key: str) -> VmInfo | None:
    """The VM of that (plain) name in a folder, in two requests; None if there is none."""
    moref = find_child(session, folder, name)
    if moref is None:
        return None
    return get_vm(session, moref, record_key)


def extra_config_path(key: str) -> str:
    """The property that holds that key of a VM's extraConfig."""
    return f'config.extraConfig["{key}"]'


def paths(session: Session, record_key: str, attributes: Sequence[str]) -> list[str]:
    """The properties that :func:`info_of` makes a VmInfo of."""
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
    """The VM of these properties. Costs a request when values of custom attributes turn up for the
    first time after a log-in."""
    record = values.get(extra_config_path(record_key))
    usage = values.get("storage.perDatastoreUsage") or ()
    return VmInfo(
        moref=moref,
        name=unescape_name(values.get("name", "")),
        is_template=bool(values.get("config.template")),
        host=values.get("runtime.host"),
        datastores=tuple(values.get("datastore") or ()),
        extra_config_record=None if record is None else str(getattr(record, "value", record)),
        disks=disks_of(values.get("config.hardware.device") or ()),
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


def in_utc(time: datetime.datetime | None) -> datetime.datetime | None:
    """In UTC; vCenter leaves the zone out where it means UTC."""
    if time is None or time.tzinfo is not None:
        return time and time.astimezone(datetime.UTC)
    return time.replace(tzinfo=datetime.UTC)
