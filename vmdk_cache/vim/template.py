"""Template VMs and the volumes cloned from them: list, clone, finish, mark, destroy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Disk:
    """A virtual disk of a VM.

    :ivar key: device key, e.g. 2000
    :ivar controller_key: device key of its controller, e.g. 1000
    :ivar file_name: ``[datastore] dir/file.vmdk``
    :ivar uuid: ``backing.uuid`` as vCenter writes it, None if the backing has none
    :ivar adapter: ``lsiLogic``, ``busLogic``, ``lsiLogicsas``, ``paraVirtual``, ``ide``, or '' for
        any other controller
    :ivar thin: the backing is thin provisioned
    :ivar has_parent: the backing is a delta upon another disk
    """

    key: int
    controller_key: int
    capacity_bytes: int
    file_name: str
    uuid: str | None
    adapter: str
    thin: bool = False
    has_parent: bool = False


@dataclass(frozen=True)
class VmInfo:
    """A VM or template as it was when read.

    :ivar host: moref of the host it is registered on, None if vCenter did not say
    :ivar datastores: morefs of the datastores that it has files on
    :ivar extra_config_record: value of the extraConfig key that was asked for, None if not set
    :ivar committed_bytes: space its files take, all datastores together
    :ivar unshared_bytes: space that deleting it frees
    :ivar has_config: False when vCenter has no configuration of it (files lost, or just being made)
    :ivar path: ``[datastore] dir/name.vmx`` (``.vmtx`` of a template), '' without configuration
    :ivar connection_state: ``connected``, ``inaccessible``, ``orphaned``, ``invalid``, ...
    """

    moref: str
    name: str
    is_template: bool
    host: str | None
    datastores: tuple[str, ...]
    extra_config_record: str | None
    disks: tuple[Disk, ...]
    committed_bytes: int
    unshared_bytes: int
    has_config: bool
    instance_uuid: str | None = None
    annotation: str = ""
    path: str = ""
    connection_state: str = "connected"


@dataclass(frozen=True)
class CloneRequest:
    """Where a clone goes and who it is.

    :ivar folder: moref; so are ``datastore``, ``host`` and ``pool``
    :ivar disk_key: device key of the source's only disk (:class:`Disk`)
    :ivar disk_type: ``thin``, ``thick`` or ``eagerZeroedThick``
    :ivar extra_config: keys to set; the value ``''`` removes a key that the source has
    :ivar managed_by: (extension key, type), or None: the clone is managed by nobody, even when
        its source is managed
    :ivar annotation: replaces the source's; '' removes it
    :ivar profile_id: storage profile for the VM's home and its disk
    :ivar as_template: the clone is a template at once
    """

    name: str
    folder: str
    datastore: str
    host: str | None
    pool: str
    disk_key: int
    disk_type: str = "thin"
    instance_uuid: str | None = None
    extra_config: Mapping[str, str] = field(default_factory=dict)
    managed_by: tuple[str, str] | None = None
    annotation: str = ""
    profile_id: str | None = None
    as_template: bool = False
