"""What the cache does with vCenter: the initial state, the work, and the outcome of a clean run.

Each operation runs in its own process that has just logged in, so it makes every call that it ever
makes. An outcome is a word or two: what happened to the volume, or to the work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from pyVmomi import vim, vmodl

from tests.faults.world import AGE_S, DATASTORES, World
from vmdk_cache import errors
from vmdk_cache.cache.events import reason_of
from vmdk_cache.cache.key import replica_name

#: Outcomes in which the volume exists.
MADE = ("hit", "miss")


@dataclass(frozen=True)
class Operation:
    """:ivar clean: the outcome without a fault
    :ivar makes_volume: the outcome is that of volume 1
    :ivar opens: the work is to log in
    :ivar most_extra_requests: beyond those of a clean run: ten attempts at one call are nine more,
        a broken watch over tasks is recreated five times, and lost objects are searched for and
        removed
    """

    name: str
    clean: str
    prepare: Callable[[World], None]
    work: Callable[[World], str]
    makes_volume: bool = False
    opens: bool = False
    most_extra_requests: int = 400

    def run(self, world: World) -> str:
        """The outcome. An error is an outcome too, named by what Cinder would do with it."""
        try:
            return self.work(world)
        except errors.ImageError as failure:
            return f"error: {type(failure).__name__}"
        except errors.VmdkCacheError as failure:
            what = f"bypass: {reason_of(failure)}" if self.makes_volume else "not done"
            return f"{what} ({type(failure).__name__})"


def nothing(world: World) -> None:
    """Nothing exists yet."""


def a_template(world: World) -> None:
    """Another process, which has ended since, has imported the image."""
    world.running.images.warm(world.image, "lsiLogic", world.source)
    world.close()


def a_template_and_one_task(world: World) -> None:
    """The same, in a vCenter that sets a disk's size and uuid in CloneVM_Task."""
    a_template(world)
    world.vcenter.switches.disk_uuid_in_clone = "kept"


def a_template_and_no_edit(world: World) -> None:
    """The same, in a vCenter that refuses a clone with another uuid for its disk."""
    a_template(world)
    world.vcenter.switches.disk_uuid_in_clone = "refused"


def a_template_in_maintenance(world: World) -> None:
    """The same, with the template's host in maintenance mode."""
    a_template(world)
    (template,) = world.templates()
    template.host.set_maintenance(True)


def an_old_template(world: World) -> None:
    a_template(world)
    world.vcenter.clock.advance(AGE_S + 1)


def an_old_template_without_files(world: World) -> None:
    an_old_template(world)
    (template,) = world.templates()
    storage = template.home_datastore.storage
    for path in list(storage.files()):
        if path.startswith(f"{template.directory}/"):
            storage.delete(path)
    storage.delete_if_empty(template.directory)


def debris(world: World) -> None:
    """An import that was unfinished an hour ago, and a directory without a VM."""
    rules = world.vcenter.fault_rules
    rules.add("MarkAsTemplate", vmodl.fault.SystemError(reason="made up"), times=None)
    rules.add("Destroy_Task", vim.fault.NoPermission(privilegeId="made.up"), times=None)
    with contextlib.suppress(errors.VmdkCacheError):
        world.running.images.warm(world.image, "lsiLogic", world.source)
    rules.clear()
    world.close()
    name = replica_name("b1", world.key, world.vcenter.datastore(DATASTORES[1]).moref)
    with world.vcenter.lock:
        world.vcenter.datastore(DATASTORES[1]).storage.make_directory(name)
    world.vcenter.clock.advance(3600)


def log_in(world: World) -> str:
    world.open()
    return "logged in"


def volume_1(world: World) -> str:
    return "hit" if world.create(1) else "miss"


def replicate(world: World) -> str:
    _, made = world.running.replication.make(world.key, elsewhere(world))
    return "made" if made else "there already"


def warm(world: World) -> str:
    warmed = world.running.images.warm(world.image, "lsiLogic", world.source, elsewhere(world))
    return warmed.how.value


def elsewhere(world: World) -> str:
    """Managed object id of the datastore without the template."""
    (template,) = world.templates()
    (other,) = {*DATASTORES} - {template.home_datastore.name}
    return str(world.vcenter.datastore(other).moref)


def purge(world: World) -> str:
    return f"{len(world.running.purge.run())} removed"


def reconcile(world: World) -> str:
    report = world.running.reconcile.check(fix=True, remove_directories=True)
    if report.skipped:
        return "skipped"
    return f"{sum(finding.fixed for finding in report.findings)} mended"


def stats(world: World) -> str:
    """As the driver does it each minute; the previous report stays if vCenter is away."""
    report = world.running.reporter.latest()
    return f"{report.extra_provisioned_gib} GiB, {len(report.image_ids)} images"


OPERATIONS = (
    Operation("log in", "logged in", a_template, log_in, opens=True),
    Operation("first volume", "miss", nothing, volume_1, makes_volume=True),
    Operation("hit", "hit", a_template, volume_1, makes_volume=True),
    Operation("hit, one task", "hit", a_template_and_one_task, volume_1, makes_volume=True),
    Operation("hit, edit refused", "hit", a_template_and_no_edit, volume_1, makes_volume=True),
    Operation("hit, host gone", "hit", a_template_in_maintenance, volume_1, makes_volume=True),
    Operation("replicate", "made", a_template, replicate),
    Operation("warm up", "replicated", a_template, warm),
    Operation("purge", "1 removed", an_old_template, purge),
    Operation("purge, files lost", "1 removed", an_old_template_without_files, purge),
    Operation("reconcile", "2 mended", debris, reconcile),
    Operation("report", "1 GiB, 1 images", a_template, stats),
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}
