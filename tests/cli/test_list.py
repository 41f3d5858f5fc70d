"""``vmdk-cache list`` shows what is in the caches, and nothing that is not."""

from __future__ import annotations

from tests.cli.conftest import MIB, Lab, Run


def test_an_empty_cache_is_an_empty_table(run: Run) -> None:
    assert run.json("list") == []
    assert "Backend" in run("list").stdout


def test_a_template_is_shown_exactly_to_programs_and_readably_to_people(lab: Lab, run: Run) -> None:
    made = lab.warm()
    [row] = run.json("list")
    assert made.created_at is not None
    assert row == {
        "Backend": "vmware1",
        "Image": lab.image().id,
        "Name": made.name,
        "Phase": "ready",
        "Datastore": row["Datastore"],
        "Virtual Size": 16 * MIB,
        "Freed By Deletion": made.unshared_bytes,
        "Adapter": "lsiLogic",
        "Created": f"{made.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "Last Used": None,
        "Expires": row["Expires"],
        "Copies": 1,
    }
    assert row["Datastore"] in ("DC0_DS0", "DC0_DS1")
    assert row["Expires"] > row["Created"]
    table = run("list").stdout
    assert "16 MiB" in table and made.name in table and "None" not in table
