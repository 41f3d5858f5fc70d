"""The command line reads cinder.conf like Cinder, and takes the same locks."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import oslo_messaging.opts
import pytest
from cinder import coordination, objects
from cinder.common import config as cinder_config
from cinder.volume.drivers.vmware import vmdk
from oslo_config import cfg

from tests.cli.conftest import TIMEOUT_S, Lab
from vmdk_cache import errors
from vmdk_cache.backend import MANAGED_BY
from vmdk_cache.cli import cinder_options
from vmdk_cache.cli.configuration import KNOWN_OPTIONS, read

#: Reads the file as cinder-volume would, holds one lock, and releases it at the end of stdin.
CINDER = """
import dataclasses, json, sys
from cinder import coordination, objects
objects.register_all()
from cinder.common import config
from cinder.volume import configuration
from cinder.volume.drivers.vmware import vmdk
from cinder.volume import manager
from vmdk_cache import conf
from vmdk_cache.cinder import upstream
config.CONF(["--config-file", sys.argv[1]], project="cinder")
read = configuration.Configuration(
    [*manager.volume_backend_opts, *vmdk.vmdk_opts, *conf.OPTIONS], config_group=sys.argv[2])
coordination.COORDINATOR.start()
plain = lambda value: sorted(value) if isinstance(value, frozenset) else type(value).__name__
with upstream.locks(read).hold("image-1", 0):
    facts = [dataclasses.asdict(upstream.backend(read)),
             dataclasses.asdict(conf.Settings.from_options(read)), read.vmware_adapter_type,
             upstream.locks(read).domain]
    print(json.dumps(facts, default=plain), flush=True)
    sys.stdin.read()
