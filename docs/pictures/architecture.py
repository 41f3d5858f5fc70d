"""architecture.svg: where the package stands between Cinder, Glance, vCenter and ESXi."""

from docs.pictures.canvas import OURS, OURS_PALE, PAPER, Canvas


def draw() -> str:
    c = Canvas(860, 500, "The driver in cinder-volume, between Cinder, Glance, vCenter and ESXi")
    _service(c, 15, 30, 160, "Cinder API", "volume create")
    _service(c, 15, 140, 160, "cinder-scheduler", "host manager, weigher", ours=True)
    _service(c, 15, 330, 160, "Glance", "images")

    c.box(230, 30, 300, 370, fill=PAPER)
    c.text(245, 52, "cinder-volume", bold=True, anchor="start")
    _service(
        c, 250, 66, 260, "ImageCacheVmdkDriver", "Cinder's VMDK driver with a cache", ours=True
    )
    c.box(250, 150, 260, 150, fill=OURS_PALE, edge=OURS)
    c.text(380, 172, "cache engine", bold=True)
    c.text(
        380, 196, "looks up the template", "imports it once", "queues and places clones",
        "makes replicas, purges, reconciles", size=12,
    )  # fmt: skip
    _service(c, 250, 326, 260, "Cinder's own VMDK driver", "plain import, attach, snapshots, ...")

    c.box(620, 30, 210, 370, fill=PAPER)
    c.text(635, 52, "vCenter", bold=True, anchor="start")
    _service(
        c,
        640,
        66,
        170,
        "folder of the cache",
        "templates: one for each",
        "image and datastore",
        ours=True,
    )
    _service(c, 640, 190, 170, "folder of a project", "volumes: clones")
    _service(c, 640, 300, 170, "ESXi hosts", "datastores")

    c.arrow((95, 84), (95, 140))
    c.arrow((175, 168), (205, 168), (205, 93), (250, 93))
    c.arrow((380, 120), (380, 150))
    c.arrow((175, 350), (205, 350), (205, 250), (250, 250))
    c.text(198, 256, "image, once", size=11, anchor="end")
    c.arrow((175, 366), (250, 366), dashed=True)
    c.text(198, 402, "bypass: once for each volume", size=11, anchor="end")
    c.arrow((510, 160), (608, 160), (608, 100), (640, 100), colour=OURS)
    c.text(535, 152, "ImportVApp", size=11, anchor="start")
    c.arrow((510, 215), (640, 215), colour=OURS)
    c.text(535, 207, "CloneVM_Task", size=11, anchor="start")
    c.arrow((510, 262), (608, 262), (608, 325), (640, 325), colour=OURS)
    c.text(535, 254, "NFC upload", size=11, anchor="start")
    c.arrow((725, 136), (725, 190), colour=OURS)
    c.text(731, 168, "cloned from", size=11, anchor="start")

    _service(c, 230, 425, 140, "coordinator", "tooz: etcd, Redis, file")
    _service(c, 385, 425, 145, "ledger", "SQLite, per host", ours=True)
    _service(c, 555, 425, 130, "exporter", "Prometheus", ours=True)
    _service(c, 700, 425, 130, "vmdk-cache", "command line", ours=True)
    c.arrow((300, 400), (300, 425))
    c.arrow((457, 400), (457, 425))
    c.arrow((530, 450), (555, 450))
    c.arrow((765, 425), (765, 400))
    return c.svg()


def _service(
    c: Canvas, x: float, y: float, width: float, name: str, *notes: str, ours: bool = False
) -> None:
    height = 38 + 16 * len(notes)
    c.box(x, y, width, height, **({"fill": OURS_PALE, "edge": OURS} if ours else {}))
    c.text(x + width / 2, y + 23, name, bold=True)
    c.text(x + width / 2, y + 41, *notes, size=11)
