"""``vmdk-cache purge --datastore``: a datastore is emptied, and with ``--replicate`` no image is
lost.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim

from tests.cli.conftest import TIMEOUT_S, Lab, Run
from tests.cli.test_purge import on_a_terminal
from tests.fakes.vcenter import Model, VCenter
from tests.waiting import wait_until
from vmdk_cache.cache.entry import CacheEntry


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    with VCenter(Model(hosts_per_cluster=2, datastores=3), password="pa$$word, 9 lives") as running:
        yield running
        assert running.errors == []


class Evacuated:
    """A cache, and the datastore on which ``template`` is alone."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.template = lab.warm(1)
        self.names = {store.moref: store.name for store in self.stores()}
        self.name = self.names[self.template.datastore or ""]
        self.others = sorted({*self.names.values()} - {self.name})

    def stores(self) -> list[Any]:
        with self.lab.cache() as cache:
            return cache.placement.datastores()

    def where(self, number: int = 1) -> list[str]:
        """Datastores of the image's templates."""
        with self.lab.cache() as cache:
            return sorted(
                self.names[entry.datastore or ""]
                for entry in cache.store.entries()
                if entry.image_id == self.lab.image(number).id
            )

    def warm_on_the_same(self, number: int) -> CacheEntry:
        for name in self.others:
            self.lab.vcenter.datastore(name).maintenance_mode = "inMaintenance"
        try:
            return self.lab.warm(number)
        finally:
            for name in self.others:
                self.lab.vcenter.datastore(name).maintenance_mode = "normal"


@pytest.fixture
def one(lab: Lab) -> Evacuated:
    return Evacuated(lab)


def outcomes(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["Image"]: row["Outcome"] for row in rows}


def test_every_template_of_the_datastore_is_removed(one: Evacuated, lab: Lab, run: Run) -> None:
    [planned] = run.json("purge", "--datastore", one.name, "--dry-run")
    assert (planned["Outcome"], planned["Datastore"]) == ("would be removed", one.name)
    assert one.where() == [one.name]
    [removed] = run.json("purge", "--datastore", one.name, "--yes")
    assert removed["Outcome"] == "removed"
    assert lab.templates() == []
    again = run("purge", "--datastore", one.name, "--yes", "-f", "json")
    assert json.loads(again.stdout) == []
    assert f"no template on {one.name} in the cache of vmware1" in again.stderr


def test_with_replicate_the_image_is_served_from_elsewhere(
    one: Evacuated, lab: Lab, run: Run
) -> None:
    second = one.warm_on_the_same(2)
    options = ("purge", "--datastore", one.name, "--replicate")
    planned = run.json(*options, "--dry-run")
    assert {row["Outcome"] for row in planned} == {"would be removed"}
    assert {row["Reason"] for row in planned} <= {
        f"replicated to {name} first" for name in one.others
    }
    assert one.where() == [one.name]
    done = run(*options, "--yes", "-f", "json")
    assert f"{lab.image(2).id} on {one.name}: copying to another datastore" in done.stderr
    rows = json.loads(done.stdout)
    assert outcomes(rows) == dict.fromkeys([lab.image(1).id, second.image_id], "removed")
    for row, number in zip(sorted(rows, key=lambda row: row["Image"]), (1, 2), strict=True):
        [there] = one.where(number)
        assert there in one.others
        assert row["Reason"] == f"replicated to {there} first"
    with lab.cache() as cache:
        assert all(entry.is_ours and entry.accessible for entry in cache.store.entries())


def test_the_question_names_the_images_and_the_datastore(
    one: Evacuated, lab: Lab, run: Run
) -> None:
    assert "--yes" in run("purge", "--datastore", one.name, code=2).stderr
    said = on_a_terminal(run, "n\n", "purge", "--datastore", one.name, "--replicate").stderr
    assert "Copy 1 image to other datastores, then delete 1 template of " in said
    assert lab.image(1).id in said and f"on {one.name}" in said
    assert one.where() == [one.name]


def test_a_pin_travels_and_without_replicate_the_last_copy_stays(
    one: Evacuated, lab: Lab, run: Run
) -> None:
    run("pin", lab.image(1).id)
    [stays] = run.json("purge", "--datastore", one.name, "--yes", code=1)
    assert stays["Outcome"] == "stayed"
    assert "no other datastore has a copy: replicate or unpin it" in stays["Reason"]
    [gone] = run.json("purge", "--datastore", one.name, "--replicate", "--yes")
    assert gone["Outcome"] == "removed"
    assert one.where() in ([name] for name in one.others)
    [still] = run.json("purge", "--all", "--yes", code=1)
    assert still["Reason"].endswith("unpin it first")


def test_a_copy_that_fails_keeps_the_original(one: Evacuated, lab: Lab, run: Run) -> None:
    fault = vim.fault.NoPermission(privilegeId="VirtualMachine.Provisioning.CloneTemplate")
    lab.vcenter.fault_rules.add("CloneVM_Task", fault, times=None)
    [row] = run.json("purge", "--datastore", one.name, "--replicate", "--yes", code=1)
    assert row["Outcome"] == "stayed"
    assert "could not be copied to another datastore" in row["Reason"]
    assert "CloneTemplate" in row["Reason"]
    assert one.where() == [one.name]


def test_only_the_named_images_leave_the_datastore(one: Evacuated, lab: Lab, run: Run) -> None:
    second = one.warm_on_the_same(2)
    [row] = run.json("purge", "--datastore", one.name, "--image", lab.image(2).id, "--yes")
    assert (row["Image"], row["Outcome"]) == (second.image_id, "removed")
    assert lab.templates() == [one.template.name]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--datastore", "nowhere"], "no opened backend sees a datastore 'nowhere'; they see DC0_"),
        (["--datastore", "DC0_DS0", "--all"], "not allowed with argument --all"),
        (["--datastore", "DC0_DS0", "--expired"], "not allowed with argument --expired"),
        (["--replicate"], "--replicate: goes with --datastore only"),
        (["--datastore", "DC0_DS0", "--ask-glance"], "--ask-glance goes with --expired only"),
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_refused(
    lab: Lab, run: Run, options: list[str], says: str
) -> None:
    assert says in run("purge", *options, "--yes", code=2).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_an_interrupt_while_a_copy_is_made_loses_nothing(
    one: Evacuated, lab: Lab, run: Run, number: signal.Signals
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(TIMEOUT_S)

    lab.vcenter.fault_rules.add("CloneVM_Task", on="task", action=wait)
    options = ("purge", "--datastore", one.name, "--replicate", "--yes", "-f", "json")
    with subprocess.Popen(
        run.command(*options), stdout=-1, stderr=-1, text=True, env=run.environment()
    ) as process:
        wait_until(lambda: begun.is_set() or process.poll() is not None, timeout_s=TIMEOUT_S)
        process.send_signal(number)
        out, err = process.communicate(timeout=TIMEOUT_S)
    go_on.set()
    run.check(out + err)
    assert process.returncode == 130, (out, err)
    [row] = json.loads(out)
    assert row["Outcome"] == "broken off"
    assert "interrupted: vCenter completes what it has begun" in err
    wait_until(lambda: not lab.vcenter.tasks.running(), timeout_s=TIMEOUT_S)
    assert one.name in one.where(), "the original is gone"
    [row] = run.json(*options[:-2])
    assert row["Outcome"] == "removed"
    assert one.where() in ([name] for name in one.others)
