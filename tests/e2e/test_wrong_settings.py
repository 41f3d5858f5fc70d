"""A backend that cannot start says which option is wrong, and never what the password was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.e2e.cloud import OUR_DRIVER, Cloud, cloud
from tests.e2e.stack.service_process import wait_until

SECRET = "not-the-password-3141"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    strangers_ca = tmp_path_factory.mktemp("ca") / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(strangers_ca))
    backends = {
        "password": (OUR_DRIVER, {"vmware_host_password": SECRET}),
        "certificate": (OUR_DRIVER, {"vmware_ca_file": str(strangers_ca)}),
        "unreachable": (OUR_DRIVER, {"vmware_host_port": "1"}),
        "no_ca": (OUR_DRIVER, {"vmware_ca_file": str(Path("/nonexistent/ca.pem"))}),
        "cluster": (OUR_DRIVER, {"vmware_cluster_name": "no-such-cluster"}),
    }
    defaults = {"reinit_driver_count": "0"}
    with cloud(backends, defaults=defaults, await_backends=False) as running:
        yield running


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("password", "vmware_host_password"),
        ("certificate", "vmware_ca_file"),
        ("unreachable", "vmware_host_ip"),
        ("no_ca", "/nonexistent/ca.pem"),
        ("cluster", "no-such-cluster"),
    ],
)
def test_the_log_names_the_wrong_option(running: Cloud, backend: str, said: str) -> None:
    def complaint() -> list[str]:
        return running.openstack.cinder.log_lines(rf" ERROR .*Failed to initialize driver.*{said}")

    assert wait_until(complaint, what=f"a log line about {said}", timeout_s=60)
    pools = [pool["name"] for pool in running.cinder.pools()]
    assert not [name for name in pools if f"@{backend}" in name]


def test_a_refused_password_is_never_logged(running: Cloud) -> None:
    test_the_log_names_the_wrong_option(running, "password", "vmware_host_password")
    assert running.openstack.cinder.log_lines(SECRET) == []
    assert SECRET not in running.openstack.cinder.output.read_text()
