"""headline.svg: what a burst of volumes takes, from the figures of ``make bench``."""

from demo import large_burst
from docs.pictures.canvas import GREY, LINE, OURS, Canvas

_LEFT, _WIDTH = 226, 216


def draw() -> str:
    """Narrow and in large letters, so that it can be read on a phone without scrolling."""
    seconds = large_burst.seconds()
    c = Canvas(560, 296, "100 volumes of a 20 GiB image at once: minutes instead of hours")
    c.text(16, 36, "100 volumes from one 20 GiB image, at once", size=19, bold=True, anchor="start")
    longest = max(seconds.values())
    for number, (label, each_s) in enumerate(seconds.items()):
        y, ours = 58 + 42 * number, label.startswith("this driver")
        colour = OURS if ours else LINE
        c.text(_LEFT - 10, y + 20, label, size=15, bold=ours, anchor="end")
        width = _WIDTH * each_s / longest
        c.box(_LEFT, y, width, 28, fill=colour, edge=colour)
        took = large_burst.duration(each_s)
        c.text(_LEFT + width + 8, y + 20, took, size=15, bold=ours, anchor="start")
    c.text(
        16, 246, "Fake vCenter with a cost model: 4 datastores with VAAI, 8 hosts.",
        "Cinder's own driver: 4 volumes, times 25.", "make bench ARGS=mass_creation",
        size=13, colour=GREY, anchor="start",
    )  # fmt: skip
    return c.svg()
