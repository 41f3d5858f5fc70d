"""The probes that change vCenter: they import, clone, copy, move and delete a small disk.

The engine performs each step exactly as it does for a volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from vmdk_cache import errors, retry
from vmdk_cache.adapters.disk_in_clone import Answer, trials_of
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.ports import Volume
from vmdk_cache.datastore.selection import usable_hosts
from vmdk_cache.preflight.live_image import CAPACITY_BYTES, MIB, Form
from vmdk_cache.preflight.live_target import TEMPLATE, VOLUME_BYTES, LiveTarget
from vmdk_cache.preflight.probe import Finding, Probe, Status, failed, not_tried, ok, warning
from vmdk_cache.preflight.target import Target
from vmdk_cache.quoting import quoted, sentence
from vmdk_cache.vim import datastore_browser, properties, recent_task
from vmdk_cache.vim.export_lease import open_export
from vmdk_cache.vim.import_lease import ImportLease, open_import
from vmdk_cache.vim.import_spec import ImportRequest
from vmdk_cache.vim.inventory import Datastore
from vmdk_cache.vim.virtual_machine import VmInfo
from vmdk_cache.vmdk.stream_optimized import read_disk

CLONES = 8
#: Numbers of the volumes after the clones.
_EAGER = CLONES + 1
_READ_BACK = {Form.STREAM_OPTIMIZED: 1, Form.RAW: CLONES + 2, Form.OVA: CLONES + 3}
_ABORTED = 20
#: vCenter is given this time to remove the VM of an aborted import.
_ABORTED_WITHIN_S = 60.0
_POLL_S = 0.5
_REPORT = "report it with the output of this command: the cache relies on this"

_DELETE = "VirtualMachine.Inventory.Delete"

_Step = Callable[[LiveTarget], Iterator[Finding]]


def leftovers(target: LiveTarget) -> Iterator[Finding]:
    """Remove what earlier runs left behind."""
    machines, directories, stay = target.remove_leftovers()
    for text in stay:
        yield warning(
            f"an earlier run was interrupted; {text}",
            "wait five minutes, because vCenter may still hold a lease on it, and run this command "
            "again",
        )
    if machines or directories:
        yield ok(
            f"removed what an earlier run left behind: {machines} virtual machines, "
            f"{directories} directories"
        )
    elif not stay:
        yield ok("no earlier run left anything behind")


def import_of(form: Form) -> _Step:
    """Return the probe that imports this form: ImportVApp, upload, check, MarkAsTemplate."""

    def step(target: LiveTarget) -> Iterator[Finding]:
        image = target.images[form]
        target.must_remove = True
        entry = target.cache.images.warm(image.image, target.adapter_type, image).entry
        target.templates[form] = entry
        where = quoted(target.cache.placement.datastore_names().get(entry.datastore or "", "?"))
        seen = f"{len(image.file) / MIB:.1f} MiB became a disk of {entry.size_bytes / MIB:g} MiB"
        if entry.phase is Phase.READY and entry.size_bytes == CAPACITY_BYTES:
            yield ok(f"{seen} on {where}")
        else:
            yield failed(f"{seen} on {where}, {entry.phase.value}", _REPORT)

    return step


def abort(target: LiveTarget) -> Iterator[Finding]:
    """Check that vCenter removes the VM of an aborted import."""
    lease = _opened(target, target.templates[Form.STREAM_OPTIMIZED])
    clock = target.read.clock
    lease.abort()
    began = clock.monotonic()
    stays = retry.poll(
        lambda: _stays(target, lease.vm),
        until=lambda stays: not stays,
        within_s=_ABORTED_WITHIN_S,
        first_wait_s=_POLL_S,
        clock=clock,
    )
    seconds = clock.monotonic() - began
    if stays:
        yield warning(
            f"vCenter has not removed the virtual machine {seconds:.0f} s after its import was "
            "aborted",
            "remains of a failed import stay until the next import of the image, or until "
            "vmdk-cache check --fix removes them",
        )
    else:
        yield ok(f"vCenter removed the virtual machine within {seconds:.1f} s after the abort")


def directories(target: LiveTarget) -> Iterator[Finding]:
    """Check that the template's directory is found by name, as an orphaned directory would be."""
    entry = target.templates[Form.STREAM_OPTIMIZED]
    datastore = _datastore(target, entry)
    if datastore.type in datastore_browser.WITHOUT_NAMES:
        yield not_tried(f"{sentence(datastore.type)} has ids instead of directory names")
        return
    session, waiter = target.cache.session, target.cache.waiter
    listed = datastore_browser.directories(session, waiter, datastore, TEMPLATE)
    used = datastore_browser.vm_directories(session, datastore.moref)
    found = [name for name in listed if name in used and target.names.owns(name)]
    if found:
        yield ok(f"found {quoted(found[0])} on {quoted(datastore.name)}")
    else:
        yield warning(
            f"a search of {quoted(datastore.name)} does not find the template's directory",
            "look for directories without a virtual machine by hand: vmdk-cache check does not "
            "find them there",
        )


