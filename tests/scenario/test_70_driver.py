"""The driver's life in cinder-volume: made before the fork, set up again and again, asked often."""

from __future__ import annotations

import os
import pathlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cinder import coordination, objects
from oslo_config import cfg
from pyVmomi import vmodl

from tests.fakes import account
from tests.fakes.vcenter import VCenter
from tests.scenario.conftest import Lab, volume
from vmdk_cache import errors
from vmdk_cache.cinder.cached_images import as_text

GROUP = "vmdk_cache_driver_tests"


@pytest.fixture
def make_driver(vcenter: VCenter, tmp_path: pathlib.Path) -> Iterator[Callable[..., Any]]:
    """Drivers over the fake; their own ``do_setup`` is the test's business."""
    objects.register_all()
    from cinder.volume import configuration  # annotates with registered objects
    from cinder.volume.drivers.vmware import vmdk

    from vmdk_cache.cinder.driver import ImageCacheVmdkDriver

    made: list[Any] = []
    coordinator = coordination.COORDINATOR
    cfg.CONF.set_override("backend_url", f"file://{tmp_path}", group="coordination")
    cfg.CONF.set_override("connection", f"sqlite:///{tmp_path}/cinder.sqlite", group="database")
    coordinator.start()

    def make(**options: Any) -> Any:
        settings = configuration.Configuration(vmdk.vmdk_opts, config_group=GROUP)
        driver = ImageCacheVmdkDriver(configuration=settings, host="h@b")
        values = {
            "vmware_host_ip": vcenter.host,
            "vmware_host_port": vcenter.port,
            "vmware_host_username": vcenter.user,
            "vmware_host_password": vcenter.password,
            "vmware_ca_file": vcenter.ca_file,
            "enable_image_cache": True,
            "image_cache_ledger": f"{tmp_path}/ledger.sqlite",
            **options,
        }
        for name, value in values.items():
            cfg.CONF.set_override(name, value, group=GROUP)
        made.append(driver)
        return driver

    yield make
    for driver in made:
        for loop in (driver._housekeeping_loop, driver._reconnect_loop):
            if loop is not None:
                loop.stop()
        driver._close_cache()
        if driver.session is not None:
            driver.session.logout()
    coordinator.stop()
    for option in list(cfg.CONF[GROUP]):
        cfg.CONF.clear_override(option, group=GROUP)
    cfg.CONF.clear_override("backend_url", group="coordination")
    cfg.CONF.clear_override("connection", group="database")


def sessions(vcenter: VCenter) -> int:
    return len(vcenter.sessions.active())


def test_nothing_is_connected_or_started_before_the_fork(
    vcenter: VCenter, make_driver: Callable[..., Any]
) -> None:
    threads = threading.active_count()
    vcenter.request_log.reset()
    make_driver()
    assert threading.active_count() == threads
    assert vcenter.request_log.total() == 0


def test_a_second_set_up_leaves_one_session_of_each_kind(
    vcenter: VCenter, make_driver: Callable[..., Any]
) -> None:
    driver = make_driver()
    driver.do_setup(None)
    once = sessions(vcenter)
    driver.do_setup(None)
    assert sessions(vcenter) == once


def test_a_set_up_that_fails_behind_us_leaves_no_session(
    vcenter: VCenter, make_driver: Callable[..., Any]
) -> None:
    driver = make_driver(vmware_host_version="nonsense")
    before = sessions(vcenter)
    with pytest.raises(Exception):  # noqa: B017  # upstream raises what packaging raises
        driver.do_setup(None)
    assert sessions(vcenter) == before


def test_the_purge_is_started_once(make_driver: Callable[..., Any]) -> None:
    driver = make_driver()
    driver.do_setup(None)
    driver.check_for_setup_error()
    loop = driver._housekeeping_loop
    driver.check_for_setup_error()
    assert driver._housekeeping_loop is loop


def errors_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the driver logged at ERROR."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelname == "ERROR" and record.name.startswith("vmdk_cache")
    ]


