"""The image of the Containerfile: built from the wheel, and its cinder-volume on the fake vCenter.

It needs podman or docker, and the base image, which the test does not download:
``podman pull docker.io/library/python:3.11-slim``. VMDK_CACHE_CONTAINER_BASE names another one.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.cloud import OUR_DRIVER, vcenter_options
from tests.e2e.stack import config
from tests.fakes.vcenter import Model, VCenter
from tests.packages.conftest import ROOT, Built
from tests.waiting import wait_until

#: pip installs all of Cinder.
BUILT_WITHIN_S = 1500
#: A cinder-volume reads its log options, connects to vCenter and reports.
STARTED_WITHIN_S = 180
STATE = pathlib.Path("/var/lib/cinder")

pytestmark = pytest.mark.timeout(BUILT_WITHIN_S + 2 * STARTED_WITHIN_S)


class Engine:
    """A container engine.

    :param program: podman or docker
    """

    def __init__(self, program: str) -> None:
        self.program = program

    def __call__(
        self, *words: str, timeout_s: float = STARTED_WITHIN_S
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *words], capture_output=True, text=True, timeout=timeout_s
        )

    def output(self, *words: str, timeout_s: float = STARTED_WITHIN_S) -> str:
        """What it prints, standard error included; the test fails if it does."""
        done = self(*words, timeout_s=timeout_s)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def engine() -> Engine:
    for name in ("podman", "docker"):
        program = shutil.which(name)
        if program and Engine(program)("info").returncode == 0:
            return Engine(program)
    pytest.skip("neither podman nor docker answers")


@pytest.fixture(scope="module")
def base(engine: Engine) -> str:
    """The image to start from."""
    default = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Containerfile").read_text(), re.MULTILINE)
    assert default
    name = os.environ.get("VMDK_CACHE_CONTAINER_BASE", default[1])
    if engine("image", "inspect", name).returncode != 0:
        pytest.skip(f"the base image is missing: {engine.program} pull {name}")
    return name


@pytest.fixture(scope="module")
def image(engine: Engine, base: str, built: Built) -> Iterator[str]:
    name = f"localhost/vmdk-cache-test:{os.getpid()}"
    arguments = {"BASE": base, "CONSTRAINTS": "/context/tests/constraints.txt"}
    engine.output(
        *("build", "--network", "host", "-t", name, "-f", str(built.source / "Containerfile")),
        *(word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")),
        str(built.source),
        timeout_s=BUILT_WITHIN_S,
    )
    yield name
    engine("image", "rm", "-f", name)


@pytest.fixture
def vcenter() -> Iterator[VCenter]:
    with VCenter(Model(datastores=1), password="pa55") as running:
        yield running
        assert running.errors == []


@pytest.fixture
def etc(vcenter: VCenter, tmp_path: pathlib.Path) -> pathlib.Path:
    """What is mounted at /etc/cinder."""
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    shutil.copyfile(vcenter.ca_file, folder / "ca.pem")
    options = {**vcenter_options(vcenter), "vmware_ca_file": "/etc/cinder/ca.pem"}
    backend = config.Backend("vmware1", OUR_DRIVER, {**options, "enable_image_cache": "true"})
    text = config.cinder_conf(
        STATE,
        api_port=0,
        glance_url="http://127.0.0.1:9",
        backends=[backend],
        defaults={"log_file": "", "use_stderr": "true"},
    )
    (folder / "cinder.conf").write_text(text)
    for path in folder.iterdir():
        path.chmod(0o644)
    return folder


def test_the_image_has_the_command_line_and_runs_it_as_another_user_than_root(
    engine: Engine, image: str
) -> None:
    from vmdk_cache import __version__

    run = ("run", "--rm", "--network", "host", image)
    assert engine.output(*run, "vmdk-cache", "--version").strip() == f"vmdk-cache {__version__}"
    assert engine.output(*run, "id", "-u").strip() != "0"


def test_cinder_volume_starts_with_the_driver(
    engine: Engine, image: str, etc: pathlib.Path
) -> None:
    name = f"vmdk-cache-test-{os.getpid()}"
    conf = "--config-file /etc/cinder/cinder.conf"
    engine.output(
        *("run", "--detach", "--name", name, "--network", "host"),
        *("--volume", f"{etc}:/etc/cinder:ro", image),
        *("sh", "-c", f"cinder-manage {conf} db sync && exec cinder-volume {conf}"),
    )
    try:
        wait_until(
            lambda: "Driver initialization completed successfully" in _log(engine, name),
            what="cinder-volume's driver",
            timeout_s=STARTED_WITHIN_S,
            interval_s=1,
        )
        assert engine("exec", name, "vmdk-cache", "check").returncode == 0
        engine.output("stop", "--time", "120", name)
        ended = engine.output("inspect", "--format", "{{.State.ExitCode}}", name)
        assert ended.strip() == "0", _log(engine, name)
    except BaseException as failure:
        failure.add_note(_log(engine, name)[-6000:])
        raise
    finally:
        engine("rm", "--force", "--volumes", name)


def _log(engine: Engine, container: str) -> str:
    done = engine("logs", container)
    return done.stdout + done.stderr
