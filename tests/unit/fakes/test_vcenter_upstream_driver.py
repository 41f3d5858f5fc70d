"""What would keep Cinder's stock VMDK driver from setting up, unmodified and with defaults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vcenter import Model, VCenter
from tests.fakes.vcenter.model import Profile

pytest.importorskip("cinder")
from cinder import coordination, objects
from cinder.volume import configuration
from cinder.volume.drivers.vmware import vmdk
from oslo_config import cfg

GROUP = "fake_vcenter_upstream"
GIB = 1 << 30


@pytest.fixture(scope="module")
def vcenter() -> Iterator[VCenter]:
    model = Model(datastores=3, pods=1, profiles=(Profile("gold", ("DC0_DS1",)),))
    with VCenter(model) as running:
        yield running
        assert running.errors == []


@pytest.fixture(scope="module")
def driver(vcenter: VCenter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    objects.register_all()
    settings = configuration.Configuration(vmdk.vmdk_opts, config_group=GROUP)
    overrides = {
        "vmware_host_ip": vcenter.host,
        "vmware_host_port": vcenter.port,
        "vmware_host_username": vcenter.user,
        "vmware_host_password": vcenter.password,
        "vmware_ca_file": vcenter.ca_file,
        "vmware_cluster_name": ["DC0_C0"],
        "vmware_task_poll_interval": 0.05,
        "vmware_enable_volume_stats": True,
    }
    for name, value in overrides.items():
        cfg.CONF.set_override(name, value, group=GROUP)
    locks: Path = tmp_path_factory.mktemp("locks")
    cfg.CONF([], project="cinder", default_config_files=[])
    cfg.CONF.set_override("backend_url", f"file://{locks}", group="coordination")
    coordination.COORDINATOR.start()
    made = vmdk.VMwareVcVmdkDriver(configuration=settings, host="fake@vmware")
    made.do_setup(None)
    yield made
    coordination.COORDINATOR.stop()
    cfg.CONF.clear_override("backend_url", group="coordination")
    for name in overrides:
        cfg.CONF.clear_override(name, group=GROUP)


def select(driver: Any, profile: str | None, size_bytes: int = GIB) -> Any:
    request = {driver.ds_sel.SIZE_BYTES: size_bytes, driver.ds_sel.PROFILE_NAME: profile}
    return driver.ds_sel.select_datastore(request, None)


def test_setup_is_incomplete(driver: Any, vcenter: VCenter) -> None:
    driver.check_for_setup_error()
    assert driver._vc_version == "8.0.3"
    assert driver._storage_policy_enabled
    assert vcenter.request_log.count("RegisterExtension") == 1


def test_stats_are_not_those_of_the_datastores(driver: Any) -> None:
    stats = driver.get_volume_stats(True)
    assert (stats["total_capacity_gb"], stats["free_capacity_gb"]) == (3072, 3072)


def test_selection_ignores_policy_or_size(driver: Any) -> None:
    _, _, summary = select(driver, "gold")
    assert summary.name == "DC0_DS1"
    assert select(driver, None, size_bytes=2 << 40) is None


def test_backing_cannot_be_made_or_found(driver: Any, vcenter: VCenter) -> None:
    host, pool, summary = select(driver, None)
    datacenter = driver.volumeops.get_dc(pool)
    names = ["OpenStack", "Project (p1)", "Volumes"]
    folder = driver.volumeops.create_vm_inventory_folder(datacenter, names)
    again = driver.volumeops.create_vm_inventory_folder(datacenter, names)
    assert folder.value == again.value
    backing = driver.volumeops.create_backing(
        "volume-1", 1 << 20, "thin", folder, pool, host, summary.name
    )
    found = driver.volumeops.get_entity_by_inventory_path(
        "/DC0/vm/OpenStack/Project (p1)/Volumes/volume-1"
    )
    assert found.value == backing.value
    assert vcenter.datastore(summary.name).used_bytes > 0
    driver.volumeops.delete_backing(backing)
    assert vcenter.vms() == []
    assert vcenter.datastore(summary.name).used_bytes == 0
