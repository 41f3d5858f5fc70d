"""Run the matrix: ``make faults``, or ``python -m tests.faults "hit: CloneVM_Task"`` for the cells
whose names contain the words.

As many processes as there are cores share the cells. A run of all cells writes results.json, which
git ignores, as it proceeds, so an interrupted run shows what it has tried. Every run exits with 1
if a cell did not hold.
"""

from __future__ import annotations

import concurrent.futures
import datetime
import json
import multiprocessing
import os
import sys
import time
from typing import Any

from tests.faults.document import RESULTS
from tests.faults.operations import BY_NAME
from tests.faults.worker import record_calls, run_share

SHARES = 16


def main() -> int:
    """See the module's docstring."""
    words = " ".join(sys.argv[1:])
    began = time.monotonic()
    cores = os.cpu_count() or 1
    found: list[dict[str, Any]] = []
    with concurrent.futures.ProcessPoolExecutor(
        cores, mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        recorded = dict(zip(BY_NAME, pool.map(record_calls, BY_NAME), strict=True))
        jobs = [
            pool.submit(run_share, operation, share, SHARES, words)
            for share in range(SHARES)
            for operation in BY_NAME
        ]
        for job in concurrent.futures.as_completed(jobs):
            for result in job.result():
                found.append(result)
                if words or result["problems"]:
                    _print(result)
            if not words:
                _write(found, recorded, (time.monotonic() - began) / 60, cores)
    failed = [result for result in found if result["problems"]]
    minutes = (time.monotonic() - began) / 60
    print(f"{len(found)} cells tried, {len(found) - len(failed)} held, in {minutes:.1f} minutes")
    return int(bool(failed))


def _print(result: dict[str, Any]) -> None:
    name = f"{result['operation']}: {result['call']}: {result['fault']}"
    print(f"{name}\n    {result['outcome']}, {result['extra_requests']} requests more")
    for problem in result["problems"]:
        print(f"    NOT HELD: {problem}")
    sys.stdout.flush()


def _write(
    found: list[dict[str, Any]],
    recorded: dict[str, list[str]],
    minutes: float,
    cores: int,
) -> None:
    order = list(BY_NAME)
    found.sort(key=lambda one: (order.index(one["operation"]), one["call"], one["fault"]))
    head = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "minutes": round(minutes, 1),
        "cores": cores,
        "calls": recorded,
    }
    rows = ",\n".join(json.dumps(one, sort_keys=True) for one in found)
    text = json.dumps(head, indent=1)[:-2] + f',\n "cells": [\n{rows}\n]\n}}\n'
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
