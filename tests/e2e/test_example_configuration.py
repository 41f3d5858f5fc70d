"""Operators start from etc/cinder.conf.example, so a real Cinder has to boot with it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg, iniparser

from tests.e2e.cloud import USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.glance import Glance
from tests.fakes.images import as_stream_optimized, filesystem_disk

EXAMPLE = Path(__file__).parents[2] / "etc" / "cinder.conf.example"
BACKEND = "vmware1"
#: Addresses, names, passwords and paths, which the test replaces as operators do.
OF_A_SITE = {
    *("auth_strategy", "transport_url", "glance_api_servers", "state_path", "log_dir"),
    *("vmware_host_ip", "vmware_host_port", "vmware_host_username", "vmware_host_password"),
    *("vmware_ca_file", "vmware_cluster_name"),
}
#: Options of keystoneauth1's password plugin, which no module registers at import.
OF_KEYSTONEAUTH = {
    *("auth_url", "auth_type", "username", "password", "project_name"),
    *("user_domain_name", "project_domain_name"),
}
#: Modules that register options at import.
REGISTERING = (
    "cinder.common.config",
    "cinder.coordination",
    "cinder.db.api",
    "cinder.scheduler.driver",
    "cinder.scheduler.host_manager",
    "cinder.service_auth",
    "cinder.volume.driver",
    "cinder.volume.manager",
    "keystonemiddleware.auth_token",
    "oslo_concurrency.lockutils",
)


class _Sections(iniparser.BaseParser):
    """The file as oslo.config reads it: section -> option -> text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str]] = {}
        self._section = "DEFAULT"
        self.parse(text.splitlines(keepends=True))

    def new_section(self, section: str) -> None:
        self._section = section

    def assignment(self, key: str, value: list[str]) -> None:
        self.found.setdefault(self._section, {})[key] = "\n".join(value)


def sections(*, commented_as_well: bool = False) -> dict[str, dict[str, str]]:
    text = EXAMPLE.read_text()
    if commented_as_well:
        lines = [
            line.removeprefix("# ") if line.startswith(("# image_", "# vmware_")) else line
            for line in text.splitlines()
        ]
        text = "\n".join(lines) + "\n"
    return _Sections(text).found


@pytest.fixture(scope="module")
def running(glance: Glance) -> Iterator[Cloud]:
    example = sections()
    options = {k: v for k, v in example[BACKEND].items() if k not in OF_A_SITE}
    driver = options.pop("volume_driver")
    defaults = {
        name: value
        for name, value in example["DEFAULT"].items()
        if name not in OF_A_SITE and name != "enabled_backends"
    }
    assert example["DEFAULT"]["enabled_backends"] == BACKEND
    options["vmware_cluster_name"] = "DC0_C0"
    with cloud({BACKEND: (driver, options)}, glance=glance, defaults=defaults) as up:
        yield up
        assert up.vcenter.errors == []


def test_a_cinder_with_the_example_caches_an_image(running: Cloud) -> None:
    image = as_stream_optimized(filesystem_disk(16 << 20))
    image_id = running.upload("example", image)
    notes = []
    for _ in range(2):
        volume_id = running.cinder.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
        volume = running.cinder.wait("volumes", volume_id, "available")
        notes.append(outcome(volume))
        running.assert_holds(volume_id, image, 1)
    assert notes == ["miss", "hit"]


def test_the_command_line_reads_the_same_options(running: Cloud) -> None:
    conf = next(running.openstack.directory.rglob("cinder.conf"))
    script = Path(sys.executable).with_name("vmdk-cache")
    done = subprocess.run(
        [script, "--config-file", str(conf), "check"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_every_option_of_the_example_exists() -> None:
    """This covers options that are set and those that are commented out."""
    from cinder import objects
    from cinder.volume.drivers.vmware import vmdk as upstream
    from oslo_messaging import opts as messaging_opts

    from vmdk_cache import conf

    objects.register_all()
    for module in REGISTERING:
        importlib.import_module(module)
    known: dict[str, set[str]] = {BACKEND: {option.dest for option in upstream.vmdk_opts}}
    for group, options in (*conf.list_opts(), *messaging_opts.list_opts()):
        known.setdefault(group or "DEFAULT", set()).update(option.dest for option in options)
    known[BACKEND] |= known["backend_defaults"]
    for section, values in sections(commented_as_well=True).items():
        group = "backend_defaults" if section == BACKEND else section
        of_cinder = cfg.CONF if group == "DEFAULT" else cfg.CONF[group]
        for name in values.keys() - known.get(section, set()) - OF_KEYSTONEAUTH:
            assert name in of_cinder, f"[{section}] {name}"