"""


def _plain(value: object) -> object:
    """As ``plain`` in :data:`CINDER`."""
    return sorted(value) if isinstance(value, frozenset) else type(value).__name__


def every(*groups: list[cfg.Opt]) -> dict[str, cfg.Opt]:
    return {option.name: option for group in groups for option in group}


def test_options_of_cinders_have_cinders_types_and_defaults() -> None:
    objects.register_all()
    # These take their base classes from them.
    from cinder.image import glance
    from cinder.scheduler import driver as scheduler_driver
    from cinder.scheduler import host_manager
    from cinder.volume import driver as volume_driver
    from cinder.volume import manager

    theirs = every(
        vmdk.vmdk_opts,
        manager.volume_backend_opts,
        cinder_config.core_opts,
        cinder_config.global_opts,
        cinder_config.auth_opts,
        cinder_config.image_opts,
        glance.image_opts,
        glance.glance_opts,
        volume_driver.volume_opts,
        scheduler_driver.scheduler_driver_opts,
        host_manager.host_manager_opts,
        coordination.coordination_opts,
        dict(oslo_messaging.opts.list_opts())[None],
    )
    mine = every(
        cinder_options.DEFAULT,
        cinder_options.COORDINATION,
        cinder_options.BACKEND,
        cinder_options.GLANCE,
        cinder_options.GLANCE_SECTION,
        cinder_options.SCHEDULER,
        cinder_options.RPC,
    )
    for name, option in mine.items():
        upstreams = theirs[name]
        assert (type(option), option.type, option.default, option.secret, option.multi) == (
            type(upstreams),
            upstreams.type,
            upstreams.default,
            upstreams.secret,
            upstreams.multi,
        ), name
    assert coordination.COORDINATOR.prefix == cinder_options.LOCK_PREFIX
    assert MANAGED_BY == (vmdk.EXTENSION_KEY, vmdk.EXTENSION_TYPE)
    assert f"{vmdk.__name__}.VMwareVcVmdkDriver" == cinder_options.PLAIN_DRIVER


def test_cinder_and_the_command_line_read_the_same_and_exclude_each_other(lab: Lab) -> None:
    """Options that a backend lacks come from [backend_defaults], and locks are below
    $state_path.
    """
    for option in ("vmware_host_username", "vmware_ca_file", "image_cache_max_count"):
        lab.configure(**{option: None})
    lab.configure(
        "backend_defaults",
        vmware_host_username=lab.vcenter.user,
        vmware_ca_file=lab.vcenter.ca_file,
        image_cache_max_count=7,
        vmware_adapter_type="paraVirtual",
        vmware_volume_folder="Shared",
    )
    lab.configure(image_cache_opt_in="image, always", vmware_connection_pool_size=0)
    lab.configure("keystone_authtoken", auth_url="http://keystone.example:5000")
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CINDER, str(lab.path), "vmware1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as cinder:
        assert cinder.stdout is not None
        theirs = json.loads(cinder.stdout.readline())
        configuration = lab.configuration()
        [mine] = configuration.backends
        with configuration.locks() as locks:
            domain = locks(mine).domain
        facts = [
            dataclasses.asdict(mine.backend),
            dataclasses.asdict(mine.settings),
            mine.adapter_type,
            domain,
        ]
        assert domain, "neither knows when the other has died"
        assert json.loads(json.dumps(facts, default=_plain)) == theirs
        assert mine.settings.max_count == 7 and mine.backend.endpoint.user == lab.vcenter.user
        with configuration.locks() as locks:
            with pytest.raises(errors.LockTimeout), locks(mine).hold("image-1", 0):
                pass
            cinder.communicate(timeout=TIMEOUT_S)
            with locks(mine).hold("image-1", 0):
                pass


def test_the_deployments_id_is_derived_unless_it_is_set(lab: Lab) -> None:
    def id_of() -> str:
        return lab.configuration().backends[0].backend.deployment

    nothing = id_of()
    lab.configure("keystone_authtoken", auth_url="http://keystone.example:5000")
    assert id_of() not in ("", nothing)
    lab.configure("backend_defaults", image_cache_deployment_id="cloud-1")
    assert id_of() == "cloud-1"
    lab.configure(image_cache_deployment_id="cloud 1")
    with pytest.raises(errors.ConfigError, match="image_cache_deployment_id"):
        id_of()


def test_only_backends_with_a_cache_are_chosen_unless_named(lab: Lab) -> None:
    lab.sections["lvm"] = {"volume_driver": "cinder.volume.drivers.lvm.LVMVolumeDriver"}
    lab.sections["back"] = {**lab.backend(), "volume_driver": cinder_options.PLAIN_DRIVER}
    lab.configure("DEFAULT", enabled_backends="lvm, back, vmware1")
    assert [each.name for each in lab.configuration().backends] == ["vmware1"]
    named = lab.configuration("back", "vmware1", "back").backends
    assert [each.name for each in named] == ["back", "vmware1"]
    with pytest.raises(errors.ConfigError, match=r"'lvm' has no image cache.*LVMVolumeDriver"):
        lab.configuration("lvm")


def test_later_files_win_and_directories_are_read(lab: Lab) -> None:
    directory = lab.directory / "conf.d"
    directory.mkdir()
    (directory / "50.conf").write_text("[vmware1]\nimage_cache_max_count = 5\n")
    second = lab.directory / "second.conf"
    second.write_text("[vmware1]\nimage_cache_max_count = 3\nimage_cache_age_seconds = 60\n")
    [chosen] = read([str(lab.path), str(second)], [str(directory)]).backends
    assert (chosen.settings.max_count, chosen.settings.age_s) == (5, 60)


def test_the_password_is_in_no_text_of_what_was_read(lab: Lab) -> None:
    configuration = lab.configuration()
    assert lab.vcenter.password not in repr(configuration)
    assert configuration.backends[0].backend.endpoint.password == lab.vcenter.password


def test_every_option_of_cinder_is_known() -> None:
    objects.register_all()
    from cinder.volume import driver, manager

    from vmdk_cache.preflight.configuration import strange_options

    assert {option.dest for option in vmdk.vmdk_opts} <= KNOWN_OPTIONS
    groups = [value for name, value in vars(driver).items() if name.endswith("_opts")]
    groups += [manager.volume_manager_opts, manager.volume_backend_opts]
    sections = {"vmware1": set(every(*groups))}
    assert "image_volume_cache_enabled" in sections["vmware1"], "a name much like ours"
    assert [found.seen for found in strange_options("vmware1", sections, KNOWN_OPTIONS)] == []
