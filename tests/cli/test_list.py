"""``vmdk-cache list`` shows what is in the caches, and nothing else."""

from __future__ import annotations

import pytest
from pyVmomi import vmodl

from tests.cli.conftest import MIB, Lab, Run
from tests.cli.terminal import Terminal
from vmdk_cache.cli.columns import Size


def test_an_empty_cache_is_a_line_on_stderr(run: Run) -> None:
    for arguments in (("list",), ("list", "-f", "json"), ("list", "-q")):
        done = run(*arguments)
        assert done.stderr == "vmdk-cache: no templates in the cache of vmware1\n"
        assert done.stdout == ("[]\n" if "json" in arguments else "")


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
        "Image Name": None,
        "Pinned By": None,
    }
    assert row["Datastore"] in ("DC0_DS0", "DC0_DS1")
    assert row["Expires"] > row["Created"]
    assert "16 MiB" in run("list", "--wide").stdout


@pytest.mark.parametrize("columns", [80, 100])
def test_a_table_has_a_row_for_each_image_and_fits_the_terminal(
    lab: Lab, run: Run, columns: int
) -> None:
    name = "ubuntu-24.04-server-cloudimg-amd64-with-a-long-name"
    made = lab.warm(name=name)
    done = run("list", env={"COLUMNS": str(columns)})
    frame, header, *_ = done.stdout.splitlines()
    assert len(frame) == columns
    words = [each.strip() for each in header.split("|")[1:-1]]
    narrow = ["Image", "Image Name", "Datastore", "Size", "Last Used", "Expires"]
    wide = [*narrow[:3], "Copies", "Size", "Used", *narrow[4:]]
    assert words == (narrow if columns == 80 else wide)
    assert "| 00000000 | ubuntu-24.04" in done.stdout and "… |" in done.stdout
    assert "never" in done.stdout and "in 23 h" in done.stdout
    used = Size(made.unshared_bytes).human_readable()
    assert done.stderr == f"1 template of 1 image on 1 datastore, {used} used\n"
    assert run("-q", "list").stderr == ""


def test_a_wide_table_has_everything_with_times_in_utc(lab: Lab, run: Run) -> None:
    made = lab.warm(name="web")
    done = run("list", "--wide", env={"COLUMNS": "80"})
    [row] = run.json("list")
    assert made.name in done.stdout and made.name in run("list", "-c", "Name").stdout
    assert lab.image().id in done.stdout and "lsiLogic" in done.stdout
    assert row["Created"].replace("T", " ")[:-1] in done.stdout
    assert done.stderr.endswith("; times are UTC\n")
    assert run("list", "--sort-column", "Created").stdout.count(made.name) == 1


def test_ids_alone_are_printed_one_per_line(lab: Lab, run: Run) -> None:
    for number in (1, 2):
        lab.warm(number)
    ids = [lab.image(number).id for number in (1, 2)]
    assert run("list", "-q").stdout.split() == ids
    assert run("list", "--ids", "--limit", "1").stdout.split() == ids[:1]
    assert run("list", "-q").stderr == ""


def test_rows_are_sorted_and_limited(lab: Lab, run: Run) -> None:
    lab.warm(1, name="beta")
    lab.warm(2, name="alpha")
    rows = run.json("list", "--sort", "Image Name")
    assert [row["Image Name"] for row in rows] == ["alpha", "beta"]
    done = run("list", "--sort", "image-name", "--limit", "1")
    assert "alpha" in done.stdout and "beta" not in done.stdout
    assert done.stderr.startswith("2 templates of 2 images on ")
    assert done.stderr.endswith("; 1 of 2 rows shown\n")
    unknown = run("list", "--sort", "colour", code=2).stderr
    assert "argument --sort: invalid choice: 'colour'" in unknown and "last-used" in unknown
    assert "not a positive number: '0'" in run("list", "--limit", "0", code=2).stderr


def test_a_filter_that_matches_nothing_fails_and_says_what_there_is(lab: Lab, run: Run) -> None:
    made = lab.warm(name="debian-13")
    [row] = run.json("list", "--image", "debi")
    here = row["Datastore"]
    [there] = {"DC0_DS0", "DC0_DS1"} - {here}
    for arguments, says in (
        (["--image", "debian-12"], f"did you mean 'debian-13' ({made.image_id})?"),
        (["--datastore", "DS9"], "no datastore 'DS9' in vmware1; use DC0_DS0, DC0_DS1"),
        (["--datastore", there], f"no templates on {there} in the cache of vmware1; there are "
                                 f"some on {here}"),
        (["--image", "debian-13", "--datastore", there],
         f"no templates of this image on {there} in the cache of vmware1"),
    ):  # fmt: skip
        done = run("list", *arguments, "-f", "json", code=1)
        assert says in done.stderr and done.stdout == ""


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


def test_a_watch_shows_changes_and_failures_until_ctrl_c(lab: Lab, run: Run) -> None:
    lab.warm(1, name="debian-13")
    before = lab.vcenter.request_log.count("Login")
    with Terminal(run.command("list", "--watch", "1"), run.environment(COLUMNS="100")) as terminal:
        terminal.wait_for("debian-13")
        [template] = lab.vcenter.vms()
        lab.vcenter.fault_rules.add("CurrentTime", vmodl.fault.SystemError(reason="no time"))
        terminal.wait_for("backend vmware1: ")
        template.rename("mine")
        terminal.wait_for("no templates in the cache of vmware1")
        assert lab.vcenter.request_log.count("Login") == before + 1
        terminal.interrupt()
    assert terminal.code == 0
    assert "Traceback" not in terminal.seen


def test_a_watch_of_an_image_goes_on_when_the_image_goes(lab: Lab, run: Run) -> None:
    made = lab.warm(1, name="debian-13")
    command = run.command("list", "--image", "debian-13", "--watch", "1")
    with Terminal(command, run.environment(COLUMNS="100")) as terminal:
        terminal.wait_for(f"| {str(made.image_id)[:8]}")
        lab.forget(made)
        terminal.wait_for("no image 'debian-13' in the cache of vmware1")
        terminal.interrupt()
    assert terminal.code == 0
    with Terminal(command, run.environment()) as terminal:
        terminal.wait_for("no image 'debian-13' in the cache of vmware1")
    assert terminal.code == 1


def test_a_watch_needs_a_terminal_and_a_table(run: Run) -> None:
    assert "--watch needs a terminal" in run("list", "--watch", code=2).stderr
    assert "goes with neither" in run("list", "--watch", "2", "-f", "json", code=2).stderr
    assert "from 1 to 3600: '0'" in run("list", "--watch", "0", code=2).stderr
