"""A template's host does its reads: what happens to clones and replicas while that host is away,
and what failed copies leave behind. Only our fake has hosts that go away."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Iterator

import pytest
from pyVmomi import vim, vmodl

from tests.contract.cache.conftest import Subject, on_vcenter
from tests.contract.cache.test_template_store import KEY, import_, named
from tests.contract.vcenters import Target
from tests.fakes.vcenter import CostModel, Model, VCenter
from tests.fakes.vcenter.busy import busy_vcenter
from tests.fakes.vcenter.host_system import HostSystem
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import replica_name
from vmdk_cache.cache.record import RECORD_KEY

USER, PASSWORD = "cinder@vsphere.local", "correct horse"
CLONE_S = 1000.0
pytestmark = pytest.mark.not_on_a_given_vcenter(
    "sends hosts away, and has tasks fail: our fake alone"
)


@pytest.fixture
def vc() -> Iterator[VCenter]:
    with busy_vcenter(Model(hosts_per_cluster=3), user=USER, password=PASSWORD) as running:
        yield running
        assert running.errors == []


@pytest.fixture
def subject(vc: VCenter) -> Iterator[Subject]:
    with on_vcenter(Target("fake", vc.host, vc.port, USER, PASSWORD, vc.ca_file, vc)) as made:
        yield made


def host_of(vc: VCenter, entry: CacheEntry) -> HostSystem:
    host = vc.find_vm(entry.name).host
    assert isinstance(host, HostSystem)
    return host


def in_maintenance(host: HostSystem) -> None:
    host.set_maintenance(True)


def disconnected(host: HostSystem) -> None:
    host.set_connected(False)


AWAY = [
    pytest.param(in_maintenance, "vim.fault.InvalidHostState", id="maintenance"),
    pytest.param(disconnected, "vmodl.fault.HostNotConnected", id="disconnected"),
]


@pytest.mark.parametrize(("send_away", "fault"), AWAY)
def test_a_template_whose_host_is_away_is_cloned_and_replicated_once_it_has_moved(
    vc: VCenter, subject: Subject, send_away: Callable[[HostSystem], None], fault: str
) -> None:
    made = import_(subject)
    send_away(host_of(vc, made))
    for copy in (
        lambda: subject.store.clone(made, named(subject, 1), subject.elsewhere),
        lambda: subject.replicate(made, subject.elsewhere),
    ):
        with pytest.raises(errors.HostUnavailable) as away:
            copy()
        assert away.value.fault == fault
    subject.store.move(made, subject.elsewhere.host)
    subject.store.clone(made, named(subject, 1), subject.elsewhere)
    subject.replicate(made, subject.elsewhere)
    assert len(subject.store.copies(KEY, fresh=True)) == 2


@pytest.mark.parametrize(("send_away", "fault"), AWAY)
def test_a_template_is_not_moved_to_a_host_that_is_away(
    vc: VCenter, subject: Subject, send_away: Callable[[HostSystem], None], fault: str
) -> None:
    made = import_(subject)
    target = next(host for host in hosts(vc) if host.moref == subject.elsewhere.host)
    send_away(target)
    with pytest.raises(errors.HostUnavailable) as away:
        subject.store.move(made, subject.elsewhere.host)
    assert away.value.fault == fault
    assert subject.store.look_again(made) == made


def test_a_template_is_not_moved_to_a_host_without_its_datastore(
    vc: VCenter, subject: Subject
) -> None:
    made = import_(subject)
    target = next(host for host in hosts(vc) if host.moref == subject.elsewhere.host)
    vc.datastore(subject.place.datastore_name).unmount(target)
    with pytest.raises(errors.HostUnavailable):
        subject.store.move(made, subject.elsewhere.host)
    assert subject.store.look_again(made) == made


def test_a_move_leaves_files_and_record_alone(vc: VCenter, subject: Subject) -> None:
    made = import_(subject)
    files = vc.datastore(subject.place.datastore_name).files()
    subject.store.move(made, subject.elsewhere.host)
    assert vc.datastore(subject.place.datastore_name).files() == files
    assert vc.request_log.count("ReconfigVM_Task") == 0
    assert vc.find_vm(made.name).template


def test_a_template_that_is_being_cloned_is_not_moved() -> None:
    slow = CostModel.plain(
        enabled=True,
        datastore_bandwidth=0,
        host_bandwidth=0,
        nfc_stream_bandwidth=0,
        glance_bandwidth=0,
        importer_bandwidth=0,
        fixed_task_s=0,
        fixed_clone_s=CLONE_S,
    )
    with (
        busy_vcenter(user=USER, password=PASSWORD, costs=slow) as vc,
        on_vcenter(Target("fake", vc.host, vc.port, USER, PASSWORD, vc.ca_file, vc)) as subject,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        made = import_(subject)
        clone = pool.submit(subject.store.clone, made, named(subject, 1), subject.place)
        while vc.find_vm(made.name).lock.is_free and not clone.done():
            time.sleep(0.01)
        with pytest.raises(errors.InUse):
            subject.store.move(made, subject.elsewhere.host)
        vc.clock.advance(CLONE_S)
        clone.result(60)
        subject.store.move(made, subject.elsewhere.host)
        assert vc.errors == []


def test_a_template_too_new_for_the_host_is_recognized_by_its_fault(
    vc: VCenter, subject: Subject
) -> None:
    made = import_(subject)
    vc.find_vm(made.name).settings.version = "vmx-99"
    with pytest.raises(errors.HardwareTooNew) as refused:
        subject.store.clone(made, named(subject, 1), subject.place)
    assert refused.value.fault == "vim.fault.VirtualHardwareVersionNotSupported"


FAULTS = [
    pytest.param(vim.fault.NoDiskSpace(), errors.NoSpace, id="full"),
    pytest.param(vmodl.fault.RequestCanceled(), errors.TaskFailed, id="cancelled"),
    pytest.param(vim.fault.FileLocked(), errors.FileLocked, id="fresh import"),
]


@pytest.mark.parametrize(("fault", "expected"), FAULTS)
def test_a_replica_that_fails_leaves_nothing_and_can_be_made_again(
    vc: VCenter, subject: Subject, fault: Exception, expected: type[Exception]
) -> None:
    made = import_(subject)
    vc.fault_rules.add("CloneVM_Task", fault, on="task")
    with pytest.raises(expected):
        subject.replicate(made, subject.elsewhere)
    assert subject.store.entries() == [made]
    assert vc.datastore(subject.elsewhere.datastore_name).files() == {}
    again = subject.replicate(made, subject.elsewhere)
    assert again.datastore == subject.elsewhere.datastore


def test_a_replica_that_does_not_fit_leaves_no_files(vc: VCenter, subject: Subject) -> None:
    made = import_(subject)
    target = vc.datastore(subject.elsewhere.datastore_name)
    target.fill(target.storage.capacity_bytes)
    before = target.files()
    with pytest.raises(errors.NoSpace):
        subject.replicate(made, subject.elsewhere)
    assert subject.store.entries() == [made]
    assert target.files() == before


def test_a_replica_without_its_record_is_none_and_does_not_stay(
    vc: VCenter, subject: Subject
) -> None:
    """No volume would use it, and its name would prevent others."""
    made = import_(subject)

    def lose_the_record() -> None:
        replica = vc.find_vm(replica_name(subject.backend, KEY, subject.elsewhere.datastore))
        if replica is not None:
            replica.settings.extra_config.pop(RECORD_KEY, None)

    vc.fault_rules.add("RetrievePropertiesEx", action=lose_the_record, times=None)
    with pytest.raises(errors.TaskFailed, match="without its record"):
        subject.replicate(made, subject.elsewhere)
    vc.fault_rules.clear()
    assert subject.store.entries() == [made]
    assert vc.datastore(subject.elsewhere.datastore_name).files() == {}


@pytest.mark.parametrize("inherits", [True, False])
def test_a_use_of_a_replica_is_noted_on_it_alone(
    vc: VCenter, subject: Subject, inherits: bool
) -> None:
    """Whether vCenter gives a clone its source's custom attributes is not documented."""
    vc.switches.clone_inherits_custom_values = inherits
    made = import_(subject)
    noted = subject.store.touch(made)
    replica = subject.replicate(made, subject.elsewhere)
    vc.clock.advance(60)
    later = subject.store.touch(replica)
    seen = {entry.moref: entry.used_at for entry in subject.store.copies(KEY, fresh=True)}
    assert seen == {made.moref: noted, replica.moref: later}


def hosts(vc: VCenter) -> list[HostSystem]:
    found = vc.registry.of_type(vim.HostSystem)
    return [host for host in found if isinstance(host, HostSystem)]
