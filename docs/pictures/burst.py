"""burst.svg: how copies spread over datastores while many volumes are created at once."""

from docs.pictures.canvas import HIT, LINE, MISS, OURS, OURS_PALE, PAPER, Canvas

_STORES = ("DS 1", "DS 2", "DS 3", "DS 4")


def draw() -> str:
    c = Canvas(820, 330, "Copies spread over four datastores while 100 volumes are created at once")
    _moment(c, 16, "1. import", "one download; all volumes wait", importing=(0,))
    _moment(c, 216, "2. first copy", "clones on DS 1; a copy for DS 2", copies=(0,),
            replicas=((0, 1),), clones=(3, 0, 0, 0))  # fmt: skip
    _moment(c, 416, "3. two copies", "each copy makes another", copies=(0, 1),
            replicas=((0, 2), (1, 3)), clones=(3, 3, 0, 0))  # fmt: skip
    _moment(c, 616, "4. four copies", "each datastore clones by itself", copies=(0, 1, 2, 3),
            clones=(3, 3, 3, 3))  # fmt: skip
    c.box(24, 298, 12, 12, fill=OURS, edge=OURS)
    c.text(42, 309, "template", size=11, anchor="start")
    c.box(124, 298, 12, 12, fill=PAPER, edge=MISS, dashed=True)
    c.text(142, 309, "being created", size=11, anchor="start")
    c.box(254, 298, 12, 12, fill=HIT, edge=HIT)
    c.text(272, 309, "volumes being cloned", size=11, anchor="start")
    return c.svg()


def _moment(
    c: Canvas,
    x: float,
    title: str,
    note: str,
    *,
    copies: tuple[int, ...] = (),
    importing: tuple[int, ...] = (),
    replicas: tuple[tuple[int, int], ...] = (),
    clones: tuple[int, ...] = (0, 0, 0, 0),
) -> None:
    c.text(x + 94, 34, title, bold=True)
    c.text(x + 94, 54, note, size=11)
    making = {*importing, *(to for _, to in replicas)}
    for number, name in enumerate(_STORES):
        y = 70 + 54 * number
        c.box(x, y, 188, 44, fill=OURS_PALE if number in copies else PAPER, edge=LINE)
        c.text(x + 6, y + 27, name, size=11, anchor="start")
        if number in copies:
            c.box(x + 56, y + 12, 20, 20, fill=OURS, edge=OURS)
        elif number in making:
            c.box(x + 56, y + 12, 20, 20, fill=PAPER, edge=MISS, dashed=True)
        for clone in range(clones[number]):
            c.box(x + 96 + 28 * clone, y + 14, 16, 16, fill=HIT, edge=HIT)
        if clones[number]:
            c.arrow((x + 78, y + 22), (x + 94, y + 22), colour=HIT)
    for source, to in replicas:
        left, top, bottom = x + 46 - 5 * source, 92 + 54 * source, 92 + 54 * to
        c.arrow((x + 56, top), (left, top), (left, bottom), (x + 56, bottom), colour=MISS)
