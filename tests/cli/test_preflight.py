"""``vmdk-cache preflight`` says what will not work, and why, before anything is changed."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Lab, Run
from tests.fakes import account as page
from tests.fakes.images import FakeImage
from tests.fakes.vcenter import Model, VCenter
from tests.unit.preflight.test_privileges import READ_ONLY_METHODS
from vmdk_cache.cli import cinder_options
from vmdk_cache.cli.configuration import BackendConfiguration
from vmdk_cache.preflight.live_target import live_backend
from vmdk_cache.preflight.scheduling import HOST_MANAGER


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    model = Model(datastores=2, host_names=("127.0.0.1", "localhost"))
    with VCenter(model, password="pa$$word, 9 lives") as running:
        yield running
        assert running.errors == []


@pytest.fixture
def lab(vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path) -> Lab:
    made = Lab(vcenter, disk_image, tmp_path)
    made.configure(
        "DEFAULT",
        auth_strategy="noauth",
        glance_api_servers="http://127.0.0.1:1",
        scheduler_host_manager=HOST_MANAGER,
    )
    made.configure(
        vmware_enable_volume_stats=True,
        extra_capabilities='{"thin_provisioning_support": true}',
    )
    return made


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Lines on stderr, except those about slow probes, which any probe may be on a busy machine."""
    return [line for line in done.stderr.splitlines() if "is still running" not in line]


def as_documented_account(lab: Lab, without: str) -> None:
    page.add_documented_account(lab.vcenter, without=without)
    lab.configure(vmware_host_username=page.USER, vmware_host_password=page.PASSWORD)


def test_a_complete_vcenter_passes(lab: Lab, run: Run) -> None:
    rows = run.json("preflight")
    elsewhere = ("glance.service-user", "scheduler.pool-name")
    assert {row["Result"] for row in rows if row["Probe"] not in elsewhere} == {"ok"}
    assert [row["Result"] for row in rows if row["Probe"] == elsewhere[1]] == ["ok", "not tried"]
    [glance] = [row for row in rows if row["Probe"] == "glance.service-user"]
    assert glance["Result"] == "warning" and "glance_api_servers" in glance["Seen"]
    assert {row["Backend"] for row in rows} == {"vmware1"}
    table = run("preflight").stdout
    assert "privileges.folder" in table and "folder 'DC0/vm'" in table
    assert lab.vcenter.vms() == []


def test_the_checklist_fits_a_terminal_and_breaks_no_name_of_a_probe(lab: Lab, run: Run) -> None:
    table = run("preflight", env={"COLUMNS": "80"}).stdout
    assert max(map(len, table.splitlines())) <= 80
    assert "Backend" not in table and "| privileges.virtual-machine | ok " in table
    [note] = [line for line in table.splitlines() if "glance.service-user" in line]
    assert "| warning" in note
    after = table[table.index(note) :].split("\n", 1)[1]
    assert "| To do: " in after and "| " in after


def test_a_missing_privilege_is_a_failure_of_one_line(lab: Lab, run: Run) -> None:
    as_documented_account(lab, "VApp.Import")
    done = [row for row in run.json("preflight", code=1) if row["Result"] == "failed"]
    assert {row["Probe"] for row in done} == {"privileges.folder", "privileges.resource-pool"}
    assert all(row["Seen"].startswith("VApp.Import is missing") for row in done)


def test_a_missing_optional_privilege_is_no_failure(lab: Lab, run: Run) -> None:
    as_documented_account(lab, "Global.CancelTask")
    warnings = [row for row in run.json("preflight") if row["Result"] == "warning"]
    assert any("Global.CancelTask" in row["Seen"] for row in warnings)


