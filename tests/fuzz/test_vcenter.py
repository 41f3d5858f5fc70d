"""Virtual machines, records and directories altered by hand, seen by a whole cache on the fake.

Whatever stands in the cache's folder and on its datastores: a check that fixes, a purge and a
volume touch nothing but what bears a name of this cache, and the next volume is made.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from pyVmomi import vim

from tests.fakes.images import FakeImage, FakeImageSource, as_ova, as_stream_optimized
from tests.fakes.vcenter import Model, VCenter
from tests.fuzz.mutation import mutated
from tests.fuzz.tally import fuzz
from tests.fuzz.test_texts import CHANGES, ID, TEXTS
from tests.scenario.conftest import FOLDER, RECORD_KEY, Lab, volume
from vmdk_cache.cache.record import ATTRIBUTE
from vmdk_cache.conf import REPLICAS_OFF, Settings
from vmdk_cache.errors import ImageError, NotCacheable
from vmdk_cache.vim import clone_spec, template, virtual_machine

IMAGE = as_stream_optimized(b"data".ljust(1 << 18, b"\0"))
OTHER_ID = "22222222-2222-4333-8444-555555555555"
#: What a cache of the backend b1 may remove, as the docs describe its names.
OURS = re.compile(
    r"b1_image_cache \([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\)"
    r"( [0-9a-f]{8}(-[a-z2-7]{4})?)?(_\d+)?"
)
NAMES = st.one_of(
    st.sampled_from(
        [f"b1_image_cache ({ID})", f"b1_image_cache ({ID}) 01234567", "b1_image_cache (mine)",
         f"b1_image_cache ({ID}) 01234567-abcd", f"b1_image_cache ({ID.upper()}) 01234567",
         f"b1_image_cache ({ID}) 0123456", f"b1_image_cache ({ID}) 01234567 old",
         f"b2_image_cache ({ID}) 01234567", f"xb1_image_cache ({ID}) 01234567",
         f"b1_image_cache ({ID})/..", f"b1_image_cache ({ID}) 01234567\n", "%2e%2e%2f%5c", "a/b",
         "golden image", "100 %", "[DC0_DS0] x", "b1_image_cache ("]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
)  # fmt: skip
STRANGER = st.fixed_dictionaries(
    {
        "name": NAMES,
        "changes": st.none() | CHANGES,
        "use": TEXTS.filter(lambda text: text.isprintable()),
        "as_template": st.booleans(),
    }
)
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with VCenter(Model(hosts_per_cluster=2, datastores=2)) as vcenter:
        made = Lab(vcenter, IMAGE, pathlib.Path(tmp_path_factory.mktemp("locks")))
        with made.stack:
            made.cache = made.process(Settings(enabled=True, replicas=REPLICAS_OFF, max_count=3))
            yield made
        assert vcenter.errors == []


def put_beside(lab: Lab, name: str, record: str, *, as_template: bool) -> str:
    """An administrator clones the template into the cache's folder; the moref of the clone."""
    session, waiter = lab.cache.session, lab.cache.waiter
    source = next(vm for vm in lab.vcenter.vms() if vm.template)
    found = virtual_machine.get_vm(session, source.moref, RECORD_KEY)
    assert found is not None
    (pool,) = lab.vcenter.registry.of_type(vim.ResourcePool)
    request = clone_spec.CloneRequest(
        name=name, folder=source.parent.moref, datastore=source.home_datastore.moref,
        host=source.host.moref, pool=pool.moref, disk_key=found.disks[0].key,
        extra_config={RECORD_KEY: record}, as_template=as_template,
    )  # fmt: skip
    return template.clone(session, waiter, found.moref, request, timeout_s=60)


def files_of(lab: Lab) -> dict[str, dict[str, int]]:
    return {name: dict(lab.vcenter.datastore(name).files()) for name in ("DC0_DS0", "DC0_DS1")}


