"""One cell, tried: what Cinder loads and relies on, and a volume's life in a real Cinder."""

from __future__ import annotations

import os
import subprocess
import time
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.matrix.cells import Cell
from tests.matrix.environment import FOLDER, ROOT, NotInstalled, environment

UNIT = "tests/unit/cinder"
LIFE = "tests/e2e/test_cinder_release.py"
SWAP = "tests/e2e/test_driver_swap.py"
#: Far more than a slow machine takes: a cell that hangs is not held for ever.
TIMEOUT_S = 1200.0


@dataclass(frozen=True)
class Result:
    """What came of a cell.

    :ivar failure: why it does not hold; empty if it does
    :ivar unit: tests passed of ``tests/unit/cinder``
    :ivar life: tests passed of ``tests/e2e/test_cinder_release.py`` and ``test_driver_swap.py``
    :ivar installed_s: how long the environment took; about 0 if it was there
    """

    cell: Cell
    failure: str
    unit: int = 0
    life: int = 0
    installed_s: float = 0.0
    tried_s: float = 0.0


def try_cell(cell: Cell) -> Result:
    """Install, run, count; never raises for what the cell is like."""
    began = time.monotonic()
    try:
        python = environment(cell)
    except NotInstalled as missing:
        return Result(cell, str(missing))
    installed = time.monotonic()
    report = FOLDER / f"{cell.name}.xml"
    report.unlink(missing_ok=True)
    failure = _run(cell, python, report)
    passed, faulty = counts(report)
    failure = failure or verdict(passed, faulty)
    return Result(
        cell,
        failure,
        unit=passed[UNIT],
        life=passed[LIFE],
        installed_s=installed - began,
        tried_s=time.monotonic() - installed,
    )


def counts(report: Path) -> tuple[Counter[str], list[str]]:
    """Tests that passed, by :data:`UNIT` and :data:`LIFE`; names of those that did not."""
    passed: Counter[str] = Counter()
    faulty = []
    if not report.exists():
        return passed, ["(pytest ended without a report)"]
    for case in ET.parse(report).iter("testcase"):
        module = case.get("classname", "")
        if len(case.findall("*")) - len(case.findall("system-out")):
            faulty.append(f"{module}::{case.get('name')}")
        else:
            passed[LIFE if module.startswith("tests.e2e.") else UNIT] += 1
    return passed, faulty


def verdict(passed: Counter[str], faulty: list[str]) -> str:
    """Empty if the cell holds. A test that is skipped does not, nor do tests that are not there."""
    if faulty:
        return "failed or skipped: " + ", ".join(faulty[:3])
    missing = [what for what in (UNIT, LIFE) if not passed[what]]
    return f"ran no test of {', '.join(missing)}" if missing else ""


def _run(cell: Cell, python: Path, report: Path) -> str:
    log = FOLDER / f"{cell.name}.log"
    argv = [str(python), "-W", "ignore", "-m", "pytest", "-p", "no:cacheprovider", UNIT, LIFE, SWAP]
    with log.open("w") as out:
        try:
            done = subprocess.run(
                [*argv, f"--junitxml={report}"],
                cwd=ROOT,
                env={**os.environ, "VMDK_CACHE_E2E_THREADS": cell.threads},
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return f"ran for more than {TIMEOUT_S:g} s: see {log}"
    # 1: tests failed, which the report names.
    return "" if done.returncode in (0, 1) else f"pytest: exit {done.returncode}: see {log}"
