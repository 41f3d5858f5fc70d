"""The real console script in its own process, against a fake vCenter in the test's process.

``run`` starts it with the cinder.conf of the test's directory; ``lab`` fills the caches with an
engine in this process, which reads the same file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from pyVmomi import vim

from tests.e2e.stack.glance import Glance
from tests.fakes.clock import HastyClock
from tests.fakes.images import FakeImage, FakeImageSource, as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import Model, VCenter
from vmdk_cache import wiring
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.events import Event
from vmdk_cache.cache.record import RECORD_KEY
from vmdk_cache.cli import cinder_options
from vmdk_cache.cli.configuration import Configuration, read
from vmdk_cache.clock import Clock
from vmdk_cache.image import Image
from vmdk_cache.vim import inventory, template

SCRIPT = pathlib.Path(sys.executable).with_name("vmdk-cache")
MIB = 1 << 20
#: Long enough for two busy cores; a command takes about a second.
TIMEOUT_S = 120


class Lab:
    """A cinder.conf, and caches that the engine fills.

    :ivar path: of the cinder.conf; :meth:`configure` rewrites it
    """

    def __init__(self, vcenter: VCenter, image: FakeImage, directory: pathlib.Path) -> None:
        self.vcenter = vcenter
        self.disk_image = image
        self.directory = directory
        self.path = directory / "cinder.conf"
        self.events: list[Event] = []
        self.sections: dict[str, dict[str, object]] = {
            "DEFAULT": {
                "enabled_backends": "vmware1",
                "state_path": directory,
                "auth_strategy": "noauth",
            },
            "coordination": {"backend_url": "file://$state_path/locks"},
            "vmware1": self.backend(),
        }
        self.configure()

    def backend(self) -> dict[str, object]:
        """The options of a backend with a cache."""
        return {
            "volume_driver": cinder_options.DRIVER,
            "vmware_host_ip": self.vcenter.host,
            "vmware_host_port": self.vcenter.port,
            "vmware_host_username": self.vcenter.user,
            "vmware_host_password": self.vcenter.password.replace("$", "$$"),
            "vmware_ca_file": self.vcenter.ca_file,
            "vmware_api_retry_count": 1,
            "enable_image_cache": "true",
            "image_cache_replicas": "off",
        }

    def configure(self, section: str = "vmware1", **options: object) -> None:
        """Change options of a section (None removes one), and write cinder.conf."""
        changed = {**self.sections.get(section, {}), **options}
        self.sections[section] = {k: v for k, v in changed.items() if v is not None}
        lines: list[str] = []
        for name, values in self.sections.items():
            lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items()), ""]
        self.path.write_text("\n".join(lines))

    def configuration(self, *backends: str) -> Configuration:
        return read([str(self.path)], (), backends)

    @contextlib.contextmanager
    def cache(
        self, backend: str = "vmware1", clock: Clock | None = None
    ) -> Iterator[wiring.RunningCache]:
        """The cache of a backend as cinder-volume would run it."""
        configuration = self.configuration(backend)
        [configured] = configuration.backends
        with configuration.locks() as locks:
            running = wiring.build(
                configured.settings,
                configured.backend,
                locks(configured),
                events=self.events.append,
                clock=clock or HastyClock(),
            )
            try:
                yield running
            finally:
                running.close()

    def image(self, number: int = 1, name: str = "") -> Image:
        image = self.disk_image.image(f"00000000-0000-4000-8000-{number:012}")
        return dataclasses.replace(image, name=name)

    def warm(self, number: int = 1, backend: str = "vmware1", *, name: str = "") -> CacheEntry:
        """Cache the image with that number."""
        with self.cache(backend) as cache:
            source = FakeImageSource(self.disk_image)
            return cache.images.warm(self.image(number, name), "lsiLogic", source)[0]

    def write_record(self, entry: CacheEntry, text: str) -> None:
        """Overwrite the template's record, as an administrator could."""
        with self.cache() as cache:
            session = cache.session
            host = inventory.snapshot(session).hosts[0]
            session.invoke(
                "VirtualMachine",
                entry.moref,
                "MarkAsVirtualMachine",
                pool=vim.ResourcePool(host.pool),
                host=vim.HostSystem(host.moref),
            )
            option = vim.option.OptionValue(key=RECORD_KEY, value=text)
            spec = vim.vm.ConfigSpec(extraConfig=[option])
            task = session.invoke("VirtualMachine", entry.moref, "ReconfigVM_Task", spec=spec)
            cache.waiter.wait(task, timeout_s=60)
            template.mark_as_template(session, entry.moref)

    def forget(self, entry: CacheEntry) -> None:
        """Remove the template from the inventory; its files stay."""
        with self.cache() as cache:
            cache.session.invoke("VirtualMachine", entry.moref, "UnregisterVM")

    def templates(self) -> list[str]:
        return sorted(vm.name for vm in self.vcenter.vms() if vm.config.template)


@pytest.fixture(scope="session", autouse=True)
def signals_are_heard() -> Iterator[None]:
    """Restore the default handlers. The commands would inherit ignored signals: Ctrl-C in a shell's
    background job, a hangup under nohup."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def disk_image() -> FakeImage:
    """A real file system of 16 MiB in a streamOptimized VMDK."""
    return as_stream_optimized(filesystem_disk(16 * MIB))


@pytest.fixture
def knows_glance(lab: Lab, glance: Glance) -> None:
    """The commands use a real Glance."""
    lab.configure("DEFAULT", auth_strategy="noauth", glance_api_servers=glance.url)


@pytest.fixture(scope="module")
def image_id(glance: Glance, disk_image: FakeImage) -> str:
    return glance.upload_image("debian-13", disk_image)


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    model = Model(hosts_per_cluster=2, datastores=2)
    with VCenter(model, password="pa$$word, 9 lives") as running:
        yield running
        assert running.errors == []


@pytest.fixture
def lab(vcenter: VCenter, disk_image: FakeImage, tmp_path: pathlib.Path) -> Lab:
    return Lab(vcenter, disk_image, tmp_path)


class Run:
    """Runs ``vmdk-cache``, and checks after each run what every command promises its users.

    :param secrets: texts that no output may contain
    """

    def __init__(self, directory: pathlib.Path, secrets: Callable[[], list[str]]) -> None:
        self._directory = directory
        self._secrets = secrets

    def command(self, *arguments: str) -> list[str]:
        return [str(SCRIPT), "--config-file", str(self._directory / "cinder.conf"), *arguments]

    def environment(self, **changes: str) -> dict[str, str]:
        """The test's environment, without variables that affect oslo.config or a terminal's
        width.
        """
        kept = {k: v for k, v in os.environ.items() if not k.startswith("OS_")}
        return {**kept, "COLUMNS": "400", **changes}

    def __call__(
        self,
        *arguments: str,
        code: int | None = 0,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        bare: bool = False,
        within_s: float = TIMEOUT_S,
    ) -> subprocess.CompletedProcess[str]:
        """:param code: expected exit code, None for any
        :param bare: without ``--config-file``
        :param within_s: the test fails if the command takes longer
        """
        command = [str(SCRIPT), *arguments] if bare else self.command(*arguments)
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=within_s,
            env=self.environment(**(env or {})),
            cwd=self._directory,
        )
        self.check(done.stdout + done.stderr)
        assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def check(self, output: str) -> None:
        assert "Traceback" not in output, output
        for secret in self._secrets():
            assert secret not in output, output

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "-f", "json", code=code).stdout)


@pytest.fixture
def run(lab: Lab, tmp_path: pathlib.Path) -> Run:
    return Run(tmp_path, lambda: [lab.vcenter.password])
