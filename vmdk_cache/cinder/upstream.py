"""All uses of Cinder's private names, nearly all in its VMDK driver.

:class:`VMwareVcVmdkDriver` is not designed for extension. This module holds everything that our
driver needs beyond the public driver interface; with :data:`PRIVATE_NAMES` a test can report which
name is missing when Cinder changes.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from cinder import context, coordination, exception, service_auth
from cinder.image import glance
from cinder.objects import fields
from cinder.objects import volume as volume_objects
from cinder.volume import volume_types
from cinder.volume.drivers.vmware import vmdk
from keystoneauth1 import loading
from oslo_config import cfg
from oslo_context import context as oslo_context
from oslo_log import log as logging

from vmdk_cache import deployment, errors
from vmdk_cache.backend import MANAGED_BY, Backend, project_folder
from vmdk_cache.cache.ports import Volume
from vmdk_cache.cinder import opt_in
from vmdk_cache.locks import ToozLocks, held
from vmdk_cache.quoting import identifier, sentence

LOG = logging.getLogger(__name__)
#: Options of oslo.config with the files and directories to read, if given.
_READ = ("config_file", "config_dir")

#: The lock that VolumeManager.delete_volume holds, by the volume's id.
DELETION_LOCK = "{}-delete_volume"
#: The status of a volume whose row is gone from Cinder's database.
DELETED = "deleted"

#: The section of cinder.conf with Glance's region and credentials.
GLANCE = "glance"

#: Private, undocumented names, by the object that must have them.
PRIVATE_NAMES: dict[Any, tuple[str, ...]] = {
    vmdk: ("EXTRA_CONFIG_VOLUME_ID_KEY", "vmdk_opts"),
    vmdk.VMwareVcVmdkDriver: (
        "_get_adapter_type",
        "_get_disk_type",
        "_get_storage_profile",
        "_set_property",
        "_update_volume_stats",
        "_validate_params",
    ),
    glance.GlanceImageService(client=object()): ("_client",),  # only instances have it
    oslo_context: ("_request_store",),  # of oslo.context, the base of Cinder's contexts
}


def log_out(driver: Any) -> None:
    """Log out the vCenter session of Cinder's driver, if there is one; never raises."""
    session = driver.session
    if session is not None:
        session.logout()


def to_volume(
    driver: Any, volume: Any, image_adapter_type: str | None, remove_old_vm: Callable[[], None]
) -> Volume:
    """Convert the volume for the engine, with the settings of its type and the configuration.

    :param driver: the running driver
    :param volume: Cinder's Volume object
    :param image_adapter_type: the image's ``vmware_adaptertype``; it wins over the volume type
    :param remove_old_vm: see :class:`~vmdk_cache.cache.ports.Volume`
    """
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
        is_being_created=lambda: is_being_created(volume.id),
        is_wanted=lambda: is_wanted(volume.id),
        deletion_lock=lambda: deletion_lock(volume.id),
        remove_old_vm=remove_old_vm,
    )


def is_reimage(volume: Any) -> bool:
    """Whether Cinder is writing an image to an existing volume (``os-reimage``).

    A new volume has the same status while Cinder downloads its image, but none before it.
    """
    return bool(
        volume.status == fields.VolumeStatus.DOWNLOADING and volume.previous_status is not None
    )


def is_being_created(volume_id: str) -> bool:
    """Whether the volume is being created according to Cinder's database; False if that is unknown.

    The volume object has the status at the start of its request, which may be hours ago.
    ``downloading`` does not count: a volume that is being reimaged (``os-reimage``) has that
    status too.
    """
    # If the volume is deleted or the database unreachable, do not remove a VM.
    return bool(_status(volume_id) == fields.VolumeStatus.CREATING)


def is_wanted(volume_id: str) -> bool:
    """Whether the volume is still wanted; True if Cinder's database cannot be read.

    A volume is deleted in two steps: the API sets the status, then the volume service deletes what
    the backend has and the row in the database.
    """
    return _status(volume_id) not in (DELETED, str(fields.VolumeStatus.DELETING))


