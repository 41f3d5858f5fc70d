"""A fake vCenter and a real OpenStack on it: the base of every end-to-end test and of the demo.

The vCenter runs in this process, so a test can look into it. OpenStack runs in its own processes
and reaches the vCenter over HTTPS, with its certificate verified.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.stack.cinder import Threads
from tests.e2e.stack.client import CinderClient, Resource
from tests.e2e.stack.config import Backend
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.openstack import OpenStack
from tests.fakes.images import FakeImage
from tests.fakes.vcenter import CostModel, Model, VCenter
from tests.fakes.vcenter.vcenter import DEFAULT_PASSWORD

UPSTREAM_DRIVER = "cinder.volume.drivers.vmware.vmdk.VMwareVcVmdkDriver"
OUR_DRIVER = "vmdk_cache.cinder.driver.ImageCacheVmdkDriver"
HOST_MANAGER = "vmdk_cache.cinder.host_manager.ImageCacheHostManager"

USE_CACHE = {"use_image_cache": "true"}
"""Volume metadata that requests the cache."""

GIB = 1 << 30


@dataclass(frozen=True)
class Cloud:
    """The parts, running."""

    vcenter: VCenter
    openstack: OpenStack
    threads: Threads = "eventlet"

    @property
    def cinder(self) -> CinderClient:
        return self.openstack.client

    @property
    def glance(self) -> Glance:
        return self.openstack.glance

    @property
    def ledger(self) -> str:
        """Path of the ledger file of the backends."""
        return str(self.openstack.directory / "cinder" / "vmdk-cache.sqlite")

    def upload(self, name: str, image: FakeImage, **more: str) -> str:
        """:meth:`Glance.upload_image`."""
        return self.glance.upload_image(name, image, **more)

    def create_at_once(self, count: int, size_gb: int, **fields: Any) -> list[str]:
        """Request ``count`` volumes in parallel without waiting for them; :returns: their ids."""
        with ThreadPoolExecutor(count) as pool:
            asked = [
                pool.submit(self.cinder.create_volume, size_gb, name=f"volume-{n:02}", **fields)
                for n in range(1, count + 1)
            ]
        return [one.result() for one in asked]

    def swap_driver(
        self,
        name: str,
        driver: str,
        options: Mapping[str, str | None],
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        """Restart Cinder with this backend alone, as an operator who edits cinder.conf does.

        :param options: as of :func:`cloud`
        :param defaults: options of ``[DEFAULT]`` from now on; None keeps the present ones
        """
        section = {**vcenter_options(self.vcenter, self.threads), **options}
        self.openstack.cinder.restart_with([Backend(name, driver, section)], defaults)

    def delete_all(self, volume_ids: Sequence[str]) -> None:
        """Delete volumes and wait until they are gone: all at once on green threads, one by one on
        native ones.

        Deletions use upstream's own session, whose suds shares one scratch area between all calls
        (``Binding.multiref``): on native threads a call may get another call's answer.
        """
        at_a_time = len(volume_ids) if self.threads == "eventlet" else 1
        for begin in range(0, len(volume_ids), max(1, at_a_time)):
            some = volume_ids[begin : begin + at_a_time]
            with ThreadPoolExecutor(at_a_time) as pool:
                list(pool.map(lambda volume_id: self.cinder.delete("volumes", volume_id), some))
            self.cinder.wait_gone("volumes", *some)

    def backing(self, volume_id: str) -> Any:
        """The fake's VM behind a volume, None if there is none."""
        return self.vcenter.find_vm(f"volume-{volume_id}")

    def disk(self, volume_id: str) -> Any:
        """Content of the volume's virtual disk: ``size_bytes``, ``read``, ``write``, ``sha256``."""
        return self.vcenter.read_disk(self.backing(volume_id))

    def assert_holds(self, volume_id: str, image: FakeImage, size_gb: int) -> None:
        """Check that the volume has this size, and begins with the image's disk, byte by byte."""
        disk = self.disk(volume_id)
        assert disk.size_bytes == size_gb * GIB
        held = disk.read(0, len(image.disk))
        assert held == image.disk, "the volume's bytes differ from the image's"

    def files(self) -> dict[str, int]:
        """Every file on every datastore, with its size in bytes."""
        return {
            f"[{name}] {path}": size_bytes
            for name in datastore_names(self.vcenter)
            for path, size_bytes in self.vcenter.datastore(name).files().items()
        }


def datastore_names(vcenter: VCenter) -> list[str]:
    """Names of the datastores of a model with one datacenter."""
    return [f"DC0_DS{n}" for n in range(vcenter.model.datastores)]


@contextlib.contextmanager
def cloud(
    drivers: Mapping[str, tuple[str, Mapping[str, str | None]]],
    *,
    glance: Glance | None = None,
    model: Model | None = None,
    threads: Threads = "eventlet",
    defaults: Mapping[str, str] | None = None,
    await_backends: bool = True,
    projects: bool = False,
    property_protections: str = "",
    password: str = DEFAULT_PASSWORD,
    cost_model: CostModel | None = None,
    directory: Path | None = None,
) -> Iterator[Cloud]:
    """A running cloud.

    :param drivers: by backend name: the driver's dotted path, and options of its section in
        addition to or instead of those that connect it to the fake vCenter
    :param glance: a running Glance, which keeps running afterwards; by default, a new one
    :param defaults: options of Cinder's ``[DEFAULT]``
    :param projects: the new Glance has projects, and Cinder passes it the user's token
    :param property_protections: text of the new Glance's file property-protections.conf
    :param password: of the vCenter account
    :param cost_model: what work takes in vCenter; by default, no time
    :param directory: as of :class:`OpenStack`
    """
    with contextlib.ExitStack() as stack:
        vcenter = stack.enter_context(VCenter(model, password=password, cost_model=cost_model))
        backends = [
            Backend(name, driver, {**vcenter_options(vcenter, threads), **options})
            for name, (driver, options) in drivers.items()
        ]
        openstack = stack.enter_context(
            OpenStack(
                backends,
                glance=glance,
                threads=threads,
                defaults={"scheduler_host_manager": HOST_MANAGER, **(defaults or {})},
                await_backends=await_backends,
                projects=projects,
                property_protections=property_protections,
                directory=directory,
            )
        )
        yield Cloud(vcenter, openstack, threads)


def outcome(volume: Resource) -> str | None:
    """What happened to the request for the cache: ``hit``, ``miss``, ``bypass: <reason>`` or
    None.
    """
    metadata: dict[str, str] = volume["metadata"]
    return metadata.get("image_cache")


def vcenter_options(vcenter: VCenter, threads: Threads = "eventlet") -> dict[str, str]:
    """Options of a backend of Cinder's VMDK driver, or ours, on this vCenter."""
    options = {
        "vmware_host_ip": vcenter.host,
        "vmware_host_port": str(vcenter.port),
        "vmware_host_username": vcenter.user,
        "vmware_host_password": vcenter.password,
        "vmware_insecure": "false",
        "vmware_ca_file": vcenter.ca_file,
        "vmware_task_poll_interval": "0.1",
        "vmware_enable_volume_stats": "true",
    }
    if threads == "threading":
        # Otherwise the periodic report would use upstream's session during a deletion (see
        # delete_all).
        options["vmware_enable_volume_stats"] = "false"
    return options
