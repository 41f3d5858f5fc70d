"""``vmdk-cache list`` shows what is in the caches, and nothing else."""

from __future__ import annotations

from tests.cli.conftest import MIB, Lab, Run


def test_an_empty_cache_is_an_empty_table(run: Run) -> None:
    assert run.json("list") == []
    assert "| Backend" in run("list").stdout


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
    assert "16 MiB" in table and lab.image().id in table and "None" not in table


def test_a_table_leaves_out_what_makes_it_wider_than_a_terminal(lab: Lab, run: Run) -> None:
    """The name repeats backend and image, so the table shows it only on request."""
    made = lab.warm()
    assert made.name not in run("list").stdout
    assert max(map(len, run("list").stdout.splitlines())) < 160
    assert made.name in run("list", "--all").stdout
    assert made.name in run("list", "-c", "Name").stdout
    assert made.name in run("list", "-f", "csv").stdout
    assert run("list", "--sort-column", "Created").stderr == ""


def test_foreign_vms_are_shown_only_on_request(lab: Lab, run: Run) -> None:
    """Nothing is known of a template of a later version, so the fields of its record are
    invented.
    """
    made = lab.warm()
    lab.write_record(made, '{"schema": 99}')
    assert run.json("list") == []
    [row] = run.json("list", "--all")
    assert (row["Image"], row["Phase"], row["Adapter"]) == (None, "foreign", None)
    assert row["Why"] == "not a template of this cache"
    assert not (row["Created"] or "").startswith("1970")


def test_filters_and_order_are_those_asked_for(lab: Lab, run: Run) -> None:
    lab.sections["vmware2"] = lab.backend()
    lab.configure("DEFAULT", enabled_backends="vmware2,vmware1")
    for number, backend in ((2, "vmware1"), (1, "vmware1"), (1, "vmware2")):
        lab.warm(number, backend)
    one, two = lab.image(1).id, lab.image(2).id
    rows = run.json("list")
    assert [(row["Backend"], row["Image"]) for row in rows] == [
        ("vmware2", one),
        ("vmware1", one),
        ("vmware1", two),
    ]
    assert [r["Image"] for r in run.json("list", "--backend", "vmware1", "--image", two)] == [two]
    datastore = rows[0]["Datastore"]
    here = [row for row in rows if row["Datastore"] == datastore]
    assert run.json("list", "--datastore", datastore) == here
    assert run("list", "-f", "value", "-c", "Virtual Size").stdout.split() == [str(16 * MIB)] * 3


def test_a_name_that_would_steer_the_terminal_is_shown_with_escapes(lab: Lab, run: Run) -> None:
    """vCenter can send both in XML: a line break, and an override of the writing direction."""
    lab.warm()
    [template] = lab.vcenter.vms()
    template.rename("mine\n| forged \u202e |")
    for arguments in (("list", "--all", "-c", "Name"), ("check", "--no-directories")):
        for formatter in ("table", "json", "csv", "value", "yaml"):
            output = run(*arguments, "-f", formatter).stdout
            assert "forged" in output and "\\n" in output
            assert "\u202e" not in output and "\n| forged" not in output, output
    shown = run("show", template.moref).stdout
    assert "\u202e" not in shown and "mine\\n| forged" in shown