def _status(volume_id: str) -> str | None:
    """The volume's status in Cinder's database; DELETED if it has no row, None if unknown."""
    try:
        status: str = volume_objects.Volume.get_by_id(context.get_admin_context(), volume_id).status
    except exception.VolumeNotFound:
        return DELETED
    except Exception as failure:
        LOG.info(
            "Cannot read the status of volume %s: %s",
            identifier(volume_id),
            sentence(repr(failure)),
        )
        return None
    return status


@contextlib.contextmanager
def deletion_lock(volume_id: str, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold Cinder's lock of the volume's deletion, so that a deletion waits until the block ends.

    Cinder deletes a volume under a lock of its coordinator; the block holds that lock. If a
    deletion holds it, or locks are unavailable, the block runs without the lock and relies on
    :func:`is_wanted`.

    :param timeout_s: how long to wait for a deletion in progress
    """
    name = DELETION_LOCK.format(volume_id)
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(
                held(lambda: coordination.COORDINATOR.get_lock(name), name, timeout_s)
            )
        except (errors.LockTimeout, errors.LockUnavailable) as failure:
            LOG.info("Cannot delay a deletion of volume %s: %s", identifier(volume_id), failure)
        yield


def backend(configuration: Any) -> Backend:
    """The backend that a section of cinder.conf describes."""
    return Backend.from_options(
        configuration.config_group,
        configuration,
        lambda: deployment.derived_id(*(getattr(cfg.CONF, name, None) or () for name in _READ)),
    )


def locks(configuration: Any) -> ToozLocks:
    """Locks of Cinder's coordinator, with names that are unique to vCenter and backend."""
    return ToozLocks(
        coordination.COORDINATOR.get_lock,
        backend(configuration).lock_scope,
        lambda: str(cfg.CONF.coordination.backend_url),
    )


def download(context: Any, image_service: Any, image_id: str, *, hashed_by_us: bool) -> Any:
    """The image's file, in chunks; raises the errors of Cinder and of Glance's client. None,
    possibly wrapped, if there is no data (python-glanceclient, v2.images.Controller.data).

    :param hashed_by_us: disable the hash check of Glance's client, which would cost as much CPU
        time as the rest of an import; has no effect on image services other than Cinder's own
    """
    if not (hashed_by_us and isinstance(image_service, glance.GlanceImageService)):
        return image_service.download(context, image_id)
    return image_service._client.call(context, "data", image_id, do_checksum=False)


@contextlib.contextmanager
def thread_context_kept() -> Iterator[None]:
    """Restore the thread's request context, or its absence, after the block.

    oslo.messaging sends a redacted copy of a notification's context, and oslo.context makes each
    copy the thread's own: the thread's later log lines would have the wrong request id.
    """
    before = oslo_context.get_current()
    try:
        yield
    finally:
        if before is not None:
            before.update_store()
        elif hasattr(oslo_context._request_store, "context"):
            del oslo_context._request_store.context


def own_users() -> list[tuple[Any, Any]]:
    """Cinder's own Keystone users, each with a session: that of ``[glance]``, then that of
    ``[service_user]``, if configured.

    Cinder reads credentials in ``[glance]`` from release 27 on; this function also does so on 26.
    """
    loading.register_auth_conf_options(cfg.CONF, GLANCE)
    loading.register_session_conf_options(cfg.CONF, GLANCE)
    users = []
    if cfg.CONF[GLANCE].auth_type:
        users.append(_glance_user())
    service_user = service_auth.get_service_auth_plugin()
    if service_user is not None:
        users.append((service_user, service_auth.get_service_session()))
    return users


@functools.cache
def _glance_user() -> tuple[Any, Any]:
    """Loaded once per process, because the plugin keeps its token."""
    user = loading.load_auth_from_conf_options(cfg.CONF, GLANCE)
    return user, loading.load_session_from_conf_options(cfg.CONF, GLANCE, auth=user)


def glance_region() -> str | None:
    """``[glance] region_name``; None if unset, or if Cinder lacks the option, as before release
    28."""
    region: str | None = getattr(getattr(cfg.CONF, "glance", None), "region_name", None)
    return region


def opt_in_extra_spec(volume: Any) -> str | None:
    """The volume type's extra spec ``vmware:use_image_cache``, None if not set."""
    if not volume.volume_type_id:
        return None
    specs = volume_types.get_volume_type_extra_specs(volume.volume_type_id)
    value: str | None = specs.get(opt_in.EXTRA_SPEC)
    return value
