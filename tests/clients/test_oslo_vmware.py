"""oslo.vmware's own transfer code on the fake: what its handles and image_transfer send and read is
compared byte for byte. Cinder's and Nova's drivers move their disks by these.

download_image is left out: it closes its connection without reading an answer, and what it sent
last may be lost.
"""

from __future__ import annotations

import http.client
import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oslo_vmware import api, exceptions, image_transfer, rw_handles, vim_util
from oslo_vmware.objects.datastore import DatastoreURL

from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.disk import DiskContent
from tests.fakes.vcenter.vmdk import StreamOptimizedParser, stream_optimized
from tests.waiting import wait_until

MiB = 1 << 20
TIMEOUT_S = 120
DATACENTER, STORE = "DC0", "DC0_DS0"
_OVF = "http://schemas.dmtf.org/ovf/envelope/1"
OVF = f'''<Envelope xmlns="{_OVF}" xmlns:ovf="{_OVF}">
<References><File ovf:href="d.vmdk" ovf:id="file1"/></References>
<DiskSection><Disk ovf:diskId="vmdisk1" ovf:fileRef="file1"/></DiskSection>
</Envelope>'''


@pytest.fixture(scope="module")
def module_vcenter() -> Iterator[VCenter]:
    with VCenter(Model(datastores=2)) as running:
        yield running


@pytest.fixture(scope="module")
def session(module_vcenter: VCenter) -> Any:
    """One for the file: suds takes seconds to read the WSDL."""
    return api.VMwareAPISession(
        module_vcenter.host,
        module_vcenter.user,
        module_vcenter.password,
        api_retry_count=2,
        task_poll_interval=0.05,
        port=module_vcenter.port,
        cacert=module_vcenter.ca_file,
        insecure=False,
    )


@pytest.fixture
def vcenter(module_vcenter: VCenter) -> Iterator[VCenter]:
    """Empty again after each test."""
    yield module_vcenter
    errors = [str(error) for error in module_vcenter.errors]
    module_vcenter.errors.clear()
    for vm in module_vcenter.vms():
        with module_vcenter.lock:
            vm.destroy()
    store = module_vcenter.datastore(STORE)
    for name in store.storage.listing(""):
        store.storage.delete(name)
    assert errors == []


@pytest.fixture
def place(vcenter: VCenter, session: Any) -> dict[str, Any]:
    """Where a file handle finds the datastore."""
    return {
        "port": vcenter.port,
        "data_center_name": DATACENTER,
        "datastore_name": STORE,
        "cookies": session.vim.client.cookiejar,
        "cacerts": vcenter.ca_file,
    }


def disk() -> DiskContent:
    made = DiskContent(16 * MiB)
    made.write(MiB, random.Random(4).randbytes(400_000))
    made.write(16 * MiB - 4, b"last")
    return made


def stream(content: DiskContent) -> bytes:
    return b"".join(stream_optimized(content))


def parsed(data: bytes) -> DiskContent:
    parser = StreamOptimizedParser()
    parser.feed(data)
    assert parser.complete
    assert parser.content is not None
    return parser.content


def pieces(data: bytes, size: int = 65_536) -> list[bytes]:
    return [data[offset : offset + size] for offset in range(0, len(data), size)]


def written(vcenter: VCenter, path: str) -> bytes | None:
    file = vcenter.datastore(STORE).storage.get(path)
    return None if file is None else file.content.read(0, file.content.size_bytes)


def found(session: Any, kind: str, name: str) -> Any:
    retrieved = session.invoke_api(vim_util, "get_objects", session.vim, kind, 100, ["name"])
    for one in retrieved.objects:
        if one.propSet[0].val == name:
            return one.obj
    raise AssertionError(f"no {kind} {name}")


def importing(vcenter: VCenter, session: Any, name: str, size_bytes: int) -> dict[str, Any]:
    """The arguments of an import, as Cinder's driver has them."""
    factory = session.vim.client.factory
    controller = factory.create("ns0:VirtualLsiLogicController")
    controller.key, controller.busNumber, controller.sharedBus = -100, 0, "noSharing"
    backing = factory.create("ns0:VirtualDiskFlatVer2BackingInfo")
    backing.fileName, backing.diskMode, backing.thinProvisioned = "", "persistent", True
    device = factory.create("ns0:VirtualDisk")
    device.key, device.controllerKey, device.unitNumber = -101, -100, 0
    device.capacityInKB, device.backing = size_bytes // 1024, backing
    changes = []
    for one, operation in ((controller, None), (device, "create")):
        change = factory.create("ns0:VirtualDeviceConfigSpec")
        change.operation, change.device = "add", one
        if operation:
            change.fileOperation = operation
        changes.append(change)
    files = factory.create("ns0:VirtualMachineFileInfo")
    files.vmPathName = f"[{STORE}]"
    config = factory.create("ns0:VirtualMachineConfigSpec")
    config.name, config.guestId, config.files = name, "otherGuest", files
    config.numCPUs, config.memoryMB, config.deviceChange = 1, 128, changes
    spec = factory.create("ns0:VirtualMachineImportSpec")
    spec.configSpec = config
    return {
        "session": session,
        "host": vcenter.host,
        "port": vcenter.port,
        "resource_pool": found(session, "ResourcePool", "Resources"),
        "vm_folder": found(session, "Folder", "vm"),
        "vm_import_spec": spec,
    }


