"""VMs that back volumes, as created by Cinder's VMDK driver.

Upstream puts the VM of a volume into ``OpenStack/Project (<project id>)/<vmware_volume_folder>``
and writes the volume's id into its extraConfig, where it stays until the volume is deleted or
unmanaged. Temporary VMs have no id, or the id of the volume that they are made from; snapshots in
template format are templates in a folder further down (cinder, vmdk.py, _get_extra_config,
unmanage, _get_volume_group_folder).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vmdk_cache.vim import properties
from vmdk_cache.vim.folder import find_folder
from vmdk_cache.vim.inventory import Datacenter
from vmdk_cache.vim.properties import Row
from vmdk_cache.vim.reference import unescape_name
from vmdk_cache.vim.session import Session

#: Key of extraConfig (cinder, vmdk.EXTRA_CONFIG_VOLUME_ID_KEY).
VOLUME_ID_KEY = "cinder.volume.id"
ROOT = "OpenStack"
_VOLUME_ID = f'config.extraConfig["{VOLUME_ID_KEY}"]'
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PROJECT = re.compile(r"Project \((?P<id>.+)\)")
_VM_PATHS = ["name", "parent", "config.template", "config.instanceUuid", _VOLUME_ID]


@dataclass(frozen=True)
class Backing:
    """A VM with a volume's id.

    :ivar project: id of the project whose folder it is in
    :ivar volume_ids: all ids that may be the volume's, in lower case: from its extraConfig, which
        is set at creation, from its uuid, and from its name, which a migration may change
    """

    moref: str
    name: str
    project: str
    volume_ids: frozenset[str]


def backings_in(session: Session, datacenter: Datacenter, volume_folder: str) -> list[Backing]:
    """The backings in the project folders of a datacenter: one request per page, and one for the
    folder.

    :param volume_folder: plain name, ``vmware_volume_folder``
    :raises VCenterError: the request failed
    """
    root = find_folder(session, datacenter, [ROOT])
    if root is None:
        return []
    spec = properties.filter_spec(
        ("Folder", root),
        3 * [("Folder", "childEntity")],  # to projects, to their folders, to the VMs
        {"Folder": ["name", "parent"], "VirtualMachine": _VM_PATHS},
        may_be_gone=True,
    )
    found = properties.retrieve(session, spec)
    folders = {moref: row for (kind, moref), row in found.items() if kind == "Folder"}
    projects = dict(_projects(folders, root, volume_folder))
    return [
        made
        for (kind, moref), row in found.items()
        if kind == "VirtualMachine"
        and (project := projects.get(row.get("parent", ""))) is not None
        and (made := _backing(moref, row, project)) is not None
    ]


def still_there(session: Session, backings: Iterable[Backing]) -> list[Backing]:
    """The backings that still exist with the same ids in the same place; one request per 500."""
    wanted = {backing.moref: backing for backing in backings}
    rows = properties.read(session, "VirtualMachine", wanted, _VM_PATHS)
    return [
        backing
        for moref, backing in wanted.items()
        if moref in rows and _backing(moref, rows[moref], backing.project) == backing
    ]


def _projects(
    folders: Mapping[str, Row], root: str, volume_folder: str
) -> Iterator[tuple[str, str]]:
    """(moref of a project's volume folder, the project's id)"""
    for moref, row in folders.items():
        above = folders.get(row.get("parent", ""), {})
        project = _PROJECT.fullmatch(unescape_name(above.get("name", "")))
        if (
            project is not None
            and above.get("parent") == root
            and unescape_name(row.get("name", "")) == volume_folder
        ):
            yield moref, project["id"]


def _backing(moref: str, row: Row, project: str) -> Backing | None:
    """The backing; None for a template, and for a VM without a volume's id."""
    option = row.get(_VOLUME_ID)
    volume_id = "" if option is None else str(getattr(option, "value", option))
    if row.get("config.template") or _UUID.fullmatch(volume_id) is None:
        return None
    name = unescape_name(row.get("name", ""))
    in_name = [found[0] for found in _UUID.finditer(name)]
    ids = {volume_id, row.get("config.instanceUuid") or volume_id, *in_name}
    return Backing(moref, name, project, frozenset(map(str.lower, ids)))
