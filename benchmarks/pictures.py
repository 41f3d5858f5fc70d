"""results/*.png, drawn from results.json; needs matplotlib (extra ``[bench]``)."""

from __future__ import annotations

import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen

from matplotlib import pyplot as plt

from benchmarks import results

_OURS, _PEER = "#1f6f8b", "#b0b0b0"
_SIZE = (7.0, 3.2)


def draw(measured: dict[str, Any], directory: pathlib.Path = results.DIRECTORY) -> list[str]:
    """Draw the pictures that have measurements; returns their file names."""
    drawn = []
    for name, picture in _PICTURES.items():
        row = measured["rows"].get(name)
        if row is not None:
            figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
            picture(figure, axes, row["values"])
            # No timestamp in the file: the same numbers give the same file.
            figure.savefig(directory / f"{name}.png", dpi=110, metadata={"Software": None})
            plt.close(figure)
            drawn.append(f"{name}.png")
    return drawn


def _requests(figure: Any, axes: Any, values: dict[str, Any]) -> None:
    per_volume = {name: sum(counts.values()) for name, counts in values["per_volume"].items()}
    _bars(axes, per_volume, "this cache", "SOAP requests a volume")


def _image_import(figure: Any, axes: Any, values: dict[str, Any]) -> None:
    speed = {name: sorted(each)[len(each) // 2] for name, each in values["mib_per_s"].items()}
    _bars(axes, speed, "this cache", "MiB of image a second")


def _mass_creation(figure: Any, axes: Any, values: dict[str, Any]) -> None:
    _bars(axes, values["seconds"], "this cache", "seconds of the fake's time for all volumes")


def _hot_path(figure: Any, axes: Any, values: dict[str, Any]) -> None:
    shares = {name: 100 * share for name, share in values["cpu_shares"].items()}
    _bars(axes, shares, "this cache", "% of the client's CPU time")


def _bars(axes: Any, numbers: dict[str, float], ours: str, label: str) -> None:
    names = list(numbers)[::-1]
    colours = [_OURS if name.startswith(ours) else _PEER for name in names]
    drawn = axes.barh(names, [numbers[name] for name in names], color=colours)
    axes.bar_label(drawn, fmt=_number, padding=3)
    axes.margins(x=0.12)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _growth(figure: Any, axes: Any, values: dict[str, Any]) -> None:
    figure.clear()
    figure.set_size_inches(9.0, 5.2)
    grid = figure.subplots(2, len(values["curves"]), sharey="row", squeeze=False)
    for column, (name, points) in enumerate(values["curves"].items()):
        for line, (key, label) in enumerate(
            (("requests", "requests a volume"), ("cpu_ms", "client CPU, ms a volume"))
        ):
            place = grid[line][column]
            place.plot([p["size"] for p in points], [p[key] for p in points], "o-", color=_OURS)
            place.set_xscale("log")
            highest = max(p[key] for each in values["curves"].values() for p in each)
            place.set_ylim(0, 1.1 * highest)  # no point of any curve is cut off
            place.spines[["top", "right"]].set_visible(False)
            if column == 0:
                place.set_ylabel(label)
        grid[1][column].set_xlabel(name)


_PICTURES = {
    "requests": _requests,
    "import": _image_import,
    "mass_creation": _mass_creation,
    "growth": _growth,
    "hot_path": _hot_path,
}
