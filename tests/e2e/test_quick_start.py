"""Follows docs/quick-start.rst on a real Cinder, from its cinder.conf to its hit.

What installs the wheel and restarts services is left out: tests/packages installs it, and Cinder
starts here with the page's configuration.
"""

from __future__ import annotations

import argparse
import itertools
import pathlib
import re
import shlex
import subprocess
import sys

from oslo_config import iniparser

from tests.cli.test_tour import Step, blocks
from tests.e2e.cloud import Cloud, cloud
from tests.e2e.stack.glance import Glance
from tests.fakes.images import as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import Model

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "quick-start.rst"
SCRIPT = pathlib.Path(sys.executable).with_name("vmdk-cache")
TIMEOUT_S = 120
#: Where vCenter is and who logs in differs here, as it does for every reader.
OF_A_SITE = re.compile(r"vmware_(host_.*|ca_file|cluster_name)")
ELSEWHERE = (
    *("make dist", "scp ", "sudo /opt/cinder/bin/pip ", "sudo ln "),
    *("systemctl ", "sudo systemctl "),
)


class Configuration(iniparser.BaseParser):
    """The page's lines for cinder.conf, as oslo.config reads them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sections: dict[str, dict[str, str]] = {}
        [block] = re.findall(r"\.\. code-block:: ini\n\n((?:   .*\n|\n(?=   ))+)", page)
        self.parse([line.removeprefix("   ") for line in block.splitlines(keepends=True)])

    def new_section(self, section: str) -> None:
        self.sections[section] = {}

    def assignment(self, key: str, value: list[str]) -> None:
        self.sections[next(reversed(self.sections))][key] = "\n".join(value)


class Reader:
    """Types the page's commands; ``IMAGE`` is the name of an image, as on the page."""

    def __init__(self, running: Cloud) -> None:
        self.cloud = running
        self.image = as_stream_optimized(filesystem_disk(16 << 20))
        self.image_id = running.upload("IMAGE", self.image)
        self.volumes: dict[str, str] = {}

    def follow(self, step: Step) -> None:
        words = shlex.split(step.command)
        if step.command.startswith(ELSEWHERE):
            return
        if words[:4] == ["sudo", "-u", "cinder", "vmdk-cache"]:
            self._run(words[4:])
        elif words[:3] == ["openstack", "volume", "create"]:
            self._create(words[3:])
        elif words[:3] == ["openstack", "volume", "show"]:
            self._compare(words[3], step.shown)
        else:
            assert step.command == "openstack volume service list", step.command
            assert self.cloud.cinder.pools()

    def _run(self, arguments: list[str]) -> None:
        [conf] = self.cloud.openstack.directory.rglob("cinder.conf")
        done = subprocess.run(
            [SCRIPT, "--config-file", str(conf), *arguments],
            capture_output=True, text=True, timeout=TIMEOUT_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def _create(self, arguments: list[str]) -> None:
        parser = argparse.ArgumentParser(exit_on_error=False)
        parser.add_argument("--image", choices=["IMAGE"])
        parser.add_argument("--size", type=int)
        parser.add_argument("--property")
        parser.add_argument("name")
        asked = parser.parse_args(arguments)
        key, value = asked.property.split("=")
        volume_id = self.cloud.cinder.create_volume(
            asked.size, name=asked.name, imageRef=self.image_id, metadata={key: value}
        )
        self.volumes[asked.name] = volume_id
        self.cloud.cinder.wait("volumes", volume_id, "available")

    def _compare(self, name: str, shown: str) -> None:
        """The table on the page has what Cinder says of the volume."""
        volume = self.cloud.cinder.wait("volumes", self.volumes[name], "available")
        properties = ", ".join(f"{k}='{v}'" for k, v in sorted(volume["metadata"].items()))
        says = {"Field": "Value", "properties": properties, "status": volume["status"]}
        rows = dict(re.findall(r"^\| (\S+) +\| (.*?) +\|$", shown, re.M))
        assert rows == says
        self.cloud.assert_holds(self.volumes[name], self.image, volume["size"])


def test_whoever_follows_the_quick_start_sees_a_miss_and_then_a_hit(glance: Glance) -> None:
    page = PAGE.read_text()
    sections = Configuration(page).sections
    [backend] = sections["DEFAULT"]["enabled_backends"].split(",")
    options = {k: v for k, v in sections[backend].items() if not OF_A_SITE.fullmatch(k)}
    driver = options.pop("volume_driver")
    model = Model(datastores=2, host_names=("127.0.0.1", "localhost"))  # preflight looks them up
    with cloud({backend: (driver, options)}, glance=glance, model=model) as running:
        reader = Reader(running)
        for step in itertools.chain(*blocks(page)):
            reader.follow(step)
        assert sorted(reader.volumes) == ["first", "second"]
        assert running.vcenter.errors == []