def clones(target: LiveTarget) -> Iterator[Finding]:
    """Clone one template eight times at once."""
    volumes = [target.volume(number) for number in range(1, CLONES + 1)]
    with ThreadPoolExecutor(CLONES) as pool:
        seconds = list(pool.map(lambda volume: _clone(target, volume), volumes))
    yield ok(f"{CLONES} clones at once: the first took {min(seconds):.1f} s, "
             f"the last {max(seconds):.1f} s")  # fmt: skip


def grow(target: LiveTarget) -> Iterator[Finding]:
    """Check the capacity of the clones."""
    wrong = [
        vm.name for vm in _clones(target) if [d.capacity_bytes for d in vm.disks] != [VOLUME_BYTES]
    ]
    yield from _judge(wrong, f"each disk has {VOLUME_BYTES / MIB:g} MiB", "has a different size")


def disk_uuid(target: LiveTarget) -> Iterator[Finding]:
    """Check that the clones' disks have the volumes' uuids."""
    wrong = [
        vm.name
        for vm in _clones(target)
        if [_plain(disk.uuid) for disk in vm.disks] != [_plain(vm.instance_uuid)]
    ]
    yield from _judge(wrong, "each disk has its volume's uuid", "has a different uuid")


def one_task(target: LiveTarget) -> Iterator[Finding]:
    """Report what the clones, whose disks are thin, have shown about ``CloneSpec.config``."""
    known = trials_of(target.cache.session).answers("thin")
    if target.read.is_simulator:
        yield not_tried("govmomi's simulator would attach the template's own disk to a clone")
    elif Answer.UNKNOWN in (known.capacity, known.uuid):
        yield not_tried("no clone has shown this")
    elif known.for_volume(grows=True) is Answer.YES:
        yield ok("CloneVM_Task sets size and uuid of the disk: a volume takes one task")
    else:
        yield ok(
            f"CloneVM_Task sets the size of the disk: {known.capacity}, its uuid: {known.uuid}; a "
            "volume that grows takes two tasks"
        )


def identity(target: LiveTarget) -> Iterator[Finding]:
    """Check that a clone inherits nothing of the template's identity."""
    wrong = []
    for vm in _clones(target):
        inherited = [
            name
            for name, there in (
                ("the template's record", vm.extra_config_record),
                ("an annotation", vm.annotation),
                ("a custom attribute", vm.custom_values),
            )
            if there
        ]
        if vm.is_template:
            inherited.append("the template's kind")
        if vm.instance_uuid != target.volumes[vm.name].instance_uuid:
            inherited.append("a different uuid")
        if inherited:
            wrong.append(f"{vm.name} with {' and '.join(inherited)}")
    yield from _judge(
        wrong, "each clone has its own identity, and nothing of the template's", "is wrong"
    )


def eager_zeroing(target: LiveTarget) -> Iterator[Finding]:
    """Create a volume whose disk is zeroed at creation, including the part by which it grows."""
    volume = target.volume(_EAGER, "eagerZeroedThick")
    _clone(target, volume)
    vm = target.seen()[volume.name]
    [disk] = vm.disks
    if disk.capacity_bytes != VOLUME_BYTES:
        yield failed(f"the disk has {disk.capacity_bytes} bytes, not {VOLUME_BYTES}", _REPORT)
    elif disk.thin or not disk.eagerly_zeroed:
        yield warning(
            "vCenter does not report the disk as zeroed",
            "this datastore may not support eagerZeroedThick, which Cinder's own driver uses as "
            "well",
        )
    else:
        yield ok("the disk was zeroed when it was created and when it grew")


def replica(target: LiveTarget) -> Iterator[Finding]:
    """Make a replica of the template on a second datastore."""
    entry = target.templates[Form.STREAM_OPTIMIZED]
    others = [each for each in target.read.usable_datastores if each.moref != entry.datastore]
    if not others:
        yield not_tried("the backend uses only one datastore")
        return
    image, other = target.images[Form.STREAM_OPTIMIZED], others[0]
    made = target.cache.images.warm(image.image, target.adapter_type, image, other.moref).entry
    if made.datastore == other.moref and made.phase is Phase.READY:
        yield ok(f"a replica was made on {quoted(other.name)}")
    else:
        yield failed(f"the replica on {quoted(other.name)} is {made.phase.value}", _REPORT)


