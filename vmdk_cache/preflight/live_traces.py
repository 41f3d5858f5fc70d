"""Probes of what an import leaves in vCenter: the VM of an aborted import, and directories."""

from __future__ import annotations

from collections.abc import Iterator

from vmdk_cache import errors, retry
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.preflight.live_image import CAPACITY_BYTES, Form
from vmdk_cache.preflight.live_names import BACKEND
from vmdk_cache.preflight.live_target import LiveTarget
from vmdk_cache.preflight.probe import Finding, not_tried, ok, warning
from vmdk_cache.quoting import quoted, sentence
from vmdk_cache.vim import datastore_browser, properties, recent_task
from vmdk_cache.vim.import_lease import ImportLease, open_import
from vmdk_cache.vim.import_spec import ImportRequest
from vmdk_cache.vim.inventory import Datastore

#: Number of the VM whose import is aborted, distinct from those of live.py.
ABORTED = 20
_REMOVED_WITHIN_S = 60.0
_POLL_S = 0.5


def abort(target: LiveTarget) -> Iterator[Finding]:
    """Check that vCenter removes the VM of an aborted import."""
    target.will_make()
    lease = _opened(target, target.templates[Form.STREAM_OPTIMIZED])
    clock = target.read.clock
    lease.abort()
    began = clock.monotonic()
    stays = retry.poll(
        lambda: _stays(target, lease.vm),
        until=lambda stays: not stays,
        within_s=_REMOVED_WITHIN_S,
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
    prefix = f"{BACKEND}_image_cache"
    listed = datastore_browser.directories(session, waiter, datastore, prefix)
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


def _opened(target: LiveTarget, like: CacheEntry) -> ImportLease:
    """Open an import next to the template, and upload nothing."""
    inventory, datastore = target.read.inventory, _datastore(target, like)
    [host] = [each for each in inventory.hosts if each.moref == like.host]
    [datacenter] = [each for each in inventory.datacenters if each.moref == host.datacenter]
    folder = target.read.find_folder(datacenter)
    if folder is None:
        raise errors.ObjectNotFound("the cache's folder is gone")
    request = ImportRequest(
        name=target.names.volume(ABORTED),
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
    name = target.names.volume(ABORTED)
    return any(task.entity_name == name for task in recent_task.under_way(session))


def _datastore(target: LiveTarget, entry: CacheEntry) -> Datastore:
    [found] = [each for each in target.read.inventory.datastores if each.moref == entry.datastore]
    return found
