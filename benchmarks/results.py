"""results/results.json: what was measured, and the machine that it was measured on.

    {"machine": {...}, "rows": {"requests": {"title", "seconds", "bars", "figures", "values"}, ...}}

A run of some rows replaces these and keeps the others. The file names no host, user or path, so it
can be published as it is.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import platform
import ssl
from typing import Any

from benchmarks.row import Outcome, Row

DIRECTORY = pathlib.Path(__file__).parent / "results"
FILE = DIRECTORY / "results.json"
_PACKAGES = ("pyvmomi", "oslo.vmware", "suds-community", "cinder", "eventlet", "tooz")


def load() -> dict[str, Any]:
    """The measurements so far; empty if there are none."""
    if not FILE.exists():
        return {"machine": {}, "rows": {}}
    results: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return results


def save(row: Row, outcome: Outcome, seconds: float) -> None:
    """Save what a row measured."""
    results = load()
    results["machine"] = machine()
    results["rows"][row.name] = {
        "title": row.title,
        "seconds": round(seconds, 1),
        **_rounded(outcome.as_json()),
    }
    DIRECTORY.mkdir(exist_ok=True)
    text = json.dumps(results, indent=1)
    FILE.write_text(text + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """The properties of the machine on which times depend."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory_bytes / (1 << 30)),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor()


def _rounded(value: Any) -> Any:
    """Numbers with five significant digits: more would only be noise of the machine."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {str(key): _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
