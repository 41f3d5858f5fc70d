"""Follows docs/upgrade.rst literally, on a real Cinder with an existing volume.

Every ``ini`` block of "Change a backend over" and "Removal" is merged into cinder.conf, and every
command runs: ``vmdk-cache`` itself, ``openstack`` and ``systemctl`` by :class:`Operator`. A command
that it does not know fails the test, so the page contains no untested command.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cloud import UPSTREAM_DRIVER, Cloud, cloud, outcome
from tests.e2e.road import Road, an_instance
from tests.e2e.stack.glance import Glance
from tests.fakes.images import as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import Model

PAGE = Path(__file__).parents[2] / "docs" / "upgrade.rst"
BACKEND = "vmware1"
STOCK_HOST_MANAGER = "cinder.scheduler.host_manager.HostManager"
#: Host names that can be reached, which the preflight tries.
MODEL = Model(host_names=("127.0.0.1", "localhost"))
IMAGE = as_stream_optimized(filesystem_disk(16 << 20, payload_bytes=1 << 20))
_BLOCK = re.compile(r"^   \.\. code-block:: (ini|console)\n\n((?:      .*\n|\n(?=      ))+)", re.M)
_REMOVED = re.compile(r"# remove: (\w+)")


def blocks(title: str) -> Iterator[tuple[str, str]]:
    """(language, text) of the blocks below a title of the page."""
    _, found, below = PAGE.read_text().partition(f"\n{title}\n{'=' * len(title)}\n")
    assert found, f"{PAGE.name} has no section {title!r}"
    section = re.split(r"\n.+\n=+\n", below)[0]
    return ((kind, text) for kind, text in _BLOCK.findall(section))


class Operator:
    """Edits cinder.conf as the page says, and runs its commands."""

    def __init__(self, the_cloud: Cloud, image_id: str) -> None:
        self.cloud = the_cloud
        self.ran: list[str] = []
        self.pools: list[str] = []
        self.shown: dict[str, str | None] = {}
        self._image_id = image_id
        self._driver = UPSTREAM_DRIVER
        self._options: dict[str, str | None] = {"volume_backend_name": None}
        self._defaults = {"scheduler_host_manager": STOCK_HOST_MANAGER}
        self._volumes: dict[str, str] = {}

    def follow(self, title: str) -> None:
        for kind, text in blocks(title):
            if kind == "ini":
                self._edit(text)
                continue
            for line in text.splitlines():
                command = line.strip().removeprefix("$ ")
                if command:
                    self.ran.append(command)
                    self._run(shlex.split(command))

    def _edit(self, text: str) -> None:
        section: dict[str, str] | dict[str, str | None] = {}
        for line in (each.strip() for each in text.splitlines()):
            if line in ("[DEFAULT]", f"[{BACKEND}]"):
                section = self._defaults if line == "[DEFAULT]" else self._options
            elif removed := _REMOVED.fullmatch(line):
                del section[removed[1]]
            elif line:
                name, _, value = line.partition(" = ")
                section[name] = value
        self._driver = self._options.pop("volume_driver", None) or self._driver

    def _run(self, words: list[str]) -> None:
        match words:
            case ["systemctl", "restart", *_]:
                self.cloud.swap_driver(BACKEND, self._driver, self._options, self._defaults)
            case ["vmdk-cache", *arguments]:
                self._vmdk_cache(arguments)
            case ["openstack", "volume", "service", "list"]:
                services = self.cloud.cinder.request("GET", "/os-services")["services"]
                (ours,) = [each for each in services if each["binary"] == "cinder-volume"]
                assert ours["state"] == "up"
            case ["openstack", "volume", "backend", "pool", "list"]:
                self.pools += [pool["name"] for pool in self.cloud.cinder.pools()]
            case ["openstack", "volume", "create", *options, name]:
                self._create(name, dict(zip(options[::2], options[1::2], strict=True)))
            case ["openstack", "volume", "show", name]:
                volume = self.cloud.cinder.show("volumes", self._volumes[name])
                self.shown[name] = outcome(volume)
            case ["openstack", "volume", "delete", *names]:
                self.cloud.delete_all([self._volumes.pop(name) for name in names])
            case _:
                raise AssertionError(f"{PAGE.name}: {shlex.join(words)!r} is not known here")

    def _create(self, name: str, options: dict[str, str]) -> None:
        key, _, value = options.pop("--property").partition("=")
        assert options.pop("--image") == "IMAGE"
        volume_type, size_gb = options.pop("--type"), int(options.pop("--size"))
        assert not options
        volume_id = self.cloud.cinder.create_volume(
            size_gb, imageRef=self._image_id, volume_type=volume_type, metadata={key: value}
        )
        self.cloud.cinder.wait("volumes", volume_id, "available")
        self._volumes[name] = volume_id

    def _vmdk_cache(self, arguments: list[str]) -> None:
        script = Path(sys.executable).with_name("vmdk-cache")
        conf = self.cloud.openstack.cinder.config_file
        done = subprocess.run(
            [script, "--config-file", conf, *arguments], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{shlex.join(arguments)}:\n{done.stdout}\n{done.stderr}"


@pytest.mark.timeout(900)  # five boots of Cinder
def test_the_runbook_keeps_every_volume(glance: Glance) -> None:
    stock = {"volume_backend_name": None}
    defaults = {"scheduler_host_manager": STOCK_HOST_MANAGER}
    with (
        cloud(
            {BACKEND: (UPSTREAM_DRIVER, stock)}, glance=glance, model=MODEL, defaults=defaults
        ) as the_cloud,
        an_instance(the_cloud.vcenter) as instance,
    ):
        name = UPSTREAM_DRIVER.rpartition(".")[2]
        the_cloud.cinder.create_volume_type(BACKEND, volume_backend_name=name)
        road = Road("before", the_cloud, BACKEND, the_cloud.upload("image", IMAGE))
        volume_id = road.create_from_image()
        attachment = road.attach(volume_id, instance)
        operator = Operator(the_cloud, road.image_id)

        operator.follow("Change a backend over")
        road.detach(volume_id, attachment)
        attachment = road.attach(volume_id, instance)
        assert operator.shown == {"first": "miss", "second": "hit"}

        operator.follow("Removal")
        road.detach(volume_id, attachment)
        the_cloud.assert_holds(volume_id, IMAGE, 1)
        road.clean_up()
        assert set(operator.pools) == {f"lab@{BACKEND}#{name}"}
        assert {vm.name for vm in the_cloud.vcenter.vms()} == {"instance"}
        assert the_cloud.vcenter.errors == []
    assert len(operator.ran) >= 15, "the page's blocks are not read"
