"""``vmdk-cache pin`` and ``unpin``: a pinned image stays, in every process, until it is
unpinned.
"""

from __future__ import annotations

import json
import os
import re
import socket
from typing import Any

import pytest
from pyVmomi import vim

from tests.cli.conftest import Lab, Run
from tests.fakes.vcenter import VCenter
from vmdk_cache.cache.record import ATTRIBUTE, PIN_ATTRIBUTE, Notes
from vmdk_cache.cli.pin import user

BY = re.escape(f"pinned by {user(os.getuid(), os.environ)}@{socket.gethostname()} since 20")


def outcomes(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["Image"]: row["Outcome"] for row in rows}


def attributes(vcenter: VCenter) -> dict[str, str]:
    """The pins in vCenter, by the template's name."""
    keys = {each.key for each in vcenter.custom_fields.field if each.name == PIN_ATTRIBUTE}
    return {
        vm.name: value.value
        for vm in vcenter.vms()
        for value in vm.customValue
        if value.key in keys and value.value
    }


def test_a_pinned_image_neither_expires_nor_is_purged_by_request(lab: Lab, run: Run) -> None:
    kept, other = lab.warm(1), lab.warm(2)
    [row] = run.json("pin", lab.image(1).id)
    assert (row["Image"], row["Outcome"], row["Name"]) == (kept.image_id, "pinned", kept.name)
    assert re.match(BY, row["Reason"])
    [pinned] = attributes(lab.vcenter).values()
    assert set(json.loads(pinned)) == {"vm", "by", "at"}
    [shown] = run.json("show", lab.image(1).id)["Templates"]
    assert shown["Pinned By"] == json.loads(pinned)["by"]
    assert shown["Pinned At"] == json.loads(pinned)["at"].replace("+00:00", "Z")
    lab.vcenter.clock.advance(90_000)
    assert outcomes(run.json("purge")) == {other.image_id: "removed"}
    for which in (["--all"], ["--image", lab.image(1).id]):
        [stays] = run.json("purge", *which, "--yes", code=1)
        assert stays["Outcome"] == "stayed"
        assert re.match(BY, stays["Reason"]) and stays["Reason"].endswith(": unpin it first")
    assert lab.templates() == [kept.name]

    assert outcomes(run.json("unpin", lab.image(1).id)) == {kept.image_id: "unpinned"}
    assert attributes(lab.vcenter) == {}
    assert outcomes(run.json("purge")) == {kept.image_id: "removed"}


def test_a_service_that_runs_meanwhile_sees_the_pin_without_a_request_more(
    lab: Lab, run: Run
) -> None:
    lab.configure(image_cache_max_count=1)
    kept = lab.warm(1)
    with lab.cache() as service:
        service.store.entries()
        run("pin", lab.image(1).id)
        service.store.entries()  # learns the attribute's name, once
        before = service.session.request_count
        [entry] = service.store.entries()
        requests = service.session.request_count - before
        assert entry.pinned is not None
        run("unpin", lab.image(1).id)
        service.store.entries()
        before = service.session.request_count
        [entry] = service.store.entries()
        assert entry.pinned is None
        assert service.session.request_count - before == requests
        run("pin", lab.image(1).id)
        assert service.purge.run() == []
    assert lab.templates() == [kept.name]


def test_no_import_evicts_a_pinned_image(lab: Lab, run: Run) -> None:
    lab.configure(image_cache_max_count=1)
    kept = lab.warm(1)
    run("pin", lab.image(1).id)
    with pytest.raises(Exception, match="while 1 template is pinned"):
        lab.warm(2)
    assert lab.templates() == [kept.name]


def test_images_are_found_by_id_or_prefix_and_others_are_named(lab: Lab, run: Run) -> None:
    lab.warm(1)
    lab.warm(2)
    done = run("pin", lab.image(1).id, "no-such-image", "-f", "json", code=1)
    assert outcomes(json.loads(done.stdout)) == {lab.image(1).id: "pinned"}
    assert "no image 'no-such-image'" in done.stderr
    ambiguous = run("pin", "00000000", code=1)
    assert "fits 2 images" in ambiguous.stderr
    assert len(attributes(lab.vcenter)) == 1


def test_pinning_twice_keeps_who_was_first(lab: Lab, run: Run) -> None:
    lab.warm()
    run("pin", lab.image().id)
    first = attributes(lab.vcenter)
    assert outcomes(run.json("pin", lab.image().id)) == {lab.image().id: "already pinned"}
    assert attributes(lab.vcenter) == first
    run("unpin", lab.image().id)
    assert outcomes(run.json("unpin", lab.image().id)) == {lab.image().id: "was not pinned"}


def test_an_account_that_may_not_set_attributes_is_told_the_privilege(lab: Lab, run: Run) -> None:
    lab.warm()
    refusal = vim.fault.NoPermission(privilegeId="Global.SetCustomField")
    lab.vcenter.fault_rules.add("SetField", refusal, times=None)
    [row] = run.json("pin", lab.image().id, code=4)
    assert row["Outcome"] == "failed"
    assert "Global.SetCustomField" in row["Reason"]
    assert attributes(lab.vcenter) == {}


def test_a_hostile_value_of_the_attribute_is_ignored(lab: Lab, run: Run) -> None:
    made = lab.warm()
    run("pin", lab.image().id)
    [text] = attributes(lab.vcenter).values()
    vm = next(vm for vm in lab.vcenter.vms() if vm.name == made.name)
    for hostile in (
        text[:-2],
        text.replace(made.moref, "vm-1"),
        json.dumps({"vm": made.moref, "by": "\x1b[31m" * 9, "at": "2026-01-01T00:00:00+00:00"}),
    ):
        lab.vcenter.custom_fields.set_by_name(vm, PIN_ATTRIBUTE, hostile)
        [row] = run.json("purge", "--all", "--dry-run")
        assert row["Outcome"] == "would be removed"


def test_a_pin_stays_with_the_image_if_its_template_is_altered(lab: Lab, run: Run) -> None:
    lab.configure(image_cache_replicas="on_demand")
    lab.warm()
    with lab.cache() as service:
        [entry] = service.store.entries()
        assert entry.record is not None
        other = next(each for each in service.placement.datastores()
                     if each.moref != entry.datastore)  # fmt: skip
        run("pin", lab.image().id)
        replica, _ = service.replication.make(entry.record.key, other.moref)
        assert replica.pinned is not None
        altered = Notes(ready_vm=entry.moref, content_id="of another day").to_json()
        vm = lab.vcenter.find_vm(entry.name)
        lab.vcenter.custom_fields.set_by_name(vm, ATTRIBUTE, altered)
        service.purge.run()
    assert lab.templates() == [replica.name]
    [row] = run.json("purge", "--all", "--yes", code=1)
    assert "unpin it first" in row["Reason"]
