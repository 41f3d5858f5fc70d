"""Cinder's own VMDK driver, unmodified, as cinder-volume runs it: on eventlet's green threads.

Importing this module makes the whole process green, so import it only in a fresh process.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import contextlib  # noqa: E402  # after the patch, as all that follows
import hashlib  # noqa: E402
import logging  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from typing import Any  # noqa: E402

from cinder import objects  # noqa: E402
from oslo_config import cfg  # noqa: E402

from benchmarks.clients.stopwatch import (  # noqa: E402
    peak_mib,
    reset_peak,
    resident_mib,
    stopwatch,
)
from benchmarks.image_server import HttpImageSource  # noqa: E402
from benchmarks.stream_image import StreamImage  # noqa: E402
from tests.unit.fakes.cinder_parts import Record, volume  # noqa: E402
from vmdk_cache.image import Image, ImageSource  # noqa: E402

GROUP = "benchmark"
# Libraries log each race that they expect and each connection beyond their pools. Real failures are
# raised as well.
logging.disable(logging.CRITICAL)


@contextlib.contextmanager
def running_driver(endpoint: dict[str, Any], **options: Any) -> Iterator[Any]:
    """The driver after ``do_setup``.

    :param options: options of its section that differ from the defaults
    """
    objects.register_all()
    from cinder.volume import configuration  # its annotations need registered objects
    from cinder.volume.drivers.vmware import vmdk

    settings = configuration.Configuration(vmdk.vmdk_opts, config_group=GROUP)
    with tempfile.TemporaryDirectory(prefix="vmdk-cache-bench-") as directory:
        for name, value in {
            "vmware_host_ip": endpoint["host"],
            "vmware_host_port": endpoint["port"],
            "vmware_host_username": endpoint["user"],
            "vmware_host_password": endpoint["password"],
            "vmware_ca_file": endpoint["ca_file"],
            "vmware_tmp_dir": directory,
            **options,
        }.items():
            cfg.CONF.set_override(name, value, group=GROUP)
        driver = vmdk.VMwareVcVmdkDriver(configuration=settings)
        driver.do_setup(None)
        driver.check_for_setup_error()
        try:
            yield driver
        finally:
            driver.session.logout()


class OneImage:
    """An image service with one image."""

    def __init__(self, image: Image, source: ImageSource) -> None:
        self._image = image
        self._source = source
        self.meta: dict[str, Any] = {
            "id": image.id,
            "name": "image",
            "size": image.size_bytes,
            "disk_format": image.disk_format,
            "container_format": image.container_format,
            "properties": {"vmware_disktype": "streamOptimized", "vmware_adaptertype": "lsiLogic"},
        }

    def show(self, context: object, image_id: str) -> dict[str, Any]:
        return self.meta

    def download(self, context: object, image_id: str) -> Iterator[bytes]:
        return self._source.open(self._image)


class CheckedSource:
    """Hashes the bytes that it passes on; costs what python-glanceclient's serious_integrity_iter
    costs.
    """

    def __init__(self, source: ImageSource) -> None:
        self._source = source

    def open(self, image: Image) -> Iterator[bytes]:
        digest = hashlib.new(image.os_hash_algo or "sha512", usedforsecurity=False)
        for chunk in self._source.open(image):
            digest.update(chunk)
            yield chunk
        if digest.hexdigest() != image.os_hash_value:
            raise OSError("the image is corrupt")


def create_volumes(
    go: Callable[[], None],
    *,
    endpoint: dict[str, Any],
    volumes: int,
    flow: str,
    image_bytes: int = 1 << 20,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Volumes of one image at once.

    :param flow: ``import``: each from the image; ``clone``: of an existing volume; ``prior art``:
        as the cache proposed before this one
    :param options: see :func:`running_driver`
    :returns: wall_s, cpu_s
    """
    stream = StreamImage(image_bytes)
    images = OneImage(stream.image(), stream)
    with running_driver(endpoint, **(options or {})) as driver:
        make = _flow(driver, images, flow)
        make(volume())
        go()
        with stopwatch() as elapsed:
            pool = eventlet.GreenPool(volumes)
            for made in [pool.spawn(make, volume()) for _ in range(volumes)]:
                made.wait()
        go()
    return {"wall_s": elapsed.wall_s, "cpu_s": elapsed.cpu_s}


def _flow(driver: Any, images: OneImage, flow: str) -> Callable[[Record], None]:
    def import_(new: Record) -> None:
        driver.clone_image(None, new, None, images.meta, images)

    if flow == "import":
        return import_
    if flow == "clone":
        source = volume()
        import_(source)
        return lambda new: driver.create_cloned_volume(new, source)
    from benchmarks.clients.prior_art import PriorArt

    return PriorArt(driver, images).create


def import_image(
    go: Callable[[], None],
    *,
    endpoint: dict[str, Any],
    source: dict[str, Any],
    rounds: int,
    checked: bool,
) -> dict[str, Any]:
    """oslo.vmware's image transfer, as Cinder's driver calls it: the import alone.

    :param checked: check the image's hash on the way, as python-glanceclient does
    :returns: wall_s, cpu_s and peak_mib of each round; peak_mib is the highest memory use above
        that before
    """
    from oslo_vmware import image_transfer

    served = HttpImageSource(**source)
    images = OneImage(served.image, CheckedSource(served) if checked else served)
    results: dict[str, Any] = {"wall_s": [], "cpu_s": [], "peak_mib": []}
    with running_driver(endpoint) as driver:
        for _ in range(rounds):
            new = volume()
            _host, pool, folder, summary = driver._select_ds_for_volume(new)
            spec = driver.session.vim.client.factory.create("ns0:VirtualMachineImportSpec")
            spec.configSpec = driver.volumeops.get_create_spec(
                new["name"], 0, "thin", summary.name, adapter_type="lsiLogic"
            )
            go()
            reset_peak()
            idle_mib = resident_mib()
            with stopwatch() as elapsed:
                image_transfer.download_stream_optimized_image(
                    None,
                    7200,
                    images,
                    images.meta["id"],
                    session=driver.session,
                    host=endpoint["host"],
                    port=endpoint["port"],
                    resource_pool=pool,
                    vm_folder=folder,
                    vm_import_spec=spec,
                    image_size=images.meta["size"],
                    http_method="POST",
                )
            results["wall_s"].append(elapsed.wall_s)
            results["cpu_s"].append(elapsed.cpu_s)
            results["peak_mib"].append(peak_mib() - idle_mib)
        go()
    return results


def scan(go: Callable[[], None], *, endpoint: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Upstream's own scan of all VMs.

    :returns: ms of each round
    """
    result: dict[str, Any] = {"ms": []}
    with running_driver(endpoint) as driver:
        go()
        for _ in range(rounds):
            with stopwatch() as elapsed:
                driver.volumeops.build_backing_ref_cache()
            result["ms"].append(1000 * elapsed.wall_s)
        go()
    return result
