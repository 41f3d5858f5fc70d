"""A backend that cannot start names the wrong option, and never shows the password.

All of them run in one cinder-volume process, like several backends of one host; none prevents
Cinder from answering.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trustme

from tests.e2e.cloud import OUR_DRIVER, Cloud, cloud
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import wait_until

SECRET = "not-the-password-3141"
#: By backend: what its line in the log must contain.
SAID = {
    "password": "vmware_host_password",
    "certificate": "not trusted.*vmware_ca_file",
    "unreachable": "vmware_host_ip",
    "no_ca": "/nonexistent/ca.pem",
    "cluster": "vmware_cluster_name",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, glance: Glance) -> Iterator[Cloud]:
    """A cloud whose backends have one wrong option each."""
    strangers_ca = tmp_path_factory.mktemp("ca") / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(strangers_ca))
    wrong = {
        "password": {"vmware_host_password": SECRET},
        "certificate": {"vmware_ca_file": str(strangers_ca)},
        "unreachable": {"vmware_host_port": "1", "vmware_api_retry_count": "2"},
        "no_ca": {"vmware_ca_file": "/nonexistent/ca.pem"},
        "cluster": {"vmware_cluster_name": "no-such-cluster"},
    }
    assert wrong.keys() == SAID.keys()
    backends = {
        backend: (OUR_DRIVER, {"enable_image_cache": "true", **options})
        for backend, options in wrong.items()
    }
    defaults = {"reinit_driver_count": "0"}
    with cloud(backends, glance=glance, defaults=defaults, await_backends=False) as running:
        yield running


@pytest.mark.parametrize("backend", SAID)
def test_the_log_names_the_wrong_option(running: Cloud, backend: str) -> None:
    complaint = rf" ERROR vmdk_cache.*image cache of backend {backend} .*({SAID[backend]})"
    assert wait_until(
        lambda: running.openstack.cinder.log_lines(complaint),
        what=f"a log line about {SAID[backend]}",
        timeout_s=60,
    )


def test_no_backend_comes_up_and_no_log_contains_the_password(running: Cloud) -> None:
    """Cinder's own driver refuses these options as well, or retries forever."""

    def complaints() -> bool:
        lines = running.openstack.cinder.log_lines(r" ERROR vmdk_cache.*image cache of backend")
        return len(lines) == len(SAID)

    assert wait_until(complaints, what="a log line of each backend", timeout_s=60)
    assert running.openstack.cinder.log_lines(SECRET) == []
    assert SECRET not in running.openstack.cinder.output.read_text()
    assert running.cinder.pools() == []
