"""Commands on datastores: files, directories, virtual disks, maintenance, datastore clusters."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import Model, VCenter

MODEL = Model(pods=1)
MiB = 1 << 20


@pytest.fixture
def govc(govc: Govc) -> Govc:
    govc.environment["GOVC_DATASTORE"] = "DC0_DS0"
    return govc


@holds("datastore.upload", "datastore.download", "datastore.rm")
def test_a_file_comes_back_as_it_was(govc: Govc, vcenter: VCenter, home: Path) -> None:
    (home / "sent.bin").write_bytes(random.Random(1).randbytes(3 * MiB + 17))
    govc("datastore.upload", "sent.bin", "files/a b.bin")
    govc("datastore.download", "files/a b.bin", "got.bin")
    assert (home / "got.bin").read_bytes() == (home / "sent.bin").read_bytes()
    govc("datastore.upload", "-", "files/a b.bin", stdin=b"short")
    assert govc("datastore.download", "files/a b.bin", "-") == "short"
    govc("datastore.rm", "files/a b.bin")
    assert "404" in govc.refused("datastore.download", "files/a b.bin", "-")
    govc("datastore.rm", "files")
    assert vcenter.datastore("DC0_DS0").directories() == []
    assert "not found" in govc.refused("datastore.rm", "files")
    govc("datastore.rm", "-f", "files")


@holds("datastore.tail")
def test_the_end_of_a_file_is_read(govc: Govc) -> None:
    """From where it begins on, by a range request."""
    lines = [f"line {number}" for number in range(5000)]
    govc("datastore.upload", "-", "log.txt", stdin="\n".join(lines) + "\n")
    assert govc("datastore.tail", "-n", "2", "log.txt").splitlines() == lines[-2:]
    assert govc("datastore.tail", "-n", "4000", "log.txt").splitlines() == lines[-4000:]
    assert govc("datastore.tail", "-c", "5", "log.txt") == "4999\n"
    govc("datastore.rm", "log.txt")


@holds("datastore.mkdir", "datastore.cp", "datastore.mv", "datastore.ls")
def test_files_and_directories_are_moved_about(govc: Govc) -> None:
    govc("datastore.mkdir", "d")
    assert "already exists" in govc.refused("datastore.mkdir", "d")
    govc("datastore.mkdir", "-p", "d/e/f")
    govc("datastore.upload", "-", "d/one", stdin="abc")
    govc("datastore.cp", "d/one", "d/e/two")
    govc("datastore.cp", "-ds-target", "DC0_DS1", "d/one", "far")
    govc("datastore.mv", "d/one", "d/e/three")
    assert govc("datastore.ls", "d/e").split() == ["f", "three", "two"]
    shown = govc.json("datastore.ls", "-R", "-l", "d")
    assert [one["folderPath"] for one in shown] == [
        "[DC0_DS0] d/", "[DC0_DS0] d/e/", "[DC0_DS0] d/e/f/",
    ]  # fmt: skip
    entries = {entry["path"]: entry for one in shown for entry in one.get("file") or []}
    assert set(entries) == {"e", "f", "two", "three"}
    assert entries["two"]["fileSize"] == 3
    assert all(entry["modification"].startswith("20") for entry in entries.values())
    assert govc("datastore.ls", "-ds", "DC0_DS1").split() == ["far"]
    govc("datastore.rm", "d")


def test_a_directory_is_as_old_as_its_entries(govc: Govc, vcenter: VCenter) -> None:
    """`ls -l` prints a time for each entry, also for directories."""

    def modified(directory: str) -> str:
        """Of the only entry of a directory."""
        (listing,) = govc.json("datastore.ls", "-l", directory)
        (entry,) = listing["file"]
        return str(entry["modification"])

    govc("datastore.mkdir", "-p", "age/inner")
    made = modified("age")
    vcenter.clock.advance(100)
    govc("datastore.upload", "-", "age/inner/x", stdin="abc")
    filled, written = modified("age"), modified("age/inner")
    assert made < filled
    assert made < written
    vcenter.clock.advance(100)
    govc("datastore.mv", "age/inner/x", "age/inner/y")
    assert modified("age/inner") == written, "moving a file changes its directory only"
    assert modified("age") > filled
    govc("datastore.rm", "age")


@holds("datastore.info")
def test_a_datastore_is_shown(govc: Govc, vcenter: VCenter) -> None:
    (shown,) = govc.json("datastore.info", "DC0_DS1")["datastores"]
    assert shown["summary"]["capacity"] == vcenter.datastore("DC0_DS1").capacity_bytes
    assert "Type:      NFS" in govc("datastore.info", "DC0_DS0")
    assert "not found" in govc.refused("datastore.info", "DC0_DS9")


@holds(
    "datastore.disk.create",
    "datastore.disk.info",
    "datastore.disk.extend",
    "datastore.disk.inflate",
    "datastore.disk.shrink",
)
def test_a_virtual_disk_is_made_and_changed(govc: Govc, vcenter: VCenter) -> None:
    store = vcenter.datastore("DC0_DS0")
    govc("datastore.mkdir", "disks")
    govc("datastore.disk.create", "-size", "8M", "disks/a.vmdk")
    (info,) = govc.json("datastore.disk.info", "disks/a.vmdk")
    assert (info["Name"], info["DiskType"]) == ("[DC0_DS0] disks/a.vmdk", "thin")
    assert "UUID:    60 00 C2" in govc("datastore.disk.info", "-uuid", "disks/a.vmdk")
    govc("datastore.disk.shrink", "disks/a.vmdk")
    govc("datastore.disk.extend", "-size", "16M", "disks/a.vmdk")
    assert vcenter.read_disk("[DC0_DS0] disks/a.vmdk").size_bytes == 16 * MiB
    assert store.used_bytes < MiB
    govc("datastore.disk.inflate", "disks/a.vmdk")
    assert store.used_bytes > 16 * MiB
    assert "Only a thin disk" in govc.refused("datastore.disk.shrink", "disks/a.vmdk")
    govc("datastore.cp", "disks/a.vmdk", "disks/b.vmdk")
    govc("datastore.mv", "disks/b.vmdk", "disks/c.vmdk")
    assert set(store.files()) == {
        "disks/a.vmdk", "disks/a-flat.vmdk", "disks/c.vmdk", "disks/c-flat.vmdk",
    }  # fmt: skip
    govc("datastore.rm", "disks/c.vmdk")
    govc("datastore.rm", "disks/a.vmdk")
    assert store.files() == {}
    govc("datastore.rm", "disks")


def test_the_chain_of_a_disk_is_shown(govc: Govc) -> None:
    govc("vm.create", "-on=false", "-disk", "1M", "chain")
    govc("snapshot.create", "-vm", "chain", "one")
    shown = govc("datastore.disk.info", "-c", "chain/chain-000001.vmdk").split()
    assert shown == ["chain/chain-000001.vmdk", "chain/chain.vmdk"]
    (alone,) = govc.json("datastore.disk.info", "-p=false", "chain/chain-000001.vmdk")
    assert alone["Parent"] == "[DC0_DS0] chain/chain.vmdk"
    govc("vm.destroy", "chain")


@holds("datastore.maintenance.enter", "datastore.maintenance.exit")
def test_a_datastore_is_taken_out_of_use(govc: Govc, vcenter: VCenter) -> None:
    govc("datastore.maintenance.enter", "-ds", "DC0_DS1")
    assert vcenter.datastore("DC0_DS1").maintenance_mode == "inMaintenance"
    govc("datastore.maintenance.exit", "-ds", "DC0_DS1")
    assert vcenter.datastore("DC0_DS1").maintenance_mode == "normal"


@holds("datastore.cluster.change", "datastore.cluster.info")
def test_a_datastore_cluster_is_configured(govc: Govc) -> None:
    def shown() -> dict[str, object]:
        (cluster,) = govc.json("datastore.cluster.info", "DC0_POD0")["clusters"]
        settings = cluster["podStorageDrsEntry"]["storageDrsConfig"]["podConfig"]
        return {name: settings[name] for name in ("enabled", "defaultVmBehavior")}

    assert shown() == {"enabled": False, "defaultVmBehavior": "manual"}
    govc("datastore.cluster.change", "-drs-enabled", "-drs-mode", "automated", "DC0_POD0")
    assert shown() == {"enabled": True, "defaultVmBehavior": "automated"}
    govc("datastore.cluster.change", "-drs-enabled=false", "DC0_POD0")
    assert shown() == {"enabled": False, "defaultVmBehavior": "automated"}
