"""The fake's leases neither accept a broken import nor leave its parts behind."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import Model, VCenter, vmdk
from tests.fakes.vcenter.disk import GRAIN_BYTES, DiskContent
from tests.unit.fakes.vm_client import (
    Client,
    GiB,
    MiB,
    connected,
    create_spec,
    disk_of,
    until_running,
    wait,
)
from tests.waiting import wait_until

STREAM = {"Content-Type": "application/x-vnd.vmware-streamVmdk"}


@pytest.fixture
def vc() -> Iterator[VCenter]:
    with VCenter(Model(datastore_bytes=10 * GiB)) as vcenter:
        yield vcenter
        assert vcenter.errors == []


@pytest.fixture
def client(vc: VCenter) -> Iterator[Client]:
    with connected(vc) as session:
        yield session


def _image(size_bytes: int = 64 * MiB) -> tuple[DiskContent, bytes]:
    disk = DiskContent(size_bytes)
    disk.write(0, os.urandom(3 * GRAIN_BYTES))
    disk.write(size_bytes - 512, b"e" * 512)
    return disk, b"".join(vmdk.stream_optimized(disk))


def _ready(lease: Any) -> Any:
    for _ in range(1000):
        if lease.state != "initializing":
            break
        time.sleep(0.005)
    return lease


def _import(client: Client, name: str = "image", **more: Any) -> Any:
    spec = vim.vm.VmImportSpec(configSpec=create_spec(name, MiB, **more))
    return _ready(client.pool.ImportVApp(spec, client.folder))


def _nothing_left(vc: VCenter) -> bool:
    """True after a while: vCenter removes what a failed import has created after the lease's
    end.
    """
    store = vc.datastore("DC0_DS0")
    for _ in range(1000):
        if vc.vms() == [] and store.files() == {} and store.directories() == []:
            return True
        time.sleep(0.005)
    return False


def test_an_import_holds_the_images_bytes(vc: VCenter, client: Client) -> None:
    disk, data = _image()
    lease = _import(client)
    assert lease.state == "ready"
    url, nvram = lease.info.deviceUrl
    assert (nvram.disk, nvram.targetId) == (False, None)
    assert (url.disk, url.targetId) == (True, "disk-0.vmdk")
    assert url.importKey == "/image/VirtualLsiLogicController0:0"
    assert (lease.info.leaseTimeout, lease.info.entity.name) == (300, "image")
    assert client.request("POST", url.url, data, STREAM)[0] == 200
    manifest = lease.HttpNfcLeaseGetManifest()
    assert manifest[0].sha1 == hashlib.sha1(data).hexdigest()
    assert (manifest[0].size, manifest[0].capacity) == (len(data), disk.size_bytes)
    vm = lease.info.entity
    lease.HttpNfcLeaseComplete()
    assert lease.state == "done"
    assert vc.leases() == []
    assert disk_of(vm).capacityInBytes == disk.size_bytes
    assert vc.read_disk("image").sha256() == disk.sha256()
    assert vm.storage.perDatastoreUsage[0].committed > 4 * GRAIN_BYTES
    assert vm.recentTask[0].info.descriptionId == "ResourcePool.ImportVAppLRO"
    wait(vm.recentTask[0])
    wait(vm.Destroy_Task())


def test_chunked_and_put_uploads_are_accepted(vc: VCenter, client: Client) -> None:
    disk, data = _image()
    for name, method, headers in (
        ("chunked", "POST", STREAM),
        ("urllib", "POST", {"Content-Type": "application/x-www-form-urlencoded"}),
        ("put", "PUT", {"Overwrite": "t", "Content-Length": str(len(data))}),
    ):
        lease = _import(client, name)
        pieces = (data[i : i + 10_000] for i in range(0, len(data), 10_000))
        assert client.request(method, lease.info.deviceUrl[0].url, pieces, headers)[0] == 200
        lease.HttpNfcLeaseComplete()
        assert vc.read_disk(name).sha256() == disk.sha256()


def test_a_wrong_request_is_no_upload(vc: VCenter, client: Client) -> None:
    lease = _import(client)
    url = lease.info.deviceUrl[0].url
    _, data = _image()
    assert client.request("GET", url)[0] == 405
    assert client.request("POST", url, data, {"Content-Type": "text/plain"})[0] == 415
    assert client.request("PUT", url, data)[0] == 412
    assert client.request("POST", url + "x", data, STREAM)[0] == 404
    lease.HttpNfcLeaseAbort()
    assert client.request("POST", url, data, STREAM)[0] == 404


REFUSED = {
    "not a VMDK": lambda data: b"qcow" * 1000,
    "cut off": lambda data: data[:-5000],
    "without an end": lambda data: data[:-512],
    "an old version": lambda data: data[:4] + b"\1" + data[5:],
}


@pytest.mark.parametrize("damage", REFUSED.values(), ids=REFUSED)
def test_a_refused_upload_leaves_no_disk(
    vc: VCenter, client: Client, damage: Callable[[bytes], bytes]
) -> None:
    """On a host that ends the lease, whatever was uploaded before on the same lease."""
    vc.switches.refused_stream_fails_lease = True
    _, data = _image()
    lease = _import(client, "refused")
    url = lease.info.deviceUrl[0].url
    assert client.request("POST", url, data, STREAM)[0] == 200
    assert client.request("POST", url, damage(data), STREAM)[0] == 400
    assert lease.state == "error"
    assert isinstance(lease.error, vim.fault.InvalidDiskFormat)
    with pytest.raises(vim.fault.InvalidState):
        lease.HttpNfcLeaseComplete()
    assert _nothing_left(vc)


def test_a_host_may_accept_a_stream_without_an_end(vc: VCenter, client: Client) -> None:
    disk, data = _image()
    vc.switches.stream_end_required = False
    lease = _import(client, "endless")
    url = lease.info.deviceUrl[0].url
    footer_and_end = 3 * 512
    assert client.request("POST", url, data[:-footer_and_end], STREAM)[0] == 200
    lease.HttpNfcLeaseComplete()
    assert vc.read_disk("endless").sha256() == disk.sha256()


def test_complete_succeeds_after_a_refused_upload(vc: VCenter, client: Client) -> None:
    _, data = _image()
    lease = _import(client)
    assert client.request("POST", lease.info.deviceUrl[0].url, data[:-5000], STREAM)[0] == 400
    vm = lease.info.entity
    lease.HttpNfcLeaseComplete()
    assert disk_of(vm).capacityInBytes == 4_096_000
    assert vc.read_disk(vm).written_bytes == 0


def test_an_upload_that_stops_half_way_does_not_block_forever(vc: VCenter, client: Client) -> None:
    _, data = _image()
    lease = _import(client)
    vm = lease.info.entity
    parts = urlsplit(lease.info.deviceUrl[0].url)
    connection = http.client.HTTPSConnection(parts.netloc, context=client.tls)
    connection.putrequest("POST", parts.path)
    for name, value in {**STREAM, "Content-Length": str(len(data))}.items():
        connection.putheader(name, value)
    connection.endheaders(data[: len(data) // 2])
    (held,) = vc.leases()
    wait_until(lambda: held.devices[0].is_arriving, what="the server to read the request")
    lease.HttpNfcLeaseComplete()
    connection.close()
    assert disk_of(vm).capacityInBytes == 4_096_000


def test_an_upload_that_arrives_with_complete_counts(vc: VCenter, client: Client) -> None:
    """A small disk is in the socket buffer, and its lease is completed before the server reads
    it.
    """
    disk, data = _image()
    lease = _import(client)
    parts = urlsplit(lease.info.deviceUrl[0].url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        wait_until(lambda: vc.has_silent_connections)
        completing = threading.Thread(target=lease.HttpNfcLeaseComplete)
        completing.start()
        wait_until(lambda: vc.request_log.count("HttpNfcLeaseComplete"))
        with client.tls.wrap_socket(connection, server_hostname=parts.hostname) as secure:
            head = f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n"
            secure.sendall(f"{head}Content-Type: {STREAM['Content-Type']}\r\n\r\n".encode() + data)
            assert secure.recv(100).startswith(b"HTTP/1.1 200")
        completing.join()
    assert vc.read_disk("image").sha256() == disk.sha256()


def test_complete_succeeds_without_an_upload(client: Client) -> None:
    lease = _import(client)
    vm = lease.info.entity
    lease.HttpNfcLeaseComplete()
    assert disk_of(vm).capacityInBytes == MiB


def test_a_taken_name_is_an_error_of_the_lease(vc: VCenter, client: Client) -> None:
    client.create("image")
    lease = _import(client)
    assert lease.state == "error"
    assert isinstance(lease.error, vim.fault.DuplicateName)
    assert len(vc.vms()) == 1
    assert vc.datastore("DC0_DS0").directories() == ["image"]


def test_a_vm_held_by_a_lease_is_locked(vc: VCenter, client: Client) -> None:
    lease = _import(client)
    vm = lease.info.entity
    (task,) = vm.recentTask
    assert task.info.state in ("queued", "running")
    assert task.info.entity == vm
    for refused in (vm.PowerOnVM_Task(), vm.Destroy_Task(), vm.Rename_Task("x")):
        with pytest.raises(vim.fault.TaskInProgress):
            wait(refused)
    with pytest.raises(vim.fault.TaskInProgress):
        vm.MarkAsTemplate()
    with pytest.raises(vim.fault.TaskInProgress):
        client.clone(vm, "copy")
    lease.HttpNfcLeaseComplete()
    vm.MarkAsTemplate()


@pytest.mark.parametrize("end", ["abort", "timeout", "session", "cancel", "no space"])
def test_a_failed_import_leaves_nothing(vc: VCenter, client: Client, end: str) -> None:
    _, data = _image()
    lease = _import(client)
    url = lease.info.deviceUrl[0].url
    if end == "no space":
        vc.datastore("DC0_DS0").fill(10 * GiB - MiB - 100_000)
        assert client.request("POST", url, data, STREAM)[0] == 200
        vc.datastore("DC0_DS0").fill(10 * GiB - 100_000)
        assert client.request("POST", url, data, STREAM)[0] == 507
        assert isinstance(lease.error, vim.fault.NoDiskSpace)
    else:
        client.request("POST", url, data, STREAM)
    if end == "abort":
        lease.HttpNfcLeaseAbort()
        with pytest.raises(vim.fault.InvalidState):
            lease.HttpNfcLeaseAbort()
    if end == "timeout":
        vc.clock.advance(200)
        lease.HttpNfcLeaseProgress(10)
        vc.clock.advance(299)
        assert lease.state == "ready"
        vc.clock.advance(2)
        assert lease.state == "error"
        with pytest.raises(vim.fault.Timedout):
            lease.HttpNfcLeaseProgress(10)
    if end == "session":
        vc.sessions.expire_all()
    if end == "cancel":
        (task,) = lease.info.entity.recentTask
        for _ in range(1000):
            if task.info.state == "running":
                break
        task.CancelTask()
        with pytest.raises(vmodl.fault.RequestCanceled):
            wait(task)
    assert _nothing_left(vc)
    assert vc.leases() == []


@pytest.mark.parametrize("end", ["abort", "timeout", "session", "no space"])
@pytest.mark.parametrize("cleanup", ["visible", "hidden"])
def test_the_vm_of_a_failed_import_is_removed_some_time_after_its_lease(
    vc: VCenter, client: Client, end: str, cleanup: str
) -> None:
    vc.switches.lease_cleanup, vc.switches.lease_cleanup_s = cleanup, 600  # type: ignore[assignment]
    lease = _import(client)
    vm = lease.info.entity
    (held,) = vc.leases()
    if end == "abort":
        lease.HttpNfcLeaseAbort()
    if end == "timeout":
        vc.clock.advance(301)
    if end == "session":
        vc.sessions.expire_all()
    if end == "no space":
        held.fail(vim.fault.NoDiskSpace())
    with connected(vc) as other:
        again = _import(other)
        assert again.state == "error"
        assert isinstance(again.error, vim.fault.DuplicateName)
        vms = [child for child in other.folder.childEntity if child._GetMoId() == vm._GetMoId()]
        assert (len(vms), len(vc.vms())) == ((1, 1) if cleanup == "visible" else (0, 0))
        if vms:
            (cleaning,) = vms[0].recentTask
            until_running(cleaning)
            assert cleaning.info.state == "running"
            with pytest.raises(vim.fault.TaskInProgress):
                wait(vms[0].Destroy_Task())
        vc.clock.advance(600)
        assert _nothing_left(vc)
        assert _import(other).state == "ready"


def test_an_import_is_charged_while_it_runs(vc: VCenter, client: Client) -> None:
    _, data = _image()
    lease = _import(client, backing={"eagerlyScrub": True})
    client.request("POST", lease.info.deviceUrl[0].url, data, STREAM)
    assert vc.datastore("DC0_DS0").files()["image/image-flat.vmdk"] == 64 * MiB
    lease.HttpNfcLeaseAbort()
    assert _nothing_left(vc)


def test_an_export_equals_the_disk(vc: VCenter, client: Client) -> None:
    vm = client.create("vm", 20 * MiB)
    content = vc.find_vm("vm").disks[0].content
    content.write(5 * MiB, os.urandom(MiB))
    lease = _ready(vm.ExportVm())
    assert lease.state == "ready"
    with pytest.raises(vim.fault.TaskInProgress):
        wait(vm.Destroy_Task())
    status, data = client.request("GET", lease.info.deviceUrl[0].url)
    assert status == 200
    assert lease.HttpNfcLeaseGetManifest()[0].sha1 == hashlib.sha1(data).hexdigest()
    parser = vmdk.StreamOptimizedParser()
    parser.feed(data)
    assert parser.complete
    assert parser.content is not None
    assert parser.content.sha256() == content.sha256()
    lease.HttpNfcLeaseAbort()
    assert vc.find_vm("vm") is not None
    wait(vm.Destroy_Task())


def test_a_rule_for_uploads_takes_effect(vc: VCenter, client: Client) -> None:
    _, data = _image()
    vc.fault_rules.add("nfc:POST", http_status=503)
    vc.fault_rules.add("nfc:POST", drop="before")
    vc.fault_rules.add("nfc:POST", drop="after")
    lease = _import(client)
    url = lease.info.deviceUrl[0].url
    assert client.request("POST", url, data, STREAM)[0] == 503
    for _ in range(2):
        with pytest.raises((OSError, http.client.HTTPException)):
            client.request("POST", url, data, STREAM)
    assert client.request("POST", url, data, STREAM)[0] == 200
    assert vc.request_log.count("nfc:POST") == 4


def test_a_rule_for_the_import_is_an_error_of_the_lease(vc: VCenter, client: Client) -> None:
    rule = vc.fault_rules.add("ImportVApp", vim.fault.NoCompatibleHost(), on="task", skip=1)
    assert _import(client, "first").state == "ready"
    lease = _import(client, "second")
    assert lease.state == "error"
    assert isinstance(lease.error, vim.fault.NoCompatibleHost)
    assert (rule.seen, rule.hits) == (2, 1)
    assert vc.find_vm("second") is None
