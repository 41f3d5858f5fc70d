"""Does the account hold each privilege of docs/security.rst on each object that needs it?

vCenter is asked once, for all privileges on all objects; the probes divide the answer by kind of
object. A virtual machine that does not exist yet has the permissions of its folder and of its
resource pool: a privilege that is held on either is held on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vmdk_cache.preflight.probe import Finding, failed, ok, warning
from vmdk_cache.preflight.target import CacheFolder, Target
from vmdk_cache.privileges import PRIVILEGES, HeldOn, Privilege, Without
from vmdk_cache.quoting import identifier, quoted
from vmdk_cache.vim import authorization

#: Templates that are looked at one by one: a permission of its own on a template is rare.
_TEMPLATES = 20


@dataclass(frozen=True)
class _Object:
    """What privileges are looked for on.

    :ivar name: for people
    :ivar entities: a privilege that is held on one of them is held on the object
    """

    name: str
    entities: tuple[authorization.Entity, ...]


def probe_of(held_on: HeldOn) -> Callable[[Target], Iterator[Finding]]:
    """The probe of the privileges that are held on this kind of object."""

    def look(target: Target) -> Iterator[Finding]:
        granted = target.once("granted", lambda: _granted(target))
        wanted = [each for each in PRIVILEGES if held_on in each.held_on]
        for each in _objects(target)[held_on]:
            held = {name for _, moref in each.entities for name in granted.get(moref, ())}
            missing = [privilege for privilege in wanted if privilege.id not in held]
            if not missing:
                yield ok(f"all {len(wanted)} privileges are held", each.name)
            target.missing_privileges.update(privilege.id for privilege in missing)
            for privilege in missing:
                yield _finding(privilege, each.name)

    return look


def _finding(privilege: Privilege, name: str) -> Finding:
    to_do = f"grant it there, or above with propagation; it is for: {privilege.purpose}"
    if privilege.without is Without.BYPASS:
        return failed(f"{privilege.id} is missing: the cache serves no volume", to_do, name)
    if privilege.without is Without.DEGRADED:
        return warning(f"{privilege.id} is missing: the cache does without", to_do, name)
    return warning(f"{privilege.id} is missing: Cinder's own driver needs it", to_do, name)


def _granted(target: Target) -> dict[str, frozenset[str]]:
    """By moref, of all objects at once."""
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
    # On which pool a machine will be is not known: what one pool alone grants does not count.
    pool = [("ResourcePool", each) for each in pools] if len(pools) == 1 else []
    return _Object(f"machines in {quoted(folder.path)}", (("Folder", folder.moref), *pool))


def _root(target: Target) -> authorization.Entity:
    return "Folder", str(target.session.content.rootFolder._GetMoId())