class ImageService:
    """Of Glance, what image_transfer calls."""

    def __init__(self, data: bytes = b"", container_format: str = "bare") -> None:
        self.data = data
        self.container_format = container_format
        self.updates: list[tuple[dict[str, Any], bytes]] = []

    def show(self, context: Any, image_id: str) -> dict[str, Any]:
        return {"container_format": self.container_format}

    def download(self, context: Any, image_id: str) -> Iterator[bytes]:
        return iter(pieces(self.data))

    def update(self, context: Any, image_id: str, metadata: Any, data: Any, **_: Any) -> None:
        read = b"".join(iter(lambda: data.read(65_536), b""))
        self.updates.append((metadata, read))


# Files of a datastore


def test_a_file_arrives_intact(vcenter: VCenter, place: dict[str, Any]) -> None:
    sent = random.Random(5).randbytes(2 * MiB + 3)
    handle = rw_handles.FileWriteHandle(
        vcenter.host, file_path="dir/file", file_size=len(sent), **place
    )
    for piece in pieces(sent):
        handle.write(piece)
    handle.close()
    assert written(vcenter, "dir/file") == sent
    reading = rw_handles.FileReadHandle(vcenter.host, file_path="dir/file", **place)
    assert int(reading.get_size()) == len(sent)
    assert reading.read(len(sent)) == sent
    reading.close()


def test_a_ticket_opens_its_file(vcenter: VCenter, session: Any) -> None:
    """As Nova goes to a host: by a ticket for one URL, without a session."""
    where = f"{vcenter.host}:{vcenter.port}"
    for method, sent in (("PUT", b"by ticket"), ("GET", b"")):
        url = DatastoreURL("https", where, "ticket/file", DATACENTER, STORE)
        cookie = url.get_transfer_ticket(session, method)
        if sent:
            writing = rw_handles.FileWriteHandle(
                str(url), cookies=cookie, file_size=len(sent), cacerts=vcenter.ca_file
            )
            writing.write(sent)
            writing.close()
        else:
            reading = rw_handles.FileReadHandle(str(url), cookies=cookie, cacerts=vcenter.ca_file)
            assert reading.read(100) == b"by ticket"
            reading.close()


def test_the_certificate_of_the_file_server_is_checked(
    vcenter: VCenter, session: Any, place: dict[str, Any]
) -> None:
    thumbprint = vcenter.thumbprint
    wrong = thumbprint[:-2] + ("00" if thumbprint[-2:] != "00" else "01")
    place.pop("cacerts")
    for text, accepted in ((thumbprint, True), (wrong, False)):
        try:
            handle = rw_handles.FileWriteHandle(
                vcenter.host, file_path="file", file_size=3, thumbprint=text, **place
            )
            handle.write(b"abc")
            handle.close()
        except Exception as error:
            assert not accepted, error
        else:
            assert accepted


def test_a_flat_image_becomes_the_disk(
    vcenter: VCenter, session: Any, place: dict[str, Any]
) -> None:
    """Cinder creates a disk and writes the image over its extent."""
    content = disk()
    manager = session.vim.service_content.virtualDiskManager
    spec = session.vim.client.factory.create("ns0:FileBackedVirtualDiskSpec")
    spec.capacityKb, spec.adapterType = content.size_bytes // 1024, "lsiLogic"
    spec.diskType = "preallocated"
    session.wait_for_task(
        session.invoke_api(
            session.vim,
            "CreateVirtualDisk_Task",
            manager,
            name=f"[{STORE}] flat.vmdk",
            datacenter=found(session, "Datacenter", DATACENTER),
            spec=spec,
        )
    )
    image_transfer.download_flat_image(
        None,
        TIMEOUT_S,
        ImageService(content.read(0, content.size_bytes)),
        "image",
        host=vcenter.host,
        image_size=content.size_bytes,
        file_path="flat-flat.vmdk",
        **place,
    )
    assert vcenter.read_disk(f"[{STORE}] flat.vmdk").sha256() == content.sha256()


def test_a_downloaded_file_arrives_intact(vcenter: VCenter, place: dict[str, Any]) -> None:
    sent = random.Random(6).randbytes(MiB + 1)
    image_transfer.download_file(
        io.BytesIO(sent),
        vcenter.host,
        place["port"],
        DATACENTER,
        STORE,
        place["cookies"],
        "file",
        len(sent),
        vcenter.ca_file,
        TIMEOUT_S,
    )
    assert written(vcenter, "file") == sent


# Disks by lease


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_imported_disk_is_the_image(vcenter: VCenter, session: Any, method: str) -> None:
    content = disk()
    data = stream(content)
    arguments = importing(vcenter, session, "imported", content.size_bytes)
    made = image_transfer.download_stream_optimized_data(
        None,
        TIMEOUT_S,
        rw_handles.ImageReadHandle(iter(pieces(data))),
        image_size=len(data),
        http_method=method,
        **arguments,
    )
    vm = vcenter.find_vm("imported")
    assert made.value == vm.moref
    assert vcenter.read_disk("imported").sha256() == content.sha256()
    assert vm.lock.is_free


