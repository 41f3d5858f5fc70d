"""Both drivers on one fake vCenter: each makes a volume of each image, and the bytes are compared.

Cinder's own driver is the unmodified one of the installed release, on its own SOAP client. Our
driver is the whole one as well, its plain import included.
"""

from __future__ import annotations

import contextlib
import logging
import pathlib
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from cinder import coordination, objects
from oslo_config import cfg

from tests.fakes.images import FakeImage
from tests.fakes.vcenter import Model, VCenter
from tests.images.odd_images import OddImage
from tests.unit.fakes.cinder_parts import Record, volume

GIB = 1 << 30
ATTEMPTS = 3
#: What a volume holds; ERROR: there is no volume.
DISK, FILE, OTHER, ERROR = "the disk", "the file itself", "something else", "error"
_REASON = re.compile(r"bypass: .*?, ([a-z-]+)(?: \[|$)")


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    :ivar upstream: what the volume of Cinder's own driver holds
    :ivar cached: what ours holds
    :ivar how: ``cached``, ``bypass: REASON``, or the name of the error
    """

    upstream: str
    cached: str
    how: str

    @property
    def is_as_good(self) -> bool:
        """Whether our driver does not worse than Cinder's own."""
        if self.upstream in (DISK, FILE):
            return self.cached in (DISK, self.upstream)
        return self.cached in (DISK, ERROR)


class Glance:
    """An image service with one image, which it describes as Cinder's does."""

    def __init__(self, row: OddImage) -> None:
        self._image: FakeImage = row.image
        self.temp_images = SimpleNamespace(get=lambda context, image_id: None)
        self.meta = {
            "id": str(uuid.uuid4()),
            "name": "odd",
            "size": len(row.image.file_bytes),
            "status": "active",
            "disk_format": row.image.disk_format,
            "container_format": row.image.container_format,
            "properties": dict(row.labels),
        }

    def show(self, context: object, image_id: str) -> dict[str, Any]:
        return {**self.meta, "properties": dict(self.meta["properties"])}  # type: ignore[call-overload]

    def get_location(self, context: object, image_id: str) -> tuple[None, None]:
        return None, None

    def download(self, context: object, image_id: str, data: Any = None) -> Iterator[bytes]:
        file = self._image.file_bytes
        return (file[at : at + 65_536] for at in range(0, len(file), 65_536))


class _Heard(logging.Handler):
    """The events that our driver logs."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Comparison:
    """Both drivers, set up; see :func:`comparison`."""

    def __init__(self, vcenter: VCenter, upstream: Any, ours: Any) -> None:
        self._vcenter = vcenter
        self._upstream = upstream
        self._ours = ours

    def of(self, row: OddImage) -> Outcome:
        """Make a volume of the image with either driver; leaves nothing.

        Cinder's own driver completes an import without waiting for the host's answer, so now and
        then a good image becomes a volume without its bytes. The best of ATTEMPTS counts.
        """
        for _ in range(ATTEMPTS):
            upstream, _ = self._made(self._upstream, row, {})
            if upstream != OTHER:
                break
        for _ in range(ATTEMPTS):
            outcome = self._cached(row, upstream)
            if not (outcome.cached == OTHER and outcome.how.startswith("bypass")):
                break
        return outcome

    def _cached(self, row: OddImage, upstream: str) -> Outcome:
        heard = _Heard()
        logger = logging.getLogger("vmdk_cache")
        level = logger.level
        logger.addHandler(heard)
        logger.setLevel(logging.INFO)
        try:
            cached, error = self._made(self._ours, row, {"use_image_cache": "true"})
        finally:
            logger.removeHandler(heard)
            logger.setLevel(level)
        reasons = [match[1] for line in heard.lines if (match := _REASON.search(line))]
        how = f"bypass: {reasons[0]}" if reasons else (error or "cached")
        return Outcome(upstream, cached, how)

    def _made(self, driver: Any, row: OddImage, metadata: dict[str, str]) -> tuple[str, str]:
        """What the volume holds, and the name of the error that ended it."""
        glance, new = Glance(row), volume(metadata=metadata)
        try:
            driver.clone_image(None, new, None, glance.show(None, ""), glance)
        except Exception as failure:
            return ERROR, type(failure).__name__
        else:
            return self._held(new, row.image), ""
        finally:
            for vm in self._vcenter.vms():
                vm.destroy()

    def _held(self, new: Record, image: FakeImage) -> str:
        content = self._vcenter.read_disk(new.name)
        rest_is_zeros = (
            content.written_bytes <= max(len(image.disk), len(image.file_bytes)) + 65_536
        )
        for what, expected in ((DISK, image.disk), (FILE, image.file_bytes)):
            size_bytes = max(content.size_bytes, len(expected))
            read = content.read(0, min(size_bytes, len(expected) + 65_536))
            if expected and rest_is_zeros and read == expected.ljust(len(read), b"\0"):
                return what
        is_empty = not image.disk.strip(b"\0") and not content.written_bytes
        return DISK if is_empty and image.disk else OTHER


@contextlib.contextmanager
def comparison(directory: pathlib.Path) -> Iterator[Comparison]:
    """Both drivers on a vCenter of their own.

    :param directory: for locks and temporary files
    """
    objects.register_all()
    from cinder.volume import configuration  # annotates with registered objects
    from cinder.volume.drivers.vmware import vmdk

    from vmdk_cache.cinder.driver import ImageCacheVmdkDriver

    with contextlib.ExitStack() as stack:
        _override(stack, "coordination", backend_url=f"file://{directory}")
        _override(stack, "database", connection=f"sqlite:///{directory}/cinder.sqlite")
        coordination.COORDINATOR.start()
        stack.callback(coordination.COORDINATOR.stop)
        vcenter = stack.enter_context(VCenter(Model()))

        def driver(kind: Any, group: str, **options: object) -> Any:
            settings = configuration.Configuration(vmdk.vmdk_opts, config_group=group)
            made = kind(configuration=settings, host="h@b")
            _override(
                stack,
                group,
                vmware_host_ip=vcenter.host,
                vmware_host_port=vcenter.port,
                vmware_host_username=vcenter.user,
                vmware_host_password=vcenter.password,
                vmware_ca_file=vcenter.ca_file,
                vmware_task_poll_interval=0.02,
                vmware_tmp_dir=str(directory),
                **options,
            )
            made.do_setup(None)
            stack.callback(made.session.logout)
            return made

        upstream = driver(vmdk.VMwareVcVmdkDriver, "odd_images_upstream")
        ours = driver(
            ImageCacheVmdkDriver, "odd_images_cache",
            enable_image_cache=True, image_cache_replicas="off",
        )  # fmt: skip
        stack.callback(ours._close_cache)
        yield Comparison(vcenter, upstream, ours)
        assert vcenter.errors == []


def _override(stack: contextlib.ExitStack, group: str, **options: object) -> None:
    """Set options of Cinder for as long as ``stack`` lasts."""
    for name, value in options.items():
        cfg.CONF.set_override(name, value, group=group)
        stack.callback(cfg.CONF.clear_override, name, group=group)
