"""sequence.svg: what a miss, a hit and a bypass send, in order."""

from docs.pictures.canvas import BYPASS, HIT, INK, LINE, MISS, PAPER, Canvas

_WHO = {"Cinder": 70, "cache": 230, "Glance": 390, "vCenter": 550, "ESXi": 710}


def draw() -> str:
    c = Canvas(780, 690, "The requests of a miss, a hit and a bypass, in order")
    for name, x in _WHO.items():
        c.line((x, 46), (x, 676), colour=LINE, dashed=True)
        c.box(x - 50, 16, 100, 30)
        c.text(x, 36, name, bold=True)
    y = _section(c, 64, MISS, "miss: the first volume from an image")
    y = _steps(c, y, MISS, [
        ("Cinder", "cache", "create volume from image"),
        ("cache", "Glance", "download, once for all waiters"),
        ("cache", "vCenter", "ImportVApp: a virtual machine, held by an NFC lease"),
        ("cache", "ESXi", "upload while downloading; Glance's hash is checked"),
        ("cache", "vCenter", "HttpNfcLeaseComplete, MarkAsTemplate: ready"),
        ("cache", "vCenter", "CloneVM_Task, ReconfigVM_Task: the volume"),
        ("cache", "Cinder", "volume, note image_cache=miss"),
    ])  # fmt: skip
    y = _section(c, y, HIT, "hit: every further volume, in parallel")
    y = _steps(c, y, HIT, [
        ("Cinder", "cache", "create volume from image"),
        ("cache", "vCenter", "CloneVM_Task, ReconfigVM_Task (one task where vCenter allows)"),
        ("cache", "Cinder", "volume, note image_cache=hit"),
    ])  # fmt: skip
    y = _section(c, y, BYPASS, "bypass: the cache cannot or must not serve the volume")
    _steps(c, y, BYPASS, [
        ("Cinder", "cache", "create volume from image"),
        ("cache", "Cinder", "the reason; nothing is left in vCenter"),
        ("Cinder", "Glance", "Cinder's own driver downloads the image"),
        ("Cinder", "ESXi", "and uploads it, for this volume alone"),
    ])  # fmt: skip
    return c.svg()


def _section(c: Canvas, y: float, colour: str, title: str) -> float:
    c.box(16, y, 748, 24, fill=colour, edge=colour)
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
