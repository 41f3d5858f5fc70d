"""Faults that tests/faults does not try, or of which more is to be said than it asks of each."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pyVmomi import vim

from tests.fakes.images import FakeImageSource, bit_flipped, not_a_vmdk, truncated
from tests.scenario.conftest import Lab, volume
from vmdk_cache import errors
from vmdk_cache.vim.session import Session


@pytest.mark.parametrize("method", ["CloneVM_Task", "ReconfigVM_Task"])
def test_one_lost_answer_does_not_cost_the_volume(lab: Lab, method: str) -> None:
    lab.vcenter.fault_rules.add(method, drop="after")
    lab.create(1)
    assert lab.vcenter.find_vm(volume(1).name) is not None
    assert len(lab.vcenter.vms()) == 2


@pytest.mark.parametrize("way", [{"drop": "before"}, {"http_status": 503}])
def test_an_import_that_vcenter_did_not_begin_is_asked_for_again(
    lab: Lab, way: dict[str, Any]
) -> None:
    lab.vcenter.fault_rules.add("ImportVApp", **way)
    assert not lab.create(1)
    assert (lab.source.opened, lab.vcenter.request_log.count("ImportVApp")) == (1, 2)


def test_an_import_that_vcenter_may_have_begun_is_not_begun_twice(lab: Lab) -> None:
    lab.vcenter.fault_rules.add("ImportVApp", drop="after")
    with pytest.raises(errors.Unreachable):
        lab.create(1)
    assert lab.vcenter.request_log.count("ImportVApp") == 1


@pytest.mark.parametrize("refused", ["by the call", "by the lease"])
def test_a_volume_does_not_wait_for_an_import_whose_answer_was_lost(lab: Lab, refused: str) -> None:
    """Its VM shows up so late that the import is sent again, and refused for its name."""
    lab.vcenter.fault_rules.add("ImportVApp", drop="after")
    lab.vcenter.fault_rules.add("ImportVApp", on="task", delay_s=5, times=None)
    if refused == "by the call":
        name = vim.fault.DuplicateName(name="x", object=vim.VirtualMachine("vm-1"))
        lab.vcenter.fault_rules.add("ImportVApp", name)
    with pytest.raises(errors.Unreachable):
        lab.create(1)
    assert lab.vcenter.request_log.count("ImportVApp") == 2


@pytest.mark.parametrize("method", ["CloneVM_Task", "ReconfigVM_Task"])
def test_a_task_that_vcenter_forgot_does_not_cost_the_volume(lab: Lab, method: str) -> None:
    lab.vcenter.fault_rules.add(method, on="task", action=lab.vcenter.restart)
    lab.create(1)
    assert lab.vcenter.find_vm(volume(1).name) is not None
    assert len(lab.vcenter.vms()) == 2


def test_a_move_that_vcenter_forgot_is_made_again(lab: Lab) -> None:
    lab.create(1)
    (template,) = (vm for vm in lab.vcenter.vms() if vm.config.template)
    template.host.set_maintenance(True)
    lab.vcenter.fault_rules.add("RelocateVM_Task", on="task", action=lab.vcenter.restart)
    assert lab.create(2)
    assert lab.vcenter.request_log.count("RelocateVM_Task") >= 2


def test_a_deletion_that_vcenter_forgot_is_made_again(lab: Lab) -> None:
    lab.create(1)
    lab.vcenter.fault_rules.add("Destroy_Task", on="task", action=lab.vcenter.restart)
    lab.cache.store.destroy(lab.cache.store.entries()[0])
    assert lab.templates() == []


def test_a_stream_that_breaks_off_leaves_nothing(lab: Lab) -> None:
    half = len(lab.disk_image.file_bytes) // 2
    source = FakeImageSource(lab.disk_image, fail_after_bytes=half)
    with pytest.raises(errors.SourceUnavailable):
        lab.cache.images.create_volume(lab.image, volume(1), source)
    lab.assert_nothing_left()


@pytest.mark.parametrize("damage", [truncated, bit_flipped])
def test_altered_bytes_leave_nothing_and_name_both_hashes(lab: Lab, damage: Any) -> None:
    broken = damage(lab.disk_image)
    with pytest.raises(errors.ImageError):
        lab.cache.images.create_volume(broken.image(), volume(1), FakeImageSource(broken))
    lab.assert_nothing_left()


def test_what_is_no_vmdk_never_reaches_vcenter(lab: Lab) -> None:
    lab.vcenter.request_log.reset()
    broken = not_a_vmdk()
    with pytest.raises(errors.ImageFormatError):
        lab.cache.images.create_volume(broken.image(), volume(1), FakeImageSource(broken))
    assert lab.vcenter.request_log.count("ImportVApp") == 0
    lab.assert_nothing_left()


def test_a_session_that_expires_between_two_volumes_is_renewed(lab: Lab) -> None:
    lab.create(1)
    lab.vcenter.sessions.expire_all()
    assert lab.create(2)


def test_a_fresh_template_with_locked_files_is_tried_again(lab: Lab) -> None:
    rule = lab.vcenter.fault_rules.add(
        "CloneVM_Task", vim.fault.FileLocked(file="x.vmdk"), on="task", times=2
    )
    lab.create(1)
    assert rule.hits == 2


def test_a_template_deleted_by_an_administrator_is_imported_again(lab: Lab) -> None:
    lab.create(1)
    (template,) = (vm for vm in lab.vcenter.vms() if vm.config.template)
    lab.cache.store.destroy(lab.cache.store.entries()[0])
    assert lab.vcenter.find_vm(template.name) is None
    assert not lab.create(2)
    assert len(lab.templates()) == 1


def test_a_cache_folder_deleted_by_an_administrator_is_made_again(lab: Lab) -> None:
    lab.create(1)
    (template,) = (vm for vm in lab.vcenter.vms() if vm.config.template)
    folder = template.parent.parent
    lab.cache.session.invoke("Folder", folder.moref, "Destroy_Task")

    def gone() -> None:
        assert lab.vcenter.find_vm(template.name) is None

    lab.eventually(gone)
    assert not lab.create(2)
    assert lab.cache.reporter.latest().extra_provisioned_gib == 1


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"password": "wrong"}, errors.LoginRefused, "vmware_host_password"),
        ({"ca_file": None}, errors.CertificateRefused, "vmware_ca_file"),
        ({"port": 1}, errors.Unreachable, "vmware_host_ip"),
    ],
    ids=["password", "certificate", "address"],
)
def test_a_wrong_option_is_named(
    lab: Lab, change: dict[str, Any], error: type[Exception], says: str
) -> None:
    wrong = dataclasses.replace(lab.endpoint, api_retry_count=1, **change)
    with pytest.raises(error, match=says) as refused:
        Session(wrong).open()
    assert "wrong" not in str(refused.value)


def test_an_unknown_cluster_is_named_and_leaves_no_session(lab: Lab) -> None:
    before = len(lab.vcenter.sessions.active())
    with pytest.raises(errors.ConfigError, match="vmware_cluster_name 'no-such-cluster'"):
        lab.process(clusters=("no-such-cluster",))
    assert len(lab.vcenter.sessions.active()) == before


def test_no_datastore_that_fits_is_said_with_the_reasons(lab: Lab) -> None:
    with pytest.raises(errors.NoPlacement):
        lab.create(1, size_bytes=1 << 60)
    lab.assert_nothing_left()


def test_only_datastores_that_match_the_regex_are_used(lab: Lab) -> None:
    lab.cache = lab.process(datastore_regex="DC0_DS1")
    lab.create(1)
    assert lab.vcenter.datastore("DC0_DS0").files() == {}
