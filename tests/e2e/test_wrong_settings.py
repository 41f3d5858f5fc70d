"""A backend that cannot start says which option is wrong, and never what the password was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.e2e.cloud import OUR_DRIVER, Cloud, cloud
from tests.e2e.stack.service_process import wait_until

SECRET = "not-the-password-3141"


@pytest.fixture
def running(backend: str, tmp_path: Path) -> Iterator[Cloud]:
    """A cloud whose one backend has one wrong option."""
    strangers_ca = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(strangers_ca))
    wrong = {
        "password": {"vmware_host_password": SECRET},
        "certificate": {"vmware_ca_file": str(strangers_ca)},
        "unreachable": {"vmware_host_port": "1", "vmware_api_retry_count": "2"},
        "no_ca": {"vmware_ca_file": str(Path("/nonexistent/ca.pem"))},
        "cluster": {"vmware_cluster_name": "no-such-cluster"},
    }
    backends = {backend: (OUR_DRIVER, {"enable_image_cache": "true", **wrong[backend]})}
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
        ("cluster", "vmware_cluster_name"),
    ],
)
def test_the_log_names_the_wrong_option_and_no_secret(
    running: Cloud, backend: str, said: str
) -> None:
    def complaint() -> list[str]:
        return running.openstack.cinder.log_lines(rf" ERROR .*Failed to initialize driver.*{said}")

    assert wait_until(complaint, what=f"a log line about {said}", timeout_s=60)
    assert running.openstack.cinder.log_lines(SECRET) == []
    assert SECRET not in running.openstack.cinder.output.read_text()
    pools = [pool["name"] for pool in running.cinder.pools()]
    assert not [name for name in pools if f"@{backend}" in name]