def test_an_unknown_cluster_is_named_with_its_option(
    make_driver: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Cinder's own driver refuses it too, so the backend does not start."""
    with pytest.raises(Exception, match="nowhere"):
        make_driver(vmware_cluster_name=["nowhere"]).do_setup(None)
    (line,) = errors_of(caplog)
    assert "vmware_cluster_name" in line
    assert "nowhere" in line


def test_a_missing_privilege_keeps_a_backend_from_starting_that_cinders_own_driver_starts(
    vcenter: VCenter, make_driver: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Each privilege that a start uses is taken away in turn; the others cannot matter to it."""
    from cinder.volume.drivers.vmware import vmdk

    login = {"vmware_host_username": account.USER, "vmware_host_password": account.PASSWORD}

    def starts(driver: Any) -> bool:
        try:
            driver.do_setup(None)
            driver.check_for_setup_error()
            return "volume_backend_name" in driver.get_volume_stats(refresh=True)
        except Exception:
            return False

    user = account.add_documented_account(vcenter)
    assert starts(make_driver(**login))
    used = {privilege for privilege, _ in user.used}
    assert used
    results = {}
    for privilege in sorted(used):
        account.add_documented_account(vcenter, without=privilege)
        caplog.clear()
        ours = make_driver(**login)
        stock = vmdk.VMwareVcVmdkDriver(configuration=ours.configuration, host="h@b")
        results[privilege] = (starts(stock), starts(ours))
        _, started = results[privilege]
        unavailable = started and ours._connection.cache is None
        assert not unavailable or any(privilege in line for line in errors_of(caplog))
    print(f"with Cinder's own driver, with ours: {results}")
    assert [ours for stock, ours in results.values() if stock and not ours] == []


def test_a_backend_without_its_cache_takes_volumes_and_gets_the_cache_later(
    vcenter: VCenter, lab: Lab, make_driver: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Our log-in is refused at first, as on a vCenter that has run out of sessions."""
    refusal = vcenter.fault_rules.add("Login", vmodl.fault.SystemError(reason="made up"))
    driver = make_driver()
    driver.do_setup(None)
    driver.check_for_setup_error()
    (line,) = errors_of(caplog)
    assert refusal.hits == 1
    assert GROUP in line
    assert "cache-unavailable" in line
    assert reason_for_no_cache(driver, lab) == "cache-unavailable"
    driver._connection.open()
    assert errors_of(caplog) == [line]
    assert reason_for_no_cache(driver, lab) is None


def test_the_same_failure_is_an_error_in_the_log_only_once(
    vcenter: VCenter, make_driver: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    driver = make_driver()
    rule = vcenter.fault_rules.add("Login", vmodl.fault.SystemError(reason="one"), times=3)
    vcenter.fault_rules.add("Login", vmodl.fault.SystemError(reason="another"))
    driver._connection.start(driver._build_cache, lambda: True)
    for _ in range(2):
        driver._connection.open()
    assert rule.hits == 3
    assert len(errors_of(caplog)) == 1
    driver._connection.open()
    assert len(errors_of(caplog)) == 2


def reason_for_no_cache(driver: Any, lab: Lab) -> str | None:
    """Why the driver would create a volume without the cache; None if it would use it."""
    try:
        driver._running_cache()
    except errors.NotCacheable as refused:
        return str(refused.reason)
    return None


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("enabled", [True, False])
def test_stats_carry_the_templates_and_belong_to_whoever_asked(
    lab: Lab, make_driver: Callable[..., Any], real: bool, enabled: bool
) -> None:
    driver = make_driver(vmware_enable_volume_stats=real, enable_image_cache=enabled)
    driver.do_setup(None)
    first = driver.get_volume_stats(refresh=True)
    first["allocated_capacity_gb"] = 77  # as Cinder's manager does
    second = driver.get_volume_stats(refresh=True)
    assert second is not first
    if real:  # without stats upstream keeps one report for good, and we copy it
        assert "allocated_capacity_gb" not in second
    assert second["extra_provisioned_capacity_gb"] == 0
    assert second.get("cached_images") == ("" if enabled else None)
    assert second.get("image_cache_opt_in") == (["metadata"] if enabled else None)


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("configured", [None, "gold"])
def test_the_pool_has_the_name_that_it_has_with_cinders_own_driver(
    make_driver: Callable[..., Any], real: bool, configured: str | None
) -> None:
    """Cinder makes the reported name the pool of every volume's host, for the volume's life."""
    from cinder.volume.drivers.vmware import vmdk

    options: dict[str, Any] = {
        "vmware_enable_volume_stats": real,
        "volume_backend_name": configured,
    }
    ours = make_driver(**options)
    ours.do_setup(None)
    stock = vmdk.VMwareVcVmdkDriver(configuration=ours.configuration, host="h@b")
    stock.do_setup(None)
    reported = [driver.get_volume_stats(refresh=True) for driver in (ours, stock)]
    stock.session.logout()
    names = [stats["volume_backend_name"] for stats in reported]
    assert names == [configured or "VMwareVcVmdkDriver"] * 2


def test_a_report_names_the_images_of_its_own_backend_and_costs_one_request(
    vcenter: VCenter, lab: Lab, make_driver: Callable[..., Any]
) -> None:
    folder_name = f"Project ({GROUP}_image_cache)"
    theirs = lab.process(name=GROUP, folder=("OpenStack", folder_name, "Volumes"))
    theirs.images.create_volume(lab.image, volume(1), lab.source)
    lab.create(2)  # into the cache of another backend
    driver = make_driver(image_cache_opt_in=["volume_type", "image"])
    driver.do_setup(None)
    driver.get_volume_stats(refresh=True)
    vcenter.request_log.reset()
    stats = driver.get_volume_stats(refresh=True)
    assert stats["cached_images"] == as_text([lab.image.id])
    assert stats["image_cache_opt_in"] == ["image", "volume_type"]
    assert stats["extra_provisioned_capacity_gb"] == 1
    assert vcenter.request_log.total() == 1


def test_a_vcenter_that_does_not_answer_costs_neither_the_report_nor_a_long_wait(
    vcenter: VCenter, lab: Lab, make_driver: Callable[..., Any]
) -> None:
    driver = make_driver()
    driver.do_setup(None)
    before = driver.get_volume_stats(refresh=True)
    hangs = threading.Event()
    waited: list[bool] = []
    vcenter.fault_rules.add("WaitForUpdatesEx", action=lambda: waited.append(hangs.wait(60)))
    try:
        assert driver.get_volume_stats(refresh=True) == before
        assert waited == []
    finally:
        hangs.set()


def test_a_backend_without_the_cache_starts_when_only_the_cache_cannot(
    vcenter: VCenter, make_driver: Callable[..., Any]
) -> None:
    from pyVmomi import vmodl

    rule = vcenter.fault_rules.add("Login", vmodl.fault.SystemError(reason="made up"))
    driver = make_driver(enable_image_cache=False)
    driver.do_setup(None)
    assert rule.hits == 1
    assert driver.get_volume_stats(refresh=True)["extra_provisioned_capacity_gb"] == 0


@pytest.mark.parametrize("path", ["{}/not/there/ledger.sqlite", "{}/text"])
def test_a_ledger_that_cannot_be_used_keeps_no_backend_from_starting(
    make_driver: Callable[..., Any],
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
    path: str,
) -> None:
    (tmp_path / "text").write_text("not a database\n" * 100)
    driver = make_driver(image_cache_ledger=path.format(tmp_path))
    driver.do_setup(None)
    (line,) = (r.getMessage() for r in caplog.records if "image_cache_ledger" in r.getMessage())
    assert path.format(tmp_path) in line


def test_a_second_set_up_leaves_one_ledger_open(
    make_driver: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    driver = make_driver()
    for _ in range(3):
        driver.do_setup(None)
    descriptors = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                   if os.path.exists(f"/proc/self/fd/{fd}")]  # fmt: skip
    assert descriptors.count(f"{tmp_path}/ledger.sqlite") == 1
    driver._close_cache()
    assert not (tmp_path / "ledger.sqlite-wal").exists(), "the ledger was not closed"