@pytest.mark.parametrize(
    ("change", "code", "probe", "says"),
    [
        ({"vmware_host_password": "wrong"}, 4, "vcenter.log-in", "vmware_host_password"),
        ({"vmware_host_username": "nobody"}, 4, "vcenter.log-in", "vmware_host_username"),
        ({"vmware_host_port": 1}, 4, "vcenter.tls", "127.0.0.1:1"),
        ({"vmware_host_ip": "no-such-host.invalid"}, 4, "vcenter.tls", "no-such-host.invalid"),
        ({"vmware_ca_file": None}, 4, "vcenter.tls", "vmware_ca_file"),
        ({"vmware_ca_file": "/nowhere/ca.pem"}, 3, "vcenter.tls", "/nowhere/ca.pem"),
        ({"vmware_cluster_name": "Nowhere"}, 3, "inventory.clusters", "Nowhere"),
    ],
)
def test_a_fatal_finding_is_one_line_on_stderr(
    lab: Lab, run: Run, change: dict[str, object], code: int, probe: str, says: str
) -> None:
    lab.configure(**change)
    done = run("preflight", "-f", "csv", code=code)
    [line] = told(done)
    assert line.startswith(f"vmdk-cache: backend vmware1: {probe}: ") and says in line
    assert f'"{probe}"' in done.stdout and '"not tried"' in done.stdout


def test_a_backend_is_checked_before_its_driver_is_changed(lab: Lab, run: Run) -> None:
    """volume_driver is still Cinder's own, with Cinder's defaults."""
    lab.configure("DEFAULT", scheduler_host_manager=None)
    lab.configure(
        volume_driver=cinder_options.PLAIN_DRIVER,
        vmware_enable_volume_stats=None,
        extra_capabilities=None,
    )
    rows = run.json("preflight", "--backend", "vmware1")
    said = {
        row["Probe"]: (row["Result"], row["Seen"], row["What To Do"])
        for row in rows
        if row["Probe"].startswith("scheduler.") and row["Result"] != "not tried"
    }
    assert {probe: result for probe, (result, _, _) in said.items()} == {
        "scheduler.pool-name": "ok",
        "scheduler.free-capacity": "warning",
        "scheduler.host-manager": "warning",
        "scheduler.weigher": "ok",
        "scheduler.filters": "ok",
    }
    assert "the pool is VMwareVcVmdkDriver" in said["scheduler.pool-name"][1]
    assert "vmware_enable_volume_stats = true" in said["scheduler.free-capacity"][2]
    assert HOST_MANAGER in said["scheduler.host-manager"][2]


def test_backends_and_the_scheduler_are_looked_at_together(lab: Lab, run: Run) -> None:
    lab.configure("DEFAULT", enabled_backends="vmware1,lvm,vmware2")
    lab.configure("lvm", volume_driver="cinder.volume.drivers.lvm.LVMVolumeDriver")
    lab.configure("vmware2", **{**lab.backend(), "extra_capabilities": "{thin}"})
    rows = run.json("preflight", code=1)
    warned = [row for row in rows if row["Probe"] == "scheduler.weigher"]
    assert [row["Result"] for row in warned] == ["warning", "warning"]
    assert all("each of the 2 VMware backends" in row["Seen"] for row in warned)
    [failed] = [row for row in rows if row["Result"] == "failed"]
    assert (failed["Backend"], failed["Probe"]) == ("vmware2", "scheduler.free-capacity")


def test_an_option_of_the_scheduler_that_cannot_be_used_is_named(lab: Lab, run: Run) -> None:
    lab.configure("DEFAULT", image_cache_weight_multiplier="much")
    [line] = run("preflight", code=3).stderr.splitlines()
    assert "image_cache_weight_multiplier" in line
    lab.configure("DEFAULT", image_cache_weight_multiplier=None)
    lab.configure(max_over_subscription_ratio="much")
    [line] = run("preflight", code=3).stderr.splitlines()
    assert "[vmware1] max_over_subscription_ratio" in line


@pytest.mark.parametrize("name", ["executor_thread_pool_size", "rpc_thread_pool_size"])
def test_options_of_cinder_that_the_cache_depends_on_are_read(
    lab: Lab, run: Run, name: str
) -> None:
    lab.configure("DEFAULT", **{name: 64})
    lab.configure("backend_defaults", vmware_storage_profile="glod")
    rows = {row["Probe"]: row for row in run.json("preflight", code=1)}
    assert rows["configuration.workers"]["Result"] == "warning"
    assert "= 64: " in rows["configuration.workers"]["Seen"]
    profile = rows["storage.profiles"]
    assert (profile["Result"], profile["Object"]) == ("failed", "'glod'")


