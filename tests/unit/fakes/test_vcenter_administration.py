"""Licences and counters of the fake behave like vCenter's."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.fakes.vcenter import VCenter
from tests.unit.fakes.vcenter_client import Client, connect

EVALUATION = "00000-00000-00000-00000-00000"
KEY = "AAAAA-00000-00000-00000-00001"
Perf = vim.PerformanceManager


@pytest.fixture
def licenses(client: Client) -> Any:
    return client.content.licenseManager


@pytest.fixture
def perf(client: Client) -> Any:
    return client.content.perfManager


@pytest.fixture
def host(client: Client) -> Any:
    return client.datacenter.hostFolder.childEntity[0].host[0]


def test_a_licence_in_use_cannot_be_removed(vcenter: VCenter, licenses: Any, host: Any) -> None:
    assigned = licenses.licenseAssignmentManager
    assert [one.licenseKey for one in licenses.licenses] == [EVALUATION]
    assert licenses.licensedEdition == "eval"
    with pytest.raises(vmodl.fault.InvalidArgument):
        assigned.UpdateAssignedLicense(host._moId, KEY, None)
    licenses.AddLicense(KEY, None)
    with pytest.raises(vim.fault.LicenseEntityNotFound):
        assigned.UpdateAssignedLicense("host-999", KEY, None)
    assigned.UpdateAssignedLicense(host._moId, KEY, None)
    assigned.UpdateAssignedLicense(vcenter.instance_uuid, KEY, None)
    assert licenses.licensedEdition == "esx.enterprisePlus.cpuPackage"
    assert [(one.licenseKey, one.used) for one in licenses.licenses] == [(EVALUATION, 2), (KEY, 2)]
    (of_host,) = assigned.QueryAssignedLicenses(host._moId)
    assert (of_host.entityDisplayName, of_host.assignedLicense.licenseKey) == (host.name, KEY)
    for key in (KEY, EVALUATION, "BBBBB-00000-00000-00000-00001"):
        with pytest.raises(vmodl.fault.InvalidArgument):
            licenses.RemoveLicense(key)
    for entity in (host._moId, vcenter.instance_uuid):
        assigned.RemoveAssignedLicense(entity)
    licenses.RemoveLicense(KEY)
    assert [one.licenseKey for one in licenses.licenses] == [EVALUATION]


def test_labels_belong_to_their_keys(licenses: Any) -> None:
    licenses.AddLicense(KEY, [vim.KeyValue(key="a", value="1")])
    licenses.UpdateLicenseLabel(KEY, "b", "2")
    licenses.UpdateLicenseLabel(KEY, "a", "3")
    labels = {one.key: one.value for one in licenses.licenses[1].labels}
    assert labels == {"a": "3", "b": "2"}
    licenses.RemoveLicenseLabel(KEY, "a")
    assert [one.key for one in licenses.licenses[1].labels] == ["b"]
    for wrong in ("no key", "AAAAA-00000-00000-00000-0000", KEY.lower()):
        for call in (licenses.DecodeLicense, lambda key: licenses.AddLicense(key, None)):
            with pytest.raises(vmodl.fault.InvalidArgument):
                call(wrong)
    with pytest.raises(vmodl.fault.InvalidArgument):
        licenses.UpdateLicenseLabel(EVALUATION, "a", "1")


def sample(perf: Any, entity: Any, **spec: Any) -> Any:
    wanted = [Perf.MetricId(counterId=2, instance="")]
    return perf.QueryPerf([Perf.QuerySpec(entity=entity, metricId=wanted, **spec)])


def test_a_value_stays_the_same_when_it_is_read_again(
    vcenter: VCenter, client: Client, perf: Any, host: Any
) -> None:
    (first,) = sample(perf, host)
    assert len(first.sampleInfo) == 180
    assert {one.interval for one in first.sampleInfo} == {20}
    assert all(0 <= value < 10_000 for value in first.value[0].value)
    vcenter.clock.advance(60)
    (later,) = sample(perf, host, maxSample=5)
    assert len(later.sampleInfo) == 5
    known = dict(
        zip((one.timestamp for one in first.sampleInfo), first.value[0].value, strict=True)
    )
    both = [one for one in later.sampleInfo if one.timestamp in known]
    assert len(both) in (1, 2)
    for one, value in zip(later.sampleInfo, later.value[0].value, strict=True):
        assert known.get(one.timestamp, value) == value
    (other,) = sample(perf, host.parent.host[1])
    assert list(other.value[0].value) != list(first.value[0].value)
    (csv,) = sample(perf, host, maxSample=2, format="csv")
    assert csv.value[0].value == ",".join(str(one) for one in later.value[0].value[-2:])
    assert csv.sampleInfoCSV.count(",") == 3 and csv.sampleInfoCSV.startswith("20,20")


def test_samples_are_of_the_requested_time(client: Client, perf: Any, host: Any) -> None:
    now = client.instance.CurrentTime()
    minute = datetime.timedelta(minutes=1)
    (found,) = sample(perf, host, startTime=now - 10 * minute, endTime=now - 5 * minute)
    times = [one.timestamp for one in found.sampleInfo]
    assert now - 10 * minute <= times[0] < times[-1] <= now - 5 * minute
    assert len(times) == 15
    (found,) = sample(perf, host, startTime=now - 600 * minute)
    assert len(found.sampleInfo) == 180
    assert sample(perf, host, startTime=now + minute) == []
    (daily,) = sample(perf, host, intervalId=300)
    assert len(daily.sampleInfo) == 288
    with pytest.raises(vmodl.fault.InvalidArgument):
        sample(perf, host, intervalId=301)
    with pytest.raises(vmodl.fault.InvalidArgument):
        perf.QueryPerf([Perf.QuerySpec(entity=host, metricId=[Perf.MetricId(counterId=9)])])


def test_only_running_objects_have_samples(client: Client, perf: Any, host: Any) -> None:
    pool = host.parent.resourcePool
    files = vim.vm.FileInfo(vmPathName="[DC0_DS0]")
    task = client.vm_folder.CreateVM_Task(vim.vm.ConfigSpec(name="a", files=files), pool, host)
    WaitForTask(task)
    vm = task.info.result
    assert perf.QueryAvailablePerfMetric(vm) == [] and sample(perf, vm) == []
    WaitForTask(vm.PowerOnVM_Task(None))
    counters = {one.key for one in perf.perfCounter}
    assert {one.counterId for one in perf.QueryAvailablePerfMetric(vm)} == counters
    assert perf.QueryPerfProviderSummary(vm).refreshRate == 20
    assert not perf.QueryPerfProviderSummary(client.datacenter).currentSupported
    WaitForTask(host.DisconnectHost_Task())
    assert sample(perf, host) == []


def test_levels_outside_their_bounds_are_refused(perf: Any) -> None:
    interval = perf.historicalInterval[0]
    interval.level = 5
    with pytest.raises(vmodl.fault.InvalidArgument):
        perf.UpdatePerfInterval(interval)
    interval.level, interval.samplingPeriod = 2, 301
    with pytest.raises(vmodl.fault.InvalidArgument):
        perf.UpdatePerfInterval(interval)
    assert [one.level for one in perf.historicalInterval] == [1, 1, 1, 1]
    mapping = Perf.CounterLevelMapping
    with pytest.raises(vmodl.fault.InvalidArgument):
        perf.UpdateCounterLevelMapping(
            [mapping(counterId=2, aggregateLevel=3), mapping(counterId=9, aggregateLevel=3)]
        )
    assert [one.level for one in perf.QueryPerfCounter([2, 6])] == [1, 1]
    perf.UpdateCounterLevelMapping([mapping(counterId=2, aggregateLevel=3)])
    (changed,) = perf.QueryPerfCounter([2])
    assert (changed.level, changed.perDeviceLevel) == (3, 3)
    assert 2 not in [one.key for one in perf.QueryPerfCounterByLevel(2)]
    perf.ResetCounterLevelMapping([2])
    assert 2 in [one.key for one in perf.QueryPerfCounterByLevel(1)]
    assert perf.description.statsType[0].key == "average"


def test_the_privilege_is_checked_on_the_host(vcenter: VCenter, client: Client, host: Any) -> None:
    account = vcenter.permissions.add_account("a@vsphere.local", "secret")
    mine = connect(vcenter, account.user, account.password)
    system = mine.datacenter.hostFolder.childEntity[0].host[0].configManager.serviceSystem
    account.grant(vcenter.root_folder, ["Host.Config.NetService"], propagate=False)
    with pytest.raises(vim.fault.NoPermission) as caught:
        system.StartService("ntpd")
    assert caught.value.object == host
    account.grant(vcenter.registry.require(host), ["Host.Config.NetService"])
    system.StartService("ntpd")
    for privilege, call in (
        ("Global.Licenses", lambda: mine.content.licenseManager.RemoveLicense(KEY)),
        (
            "Performance.ModifyIntervals",
            lambda: mine.content.perfManager.ResetCounterLevelMapping([2]),
        ),
    ):
        with pytest.raises(vim.fault.NoPermission) as caught:
            call()
        assert caught.value.privilegeId == privilege
