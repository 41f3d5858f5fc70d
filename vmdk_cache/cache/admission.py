"""Which images the cache accepts: decided before anything is opened, sent or evicted."""

from __future__ import annotations

from vmdk_cache import errors
from vmdk_cache.cache.events import Reason
from vmdk_cache.cache.ports import Volume
from vmdk_cache.conf import Settings
from vmdk_cache.image import ACTIVE, Image
from vmdk_cache.quoting import identifier, quoted

DISK_FORMAT = "vmdk"
#: Upstream takes an image without a container format as bare.
CONTAINER_FORMATS = ("", "bare", "ova")
#: The adapters that Cinder's own driver and vSphere know.
ADAPTER_TYPES = ("lsiLogic", "busLogic", "lsiLogicsas", "paraVirtual", "ide")


def check_image(image: Image, settings: Settings) -> None:
    """Check the image by its properties in Glance.

    :raises NotCacheable: the volume bypasses the cache; the plain import may accept the image
    :raises ImageFormatError: the plain import does not accept the image either
    """
    if not settings.enabled:
        raise errors.NotCacheable(Reason.DISABLED, "enable_image_cache is false for this backend")
    if image.status != ACTIVE:
        raise errors.NotCacheable(
            Reason.NOT_ACTIVE, f"{image} is {quoted(image.status)} in Glance, not {ACTIVE}"
        )
    if image.disk_format != DISK_FORMAT:
        raise errors.ImageFormatError(
            f"{image} has disk_format {quoted(image.disk_format)}; this backend accepts only "
            f"{quoted(DISK_FORMAT)} images: convert it with qemu-img and upload the result"
        )
    if image.container_format not in CONTAINER_FORMATS:
        raise errors.ImageFormatError(
            f"{image} has container_format {quoted(image.container_format)}; supported: "
            f"{', '.join(CONTAINER_FORMATS[1:])}. Upload the bare disk"
        )
    if image.adapter_type is not None and image.adapter_type not in ADAPTER_TYPES:
        raise errors.ImageFormatError(
            f"{image} has vmware_adaptertype {quoted(image.adapter_type)}, which is no adapter "
            f"type: set one of {', '.join(ADAPTER_TYPES)}"
        )
    check_limit(image, image.virtual_size_bytes, settings)


def check_limit(image: Image, capacity_bytes: int, settings: Settings) -> None:
    """:raises NotCacheable: the image's disk is larger than the operator allows"""
    limit = settings.max_size_bytes
    if limit and capacity_bytes > limit:
        raise errors.NotCacheable(
            Reason.IMAGE_TOO_LARGE,
            f"{image} has a virtual size of {_gib(capacity_bytes)} GiB, more than "
            f"image_cache_max_size_gb = {_gib(limit)}",
        )


def check_fits(image: Image, capacity_bytes: int, volume: Volume) -> None:
    """:raises VolumeTooSmall: the image's disk is larger than the volume"""
    if capacity_bytes > volume.size_bytes:
        raise errors.VolumeTooSmall(
            f"{image} has a disk of {_gib(capacity_bytes)} GiB, "
            f"but volume {identifier(volume.id)} has only {_gib(volume.size_bytes)} GiB: "
            f"create a volume of at least the image's size"
        )


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.4g}"
