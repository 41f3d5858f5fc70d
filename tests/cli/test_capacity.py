"""``vmdk-cache capacity`` adds up the space of the templates."""

from __future__ import annotations

import csv
import io
import json
import re

from tests.cli.conftest import MIB, Lab, Run


def test_sums_limits_and_the_schedulers_figure(lab: Lab, run: Run) -> None:
    lab.configure(image_cache_max_count=10, image_cache_min_free_percent=5)
    made = [lab.warm(number) for number in (1, 2)]
    *datastores, whole = run.json("capacity")
    assert [row["Datastore"] for row in datastores] == ["DC0_DS0", "DC0_DS1"]
    assert (whole["Datastore"], whole["Templates"], whole["Imports"]) == ("(all)", 2, 0)
    assert whole["Provisioned"] == 2 * 16 * MIB
    assert whole["Freed By Deletion"] == sum(entry.unshared_bytes for entry in made)
    for column in ("Templates", "Provisioned", "Capacity", "Free"):
        assert sum(row[column] for row in datastores) == whole[column]
    assert whole["Extra Provisioned GB"] == 1
    assert whole["Limits"] == [{"option": "image_cache_max_count", "used": 2, "limit": 10}]
    assert datastores[0]["Limits"][0]["option"] == "image_cache_min_free_percent"
    [*_, sums] = csv.DictReader(io.StringIO(run("capacity", "-f", "csv").stdout))
    assert json.loads(sums["Limits"]) == whole["Limits"]
    table = run("capacity").stdout
    assert "| max_count: 2 of 10 " in table and "32 MiB" in table
    assert re.search(r"\| min_free_percent: [\d.]+ free, at least \d+ ", table)
    for columns in (80, 100):
        table = run("capacity", env={"COLUMNS": str(columns)}).stdout
        assert max(map(len, table.splitlines())) <= columns
        assert "| min_free_percent:" in table
