"""Every use of a private name of Cinder, in one place; nearly all are of its VMDK driver.

:class:`VMwareVcVmdkDriver` was written to be run, not to be extended: what our driver needs of it
beyond the public driver interface is asked for here, and :data:`PRIVATE_NAMES` lets a test say
which name went missing when Cinder changes.
"""

from __future__ import annotations

from typing import Any

from cinder import coordination
from cinder.image import glance
from cinder.volume import volume_types
from cinder.volume.drivers.vmware import vmdk, volumeops
from oslo_config import cfg

from vmdk_cache import errors
from vmdk_cache.backend import MANAGED_BY, Backend, project_folder
from vmdk_cache.cache.ports import Volume
from vmdk_cache.cinder import opt_in
from vmdk_cache.locks import ToozLocks

#: Names that are neither public interface nor documented, by the object that must have them.
PRIVATE_NAMES: dict[Any, tuple[str, ...]] = {
    vmdk: ("EXTRA_CONFIG_VOLUME_ID_KEY", "vmdk_opts"),
    vmdk.VMwareVcVmdkDriver: (
        "_get_adapter_type",
        "_get_disk_type",
        "_get_storage_profile",
        "_update_volume_stats",
        "_validate_params",
    ),
    volumeops.VirtualDiskAdapterType: ("is_valid",),
    glance.GlanceImageService(client=object()): ("_client",),  # instances only have it
}


def volume_request(driver: Any, volume: Any, image_adapter_type: str | None) -> Volume:
    """The volume as the engine wants it, with what its type and the configuration ask for.

    :param driver: the running driver
    :param volume: Cinder's Volume object
    :param image_adapter_type: the image's ``vmware_adaptertype``; it wins over the volume type
    :raises ImageFormatError: that is no adapter type that vSphere has
    """
    if image_adapter_type and not volumeops.VirtualDiskAdapterType.is_valid(image_adapter_type):
        raise errors.ImageFormatError(
            f"the image's vmware_adaptertype {image_adapter_type!r} is no adapter type: set one "
            f"of lsiLogic, busLogic, lsiLogicsas, paraVirtual, ide"
        )
    return Volume(
        id=volume.id,
        name=volume.name,
        instance_uuid=volume.id,
        size_bytes=volume.size << 30,
        disk_type=driver._get_disk_type(volume),
        adapter_type=image_adapter_type or driver._get_adapter_type(volume),
        storage_profile=driver._get_storage_profile(volume),
        folder=project_folder(driver.configuration, volume.project_id),
        extra_config={vmdk.EXTRA_CONFIG_VOLUME_ID_KEY: volume.id},
        managed_by=MANAGED_BY,
    )


def backend(configuration: Any) -> Backend:
    """The backend that a section of cinder.conf describes."""
    return Backend.from_options(configuration.config_group, configuration)


def locks(configuration: Any) -> ToozLocks:
    """Locks of Cinder's coordinator, told apart by vCenter and backend."""
    return ToozLocks(coordination.COORDINATOR.get_lock, backend(configuration).lock_scope)


def download(context: Any, image_service: Any, image_id: str, *, hashed_by_us: bool) -> Any:
    """The image's file, in chunks; raises what Cinder and Glance's client raise.

    :param hashed_by_us: have Glance's client not check the hash as well, which would cost as much
        CPU time as all the rest of an import. An image service that is not Cinder's own decides
        for itself
    """
    if not (hashed_by_us and isinstance(image_service, glance.GlanceImageService)):
        return image_service.download(context, image_id)
    # None where there is no data (python-glanceclient, v2.images.Controller.data).
    chunks = image_service._client.call(context, "data", image_id, do_checksum=False)
    return () if chunks is None else chunks


def glance_region() -> str | None:
    """``[glance] region_name``: None if it is not set, or unknown to Cinder, as before 28."""
    region: str | None = getattr(getattr(cfg.CONF, "glance", None), "region_name", None)
    return region


def opt_in_extra_spec(volume: Any) -> str | None:
    """The volume type's extra spec ``vmware:use_image_cache``, None if not set."""
    if not volume.volume_type_id:
        return None
    specs = volume_types.get_volume_type_extra_specs(volume.volume_type_id)
    value: str | None = specs.get(opt_in.EXTRA_SPEC)
    return value