def test_a_number_of_workers_that_is_not_a_number_is_named(lab: Lab, run: Run) -> None:
    lab.configure("DEFAULT", executor_thread_pool_size="many")
    [line] = run("preflight", code=3).stderr.splitlines()
    assert "[DEFAULT] executor_thread_pool_size" in line


def test_a_coordinator_out_of_reach_is_one_line_on_stderr(lab: Lab, run: Run) -> None:
    lab.configure("coordination", backend_url="etcd3+http://cinder:s3cret@127.0.0.1:1")
    done = run("preflight", "--live", "-f", "json", code=4)
    [line] = told(done)
    assert line.startswith("vmdk-cache: backend vmware1: locks.connection: ")
    assert "127.0.0.1:1" in line and "s3cret" not in done.stdout + done.stderr
    results = {row["Probe"]: row["Result"] for row in json.loads(done.stdout)}
    assert results["locks.connection"] == "failed"
    assert results["vcenter.log-in"] == "ok" and results["live.clones"] == "not tried"


def test_an_invalid_regex_is_one_line(lab: Lab, run: Run) -> None:
    lab.configure(vmware_datastore_regex="(")
    done = run("preflight", code=3)
    [line] = told(done)
    assert "vmware_datastore_regex" in line and done.stdout == ""


def test_a_vcenter_that_never_answers_is_named_while_it_is_waited_for(lab: Lab, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        lab.configure(vmware_host_port=silent.getsockname()[1])
        done = run("preflight", "--timeout", "4", code=4)
    assert "vcenter.tls is still running; --timeout limits" in done.stderr
    [given_up] = told(done)
    assert "did not answer in time" in given_up


def test_a_misspelt_option_is_named_also_where_it_makes_the_rest_unreadable(
    lab: Lab, run: Run
) -> None:
    lab.configure(vmware_host_ip=None, vmware_hostip="127.0.0.1", image_cache_max_cuont=3)
    lines = run("preflight", code=3).stderr.splitlines()
    assert any("did you mean vmware_host_ip?" in line for line in lines)
    assert any("did you mean image_cache_max_count?" in line for line in lines)
    assert "[vmware1] vmware_host_ip is not set" in lines[-1]


def test_each_backend_has_a_checklist_of_its_own(lab: Lab, run: Run) -> None:
    lab.configure("DEFAULT", enabled_backends="vmware1,vmware2")
    lab.configure("vmware2", **{**lab.backend(), "vmware_host_password": "wrong"})
    rows = run.json("preflight", code=4)
    results = {name: [row["Result"] for row in rows if row["Backend"] == name] for name in
               ("vmware1", "vmware2")}  # fmt: skip
    assert "failed" not in results["vmware1"] and "failed" in results["vmware2"]


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "nan", "3601"])
def test_an_invalid_timeout_is_wrong_usage(run: Run, timeout: str) -> None:
    assert "--timeout" in run("preflight", "--timeout", timeout, code=2).stderr


# -- the live run


def is_empty(vcenter: VCenter) -> bool:
    stores = [vcenter.datastore(f"DC0_DS{number}") for number in range(2)]
    return not vcenter.vms() and not any(store.files() for store in stores)


def test_a_live_run_tries_all_that_the_cache_does(lab: Lab, run: Run) -> None:
    rows = run.json("preflight", "--live")
    live = [row for row in rows if row["Probe"].startswith("live.")]
    assert len(live) >= 15 and {row["Result"] for row in live} == {"ok"}
    assert is_empty(lab.vcenter)


def test_a_live_run_leaves_the_caches_templates_alone(lab: Lab, run: Run) -> None:
    made = lab.warm()
    run("preflight", "--live")
    assert lab.templates() == [made.name]
    assert run.json("check") == []


@pytest.mark.parametrize(
    ("privilege", "code"), [("VApp.Import", 1), ("VirtualMachine.Inventory.Delete", 0)]
)
def test_nothing_is_changed_without_a_privilege_that_the_live_run_needs(
    lab: Lab, run: Run, privilege: str, code: int
) -> None:
    as_documented_account(lab, privilege)
    rows = run.json("preflight", "--live", code=code)
    live = {row["Result"] for row in rows if row["Probe"].startswith("live.")}
    assert live == {"not tried"}
    assert any(row["Seen"].startswith(f"{privilege} is missing") for row in rows)
    assert set(lab.vcenter.request_log.by_method()) <= READ_ONLY_METHODS


