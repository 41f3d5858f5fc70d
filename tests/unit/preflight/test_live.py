"""A live run finds where a vCenter differs from what the cache needs, and leaves nothing."""

from __future__ import annotations

import socket

import pytest

from tests.fakes import account as page
from tests.fakes.memory import MemoryLocks
from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.fault_rules import FaultRule
from tests.fakes.vcenter.switches import InClone
from tests.unit.preflight.conftest import Bench, not_ok
from vmdk_cache import wiring
from vmdk_cache.cache import events
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.clock import Clock, SystemClock
from vmdk_cache.preflight import probe
from vmdk_cache.preflight.checklist import READ_ONLY
from vmdk_cache.preflight.live import CLONES, LIVE, obstacle
from vmdk_cache.preflight.live_image import Form, GeneratedImage
from vmdk_cache.preflight.live_target import (
    BACKEND,
    SETTINGS,
    VOLUME,
    LiveNames,
    LiveTarget,
    live_backend,
)
from vmdk_cache.preflight.probe import Finding, Status
from vmdk_cache.preflight.target import Target

Findings = dict[str, list[Finding]]


@pytest.fixture(autouse=True)
def account(vcenter: VCenter) -> None:
    page.add_documented_account(vcenter)


def run_live(
    bench: Bench,
    steps: tuple[str, ...] = (),
    names: LiveNames | None = None,
    clock: Clock | None = None,
) -> Findings:
    """Findings by probe.

    :param steps: the only probes to run; empty: all
    """
    clock = clock or SystemClock()
    found: Findings = {}
    chosen = [each for each in LIVE if not steps or each.id in steps]
    with Target(bench.backend, bench.settings, bench.surroundings, clock) as target:
        for result in probe.run(READ_ONLY, target, clock):
            assert result.finding.status is not Status.FAILED, result
        backend = live_backend(bench.backend)
        cache = wiring.build(SETTINGS, backend, MemoryLocks(), events=events.log, clock=clock)
        try:
            run = names or LiveNames.new("here")
            with LiveTarget(target, cache, run, "lsiLogic") as made:
                for result in probe.run(chosen, made, clock):
                    found.setdefault(result.probe, []).append(result.finding)
        finally:
            cache.close()
    assert list(found) == [each.id for each in chosen]
    return found


def is_empty(vcenter: VCenter) -> bool:
    stores = [vcenter.datastore(f"DC0_DS{number}") for number in range(3)]
    return not vcenter.vms() and not vcenter.leases() and not any(s.files() for s in stores)


def test_a_correct_vcenter_passes_and_keeps_nothing(bench: Bench, vcenter: VCenter) -> None:
    assert not_ok(run_live(bench)) == {}
    assert is_empty(vcenter)
    assert vcenter.sessions.active() == []
    assert vcenter.request_log.count("ImportVApp") == 3 + 1
    assert vcenter.request_log.count("CloneVM_Task") == 8 + 1 + 1 + 2
    for name in ("MarkAsTemplate", "ExportVm", "RelocateVM_Task", "ExtendVirtualDisk_Task"):
        assert vcenter.request_log.count(name), name


@pytest.mark.parametrize(
    ("switch", "value", "probe_id"),
    [
        ("disks_have_content_ids", False, "live.content-id"),
        ("exports_templates", False, "live.export"),
    ],
)
def test_tolerated_differences_of_a_vcenter_are_warnings(
    bench: Bench, vcenter: VCenter, switch: str, value: object, probe_id: str
) -> None:
    setattr(vcenter.switches, switch, value)
    found = not_ok(run_live(bench))
    assert set(found) == {probe_id}
    assert found[probe_id][0].status is Status.WARNING
    assert is_empty(vcenter)


@pytest.mark.parametrize("inherits", [True, False])
@pytest.mark.parametrize(
    ("in_clone", "says"),
    [
        ("kept", "a volume takes one task"),
        ("ignored", "the size of the disk: yes, its uuid: no;"),
        ("refused", "the size of the disk: no, its uuid: no;"),
    ],
)
def test_each_answer_to_an_open_question_passes(
    bench: Bench, vcenter: VCenter, inherits: bool, in_clone: InClone, says: str
) -> None:
    vcenter.switches.clone_inherits_custom_values = inherits
    vcenter.switches.disk_uuid_in_clone = in_clone
    vcenter.switches.copies_keep_content_ids = inherits
    steps = tuple(each.id for each in LIVE if "raw" not in each.id and "ova" not in each.id)
    found = run_live(bench, steps)
    assert not_ok(found) == {}
    assert says in found["live.one-task"][0].seen


def test_a_question_that_no_clone_answered_is_not_tried(bench: Bench, vcenter: VCenter) -> None:
    vcenter.fault_rules.add("CloneVM_Task", drop="after", times=CLONES)
    found = run_live(bench, ("live.import-stream-optimized", "live.clones", "live.one-task"))
    (finding,) = found["live.one-task"]
    assert finding.status is Status.NOT_TRIED


