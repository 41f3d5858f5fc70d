"""headline.svg: what a burst of volumes takes, from the figures of ``make bench``."""

import json
import pathlib

from canvas import GREY, LINE, OURS, Canvas

_RESULTS = pathlib.Path(__file__).parents[2] / "benchmarks" / "results" / "results.json"
#: Label -> name of the measurement.
_BARS = {
    "Cinder's own VMDK driver": "no cache",
    "a cache with one template": "one template, VAAI",
    "this driver, first burst": "this cache, VAAI",
    "this driver, next burst": "this cache, replicas there, VAAI",
}
_LEFT, _WIDTH = 210, 470


def draw() -> str:
    seconds = json.loads(_RESULTS.read_text())["rows"]["mass_creation"]["values"]["seconds"]
    c = Canvas(820, 244, "100 volumes of a 20 GiB image at once: minutes instead of hours")
    c.text(20, 32, "100 volumes from one 20 GiB image, at once", size=17, bold=True, anchor="start")
    longest = max(seconds[name] for name in _BARS.values())
    for number, (label, name) in enumerate(_BARS.items()):
        y, ours = 52 + 36 * number, label.startswith("this driver")
        colour = OURS if ours else LINE
        c.text(_LEFT - 10, y + 17, label, bold=ours, anchor="end")
        width = _WIDTH * seconds[name] / longest
        c.box(_LEFT, y, width, 24, fill=colour, edge=colour)
        c.text(_LEFT + width + 8, y + 17, _duration(seconds[name]), bold=ours, anchor="start")
    c.text(
        20, 216, "Fake vCenter with a cost model: 4 datastores with VAAI, 8 hosts.  "
        "Cinder's own driver: 4 volumes, times 25.",
        "make bench ARGS=mass_creation", size=11, colour=GREY, anchor="start",
    )  # fmt: skip
    return c.svg()


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
