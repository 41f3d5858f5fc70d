"""``vmdk-cache purge`` deletes what it lists, asks first, and reports what stayed and why."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import vim

from tests.cli.conftest import TIMEOUT_S, Lab, Run
from tests.fakes.web_server import Handler, web_server
from vmdk_cache.cache.key import lock_name
from vmdk_cache.cli.columns import Size


def outcomes(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["Image"]: row["Outcome"] for row in rows}


def test_only_expired_templates_are_purged_by_default(lab: Lab, run: Run) -> None:
    old = lab.warm(1)
    lab.vcenter.clock.advance(90_000)
    young = lab.warm(2)
    [planned] = run.json("purge", "--dry-run")
    assert (planned["Image"], planned["Outcome"]) == (old.image_id, "would be removed")
    assert "more than 86400 s" in planned["Reason"]
    assert len(lab.templates()) == 2
    [removed] = run.json("purge")
    assert removed == {**planned, "Outcome": "removed", "Reason": removed["Reason"]}
    assert lab.templates() == [young.name]
    [counted] = run.json("history", "--by", "reason")
    assert (counted["Event"], counted["Reason"], counted["Count"]) == ("evict", "expired", 1)


def test_a_requested_image_is_purged_however_young(lab: Lab, run: Run) -> None:
    lab.warm(1)
    other = lab.warm(2)
    done = run("purge", "--image", lab.image(1).id, lab.image(9).id, "--yes", "-f", "json", code=1)
    assert outcomes(json.loads(done.stdout)) == {lab.image(1).id: "removed"}
    assert f"no image '{lab.image(9).id}' in the cache of vmware1; did you mean" in done.stderr
    assert lab.templates() == [other.name]


def test_an_image_is_selected_by_name_or_prefix(lab: Lab, run: Run) -> None:
    lab.warm(1, name="debian-13")
    lab.warm(2, name="ubuntu-24.04")
    for text, number in (("debian-13", 1), ("ubun", 2)):
        [row] = run.json("purge", "--image", text, "--dry-run")
        assert (row["Image"], row["Outcome"]) == (lab.image(number).id, "would be removed")
    done = run("purge", "--image", "debian-12", "--yes", code=1)
    assert "did you mean 'debian-13'" in done.stderr and done.stdout == ""
    assert "nothing was deleted" in done.stderr and len(lab.templates()) == 2


def test_the_question_names_what_it_deletes(lab: Lab, run: Run) -> None:
    """At most five images, in quotes because a user chose the names."""
    lab.warm(1, name="web's \x1b[2J disk")
    done = on_a_terminal(run, "n\n", "purge", "--all")
    [template] = run.json("list")
    size = Size(template["Freed By Deletion"]).human_readable()
    where = f"on {template['Datastore']} from the cache of vmware1, {size}? [y/N]"
    assert f"Delete 1 template of 'web\\'s \\x1b[2J disk' ({lab.image().id}) {where}" in done.stderr
    for number in range(2, 8):
        lab.warm(number)
    done = on_a_terminal(run, "n\n", "purge", "--all")
    assert "Delete 7 templates of " in done.stderr and " and 2 more on DC0_DS" in done.stderr


def test_a_purge_without_anything_to_delete_says_so(lab: Lab, run: Run) -> None:
    lab.warm()
    for arguments in (("purge", "--dry-run"), ("purge",)):
        done = run(*arguments)
        assert done.stderr == "vmdk-cache: nothing to delete in the cache of vmware1\n"
        assert done.stdout == ""
        assert run.json(*arguments) == []


@pytest.mark.parametrize("columns", [80, 100])
def test_the_table_fits_the_terminal(lab: Lab, run: Run, columns: int) -> None:
    made = lab.warm(1, name="ubuntu-24.04-server-cloudimg-amd64-with-a-long-name")
    lab.vcenter.clock.advance(90_000)
    table = run("purge", "--dry-run", env={"COLUMNS": str(columns)}).stdout
    assert max(map(len, table.splitlines())) <= columns
    assert "| 00000000 |" in table and "ubuntu-24.04" in table and "…" in table
    assert ("would be removed" in table) == (columns == 100)
    assert made.name not in table
    assert made.name in run("purge", "--dry-run", "-c", "Name").stdout


def test_only_confirmed_templates_are_deleted(lab: Lab, run: Run) -> None:
    lab.warm()
    assert "--yes" in run("purge", "--all", code=2).stderr
    assert on_a_terminal(run, "n\n", "purge", "--all").returncode == 1
    assert len(lab.templates()) == 1
    assert on_a_terminal(run, "y\n", "purge", "--all").returncode == 0
    assert lab.templates() == []


def test_a_no_for_one_backend_does_not_hide_deletions_of_the_other(lab: Lab, run: Run) -> None:
    lab.sections["vmware2"] = lab.backend()
    lab.configure("DEFAULT", enabled_backends="vmware1,vmware2")
    gone, kept = lab.warm(), lab.warm(backend="vmware2")
    done = on_a_terminal(run, "y\nn\n", "purge", "--all", "-f", "json")
    assert done.returncode == 1
    assert outcomes(json.loads(done.stdout)) == {gone.image_id: "removed"}
    assert lab.templates() == [kept.name]


def on_a_terminal(run: Run, answer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a terminal, with a user who answers."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode())
        command = run.command(*arguments)
        done = subprocess.run(
            command,
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            env=run.environment(),
        )
        done.stderr = os.read(ours, 1 << 16).decode()
        return done
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("busy_with", ["a lock", "a clone"])
def test_a_template_in_use_stays_and_fails_the_command(lab: Lab, run: Run, busy_with: str) -> None:
    made = lab.warm()
    configuration = lab.configuration()
    with configuration.locks() as locks:
        if busy_with == "a clone":
            fault = vim.fault.ConcurrentAccess()
            lab.vcenter.fault_rules.add("Destroy_Task", fault, on="task", times=None)
            rows = run.json("purge", "--all", "--yes", code=1)
        else:
            with locks(configuration.backends[0]).hold(lock_name(made.name), 0):
                rows = run.json("purge", "--all", "--yes", code=1)
    assert outcomes(rows) == {made.image_id: "stayed"}
    assert rows[0]["Reason"].startswith("it is in use")
    assert lab.templates() == [made.name]


def test_one_backend_out_of_reach_does_not_block_the_other(lab: Lab, run: Run) -> None:
    lab.sections["vmware2"] = {**lab.backend(), "vmware_host_port": 1}
    lab.configure("DEFAULT", enabled_backends="vmware2,vmware1")
    made = lab.warm()
    done = run("purge", "--all", "--yes", "-f", "json", code=4)
    assert "backend vmware2" in done.stderr
    assert made.name in done.stdout
    assert lab.templates() == []


@pytest.fixture
def empty_glance() -> Iterator[str]:
    """The URL of a Glance, without authentication, that has lost all images."""

    class Answer(Handler):
        def do_GET(self) -> None:
            self.send_error(404)

    with web_server(Answer) as url:
        yield url


def test_templates_of_deleted_images_are_purged_if_glance_confirms(
    lab: Lab, run: Run, empty_glance: str
) -> None:
    lab.warm()
    lab.configure("DEFAULT", auth_strategy="noauth", glance_api_servers="http://127.0.0.1:1")
    away = run("purge", "--ask-glance", "-f", "json", code=4)
    assert "glance_api_servers" in away.stderr and len(lab.templates()) == 1
    run("purge", "--ask-glance", "--all", "--yes", code=2)
    lab.configure("DEFAULT", glance_api_servers=empty_glance)
    assert run.json("purge") == []
    [row] = run.json("purge", "--ask-glance")
    assert row["Outcome"] == "removed" and "deleted" in row["Reason"]
    assert lab.templates() == []
