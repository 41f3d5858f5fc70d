"""The rows of the table, in its order; each file holds one as ``ROW``."""

from __future__ import annotations

import importlib

from benchmarks.row import Row

_FILES = (
    "requests",
    "one_task",
    "wall_time",
    "engine_ready",
    "refresh",
    "downloads",
    "image_import",
    "mass_creation",
    "burst",
    "growth",
    "hot_path",
)


def all_rows() -> dict[str, Row]:
    """All rows, by name."""
    rows: list[Row] = [importlib.import_module(f"benchmarks.rows.{file}").ROW for file in _FILES]
    return {row.name: row for row in rows}