def strangers_files(lab: Lab) -> set[str]:
    """Files outside of the directories that a cache of b1, or a volume, makes."""
    return {
        f"[{datastore}] {path}"
        for datastore, files in files_of(lab).items()
        for path in files
        if not OURS.fullmatch(path.partition("/")[0]) and not path.startswith("volume-")
    }


def create(lab: Lab) -> None:
    """A volume, which goes again."""
    number = next(_numbers)
    lab.create(number)
    vm = lab.vcenter.find_vm(volume(number).name)
    assert lab.vcenter.read_disk(vm).read(0, 4) == b"data"
    template.destroy(lab.cache.session, lab.cache.waiter, vm.moref)


@fuzz(
    25,
    strangers=st.lists(STRANGER, min_size=1, max_size=4, unique_by=lambda one: one["name"]),
    directories=st.lists(NAMES.map(lambda name: re.sub(r"[/\\\n]|^\.+$", "_", name)), max_size=3),
)
def test_nothing_is_touched_but_what_bears_a_name_of_this_cache(
    lab: Lab, strangers: list[dict[str, Any]], directories: list[str]
) -> None:
    create(lab)
    (record_text,) = {
        vm.settings.extra_config[RECORD_KEY]
        for vm in lab.vcenter.vms()
        if vm.template and lab.image.id in vm.name
    }
    made: dict[str, str] = {}
    for stranger in strangers:
        changes = stranger["changes"]
        record = "" if changes is None else json.dumps({**json.loads(record_text), **changes})
        moref = put_beside(lab, stranger["name"], record, as_template=stranger["as_template"])
        lab.cache.session.invoke("VirtualMachine", moref, "setCustomValue", key=ATTRIBUTE, value="")
        vm = lab.vcenter.registry.get(moref)
        assert vm is not None
        lab.vcenter.custom_fields.set_by_name(vm, ATTRIBUTE, stranger["use"])  # type: ignore[arg-type]
        made[moref] = stranger["name"]
    for name in directories:
        storage = lab.vcenter.datastore("DC0_DS1").storage
        if not storage.is_directory(name):
            storage.make_directory(name)
            storage.create(f"{name}/left.vmdk")
    before = strangers_files(lab)

    lab.vcenter.clock.advance(120)
    for _ in range(2):
        lab.cache.reconcile.check(fix=True, remove_directories=True)
        lab.vcenter.clock.advance(120)
    lab.cache.housekeeping.run()
    assert lab.cache.reporter.latest().extra_provisioned_gib >= 0
    create(lab)

    left = {vm.moref for vm in lab.vcenter.vms()}
    gone = {name for moref, name in made.items() if moref not in left}
    assert {name for name in gone if not OURS.fullmatch(name)} == set()
    assert strangers_files(lab) == before
    clean_up(lab, made, directories)


def clean_up(lab: Lab, made: dict[str, str], directories: list[str]) -> None:
    for moref in made:
        if lab.vcenter.registry.get(moref) is not None:
            template.destroy(lab.cache.session, lab.cache.waiter, moref)
    storage = lab.vcenter.datastore("DC0_DS1").storage
    for name in directories:
        with contextlib.suppress(Exception):
            storage.delete(name)


@fuzz(40, file=mutated([IMAGE.file_bytes, as_ova(IMAGE).file_bytes]), ova=st.booleans())
def test_a_changed_image_leaves_a_volume_or_nothing(lab: Lab, file: bytes, ova: bool) -> None:
    image = FakeImage(file, 0, container_format="ova" if ova else "bare")
    create(lab)
    before = {vm.moref for vm in lab.vcenter.vms()}, files_of(lab)
    number = next(_numbers)
    try:
        lab.cache.images.create_volume(
            image.image(OTHER_ID), volume(number), FakeImageSource(image)
        )
    except (ImageError, NotCacheable):
        assert ({vm.moref for vm in lab.vcenter.vms()}, files_of(lab)) == before
        assert lab.vcenter.leases() == []
        return
    for vm in lab.vcenter.vms():
        if vm.moref not in before[0]:
            assert vm.parent.name == FOLDER[2]
            template.destroy(lab.cache.session, lab.cache.waiter, vm.moref)
