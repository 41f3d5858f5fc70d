"""Probes: does the account have each privilege of docs/security.rst on each object that needs it?

One request reads all privileges on all objects; each probe reports one kind of object. A virtual
machine that does not exist yet will have the permissions of its folder and of its resource pool: a
privilege granted on either is granted on the virtual machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vmdk_cache.preflight.probe import Finding, failed, ok, warning
from vmdk_cache.preflight.target import CacheFolder, Target
from vmdk_cache.privileges import PRIVILEGES, HeldOn, Privilege, Without
from vmdk_cache.quoting import identifier, quoted
from vmdk_cache.vim import authorization

#: Number of templates that are checked individually: a permission on a single template is rare.
_TEMPLATES = 20


@dataclass(frozen=True)
class _Object:
    """An object whose privileges are checked.

    :ivar name: for messages
    :ivar entities: a privilege granted on one of them counts for the object
    """

    name: str
    entities: tuple[authorization.Entity, ...]


def probe_of(held_on: HeldOn) -> Callable[[Target], Iterator[Finding]]:
    """Return the probe of the privileges on this kind of object."""

    def look(target: Target) -> Iterator[Finding]:
        granted = target.once("granted", lambda: _granted(target))
        wanted = [each for each in PRIVILEGES if held_on in each.held_on]
        for each in _objects(target)[held_on]:
            held = {name for _, moref in each.entities for name in granted.get(moref, ())}
            missing = [privilege for privilege in wanted if privilege.id not in held]
            if not missing:
                yield ok(f"all {len(wanted)} privileges are granted", each.name)
            target.missing_privileges.update(privilege.id for privilege in missing)
            for privilege in missing:
                yield _finding(privilege, each.name)

    return look


def _finding(privilege: Privilege, name: str) -> Finding:
    to_do = f"grant it there, or on a parent with propagation; needed for: {privilege.purpose}"
    if privilege.without is Without.BYPASS:
        return failed(f"{privilege.id} is missing: the cache cannot serve volumes", to_do, name)
    if privilege.without is Without.DEGRADED:
        return warning(f"{privilege.id} is missing: the cache works, but is limited", to_do, name)
    return warning(f"{privilege.id} is missing: Cinder's own driver needs it", to_do, name)


def _granted(target: Target) -> dict[str, frozenset[str]]:
    """The granted privileges of all objects, by moref."""
    entities = {
        entity: None
        for objects in _objects(target).values()
        for each in objects
        for entity in each.entities
    }
    names = [each.id for each in PRIVILEGES]
    return authorization.granted(target.session, list(entities), names)


def _objects(target: Target) -> dict[HeldOn, list[_Object]]:
    pools = {
        host.pool: target.cluster_names.get(host.cluster, host.cluster)
        for host in target.inventory.hosts
    }
    folders = {
        each.moref: each for each in (*target.cache_folders, *target.project_folders)
    }.values()
    templates = [
        _Object(f"template {quoted(vm.name)}", (("VirtualMachine", vm.moref),))
        for vm in target.templates[:_TEMPLATES]
        if vm.is_template
    ]
    machines = [_machines_in(target, each) for each in folders]
    return {
        HeldOn.VCENTER: [_Object("vCenter", (_root(target),))],
        HeldOn.DATASTORE: [
            _Object(identifier(each.name), (("Datastore", each.moref),))
            for each in target.usable_datastores
        ],
        HeldOn.POOL: [
            _Object(f"pool of {identifier(name)}", (("ResourcePool", moref),))
            for moref, name in pools.items()
        ],
        HeldOn.FOLDER: [
            _Object(f"folder {quoted(each.path)}", (("Folder", each.moref),)) for each in folders
        ],
        HeldOn.VM: machines,
        HeldOn.TEMPLATE: [*machines, *templates],
    }


def _machines_in(target: Target, folder: CacheFolder) -> _Object:
    pools = {
        host.pool for host in target.inventory.hosts if host.datacenter == folder.datacenter.moref
    }
    # The VM's pool is unknown: with several pools, a privilege on one of them does not count.
    pool = [("ResourcePool", each) for each in pools] if len(pools) == 1 else []
    return _Object(f"virtual machines in {quoted(folder.path)}", (("Folder", folder.moref), *pool))


def _root(target: Target) -> authorization.Entity:
    return "Folder", str(target.session.content.rootFolder._GetMoId())
