"""sequence.svg: what a miss, a hit and a bypass send, in order."""

from docs.pictures.canvas import BYPASS, HIT, INK, LINE, MISS, PAPER, Canvas

_WHO = {"Cinder": 70, "cache": 270, "Glance": 430, "vCenter": 590, "ESXi": 740}


def draw() -> str:
    c = Canvas(810, 742, "The requests of a miss, a hit and a bypass, in order")
    for name, x in _WHO.items():
        c.line((x, 46), (x, 728), colour=LINE, dashed=True)
        c.box(x - 50, 16, 100, 30)
        c.text(x, 36, name, bold=True)
    y = _section(c, 64, MISS, "miss: the first volume from an image imports it")
    y = _steps(c, y, MISS, [
        ("Cinder", "cache", "create volume from image"),
        ("cache", "Glance", "download, once for all"),
        ("cache", "vCenter", "ImportVApp: a virtual machine, held by a lease"),
        ("cache", "ESXi", "upload while downloading; Glance's hash is checked"),
        ("cache", "vCenter", "HttpNfcLeaseComplete, MarkAsTemplate: ready"),
        ("cache", "vCenter", "CloneVM_Task, ReconfigVM_Task: the volume"),
        ("cache", "Cinder", "volume, image_cache=miss"),
    ])  # fmt: skip
    y = _section(c, y, HIT, "hit: every further volume is a clone; no download")
    y = _steps(c, y, HIT, [
        ("Cinder", "cache", "create volume from image"),
        ("cache", "vCenter", "CloneVM_Task, ReconfigVM_Task: the volume"),
        ("cache", "Cinder", "volume, image_cache=hit"),
    ])  # fmt: skip
    y = _section(c, y, BYPASS, "bypass: without the cache, a download for this volume alone")
    _steps(c, y, BYPASS, [
        ("Cinder", "cache", "create volume from image"),
        ("cache", "Cinder", "no, and why; nothing is left"),
        ("Cinder", "Glance", "Cinder's own driver downloads the image"),
        ("Cinder", "vCenter", "ImportVApp: a virtual machine for this volume"),
        ("Cinder", "ESXi", "upload; the volume then has image_cache=bypass: REASON"),
    ])  # fmt: skip
    return c.svg()


def _section(c: Canvas, y: float, colour: str, title: str) -> float:
    c.box(16, y, 778, 24, fill=colour, edge=colour)
    c.text(26, y + 17, title, bold=True, colour=PAPER, anchor="start")
    return y + 48


def _steps(c: Canvas, y: float, colour: str, steps: list[tuple[str, str, str]]) -> float:
    for sender, receiver, what in steps:
        x0, x1 = _WHO[sender], _WHO[receiver]
        c.arrow((x0, y), (x1, y), colour=colour)
        left = min(x0, x1) + 8
        width = 6.6 * len(what)
        c.box(left, y - 19, width, 15, fill=PAPER, edge=PAPER)
        c.text(left + 4, y - 7, what, size=11.5, colour=INK, anchor="start")
        y += 36
    return y - 10
