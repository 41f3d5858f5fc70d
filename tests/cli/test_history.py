"""``vmdk-cache history`` shows what was counted, even if vCenter cannot be reached."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import pytest

from tests.cli.conftest import MIB, Lab, Run
from tests.fakes.clock import ManualClock
from vmdk_cache.cache import events
from vmdk_cache.ledger import Ledger

DAY_S = 86400.0


def today() -> datetime.datetime:
    """The first moment of today, so that everything counted today has one date."""
    midnight = datetime.time(tzinfo=datetime.UTC)
    return datetime.datetime.combine(datetime.datetime.now(datetime.UTC).date(), midnight)


@pytest.fixture
def counted(lab: Lab, tmp_path: Path) -> None:
    """Nine hits and a miss yesterday, a bypass and an eviction today; vCenter cannot be reached."""
    lab.configure(vmware_host_port=1)
    clock = ManualClock()
    clock.advance((today() - clock.now()).total_seconds() - DAY_S)
    ledger = Ledger.open(str(tmp_path / "vmdk-cache.sqlite"), clock=clock)
    one = {"backend": "vmware1", "image_id": lab.image(1).id, "datastore": "DC0_DS0"}
    times = {"seconds": 2.0, "queued_s": 0.5, "cloned_s": 1.0}
    ledger(events.Miss(**one, volume_id="v0", saved_bytes=0, **times))
    ledger(
        events.Imported(
            **one, template="t", virtual_size_bytes=16 * MIB, bytes_read=4 * MIB, seconds=8.0
        )
    )
    for number in range(9):
        hit = events.Hit(**one, volume_id=f"v{number}", saved_bytes=4 * MIB, **times)
        ledger(dataclasses.replace(hit, in_one_task=number >= 2))
    clock.advance(DAY_S)
    ledger(events.Bypassed("vmware1", lab.image(2).id, "v", events.Reason.NO_ROOM))
    ledger(events.Evicted("vmware1", lab.image(1).id, "t", events.Rule.EXPIRED, "old", 16 * MIB))
    ledger(events.Evicted("vmware9", lab.image(1).id, "t", events.Rule.EXPIRED, "old", MIB))
    ledger.close()


@pytest.mark.usefixtures("counted")
def test_counts_by_day_image_and_reason(lab: Lab, run: Run) -> None:
    yesterday, today = run.json("history")
    assert (yesterday["Hits"], yesterday["Misses"], yesterday["Hit Rate"]) == (9, 1, 90.0)
    assert yesterday["In One Task"] == 7
    assert (yesterday["Imports"], yesterday["Seconds Per Import"]) == (1, 8.0)
    assert (yesterday["Bytes Imported"], yesterday["Bytes Saved"]) == (4 * MIB, 36 * MIB)
    assert (today["Hits"], today["Hit Rate"], today["Bypasses"], today["Evictions"]) == (
        0, None, 1, 1,
    )  # fmt: skip
    assert run.json("history", "--days", "1") == [today]
    first, second = run.json("history", "--by", "image")
    assert (first["Image"], first["Evictions"], second["Bypasses"]) == (lab.image(1).id, 1, 1)
    assert run.json("history", "--by", "image", "--image", lab.image(2).id) == [second]
    assert [
        (row["Event"], row["Reason"], row["Count"]) for row in run.json("history", "--by", "reason")
    ] == [("bypass", "no-room", 1), ("evict", "expired", 1)]
    for columns in (80, 100):
        for by in ("day", "image", "reason"):
            table = run("history", "--by", by, env={"COLUMNS": str(columns)}).stdout
            assert max(map(len, table.splitlines())) <= columns
            assert by == "reason" or "| Hit Rate | " in table
    table = run("history").stdout
    assert "90.0 %" in table and "36 MiB" in table and "None" not in table


@pytest.mark.usefixtures("counted")
def test_an_image_is_selected_by_a_prefix_or_by_its_name_in_the_cache(lab: Lab, run: Run) -> None:
    wanted = run.json("history", "--image", lab.image(1).id)
    ambiguous = run("history", "--image", lab.image(1).id[:8], code=1)
    assert "fits 2 images in the counts: use an id" in ambiguous.stderr
    unknown = run("history", "--image", "debian-13", code=1)
    assert "backend vmware1: no names of images are known" in unknown.stderr
    assert "no image 'debian-13' in the counts; vmdk-cache history --by image" in unknown.stderr
    lab.configure(vmware_host_port=lab.vcenter.port)
    lab.warm(1, name="debian-13")
    assert run.json("history", "--image", "debian-13") == wanted


def test_nothing_counted_lately_is_a_line(lab: Lab, run: Run, tmp_path: Path) -> None:
    Ledger.open(str(tmp_path / "vmdk-cache.sqlite")).close()
    done = run("history", "--days", "3")
    assert done.stderr == "vmdk-cache: nothing was counted in the last 3 days\n"
    assert done.stdout == ""


def test_nothing_counted_yet_is_no_error_and_makes_no_file(
    lab: Lab, run: Run, tmp_path: Path
) -> None:
    done = run("history", "-f", "json")
    assert done.stdout.strip() == "[]"
    assert "nothing has been counted yet" in done.stderr
    assert not (tmp_path / "vmdk-cache.sqlite").exists()


def test_a_ledger_that_is_switched_off_or_no_ledger_is_named(
    lab: Lab, run: Run, tmp_path: Path
) -> None:
    lab.configure(image_cache_ledger="")
    assert "image_cache_ledger is empty" in run("history", code=3).stderr
    lab.configure(image_cache_ledger="$state_path/cinder.conf")
    assert "image_cache_ledger" in run("history", code=3).stderr
    assert "not a number of days" in run("history", "--days", "0", code=2).stderr
