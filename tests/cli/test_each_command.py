"""Each command of ``vmdk-cache`` once, as a process, on a cache with one template."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.cli.conftest import MIB, Lab, Run
from tests.cli.test_exporter import exporting
from tests.fakes.vcenter import Model, VCenter
from vmdk_cache.cli.app import COMMANDS
from vmdk_cache.cli.samples import MADE, PURPOSES


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    """Its hosts have names that resolve, for preflight."""
    model = Model(datastores=2, host_names=("127.0.0.1", "localhost"))
    with VCenter(model, password="pa$$word, 9 lives") as running:
        yield running
        assert running.errors == []


def lists(lab: Lab, run: Run) -> None:
    [row] = run.json("list")
    assert (row["Image"], row["Virtual Size"]) == (lab.image().id, 16 * MIB)


def tells_status(lab: Lab, run: Run) -> None:
    [row] = run.json("status")
    assert (row["Templates"], row["Provisioned"], row["Needs Attention"]) == (1, 16 * MIB, [])


def warms(lab: Lab, run: Run) -> None:
    [row] = run.json("-q", "warm", "debian-13")
    assert row["Status"] == "imported"
    assert len(lab.templates()) == 2


def verifies(lab: Lab, run: Run) -> None:
    """Glance does not have the image of the template."""
    [row] = run.json("-q", "verify", "--all", code=1)
    assert (row["Image"], row["Status"]) == (lab.image().id, "not verified")


def shows(lab: Lab, run: Run) -> None:
    assert lab.templates()[0] in run("show", lab.image().id).stdout


def pins(lab: Lab, run: Run) -> None:
    [row] = run.json("pin", lab.image().id)
    assert (row["Image"], row["Outcome"]) == (lab.image().id, "pinned")


def unpins(lab: Lab, run: Run) -> None:
    run("pin", lab.image().id)
    [row] = run.json("unpin", lab.image().id)
    assert (row["Image"], row["Outcome"]) == (lab.image().id, "unpinned")


def purges(lab: Lab, run: Run) -> None:
    [row] = run.json("purge", "--all", "--yes")
    assert row["Image"] == lab.image().id
    assert lab.vcenter.vms() == []


def checks(lab: Lab, run: Run) -> None:
    assert run.json("check") == []


def preflights(lab: Lab, run: Run) -> None:
    results = {row["Result"] for row in run.json("preflight")}
    assert "ok" in results and "failed" not in results


def counts_capacity(lab: Lab, run: Run) -> None:
    *_, whole = run.json("capacity")
    assert (whole["Templates"], whole["Provisioned"]) == (1, 16 * MIB)


def tells_history(lab: Lab, run: Run) -> None:
    assert run.json("history") == []


def exports(lab: Lab, run: Run) -> None:
    with exporting(run) as exporter:
        templates = [value for (name, _), value in exporter.scrape().items() if name == "templates"]
    assert sum(templates) == 1


def writes_samples(lab: Lab, run: Run) -> None:
    rows = run.json("samples", str(lab.directory / "samples"))
    assert (lab.directory / "samples" / "cinder.conf.example").exists()
    assert [row["File"] for row in rows] == [
        str(lab.directory / "samples" / name) for name in (*PURPOSES, *MADE)
    ]


DOES: dict[str, Callable[[Lab, Run], None]] = {
    "status": tells_status,
    "list": lists,
    "warm": warms,
    "verify": verifies,
    "show": shows,
    "pin": pins,
    "unpin": unpins,
    "purge": purges,
    "check": checks,
    "preflight": preflights,
    "capacity": counts_capacity,
    "history": tells_history,
    "exporter": exports,
    "samples": writes_samples,
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("knows_glance", "image_id")
def test_a_command_does_its_work(lab: Lab, run: Run, command: str) -> None:
    lab.warm()
    DOES[command](lab, run)