def test_a_privilege_that_the_live_run_does_without_is_named_before_it_begins(
    lab: Lab, run: Run
) -> None:
    as_documented_account(lab, "VApp.Export")
    done = run("preflight", "--live", "-f", "json")
    [line] = told(done)
    assert "the account lacks VApp.Export; --live skips" in line
    results = {row["Probe"]: row["Result"] for row in json.loads(done.stdout)}
    assert results["live.read-back"] == "not tried" and results["live.deletion"] == "ok"
    assert is_empty(lab.vcenter)


def test_one_live_run_at_a_time(lab: Lab, run: Run) -> None:
    [configured] = lab.configuration().backends
    with lab.configuration().locks() as locks, locks(in_live(configured)).hold("live", 0):
        rows = run.json("preflight", "--live")
    assert any("another live run" in row["Seen"] for row in rows)
    assert is_empty(lab.vcenter)


def in_live(configured: BackendConfiguration) -> BackendConfiguration:
    return dataclasses.replace(configured, backend=live_backend(configured.backend))


# -- the report


def test_a_report_holds_results_and_messages_and_no_secret(
    lab: Lab, run: Run, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "report.json"
    rows = run.json("preflight", "--live", "--report", str(path))
    text = path.read_text()
    content = json.loads(text)
    assert [row["Probe"] for row in content["results"]] == [row["Probe"] for row in rows]
    assert {"ImportVApp", "CloneVM_Task"} <= {each["method"] for each in content["exchanges"]}
    assert content["recorded_on"] == ["VMware vCenter Server 8.0.3 build-1 (fake)"]
    assert path.stat().st_mode & 0o777 == 0o600
    host = f"{socket.gethostname()}:"
    user, _, domain = lab.vcenter.user.partition("@")
    secrets = [lab.vcenter.user, f"{domain}\\\\{user}", user, lab.vcenter.password, "127.0.0.1"]
    secrets += [
        host,
        lab.vcenter.thumbprint,
        lab.vcenter.instance_uuid,
        "localhost:",
        ">localhost<",
    ]
    for secret in secrets:
        assert secret.lower() not in text.lower(), secret
    assert 'versionId=\\"8.' in text, "a version is no address"


def test_a_report_of_a_vcenter_out_of_reach_has_its_results(
    lab: Lab, run: Run, tmp_path: pathlib.Path
) -> None:
    lab.configure(vmware_host_port=1)
    (tmp_path / "report.json").touch(0o644)  # of an earlier run
    run("preflight", "--report", str(tmp_path / "report.json"), code=4)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["recorded_on"] == content["exchanges"] == []
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o600
    assert "failed" in {row["Result"] for row in content["results"]}


def test_a_report_does_not_name_the_coordinators_host(
    lab: Lab, run: Run, tmp_path: pathlib.Path
) -> None:
    lab.configure("coordination", backend_url="etcd3+http://cinder:s3cret@etcd-1.corp.invalid:1")
    done = run("preflight", "--report", str(tmp_path / "report.json"), code=4)
    assert "etcd-1.corp.invalid:1" in done.stdout
    text = (tmp_path / "report.json").read_text()
    assert "locks.connection" in text and "etcd-1" not in text


@pytest.mark.parametrize("path", ["/nowhere/report.json", "/"])
def test_a_report_that_cannot_be_written_is_one_line_before_anything_is_asked(
    lab: Lab, run: Run, path: str
) -> None:
    lab.vcenter.request_log.reset()
    done = run("preflight", "--report", path, code=2)
    [line] = done.stderr.splitlines()
    assert "--report" in line and path in line and done.stdout == ""
    assert lab.vcenter.request_log.total() == 0


def test_a_report_is_of_one_backend(lab: Lab, run: Run, tmp_path: pathlib.Path) -> None:
    lab.configure("DEFAULT", enabled_backends="vmware1,vmware2")
    lab.sections["vmware2"] = lab.backend()
    lab.configure()
    path = str(tmp_path / "report.json")
    assert "--backend" in run("preflight", "--report", path, code=2).stderr
    run("preflight", "--report", path, "--backend", "vmware1", code=None)
    assert json.loads((tmp_path / "report.json").read_text())["results"]
