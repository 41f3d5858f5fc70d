"""The commands that read any object: ls, find, tree, collect, object.*."""

from __future__ import annotations

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import VCenter


@holds("ls", "find", "tree")
def test_the_inventory_is_listed(govc: Govc) -> None:
    names = ["datastore", "host", "network", "vm"]
    assert sorted(govc("ls", "/DC0").split()) == [f"/DC0/{name}" for name in names]
    assert govc("find", "/", "-type", "s").split() == [
        "/DC0/datastore/DC0_DS0",
        "/DC0/datastore/DC0_DS1",
    ]
    lines = govc("tree", "-L", "2", "/DC0").splitlines()
    shown = [line.split("── ")[-1] for line in lines]
    assert sorted(shown) == sorted(["/DC0", *names, "DC0_C0", "DC0_DS0", "DC0_DS1", "VM Network"])


@holds("collect")
def test_the_properties_of_an_object_are_read(govc: Govc, vcenter: VCenter) -> None:
    assert govc("collect", "-s", "/DC0/datastore/DC0_DS0", "summary.type").strip() == "NFS"
    found = govc("collect", "-s", "-type", "HostSystem", "/", "name").split()
    assert sorted(found) == ["DC0_C0_H0", "DC0_C0_H1"]


@holds("object.rename", "object.mv", "object.destroy", "object.reload")
def test_an_object_is_renamed_moved_and_destroyed(govc: Govc, vcenter: VCenter) -> None:
    for name in ("a", "b"):
        govc("folder.create", f"/DC0/vm/{name}")
    govc("object.rename", "/DC0/vm/a", "c")
    govc("object.mv", "/DC0/vm/c", "/DC0/vm/b")
    assert govc("ls", "/DC0/vm/b").split() == ["/DC0/vm/b/c"]
    govc("object.reload", "/DC0/vm/b")
    assert vcenter.request_log.count("Reload") == 1
    govc("object.destroy", "/DC0/vm/b")
    assert govc("ls", "/DC0/vm").split() == []


@holds("object.save")
def test_the_inventory_is_saved(govc: Govc) -> None:
    govc("object.save", "-d", "saved", "/DC0")
    names = [path.name for path in (govc.directory / "saved").glob("*.xml")]
    assert sum("HostSystem-" in name for name in names) == 2
    assert sum("Datastore-" in name for name in names) == 2


@holds("version", "env")
def test_the_program_tells_of_itself(govc: Govc) -> None:
    assert govc("version").startswith("govc ")
    assert f"GOVC_USERNAME={govc.environment['GOVC_USERNAME']}" in govc("env")
