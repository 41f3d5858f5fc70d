"""Servers that do not answer, on real sockets: who is announced, what ends the command, and how.

The timeouts are short enough for a test and long enough for a busy machine.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import TIMEOUT_S, Lab, Run
from tests.fakes.images import FakeImage
from tests.fakes.web_server import Handler, web_server
from vmdk_cache.image import Image

#: A value of --timeout that ends soon, but later than the announcement.
SHORT_S = "3"
#: A command that ends "soon" is no test of speed: repetitions would take longer than this.
SOON_S = 25
#: RFC 6761 reserves the domain: its names have no address.
UNKNOWN = "vc.example.invalid"
NO_PORT = 1


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(server.accept())

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection, _ in accepted:
            connection.close()


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.stdout == "", done.stdout
    return done.stderr.splitlines()


def announcement(server: str, timeout_s: str = SHORT_S) -> str:
    return (
        f"vmdk-cache: {server} has not answered for 2 s; waiting for up to {timeout_s} s "
        "(--timeout)"
    )


# -- vCenter


@pytest.mark.parametrize(
    "command",
    [
        "list",
        "check",
        pytest.param("capacity", marks=pytest.mark.slow(reason="as list")),
        pytest.param("purge", marks=pytest.mark.slow(reason="as list")),
    ],
)
def test_a_vcenter_that_hangs_is_announced_once_and_then_given_up(
    lab: Lab, run: Run, silent: int, command: str
) -> None:
    lab.configure(vmware_host_port=silent, vmware_api_retry_count=10)
    said, error = lines(run("--timeout", SHORT_S, command, code=4))
    assert said == announcement(f"vCenter 127.0.0.1:{silent}")
    assert error == f"vmdk-cache: backend vmware1: 127.0.0.1:{silent} did not answer in time"


def test_the_timeout_may_follow_the_name_of_the_command_and_q_means_no_announcement(
    lab: Lab, run: Run, silent: int
) -> None:
    lab.configure(vmware_host_port=silent)
    [error] = lines(run("check", "--timeout", SHORT_S, "-q", code=4))
    assert "did not answer in time" in error


def test_backends_of_one_vcenter_wait_for_it_together(lab: Lab, run: Run, silent: int) -> None:
    lab.configure("DEFAULT", enabled_backends="vmware1,vmware2,vmware3")
    for name in ("vmware1", "vmware2", "vmware3"):
        lab.configure(name, **lab.backend() | {"vmware_host_port": silent})
    said, *given_up = lines(run("list", "--timeout", SHORT_S, code=4))
    assert said == announcement(f"vCenter 127.0.0.1:{silent}")
    assert len(given_up) == 3


@pytest.mark.parametrize("command", ["list", "check"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"vmware_host_port": NO_PORT}, "Connection refused; check vmware_host_ip"),
        ({"vmware_host_ip": UNKNOWN}, f"no address for {UNKNOWN}"),
    ],
    ids=["refused", "unknown"],
)
def test_a_vcenter_that_is_not_there_ends_the_command_at_once(
    lab: Lab, run: Run, command: str, change: dict[str, object], says: str
) -> None:
    lab.configure(**change, vmware_api_retry_count=100)
    [error] = lines(run(command, code=4, within_s=SOON_S))
    assert says in error


def test_a_vcenter_that_answers_late_is_announced_and_answers(lab: Lab, run: Run) -> None:
    made = lab.warm()
    lab.vcenter.fault_rules.add("Login", action=lambda: time.sleep(3))
    done = run("list", "-f", "json")
    assert [row["Image"] for row in json.loads(done.stdout)] == [made.image_id]
    server = f"vCenter {lab.vcenter.host}:{lab.vcenter.port}"
    assert done.stderr.splitlines() == [announcement(server, "60")]


def test_a_vcenter_that_stops_answering_ends_the_command(lab: Lab, run: Run) -> None:
    """Also its log-out gets no answer."""
    lab.warm()
    over = threading.Event()
    for method in ("RetrievePropertiesEx", "WaitForUpdatesEx", "Logout"):
        lab.vcenter.fault_rules.add(method, times=None, action=lambda: over.wait(TIMEOUT_S))
    try:
        said, error = lines(run("list", "--timeout", SHORT_S, code=4))
    finally:
        over.set()
    assert said == announcement(f"vCenter {lab.vcenter.host}:{lab.vcenter.port}")
    assert "did not answer in time" in error


# -- Glance and Keystone


@pytest.mark.parametrize("command", [["warm", "debian-13"], ["purge", "--ask-glance"]])
def test_a_glance_that_hangs_is_announced_once_and_then_given_up(
    lab: Lab, run: Run, silent: int, command: list[str]
) -> None:
    lab.warm()
    url = f"http://127.0.0.1:{silent}"
    lab.configure("DEFAULT", glance_api_servers=url)
    said, error = run(*command, "--timeout", SHORT_S, code=4).stderr.splitlines()
    assert said == announcement(url)
    assert error.endswith(f"see glance_api_servers of cinder.conf: {url}: no answer in time")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"http://127.0.0.1:{NO_PORT}", "Connection refused"),
        (f"http://{UNKNOWN}:9292", "Name or service not known"),
    ],
    ids=["refused", "unknown"],
)
def test_a_glance_that_is_not_there_is_one_short_line(
    lab: Lab, run: Run, url: str, why: str
) -> None:
    lab.configure("DEFAULT", glance_api_servers=url)
    [error] = lines(run("warm", "debian-13", code=4, within_s=SOON_S))
    assert error == (
        "vmdk-cache: Glance cannot be reached for its images, see glance_api_servers of "
        f"cinder.conf: {url}: {why}"
    )


def test_a_keystone_that_hangs_is_announced_once(lab: Lab, run: Run, silent: int) -> None:
    lab.configure("DEFAULT", auth_strategy="keystone")
    user = {
        "OS_AUTH_URL": f"http://127.0.0.1:{silent}/v3",
        "OS_USERNAME": "operator",
        "OS_PASSWORD": "not-the-password-3141",
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
    }
    said, error = lines(run("warm", "debian-13", "--timeout", SHORT_S, code=4, env=user))
    url = f"http://127.0.0.1:{silent}"
    assert said == announcement(url)
    assert "cannot be reached" in error and error.endswith(f"{url}: no answer in time")


@contextlib.contextmanager
def pausing_glance(image: Image, disk: FakeImage, pause_s: float) -> Iterator[str]:
    """Has one image, and pauses in the middle of its file."""
    half = len(disk.file_bytes) // 2

    class Answers(Handler):
        def do_GET(self) -> None:
            if self.path.endswith("/file"):
                parts = (disk.file_bytes[:half], disk.file_bytes[half:])
                return self._answer("application/octet-stream", *parts)
            answer = {"name": "image", "properties": {}} if "schemas" in self.path else described
            return self._answer("application/json", json.dumps(answer).encode())

        def _answer(self, kind: str, *parts: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(sum(map(len, parts))))
            self.end_headers()
            for number, part in enumerate(parts):
                time.sleep(pause_s if number else 0)
                self.wfile.write(part)
                self.wfile.flush()

    described: dict[str, Any] = {
        "id": image.id,
        "name": "debian-13",
        "status": "active",
        "disk_format": "vmdk",
        "container_format": "bare",
        "size": image.size_bytes,
        "checksum": image.checksum,
        "os_hash_algo": image.os_hash_algo,
        "os_hash_value": image.os_hash_value,
        "vmware_disktype": "streamOptimized",
    }
    with web_server(Answers) as url:
        yield url


def test_an_import_may_take_longer_than_the_timeout(
    lab: Lab, run: Run, disk_image: FakeImage
) -> None:
    image = lab.image()
    with pausing_glance(image, disk_image, pause_s=6) as url:
        lab.configure("DEFAULT", glance_api_servers=url)
        [row] = run.json("warm", image.id, "--timeout", "5")
    assert row["Status"] == "imported"


# -- the lock coordinator


@pytest.mark.parametrize("scheme", ["redis", "etcd3+http"])
def test_a_coordinator_that_hangs_is_announced_once_and_then_given_up(
    lab: Lab, run: Run, silent: int, scheme: str
) -> None:
    lab.configure("coordination", backend_url=f"{scheme}://:s3cret@127.0.0.1:{silent}")
    done = run("check", "--timeout", SHORT_S, code=4)
    said, error = lines(done)
    assert said == announcement(f"the lock coordinator at 127.0.0.1:{silent}")
    assert f"127.0.0.1:{silent}" in error and f"did not answer within {SHORT_S} s" in error
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("host", [f"127.0.0.1:{NO_PORT}", f"{UNKNOWN}:6379", UNKNOWN])
def test_a_redis_that_is_not_there_ends_the_command_soon(lab: Lab, run: Run, host: str) -> None:
    """tooz's driver alone would try for a minute."""
    lab.configure("coordination", backend_url=f"redis://{host}")
    [error] = lines(run("check", code=4, within_s=SOON_S))
    assert host in error and "[coordination] backend_url" in error


# -- the option


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "nan", "3601"])
def test_an_invalid_timeout_is_wrong_usage(run: Run, timeout: str) -> None:
    assert "argument --timeout: " in run("list", "--timeout", timeout, code=2).stderr