def move(target: LiveTarget) -> Iterator[Finding]:
    """Register the template on another host, as when its host enters maintenance mode."""
    entry = target.templates[Form.STREAM_OPTIMIZED]
    hosts = {host.moref: host for host in target.read.inventory.hosts}
    usable = usable_hosts(_datastore(target, entry), hosts)
    others = [host for host in usable if host.moref != entry.host]
    if not others:
        yield not_tried("the template's datastore has no second host")
        return
    target.cache.store.move(entry, others[0].moref)
    now = target.entry(Form.STREAM_OPTIMIZED)
    if now is not None and now.host == others[0].moref:
        yield ok(f"the template moved to {quoted(others[0].name)}")
    else:
        yield failed(f"the template did not move to {quoted(others[0].name)}", _REPORT)


def last_use(target: LiveTarget) -> Iterator[Finding]:
    """Record the last use of a template on it."""
    target.cache.store.touch(target.templates[Form.STREAM_OPTIMIZED])
    now = target.entry(Form.STREAM_OPTIMIZED)
    if now is not None and now.used_at is not None:
        yield ok(f"recorded as {now.used_at:%Y-%m-%d %H:%M:%S} UTC")
    else:
        yield warning(
            "the last use cannot be recorded on a template",
            "grant Global.SetCustomField, and Global.ManageCustomFields once; see the probe "
            "storage.attribute",
        )


def content_id(target: LiveTarget) -> Iterator[Finding]:
    """Check that the content id of a disk stays the same while nothing is written to it."""
    before = target.templates[Form.STREAM_OPTIMIZED].content_id
    now = target.entry(Form.STREAM_OPTIMIZED)
    after = None if now is None else now.content_id
    if before is None:
        yield warning(
            "vCenter reports no contentId",
            "make sure that the disks of templates are not changed: the cache cannot detect it",
        )
    elif before == after:
        yield ok("the template's contentId is the same after clones, a copy and a move")
    else:
        yield warning(
            "the template's contentId changed although nothing was written to its disk",
            "expect templates to be imported again after a move; " + _REPORT,
        )


def read_back(target: LiveTarget) -> Iterator[Finding]:
    """Read the bytes of a clone of each template through an export lease, and compare them."""
    for form in target.templates:
        number = _READ_BACK[form]
        name = target.names.volume(number)
        if name not in target.volumes:
            _clone(target, target.volume(number), form)
        yield _compared(target, form, target.seen()[name].moref)


def export(target: LiveTarget) -> Iterator[Finding]:
    """Read the bytes of a template itself, as ``vmdk-cache verify`` does."""
    form = Form.STREAM_OPTIMIZED
    try:
        yield _compared(target, form, target.templates[form].moref)
    except errors.NotSupported as refused:
        if target.read.is_simulator:
            raise
        yield warning(
            f"vCenter does not export a template: {refused}",
            "vmdk-cache verify cannot compare templates with images on this vCenter; " + _REPORT,
        )


def deletion(target: LiveTarget) -> Iterator[Finding]:
    """Delete everything, and check that nothing is left."""
    stay = target.remove_all()
    left = target.left_behind()
    for text in [*stay, *left]:
        yield failed(text, "run this command again in five minutes, or delete it by hand")
    if not stay and not left:
        yield ok("no virtual machine, directory or task is left")


def _opened(target: LiveTarget, like: CacheEntry) -> ImportLease:
    """Open an import next to the template, and upload nothing."""
    inventory, datastore = target.read.inventory, _datastore(target, like)
    [host] = [each for each in inventory.hosts if each.moref == like.host]
    [datacenter] = [each for each in inventory.datacenters if each.moref == host.datacenter]
    folder = target.read.find_folder(datacenter)
    if folder is None:
        raise errors.ObjectNotFound("the cache's folder is gone")
    request = ImportRequest(
        name=target.names.volume(_ABORTED),
        datastores=datastore.path_names,
        capacity_bytes=CAPACITY_BYTES,
        adapter_type=target.adapter_type,
        managed_by=target.read.backend.managed_by,
    )
    return open_import(
        target.cache.session, target.cache.waiter, host.pool, folder, host.moref, request
    )


