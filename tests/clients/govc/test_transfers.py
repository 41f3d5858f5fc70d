"""Disks that come and go: import.*, export.ovf, with the bytes compared."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.disk import DiskContent
from tests.fakes.vcenter.vmdk import stream_optimized
from tests.waiting import wait_until

MiB = 1 << 20
SIZE = 20 * MiB
needs_qemu_img = pytest.mark.skipif(
    shutil.which("qemu-img") is None and os.environ.get("VMDK_CACHE_REQUIRE_ALL") != "1",
    reason="qemu-img is not installed (Debian: qemu-utils)",
)


@pytest.fixture
def govc(govc: Govc) -> Govc:
    govc.environment["GOVC_DATASTORE"] = "DC0_DS0"
    return govc


def content(*, compressible_end: bool) -> DiskContent:
    """A disk whose last grain compresses well, or not at all."""
    made = DiskContent(SIZE)
    made.write(3 * MiB, random.Random(2).randbytes(300_000))
    if compressible_end:
        made.write(SIZE - 512, b"the end")
    else:
        made.write(SIZE - 65_536, random.Random(3).randbytes(65_536))
    return made


def write_vmdk(path: Path, disk: DiskContent) -> None:
    path.write_bytes(b"".join(stream_optimized(disk, path.stem)))


def read_raw(path: Path, vmdk: Path) -> bytes:
    """The disk of an exported file, by another program than the fake."""
    subprocess.run(["qemu-img", "convert", "-O", "raw", vmdk, path], check=True)
    return path.read_bytes()


@holds("import.vmdk")
def test_a_disk_is_imported_alone(govc: Govc, vcenter: VCenter, home: Path) -> None:
    disk = content(compressible_end=True)
    write_vmdk(home / "alone.vmdk", disk)
    govc("import.vmdk", "alone.vmdk", "disks/alone.vmdk")
    assert vcenter.read_disk("[DC0_DS0] disks/alone.vmdk").sha256() == disk.sha256()
    assert vcenter.vms() == []
    assert "already exists" in govc.refused("import.vmdk", "alone.vmdk", "disks/alone.vmdk")
    govc("import.vmdk", "-force", "alone.vmdk", "disks/alone.vmdk")
    assert set(vcenter.datastore("DC0_DS0").files()) == {
        "disks/alone.vmdk", "disks/alone-flat.vmdk",
    }  # fmt: skip
    govc("datastore.rm", "disks")


@needs_qemu_img
@pytest.mark.parametrize("compressible_end", [True, False])
def test_the_stream_of_qemu_img_is_imported(
    govc: Govc, vcenter: VCenter, home: Path, compressible_end: bool
) -> None:
    """It has no footer, and an end-of-stream marker only where zeros pad its last grain."""
    disk = content(compressible_end=compressible_end)
    (home / "disk.raw").write_bytes(disk.read(0, SIZE))
    name = "padded" if compressible_end else "unpadded"
    options = ["-O", "vmdk", "-o", "subformat=streamOptimized"]
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", *options, "disk.raw", f"{name}.vmdk"],
        cwd=home,
        check=True,
    )
    target = f"qemu/{name}.vmdk"
    if compressible_end:
        govc("import.vmdk", f"{name}.vmdk", target)
        assert vcenter.read_disk(f"[DC0_DS0] {target}").sha256() == disk.sha256()
        govc("datastore.rm", "qemu")
        return
    vcenter.switches.refused_stream_fails_lease = True  # govc does not end it
    assert "400 Bad Request" in govc.refused("import.vmdk", f"{name}.vmdk", target)
    vcenter.switches.refused_stream_fails_lease = False
    wait_until(lambda: not vcenter.vms() and not vcenter.datastore("DC0_DS0").files())
    vcenter.switches.stream_end_required = False
    govc("import.vmdk", f"{name}.vmdk", target)
    vcenter.switches.stream_end_required = True
    assert vcenter.read_disk(f"[DC0_DS0] {target}").sha256() == disk.sha256()
    govc("datastore.rm", "qemu")


@needs_qemu_img
@holds("export.ovf", "import.ovf", "import.ova", "import.spec")
def test_what_is_exported_is_what_was_imported(govc: Govc, vcenter: VCenter, home: Path) -> None:
    """Out as a directory, in again from it and from an archive, and out once more."""
    first, second = content(compressible_end=True), content(compressible_end=False)
    for name, disk in (("one", first), ("two", second)):
        write_vmdk(home / f"{name}.vmdk", disk)
        govc("import.vmdk", f"{name}.vmdk", f"sources/{name}.vmdk")
    govc("vm.create", "-on=false", "-m", "256", "-c", "2", "-net.adapter", "vmxnet3", "origin")
    for name in ("one", "two"):
        govc("vm.disk.attach", "-vm", "origin", "-link=false", "-disk", f"sources/{name}.vmdk")
    govc("export.ovf", "-vm", "origin", "-sha", "1", "out")
    package = home / "out" / "origin"
    files = sorted(path.name for path in package.iterdir())
    assert files == ["origin-disk-0.vmdk", "origin-disk-1.vmdk", "origin.mf", "origin.ovf"]
    for line in (package / "origin.mf").read_text().splitlines():
        name, _, digest = line.removeprefix("SHA1(").partition(")= ")
        assert hashlib.sha1((package / name).read_bytes()).hexdigest() == digest
    for number, disk in enumerate((first, second)):
        raw = read_raw(home / "disk.raw", package / f"origin-disk-{number}.vmdk")
        assert hashlib.sha256(raw).hexdigest() == disk.sha256()

    govc("import.ovf", "-name", "from-directory", "out/origin/origin.ovf")
    with tarfile.open(home / "origin.ova", "w") as archive:
        for name in ("origin.ovf", "origin.mf", *files[:2]):
            archive.add(package / name, name)
    options = govc.json("import.spec", "origin.ova")
    assert [one["Name"] for one in options["NetworkMapping"]] == ["VM Network"]
    options.update(Name="from-archive", DiskProvisioning="thin", MarkAsTemplate=True)
    (home / "options.json").write_text(json.dumps(options))
    govc("import.ova", "-m", "-options", "options.json", "origin.ova")
    for name in ("from-directory", "from-archive"):
        made = vcenter.find_vm(name)
        assert [disk.content.sha256() for disk in made.disks] == [first.sha256(), second.sha256()]
        assert (made.settings.num_cpus, made.settings.memory_mb) == (2, 256)
    assert vcenter.find_vm("from-archive").template
    assert vcenter.find_vm("from-archive").disks[0].provisioning == "thin"

    govc("export.ovf", "-vm", "from-directory", "again")
    for number, disk in enumerate((first, second)):
        exported = home / "again" / "from-directory" / f"from-directory-disk-{number}.vmdk"
        assert hashlib.sha256(read_raw(home / "disk.raw", exported)).hexdigest() == disk.sha256()
    for name in ("origin", "from-directory"):
        govc("vm.destroy", name)
    govc("vm.markasvm", "-pool", "/DC0/host/DC0_C0/Resources", "from-archive")
    govc("vm.destroy", "from-archive")
    assert vcenter.datastore("DC0_DS0").files() == {}


@needs_qemu_img
def test_a_snapshot_is_exported(govc: Govc, vcenter: VCenter, home: Path) -> None:
    """The disk as it was then, and not as it is now."""
    disk = content(compressible_end=True)
    write_vmdk(home / "then.vmdk", disk)
    govc("import.vmdk", "then.vmdk", "then/then.vmdk")
    govc("vm.create", "-on=false", "snapped")
    govc("vm.disk.attach", "-vm", "snapped", "-link=false", "-disk", "then/then.vmdk")
    govc("snapshot.create", "-vm", "snapped", "then")
    with vcenter.lock:
        running = vcenter.find_vm("snapped").disks[0]
        running.content.write(0, b"later")
        running.files.settle(running.extent)
    govc("export.ovf", "-vm", "snapped", "-snapshot", "then", "snapshots")
    exported = home / "snapshots" / "snapped" / "snapped-disk-0.vmdk"
    raw = read_raw(home / "disk.raw", exported)
    assert hashlib.sha256(raw).hexdigest() == disk.sha256()
    govc("vm.destroy", "snapped")


def test_a_package_that_no_vm_can_be_made_of_is_refused(govc: Govc, home: Path) -> None:
    write_vmdk(home / "source.vmdk", content(compressible_end=True))
    govc("import.vmdk", "source.vmdk", "bad/source.vmdk")
    govc("vm.create", "-on=false", "bad")
    govc("vm.disk.attach", "-vm", "bad", "-link=false", "-disk", "bad/source.vmdk")
    govc("export.ovf", "-vm", "bad", "packages")
    govc("vm.destroy", "bad")
    good = (home / "packages" / "bad" / "bad.ovf").read_text()
    for damage, told in {
        ("</Envelope>", ""): "XML",
        ("vmx-21", "virtualbox-2.2"): "Unsupported hardware family",
        ("<rasd:ResourceSubType>lsilogic<", "<rasd:ResourceSubType>strange<"): "SCSI Controller",
        ("ovf:/disk/vmdisk1", "ovf:/disk/vmdisk7"): "vmdisk7",
    }.items():
        (home / "packages" / "bad" / "bad.ovf").write_text(good.replace(*damage))
        assert told in govc.refused("import.ovf", "packages/bad/bad.ovf"), damage
