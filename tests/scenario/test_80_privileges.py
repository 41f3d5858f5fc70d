"""What the account of docs/security.rst can do, and what becomes of the cache when it lacks one of
its privileges."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterator

import pytest

from tests.fakes import account as page
from tests.fakes.images import FakeImage
from tests.fakes.vcenter import CostModel, Model, VCenter
from tests.fakes.vcenter.busy import busy_vcenter
from tests.fakes.vcenter.host_system import HostSystem
from tests.fakes.vcenter.model import Profile
from tests.scenario.conftest import Lab, volume
from tests.scenario.test_25_replicas import ask, copies, elsewhere, settle
from tests.scenario.test_50_reconcile import storage_of
from vmdk_cache import errors
from vmdk_cache.cache.findings import Kind
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.conf import Settings
from vmdk_cache.vim import clone_spec, inventory, template, virtual_machine
from vmdk_cache.vim.session import Endpoint

AGE_S = 86400
OF_CACHE, OF_CINDER = page.documented()
NEEDED = sorted(name for name, without in OF_CACHE.items() if without == "bypass")
OPTIONAL = sorted(name for name, without in OF_CACHE.items() if without == "degraded")


class LimitedLab(Lab):
    """A lab whose caches log in with an account that is not the administrator's."""

    @property
    def endpoint(self) -> Endpoint:
        return dataclasses.replace(super().endpoint, user=page.USER, password=page.PASSWORD)


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    model = Model(hosts_per_cluster=2, datastores=3, profiles=(Profile("gold", ("DC0_DS0",)),))
    with busy_vcenter(model, costs=CostModel.plain(fixed_clone_s=3600)) as running:
        yield running
        assert running.errors == []


@contextlib.contextmanager
def lab_of(vcenter: VCenter, image: FakeImage, path: pathlib.Path) -> Iterator[LimitedLab]:
    lab = LimitedLab(vcenter, image, path)
    with lab.stack:
        lab.cache = lab.process(Settings(enabled=True, age_s=AGE_S))
        yield lab
        settle()


def use_everything(lab: LimitedLab) -> None:
    """All that the package ever asks of a vCenter."""
    lab.create(1)
    assert lab.create(2)
    assert lab.create(3, storage_profile="gold")
    assert lab.create(4, disk_type="eagerZeroedThick")
    ask(lab, elsewhere(lab)[0])
    settle()
    assert len(copies(lab)) == 2
    move_from_a_host(lab)
    remove_what_is_left_behind(lab)
    give_up_a_clone(lab)
    lab.vcenter.clock.advance(AGE_S + 1)
    lab.cache.housekeeping.run()
    assert lab.templates() == []


def move_from_a_host(lab: LimitedLab) -> None:
    entry = lab.cache.store.entries()[0]
    hosts = {host.moref for host in lab.vcenter.registry.of_class(HostSystem)}
    lab.cache.store.move(entry, (hosts - {entry.host}).pop())


def remove_what_is_left_behind(lab: LimitedLab) -> None:
    vm = lab.vcenter.find_vm(lab.templates()[0])
    storage = storage_of(lab, vm)
    orphan = template_name("b1", CacheKey(lab.image.id, "left", "ide"))
    storage.make_directory(orphan)
    storage.delete(vm.name)
    virtual_machine.refresh_storage(lab.cache.session, vm.moref)
    report = lab.cache.reconcile.check(fix=True, remove_directories=True)
    found = {(finding.kind, finding.fixed) for finding in report.findings}
    assert found == {(Kind.DIRECTORY_ORPHANED, True), (Kind.FILES_LOST, True)}
    assert not storage.exists(orphan)


def give_up_a_clone(lab: LimitedLab) -> None:
    entry = lab.cache.store.entries()[0]
    cache = lab.cache
    lab.vcenter.cost_model.enabled = True
    request = clone_spec.CloneRequest(
        name="given up",
        folder=lab.vcenter.find_vm(entry.name).parent.moref,
        datastore=entry.datastore or "",
        host=None,
        pool=inventory.snapshot(cache.session).hosts[0].pool or "",
        disk_key=entry.disk_key or 0,
    )
    with pytest.raises(errors.TaskTimedOut):
        template.clone(cache.session, cache.waiter, entry.moref, request, timeout_s=0.1)
    lab.vcenter.cost_model.enabled = False


def test_the_page_grants_what_is_never_asked_for_or_lacks_what_is(
    vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path
) -> None:
    account = page.add_documented_account(vcenter)
    with lab_of(vcenter, disk_image, tmp_path) as lab:
        use_everything(lab)
    assert account.missed == set()
    assert {privilege for privilege, _ in account.used} == set(OF_CACHE)


@pytest.mark.parametrize("privilege", NEEDED)
def test_a_missing_privilege_costs_a_volume_or_leaves_something_behind(
    vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path, privilege: str
) -> None:
    account = page.add_documented_account(vcenter, without=privilege)
    with lab_of(vcenter, disk_image, tmp_path) as lab:
        with pytest.raises(errors.NoPermission, match=re.escape(privilege)):
            lab.create(1)
        assert {missed for missed, _ in account.missed} == {privilege}
        assert lab.vcenter.find_vm(volume(1).name) is None
        assert lab.vcenter.leases() == []


@pytest.mark.parametrize("privilege", OPTIONAL)
def test_a_privilege_that_is_said_to_be_optional_costs_a_hit(
    vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path, privilege: str
) -> None:
    page.add_documented_account(vcenter, without=privilege)
    with lab_of(vcenter, disk_image, tmp_path) as lab:
        lab.create(1)
        assert lab.create(2)
        ask(lab, elsewhere(lab)[0])
        settle()
        lab.cache.housekeeping.run()
        assert lab.create(3)


def test_the_roles_are_not_what_the_tables_say() -> None:
    listed = {privilege for ids in page.roles().values() for privilege in ids}
    assert listed == set(OF_CACHE) | OF_CINDER
    assert not set(OF_CACHE) & OF_CINDER
    assert sorted(NEEDED + OPTIONAL) == sorted(OF_CACHE), "without it: bypass or degraded"


def test_powercli_makes_other_roles_than_govc() -> None:
    text = page.PAGE.read_text()
    lists = re.findall(r"\$(vcenter|datacenter) = ((?:'[\w.]+',?\s*)+)", text)
    made = {name: set(re.findall(r"'([\w.]+)'", ids)) for name, ids in lists}
    roles = page.roles()
    assert made == {"vcenter": roles["vmdk-cache-vcenter"], "datacenter": roles["vmdk-cache"]}