def _stays(target: LiveTarget, vm: str) -> bool:
    """Whether vCenter still shows the VM, or its import task is still running."""
    session = target.cache.session
    if properties.read(session, "VirtualMachine", [vm], ["name"]):
        return True
    name = target.names.volume(_ABORTED)
    return any(task.entity_name == name for task in recent_task.under_way(session))


def _datastore(target: LiveTarget, entry: CacheEntry) -> Datastore:
    [found] = [each for each in target.read.inventory.datastores if each.moref == entry.datastore]
    return found


def _clone(target: LiveTarget, volume: Volume, form: Form = Form.STREAM_OPTIMIZED) -> float:
    image = target.images[form]
    return target.cache.images.create_volume(image.image, volume, image).seconds


def _clones(target: LiveTarget) -> list[VmInfo]:
    """The eight clones.

    :raises TaskFailed: one of them is missing
    """
    seen = target.seen()
    names = [target.names.volume(number) for number in range(1, CLONES + 1)]
    missing = [name for name in names if name not in seen]
    if missing:
        raise errors.TaskFailed(f"vCenter does not show {', '.join(missing)}")
    return [seen[name] for name in names]


def _judge(wrong: list[str], right: str, what: str) -> Iterator[Finding]:
    if not wrong:
        yield ok(right)
    for each in wrong:
        yield failed(f"{each} {what}", _REPORT)


def _compared(target: LiveTarget, form: Form, moref: str) -> Finding:
    disk = target.images[form].disk
    rest = bytearray(disk)
    wrong: list[int] = []

    def found(offset: int, data: bytes) -> None:
        if data != disk[offset : offset + len(data)].ljust(len(data), b"\0"):
            wrong.append(offset)
        rest[offset : offset + len(data)] = bytes(len(rest[offset : offset + len(data)]))

    with open_export(target.cache.session, moref) as chunks:
        read_disk(chunks, found)
    if wrong or any(rest):
        at = wrong[0] if wrong else next(at for at, byte in enumerate(rest) if byte)
        return failed(f"the disk differs from the image from byte {at} on", _REPORT, form.value)
    return ok(f"all {len(disk) / MIB:g} MiB match the image", form.value)


def _plain(disk_uuid: str | None) -> str:
    """The uuid without punctuation: vCenter writes uuids in several ways."""
    return "".join(character for character in (disk_uuid or "").lower() if character.isalnum())


def _expecting(step: _Step) -> _Step:
    """Return a step that reports expected failures as not tried: a privilege already known to be
    missing, and what govmomi's simulator cannot do."""

    def careful(target: LiveTarget) -> Iterator[Finding]:
        try:
            for found in step(target):
                if found.status is Status.FAILED and target.read.is_simulator:
                    yield not_tried(f"govmomi's simulator behaves differently: {found.seen}")
                else:
                    yield found
        except errors.VmdkCacheError as failure:
            if target.read.is_simulator:
                yield not_tried(f"govmomi's simulator cannot do this: {failure}")
            elif any(name in str(failure) for name in target.read.missing_privileges):
                yield not_tried(str(failure))
            else:
                raise

    return careful


def obstacle(target: Target, *, has_failed: bool) -> str | None:
    """Why no live run may start; None if it may.

    :param has_failed: whether a read-only probe failed
    """
    if has_failed:
        return "the live run changes nothing while a read-only probe fails"
    if _DELETE in target.missing_privileges:
        return f"the account could not delete what the live run creates: grant {_DELETE}"
    return None


_IMPORTED = ("live.import-stream-optimized",)
_CLONED = ("live.clones",)

LIVE: tuple[Probe[LiveTarget], ...] = tuple(
    Probe(name, _expecting(step), needs)
    for name, step, needs in (
        ("live.leftovers", leftovers, ()),
        *((f"live.import-{form}", import_of(form), ()) for form in Form),
        ("live.abort", abort, _IMPORTED),
        ("live.directories", directories, _IMPORTED),
        ("live.clones", clones, _IMPORTED),
        ("live.grow", grow, _CLONED),
        ("live.disk-uuid", disk_uuid, _CLONED),
        ("live.one-task", one_task, _CLONED),
        ("live.identity", identity, _CLONED),
        ("live.eager-zeroing", eager_zeroing, _IMPORTED),
        ("live.replica", replica, _IMPORTED),
        ("live.move", move, _IMPORTED),
        ("live.last-use", last_use, _IMPORTED),
        ("live.content-id", content_id, _IMPORTED),
        ("live.read-back", read_back, _CLONED),
        ("live.export", export, _IMPORTED),
        ("live.deletion", deletion, ()),
    )
)
