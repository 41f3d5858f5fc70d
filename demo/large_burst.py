"""What a burst takes that is too large for a demo, from the recorded figures of ``make bench``."""

from __future__ import annotations

import json
import pathlib

TITLE = "100 volumes of a 20 GiB image"
SOURCE = "4 datastores with VAAI, 8 hosts; measured by make bench ARGS=mass_creation"
_RESULTS = pathlib.Path(__file__).parents[1] / "benchmarks" / "results" / "results.json"
#: What is compared -> its name in the results.
_COMPARED = {
    "Cinder's own driver": "no cache",
    "a cache with one template": "one template, VAAI",
    "this driver, first burst": "this cache, VAAI",
    "this driver, next burst": "this cache, replicas there, VAAI",
}


def seconds() -> dict[str, float]:
    """In the fake's time, for all volumes."""
    row = json.loads(_RESULTS.read_text())["rows"]["mass_creation"]
    return {label: row["values"]["seconds"][name] for label, name in _COMPARED.items()}


def duration(seconds: float) -> str:
    """For people: ``9 min``, ``3 h 3 min``."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