def refuse(vcenter: VCenter, method: str) -> None:
    vcenter.fault_rules.add(method, http_status=403)


@pytest.mark.parametrize(
    ("method", "failing"),
    [
        ("ImportVApp", "live.import-stream-optimized"),
        ("nfc:POST", "live.import-stream-optimized"),
        ("MarkAsTemplate", "live.import-stream-optimized"),
        ("CloneVM_Task", "live.clones"),
        ("ReconfigVM_Task", "live.clones"),
        ("ExtendVirtualDisk_Task", "live.eager-zeroing"),
        ("RelocateVM_Task", "live.move"),
        ("ExportVm", "live.read-back"),
        ("nfc:GET", "live.read-back"),
    ],
)
def test_a_refused_step_is_a_failure_and_leaves_nothing(
    bench: Bench, vcenter: VCenter, method: str, failing: str
) -> None:
    refuse(vcenter, method)
    steps = tuple(each.id for each in LIVE if "raw" not in each.id and "ova" not in each.id)
    found = run_live(bench, steps)
    assert found[failing][-1].status is Status.FAILED, found[failing]
    assert found["live.deletion"][0].status is Status.OK
    assert is_empty(vcenter)


def spoil_disks(vcenter: VCenter) -> None:
    for vm in vcenter.vms():
        if not vm.template:
            for one in vm.devices.disks:
                one.disk.content.write(1 << 20, b"something else")


def test_a_disk_with_other_bytes_is_a_failure(bench: Bench, vcenter: VCenter) -> None:
    vcenter.fault_rules.add("ExportVm", action=lambda: spoil_disks(vcenter))
    found = run_live(bench, ("live.import-raw", "live.import-stream-optimized", "live.clones",
                             "live.read-back", "live.deletion"))  # fmt: skip
    [bad, *_] = found["live.read-back"]
    assert bad.status is Status.FAILED and f"from byte {1 << 20} on" in bad.seen


def test_objects_that_cannot_be_deleted_are_named_and_deleted_by_the_next_run(
    bench: Bench, vcenter: VCenter
) -> None:
    steps = ("live.leftovers", "live.import-raw", "live.deletion")
    rule = vcenter.fault_rules.add("Destroy_Task", http_status=403, times=None)
    found = run_live(bench, steps)
    assert "stays" in found["live.deletion"][0].seen
    assert found["live.deletion"][0].status is Status.FAILED
    assert [vm.name for vm in vcenter.vms()] != []
    vcenter.fault_rules.remove(rule)
    again = run_live(bench, steps)
    assert again["live.leftovers"][0].seen == (
        "removed what an earlier run left behind: 1 virtual machines, 0 directories"
    )
    assert is_empty(vcenter)


def test_a_directory_of_an_earlier_run_on_this_machine_is_deleted(
    bench: Bench, vcenter: VCenter
) -> None:
    store = vcenter.datastore("DC0_DS1").storage
    here, elsewhere = LiveNames.new("here"), LiveNames.new("elsewhere")
    ours = [here.volume(1), template_name(BACKEND, CacheKey(here.image_id(Form.RAW), "f", "ide"))]
    others = [elsewhere.volume(1), f"{VOLUME}-old", "volume-1"]
    for name in (*ours, *others):
        store.make_directory(name)
    [found] = run_live(bench, ("live.leftovers",))["live.leftovers"]
    assert (found.status, found.seen) == (
        Status.OK,
        "removed what an earlier run left behind: 0 virtual machines, 2 directories",
    )
    assert [store.is_directory(name) for name in (*ours, *others)] == 2 * [False] + 3 * [True]


def test_a_directory_that_a_machine_uses_stays(bench: Bench, vcenter: VCenter) -> None:
    rule = vcenter.fault_rules.add("Destroy_Task", http_status=403, times=None)
    run_live(bench, ("live.import-raw",))
    [found] = run_live(bench, ("live.leftovers",))["live.leftovers"]
    assert found.status is Status.WARNING
    vcenter.fault_rules.remove(rule)
    assert vcenter.request_log.count("DeleteDatastoreFile_Task") == 0
    [vm] = vcenter.vms()
    assert not is_empty(vcenter) and vm.template


def test_a_run_of_another_machine_is_left_alone_for_an_hour(bench: Bench, vcenter: VCenter) -> None:
    rule = vcenter.fault_rules.add("Destroy_Task", http_status=403, times=None)
    run_live(bench, ("live.import-raw",), LiveNames.new("elsewhere"))
    vcenter.fault_rules.remove(rule)
    [left] = vcenter.vms()
    run_live(bench, ("live.leftovers",))
    assert vcenter.vms() == [left]
    vcenter.clock.advance(3700)
    run_live(bench, ("live.leftovers",))
    assert is_empty(vcenter)


