"""The stack of ``make play`` and of the tour, and the files through which people use it.

::

    DIRECTORY/
        play.rc        to be sourced: the environment of the commands
        clouds.yaml    for openstack
        bin/           vmdk-cache with the stack's cinder.conf, openstack, and govc if it was built
        stack/         configuration, databases and logs of Cinder and Glance

This stack needs no Keystone: Cinder and Glance take the fixed token in clouds.yaml, whose user is
an administrator (tests/e2e/stack/auth.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from demo.costs import COSTS, DISK_BYTES
from tests.e2e.cloud import OUR_DRIVER, UPSTREAM_DRIVER, Cloud, cloud
from tests.e2e.stack.client import MICROVERSION
from tests.e2e.stack.service_process import REPOSITORY
from tests.fakes.images import as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import Model

#: Backends, and the volume types that choose them. Volumes are of type :data:`CACHED` by default.
CACHED, STOCK = "vmware1", "stock"
#: Names of images, and their ids, which are fixed for the page's sake.
IMAGES = {
    "ubuntu": "5b1f0c9e-3d74-4a86-92be-e07c14d8f263",
    "debian-13": "c8e27a40-91f6-4d0b-b53a-68f2d7190ce4",
}
RC = "play.rc"
CLOUD = "play"
GOVC = REPOSITORY / ".tools" / "govc"


class Unusable(Exception):
    """The directory cannot be used; the text says why and what to do."""


@contextlib.contextmanager
def own(directory: Path) -> Iterator[None]:
    """Create the directory and remove it at the end; meanwhile no other process gets it.

    What a killed process left in it is removed first.

    :raises Unusable: another process has it, or it holds files of somebody else
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as failure:
        raise Unusable(f"cannot create {directory}: {failure.strerror}") from failure
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable(
                f"{directory} is in use: end the other `make play` with Ctrl-C first"
            ) from None
        if not (directory / RC).exists() and any(directory.iterdir()):
            raise Unusable(f"{directory} has other files in it: remove it, or choose another")
        _empty(directory)
        (directory / RC).touch()
        try:
            yield
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(descriptor)


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Cloud]:
    """The stack, with its types and images, and the files for its users.

    :param directory: an existing one, which :func:`own` has made ours
    """
    with cloud(
        {STOCK: (UPSTREAM_DRIVER, {}), CACHED: (OUR_DRIVER, {"enable_image_cache": "true"})},
        model=Model(datastores=2),
        cost_model=COSTS,
        defaults={"default_volume_type": CACHED},
        directory=directory / "stack",
    ) as stack:
        for name in (STOCK, CACHED):
            stack.cinder.create_volume_type(name, volume_backend_name=name)
        image = as_stream_optimized(filesystem_disk(DISK_BYTES))
        for name, image_id in IMAGES.items():
            stack.upload(name, image, id=image_id)
        write_files(directory, stack)
        yield stack


def write_files(directory: Path, stack: Cloud) -> None:
    """Write what the commands need; see the module's docstring."""
    clouds = {CLOUD: _cloud(stack)}
    (directory / "clouds.yaml").write_text(yaml.safe_dump({"clouds": clouds}, sort_keys=False))
    _write_programs(directory / "bin", stack)
    (directory / RC).write_text(_rc(directory, stack))


def _cloud(stack: Cloud) -> dict[str, object]:
    """The entry of clouds.yaml. Without a Keystone there is no catalog: it names the endpoints."""
    return {
        "auth_type": "admin_token",
        "auth": {"token": "demo:demo:admin", "endpoint": stack.cinder.url},
        "volume_api_version": MICROVERSION,  # or some commands would be missing
        "block_storage_endpoint_override": stack.cinder.url,
        "image_endpoint_override": stack.glance.url,
    }


def _write_programs(directory: Path, stack: Cloud) -> None:
    directory.mkdir()
    installed = Path(sys.executable).parent
    ours = directory / "vmdk-cache"
    arguments = [
        str(installed / ours.name),
        "--config-file",
        str(stack.openstack.cinder.config_file),
    ]
    ours.write_text(f'#!/bin/sh\nexec {shlex.join(arguments)} "$@"\n')
    ours.chmod(0o755)
    (directory / "openstack").symlink_to(installed / "openstack")
    if GOVC.exists():
        (directory / "govc").symlink_to(GOVC)


def _rc(directory: Path, stack: Cloud) -> str:
    variables = {
        "OS_CLIENT_CONFIG_FILE": str(directory / "clouds.yaml"),
        "OS_CLOUD": CLOUD,
        "GOVC_URL": stack.vcenter.url,
        "GOVC_USERNAME": stack.vcenter.user,
        "GOVC_PASSWORD": stack.vcenter.password,
        "GOVC_TLS_CA_CERTS": stack.vcenter.ca_file,
    }
    return "\n".join(
        [
            "# Variables of another cloud would take precedence over clouds.yaml.",
            "for name in $(env | sed -n 's/^\\(OS_[A-Z0-9_]*\\)=.*/\\1/p'); do unset $name; done",
            "# Tables of openstack as wide as the terminal.",
            "export CLIFF_FIT_WIDTH=1",
            *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
            f"export PATH={shlex.quote(str(directory / 'bin'))}:$PATH",
            "",
        ]
    )
