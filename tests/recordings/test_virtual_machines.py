"""Virtual machines of a vCenter 8.0.3 on vSAN, property by property."""

from __future__ import annotations

from typing import Any

import pytest

from tests.recordings import recordings
from tests.recordings.exchange_replay import repeat
from tests.recordings.object_files import row_of
from tests.recordings.replay import Replay, question_of, replaying
from vmdk_cache.vim import virtual_machine
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies
from vmdk_cache.vim.virtual_machine import VmInfo

FILE = "pyvmomi-vm-explode-type.json"
MOREFS = ("vm-19", "vm-20")


@pytest.fixture(scope="module")
def vms() -> dict[str, VmInfo]:
    """Made of all that was recorded of them."""
    recording = recordings.read(FILE)
    values: dict[str, dict[str, Any]] = {moref: {} for moref in MOREFS}
    with replaying(Replay(recording.exchanges)) as endpoint, Session(endpoint) as session:
        policies = StoragePolicies(session)
        for one in recording.exchanges:
            if one.method == "Fetch":
                asked = question_of(one.path, one.request)
                (name,) = asked.details
                values[asked.moref][name] = repeat(session, policies, one)
        paths = virtual_machine.paths(session, "key", ["attribute"])
        return {
            moref: virtual_machine.info_of(session, moref, row_of(found, paths), "key", ())
            for moref, found in values.items()
        }


@pytest.mark.parametrize("moref", MOREFS)
def test_a_vm_is_described(vms: dict[str, VmInfo], moref: str) -> None:
    vm = vms[moref]
    assert vm.name and not vm.is_template and vm.has_config
    assert vm.host and vm.host.startswith("host-")
    assert vm.datastores == ("datastore-17",)
    assert vm.connection_state == "connected"
    assert vm.instance_uuid
    assert vm.created_at is not None and vm.created_at.year == 2023
    assert vm.committed_bytes >= vm.unshared_bytes > 0


@pytest.mark.parametrize("moref", MOREFS)
def test_the_disk_of_a_vm_has_all_that_the_cache_needs(vms: dict[str, VmInfo], moref: str) -> None:
    (disk,) = vms[moref].disks
    assert disk.key == 2000
    assert disk.file_name.startswith("[vsanDatastore] ")
    assert disk.uuid and disk.uuid.startswith("6000C29")
    assert disk.content_id
    assert disk.thin and not disk.has_parent
    assert disk.capacity_bytes > 0