@pytest.mark.parametrize("container", ["bare", "ova"])
def test_an_imported_image_is_the_image(vcenter: VCenter, session: Any, container: str) -> None:
    content = disk()
    data = file = stream(content)
    if container == "ova":
        file = _ova(data)
    image_transfer.download_stream_optimized_image(
        None,
        TIMEOUT_S,
        ImageService(file, container),
        "image",
        image_size=len(data),
        http_method="POST",
        **importing(vcenter, session, "image", content.size_bytes),
    )
    assert vcenter.read_disk("image").sha256() == content.sha256()


def _ova(data: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in (("d.ovf", OVF.encode()), ("d.vmdk", data)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def test_an_upload_that_stops_leaves_no_vm(vcenter: VCenter, session: Any) -> None:
    """The handle aborts the lease of what it did not send to its end."""
    data = stream(disk())
    arguments = importing(vcenter, session, "stopped", MiB)
    handle = rw_handles.VmdkWriteHandle(
        session,
        vcenter.host,
        vcenter.port,
        arguments["resource_pool"],
        arguments["vm_folder"],
        arguments["vm_import_spec"],
        len(data),
        "POST",
    )
    handle.write(data[: len(data) // 2])
    handle.update_progress()
    with pytest.raises(exceptions.ImageTransferException):
        handle.get_imported_vm()
    handle.close()
    wait_until(lambda: is_empty(vcenter))


@pytest.mark.parametrize("fails_lease", [True, False])
def test_a_refused_stream_makes_an_empty_disk_unless_it_ends_the_lease(
    vcenter: VCenter, session: Any, fails_lease: bool
) -> None:
    """The handle does not look at the host's answer."""
    vcenter.switches.refused_stream_fails_lease = fails_lease
    data = stream(disk())
    data = data[:-512] + b"\1" * 512
    arguments = importing(vcenter, session, "refused", MiB)
    image_transfer.download_stream_optimized_data(
        None,
        TIMEOUT_S,
        rw_handles.ImageReadHandle(iter(pieces(data))),
        image_size=len(data),
        http_method="POST",
        **arguments,
    )
    vcenter.switches.refused_stream_fails_lease = False
    if fails_lease:
        wait_until(lambda: is_empty(vcenter))
    else:
        assert vcenter.read_disk("refused").written_bytes == 0


def is_empty(vcenter: VCenter) -> bool:
    return not (vcenter.vms() or vcenter.datastore(STORE).files())


@pytest.fixture
def exporting(vcenter: VCenter, session: Any) -> dict[str, Any]:
    """The arguments of an export of a VM with the disk of `disk`."""
    content = disk()
    data = stream(content)
    vm = image_transfer.download_stream_optimized_data(
        None,
        TIMEOUT_S,
        rw_handles.ImageReadHandle(iter(pieces(data))),
        image_size=len(data),
        http_method="POST",
        **importing(vcenter, session, "exported", content.size_bytes),
    )
    return {
        "session": session,
        "host": vcenter.host,
        "port": vcenter.port,
        "vm": vm,
        "vmdk_file_path": f"[{STORE}] exported/exported.vmdk",
        "vmdk_size": content.size_bytes,
    }


def test_an_exported_disk_is_the_disk(vcenter: VCenter, exporting: dict[str, Any]) -> None:
    handle = rw_handles.VmdkReadHandle(*exporting.values())
    read = b"".join(iter(handle.read, b""))
    handle.update_progress()
    handle.close()
    assert parsed(read).sha256() == disk().sha256()
    assert vcenter.find_vm("exported").lock.is_free, "the lease is over"


def test_an_uploaded_volume_is_the_volume(vcenter: VCenter, exporting: dict[str, Any]) -> None:
    images = ImageService()
    image_transfer.upload_image(
        None, TIMEOUT_S, images, "image", "owner", image_name="copy", **exporting
    )
    ((metadata, data),) = images.updates
    assert metadata["properties"]["vmware_disktype"] == "streamOptimized"
    assert parsed(data).sha256() == disk().sha256()
    assert vcenter.find_vm("exported").lock.is_free


def test_a_backup_is_the_volume(
    vcenter: VCenter, exporting: dict[str, Any], tmp_path: Path
) -> None:
    copy = tmp_path / "backup.vmdk"
    with copy.open("wb") as file:
        image_transfer.copy_stream_optimized_disk(None, TIMEOUT_S, file, **exporting)
    assert parsed(copy.read_bytes()).sha256() == disk().sha256()
    assert vcenter.find_vm("exported").lock.is_free


def test_the_url_of_a_lease_is_closed_after_its_end(
    vcenter: VCenter, exporting: dict[str, Any]
) -> None:
    handle = rw_handles.VmdkReadHandle(*exporting.values())
    url = handle._url
    handle.close()
    again = rw_handles.FileHandle(None)._create_read_connection(url)
    assert again.getresponse().status == http.client.NOT_FOUND
    again.close()