def test_no_step_begins_that_could_not_be_undone(bench: Bench, vcenter: VCenter) -> None:
    page.add_documented_account(vcenter, without="VirtualMachine.Inventory.Delete")
    with Target(bench.backend, bench.settings, bench.surroundings, SystemClock()) as target:
        assert obstacle(target, has_failed=True)
        assert obstacle(target, has_failed=False) is None
        list(probe.run(READ_ONLY, target, SystemClock()))
        assert "VirtualMachine.Inventory.Delete" in (obstacle(target, has_failed=False) or "")


@pytest.mark.parametrize(
    ("privilege", "probe_ids"),
    [
        ("VApp.Export", {"live.read-back", "live.export"}),
        ("Resource.ColdMigrate", {"live.move"}),
        ("VirtualMachine.Provisioning.CloneTemplate", {"live.replica"}),
    ],
)
def test_a_step_whose_privilege_is_known_to_be_missing_is_not_tried(
    bench: Bench, vcenter: VCenter, privilege: str, probe_ids: set[str]
) -> None:
    page.add_documented_account(vcenter, without=privilege)
    steps = tuple(each.id for each in LIVE if "raw" not in each.id and "ova" not in each.id)
    found = not_ok(run_live(bench, steps))
    assert set(found) == probe_ids
    for [finding] in found.values():
        assert finding.status is Status.NOT_TRIED and privilege in finding.seen
    assert is_empty(vcenter)


@pytest.mark.parametrize(
    "steps", [("live.import-raw",), ("live.import-stream-optimized", "live.clones")]
)
def test_a_run_that_does_not_come_to_its_deletion_leaves_nothing(
    bench: Bench, vcenter: VCenter, steps: tuple[str, ...]
) -> None:
    assert not_ok(run_live(bench, steps)) == {}
    assert is_empty(vcenter)


def test_a_vcenter_that_goes_away_before_the_deletion_is_reported(
    bench: Bench, vcenter: VCenter, caplog: pytest.LogCaptureFixture
) -> None:
    def go_away() -> None:
        rules.append(vcenter.fault_rules.add("RetrievePropertiesEx", http_status=403, times=None))

    rules: list[FaultRule] = []
    vcenter.fault_rules.add("SetField", action=go_away, times=1)  # the template is ready
    run_live(bench, ("live.import-raw",))
    assert "removed by the next one: some objects may be left" in caplog.text
    vcenter.fault_rules.remove(rules[0])
    run_live(bench, ("live.leftovers",))
    assert is_empty(vcenter)


def test_a_directory_that_is_left_is_named(bench: Bench, vcenter: VCenter) -> None:
    names = LiveNames.new("here")
    for name in (names.volume(1), LiveNames.new("elsewhere").volume(1)):
        vcenter.datastore("DC0_DS1").storage.make_directory(name)
    [left] = run_live(bench, ("live.import-raw", "live.deletion"), names)["live.deletion"]
    assert left.status is Status.FAILED
    assert left.seen == f"directory '{names.volume(1)}' on 'DC0_DS1'"


def test_a_task_that_still_runs_is_named(bench: Bench, vcenter: VCenter) -> None:
    names = LiveNames.new("here")
    folder = vcenter.root_folder.child("DC0").vmFolder
    folder.name, plain = names.volume(3), folder.name
    vcenter.tasks.start(folder, "Rename_Task", "Folder.rename", lambda task: None, delay_s=3600)
    folder.name = plain
    [left] = run_live(bench, ("live.deletion",), names)["live.deletion"]
    assert left.seen == f"task Folder.rename on '{names.volume(3)}'"


def test_objects_of_the_cache_are_checked(bench: Bench, vcenter: VCenter) -> None:
    """Templates show which hosts use the backend; each object may have its own permission."""
    account = page.add_documented_account(vcenter)
    image = GeneratedImage("1095ac4a-2482-48f7-a93f-880b3c9cd16d", Form.RAW, "seed", "lsiLogic")
    cache = wiring.build(SETTINGS, bench.backend, MemoryLocks(), events=events.log)
    try:
        made = cache.images.warm(image.image, "lsiLogic", image).entry
    finally:
        cache.close()
    assert bench.only("locks.coordinator").status is Status.WARNING
    assert socket.gethostname() in bench.only("locks.coordinator").seen
    with Target(bench.backend, bench.settings, bench.surroundings, SystemClock()) as target:
        assert socket.gethostname() not in target.machines(), "not read yet"
        assert target.templates
        assert socket.gethostname() in target.machines()
    bench.change(host_name=socket.gethostname())
    assert bench.only("locks.coordinator").status is Status.OK
    deploy = "VirtualMachine.Provisioning.DeployTemplate"
    account.grant(vcenter.find_vm(made.name), page.roles()["vmdk-cache"] - {deploy})
    [bad] = [each for each in bench.run()["privileges.template"] if each.status != Status.OK]
    assert bad.status is Status.FAILED
    assert bad.subject == f"template '{made.name}'" and bad.seen.startswith(f"{deploy} is missing")
