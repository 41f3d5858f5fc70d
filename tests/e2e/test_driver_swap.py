"""An operator changes ``volume_driver`` on a cloud with volumes, and changes it back.

There are three stages on one cloud: Cinder's own driver, ours, Cinder's own driver again. Each
stage creates its own volumes, and runs every operation on the volumes of all stages so far, with
``volume_backend_name`` set and unset. ``-s`` prints the table.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e.cloud import OUR_DRIVER, UPSTREAM_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.road import Road, an_instance
from tests.e2e.stack.client import Resource
from tests.e2e.stack.glance import Glance
from tests.fakes.images import as_stream_optimized, filesystem_disk

BACKEND = "vmware"
OTHER_TYPE = "vmware_thick"
IMAGE = as_stream_optimized(filesystem_disk(16 << 20, payload_bytes=1 << 20))
CACHE_ON = {"enable_image_cache": "true", "image_cache_replicas": "off"}
#: Glance on sqlite answers 500 when two requests write at once ("database is locked").
ONE_WRITER = threading.Lock()
#: name of the stage, driver, options of its section
STAGES = (
    ("stock", UPSTREAM_DRIVER, {}),
    ("ours", OUR_DRIVER, CACHE_ON),
    ("stock again", UPSTREAM_DRIVER, {}),
)


@dataclass
class Cohort:
    """What one stage leaves for the stages after it.

    :ivar volume_id: a volume from the image, not attached
    :ivar snapshot_id: a snapshot of it
    :ivar attached_id: a volume from the image that is attached while the driver changes
    """

    born: str
    road: Road
    instance: str
    volume_id: str = ""
    snapshot_id: str = ""
    attached_id: str = ""
    attachment: Resource | None = None
    size_gb: int = 1

    def create(self) -> None:
        """:raises StackError: a volume, the snapshot or the attachment was not created"""
        self.volume_id = self.road.create_from_image(metadata=USE_CACHE)
        self.snapshot_id = self.road.snapshot(self.volume_id)
        self.attached_id = self.road.create_from_image(metadata=USE_CACHE)
        self.attachment = self.road.attach(self.attached_id, self.instance)

    # The operations. Each leaves the cohort unchanged, except for the volume's size and type.

    def detach_and_attach(self) -> None:
        assert self.attachment is not None
        self.road.detach(self.attached_id, self.attachment)
        self.attachment = self.road.attach(self.attached_id, self.instance)

    def clone(self) -> None:
        self._make_and_delete(source_volid=self.volume_id)

    def create_from_snapshot(self) -> None:
        self._make_and_delete(snapshot_id=self.snapshot_id)

    def create_from_image(self) -> None:
        volume_id = self.road.create_from_image(metadata=USE_CACHE)
        self.road.cloud.assert_holds(volume_id, IMAGE, 1)
        self._delete(volume_id)

    def create_blank_and_attach(self) -> None:
        volume_id = self.road.create()
        self.road.detach(volume_id, self.road.attach(volume_id, self.instance))
        self._delete(volume_id)

    def take_and_delete_a_snapshot(self) -> None:
        snapshot_id = self.road.snapshot(self.volume_id)
        self.road.cloud.cinder.delete("snapshots", snapshot_id)
        self.road.cloud.cinder.wait_gone("snapshots", snapshot_id)
        self.road.made.remove(("snapshots", snapshot_id))

    def retype(self) -> None:
        """Retype there and back. A volume with snapshots cannot be retyped, so the test retypes a
        clone.
        """
        clone_id = self.road.create(self.size_gb, source_volid=self.volume_id)
        for new_type in (OTHER_TYPE, BACKEND):
            self.road.act(clone_id, "os-retype", new_type=new_type, migration_policy="never")
        self.road.cloud.assert_holds(clone_id, IMAGE, self.size_gb)
        self._delete(clone_id)

    def extend(self) -> None:
        clone_id = self.road.create(self.size_gb, source_volid=self.volume_id)
        self.road.act(clone_id, "os-extend", new_size=self.size_gb + 1)
        self.road.cloud.assert_holds(clone_id, IMAGE, self.size_gb + 1)
        self._delete(clone_id)

    def upload(self) -> None:
        with ONE_WRITER:
            upload = self.road.cloud.cinder.act(
                self.volume_id,
                "os-volume_upload_image",
                {"image_name": "copy", "disk_format": "vmdk", "container_format": "bare"},
            )["os-volume_upload_image"]
            self.road.cloud.cinder.wait("volumes", self.volume_id, "available")
            assert self.road.cloud.glance.image(upload["image_id"])["status"] == "active"
            self.road.cloud.glance.delete(upload["image_id"])

    def read(self) -> None:
        for volume_id in (self.volume_id, self.attached_id):
            self.road.cloud.assert_holds(volume_id, IMAGE, self.size_gb)

    def _make_and_delete(self, **source: str) -> None:
        volume_id = self.road.create(self.size_gb, **source)
        self.road.cloud.assert_holds(volume_id, IMAGE, self.size_gb)
        self._delete(volume_id)

    def _delete(self, volume_id: str) -> None:
        self.road.cloud.cinder.delete("volumes", volume_id)
        self.road.cloud.cinder.wait_gone("volumes", volume_id)
        self.road.made.remove(("volumes", volume_id))


OPERATIONS: tuple[Callable[[Cohort], None], ...] = (
    Cohort.detach_and_attach,
    Cohort.clone,
    Cohort.create_from_snapshot,
    Cohort.create_from_image,
    Cohort.create_blank_and_attach,
    Cohort.take_and_delete_a_snapshot,
    Cohort.retype,
    Cohort.extend,
    Cohort.upload,
    Cohort.read,
)
#: (operation, stage, stage that created the volume) -> "ok" or the failure
Table = dict[tuple[str, str, str], str]


@pytest.mark.timeout(900)  # three boots of Cinder and sixty operations
@pytest.mark.parametrize("backend_name", [BACKEND, None], ids=["named", "unnamed"])
def test_every_operation_works_after_a_change_of_the_driver(
    glance: Glance, backend_name: str | None
) -> None:
    table: Table = {}
    notes = []
    options = {"volume_backend_name": backend_name}
    with running(glance, options) as (the_cloud, instance, image_id):
        cohorts: list[Cohort] = []
        for number, (stage, driver, more) in enumerate(STAGES):
            if number:
                the_cloud.swap_driver(BACKEND, driver, {**options, **more})
            cohorts.append(Cohort(stage, Road(stage, the_cloud, BACKEND, image_id), instance))
            cohorts[-1].create()
            notes.append(outcome(the_cloud.cinder.show("volumes", cohorts[-1].attached_id)))
            with ThreadPoolExecutor(len(cohorts)) as pool:
                for part in pool.map(lambda cohort, at=stage: tried(cohort, at), cohorts):
                    table.update(part)
        for cohort in cohorts:
            assert cohort.attachment is not None
            cohort.road.detach(cohort.attached_id, cohort.attachment)
            cohort.road.clean_up()
        left = {vm.name for vm in the_cloud.vcenter.vms() if "_image_cache" not in vm.name}
        errors = the_cloud.vcenter.errors
    print(f"\nvolume_backend_name = {backend_name or '(unset)'}\n{rendered(table)}")
    assert {key: value for key, value in table.items() if value != "ok"} == {}
    assert notes == [None, "hit", None]
    assert (left, errors) == ({"instance"}, [])


@contextlib.contextmanager
def running(glance: Glance, options: dict[str, str | None]) -> Iterator[tuple[Cloud, str, str]]:
    """The cloud in its first stage; moref of an instance; id of the image in Glance."""
    _, driver, more = STAGES[0]
    with cloud({BACKEND: (driver, {**options, **more})}, glance=glance) as the_cloud:
        # The effective name of a backend without volume_backend_name is that of the class.
        reported = options["volume_backend_name"] or UPSTREAM_DRIVER.rpartition(".")[2]
        specs = {"volume_backend_name": reported}
        the_cloud.cinder.create_volume_type(BACKEND, **specs)
        the_cloud.cinder.create_volume_type(OTHER_TYPE, **specs, **{"vmware:vmdk_type": "thick"})
        with an_instance(the_cloud.vcenter) as instance:
            yield the_cloud, instance, the_cloud.upload("image", IMAGE)


def tried(cohort: Cohort, stage: str) -> Table:
    """Run each operation on the cohort's volumes, one after the other."""
    table: Table = {}
    for operation in OPERATIONS:
        try:
            operation(cohort)
            result = "ok"
        except Exception as failure:
            result = f"{type(failure).__name__}: {failure}"
        table[operation.__name__, stage, cohort.born] = result
    return table


def rendered(table: Table) -> str:
    """One line per operation, one column per stage and stage of the volumes' creation."""
    columns = list(dict.fromkeys((stage, born) for _, stage, born in table))
    heads = [f"{stage} / {born}" for stage, born in columns]
    lines = [f"{'operation (stage / made in)':28}  " + "  ".join(heads)]
    for operation in OPERATIONS:
        cells = (
            ("ok" if table[operation.__name__, *column] == "ok" else "FAILED").ljust(len(head))
            for column, head in zip(columns, heads, strict=True)
        )
        lines.append(f"{operation.__name__.replace('_', ' '):28}  " + "  ".join(cells))
    failures = {str(key): value for key, value in table.items() if value != "ok"}
    return "\n".join([*lines, json.dumps(failures, indent=1) if failures else ""])
