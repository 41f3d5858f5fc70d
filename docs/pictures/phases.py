"""phases.svg: the phases of an entry of the cache, and what ends each."""

from docs.pictures.canvas import GREY, HIT, MISS, OURS, OURS_PALE, PLAIN_PALE, Canvas


def draw() -> str:
    c = Canvas(940, 320, "The phases of a cached image, from absent to gone")
    _phase(c, 20, 110, "absent", "does not exist")
    _phase(c, 240, 110, "importing", "a VM, held by", "an NFC lease")
    _phase(c, 470, 110, "ready", "a template;", "cloned from", fill=OURS_PALE, edge=OURS)
    _phase(c, 690, 110, "deleting", "no new clone", "starts")
    _phase(c, 690, 236, "altered", "content changed;", "not cloned from")
    _phase(c, 690, 14, "gone", "does not exist")
    _phase(c, 470, 236, "foreign", "reported,", "left alone")
    c.arrow((140, 142), (240, 142), colour=MISS)
    c.text(190, 132, "ImportVApp", size=11)
    c.arrow((360, 142), (470, 142), colour=MISS)
    c.text(415, 132, "MarkAsTemplate", size=11)
    c.arrow((590, 142), (690, 142))
    c.text(640, 132, "expired, stale,", size=11)
    c.text(640, 160, "over a limit", size=11)
    c.arrow((750, 110), (750, 78))
    c.text(758, 99, "Destroy_Task", size=11, anchor="start")
    c.arrow((590, 168), (690, 244))
    c.text(648, 200, "written to", size=11, anchor="start")
    c.arrow((770, 236), (770, 174))
    c.text(778, 209, "next purge", size=11, anchor="start")
    c.arrow((530, 174), (530, 236))
    c.text(522, 209, "converted to a VM by hand", size=11, anchor="end")
    c.arrow((290, 174), (290, 250), (80, 250), (80, 174), dashed=True)
    c.text(
        20, 270, "died or failed: removed by its importer, by vCenter when", size=11, anchor="start"
    )
    c.text(
        20, 286, "the lease expires, by the next import, or by a reconcile", size=11, anchor="start"
    )
    c.arrow((80, 110), (80, 52), (530, 52), (530, 110), colour=HIT)
    c.text(
        305,
        44,
        "replica: one CloneVM_Task from a ready copy creates all of it, or nothing",
        size=11,
    )
    return c.svg()


def _phase(
    c: Canvas,
    x: float,
    y: float,
    name: str,
    *notes: str,
    fill: str = PLAIN_PALE,
    edge: str = GREY,
) -> None:
    c.box(x, y, 120, 64, fill=fill, edge=edge)
    c.text(x + 60, y + 22, name, bold=True)
    c.text(x + 60, y + 40, *notes, size=11)
