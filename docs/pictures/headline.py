"""headline.svg: what a burst of volumes takes, from the figures of ``make bench``."""

from demo import large_burst
from docs.pictures.canvas import GREY, LINE, OURS, Canvas

_LEFT, _WIDTH = 210, 470


def draw() -> str:
    seconds = large_burst.seconds()
    c = Canvas(820, 244, "100 volumes of a 20 GiB image at once: minutes instead of hours")
    c.text(20, 32, "100 volumes from one 20 GiB image, at once", size=17, bold=True, anchor="start")
    longest = max(seconds.values())
    for number, (label, each_s) in enumerate(seconds.items()):
        y, ours = 52 + 36 * number, label.startswith("this driver")
        colour = OURS if ours else LINE
        c.text(_LEFT - 10, y + 17, label, bold=ours, anchor="end")
        width = _WIDTH * each_s / longest
        c.box(_LEFT, y, width, 24, fill=colour, edge=colour)
        c.text(_LEFT + width + 8, y + 17, large_burst.duration(each_s), bold=ours, anchor="start")
    c.text(
        20, 216, "Fake vCenter with a cost model: 4 datastores with VAAI, 8 hosts.  "
        "Cinder's own driver: 4 volumes, times 25.",
        "make bench ARGS=mass_creation", size=11, colour=GREY, anchor="start",
    )  # fmt: skip
    return c.svg()
