"""The change stream on the recorded updates of a vCenter 5.5, which cuts pages by itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.fakes.clock import ManualClock
from tests.fakes.vcenter.soap import parse_request
from tests.recordings import recordings
from tests.recordings.exchange_replay import parameters
from tests.recordings.replay import Replay, replaying
from vmdk_cache.vim import inventory
from vmdk_cache.vim.change_stream import ChangeStream
from vmdk_cache.vim.properties import Table
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.virtual_disk import disks_of

FILE = "manageiq-refresher.json"


@pytest.fixture(scope="module")
def table() -> Table:
    """What the recorded filter selects, after a refresh."""
    (request,) = (
        one.request for one in recordings.read(FILE).exchanges if one.method == "CreateFilter"
    )
    spec = parse_request(request.encode(), parameters).arguments["spec"]
    replay = Replay(recordings.read(FILE).exchanges)
    with replaying(replay) as endpoint, Session(endpoint) as session:
        stream = ChangeStream(session, ManualClock())
        stream.follow("everything", lambda: spec)
        stream.refresh()

    waits = [
        asked.question.details
        for asked in replay.requests
        if asked.question.method == "WaitForUpdatesEx"
    ]
    assert waits == [("",), ("0_1",)]
    return stream.table("everything")


def vms(table: Table) -> list[dict[str, Any]]:
    """The rows of virtual machines, of which there are some."""
    rows = [row for (kind, _), row in table.items() if kind == "VirtualMachine"]
    assert rows
    return rows


def test_a_refresh_reads_every_page(table: Table) -> None:
    kinds = Counter(kind for kind, _ in table)
    assert len(table) == 122
    assert (kinds["VirtualMachine"], kinds["HostSystem"], kinds["Datastore"]) == (64, 16, 2)


def test_a_path_without_a_value_is_absent(table: Table) -> None:
    """vCenter names every path: assigned without a value, or removed with what it belongs to."""
    rows = vms(table)
    for path in ("snapshot", "config.cpuAffinity.affinitySet", "summary.config.annotation"):
        assert not any(path in row for row in rows), path
    assert sum("summary.guest.hostName" in row for row in rows) == 48
    assert all(row["summary.customValue"] == [] for row in rows)


def test_references_are_morefs(table: Table) -> None:
    for row in vms(table):
        assert row["summary.runtime.host"].startswith("host-")
        assert all(moref.startswith("datastore-") for moref in row["datastore"])


def test_the_disks_of_every_vm_are_read(table: Table) -> None:
    for row in vms(table):
        (disk,) = disks_of(row["config.hardware.device"])
        assert disk.capacity_bytes > 0
        assert disk.file_name.startswith("[GlobalDS_0] ")


def test_an_inventory_is_assembled_of_the_table(table: Table) -> None:
    found = inventory.assembled(table)
    assert len(found.hosts) == 16
    assert len({host.cluster for host in found.hosts}) == 4
    assert len(found.datacenters) == 2
    for host in found.hosts:
        assert ("ResourcePool", host.pool) in table
        assert ("Datacenter", host.datacenter) in table
