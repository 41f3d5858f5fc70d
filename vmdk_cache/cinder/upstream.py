"""Every use of a private name of Cinder, in one place; nearly all are of its VMDK driver.

:class:`VMwareVcVmdkDriver` was written to be run, not to be extended: what our driver needs of it
beyond the public driver interface is asked for here, and :data:`PRIVATE_NAMES` lets a test say
which name went missing when Cinder changes.
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
#: Where oslo.config keeps what it was told to read, if it was told.
_READ = ("config_file", "config_dir")

#: The lock that VolumeManager.delete_volume holds, by the volume's id.
DELETION_LOCK = "{}-delete_volume"
#: The status of a volume that Cinder's database has no row of any more.
DELETED = "deleted"

#: The section of cinder.conf with Glance's region and the credentials to ask it with.
GLANCE = "glance"

#: Names that are neither public interface nor documented, by the object that must have them.
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
    glance.GlanceImageService(client=object()): ("_client",),  # instances only have it
    oslo_context: ("_request_store",),  # oslo.context's, which Cinder's contexts are made of
}


def log_out(driver: Any) -> None:
    """End the session that Cinder's driver has with vCenter, if there is one; never raises."""
    session = driver.session
    if session is not None:
        session.logout()


def volume_request(
    driver: Any, volume: Any, image_adapter_type: str | None, make_way: Callable[[], None]
) -> Volume:
    """The volume as the engine wants it, with what its type and the configuration ask for.

    :param driver: the running driver
    :param volume: Cinder's Volume object
    :param image_adapter_type: the image's ``vmware_adaptertype``; it wins over the volume type
    :param make_way: as of :class:`~vmdk_cache.cache.ports.Volume`
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
        deletion_waits=lambda: deletion_waits(volume.id),
        make_way=make_way,
    )


def is_reimage(volume: Any) -> bool:
    """Whether Cinder is writing an image to a volume that exists (``os-reimage``).

    A new volume has the same status while Cinder downloads its image, but none before it.
    """
    return bool(
        volume.status == fields.VolumeStatus.DOWNLOADING and volume.previous_status is not None
    )


def is_being_created(volume_id: str) -> bool:
    """Whether Cinder's database says so now; False if it cannot be asked.

    The volume at hand says what was true when its request began, which may be hours ago.
    ``downloading`` does not count: a volume that is being reimaged (``os-reimage``) has that
    status too.
    """
    # Deleted, or a database out of reach: no reason to remove a VM.
    return bool(_status(volume_id) == fields.VolumeStatus.CREATING)


def is_wanted(volume_id: str) -> bool:
    """Whether the volume is to be made; True if Cinder's database cannot be asked.

    A volume is deleted in two steps: the API sets the status, then the volume service deletes what
    the backend has and the row in the database.
    """
    return _status(volume_id) not in (DELETED, str(fields.VolumeStatus.DELETING))


def _status(volume_id: str) -> str | None:
    """The volume's status in Cinder's database, DELETED without a row; None if it is not known."""
    try:
        status: str = volume_objects.Volume.get_by_id(context.get_admin_context(), volume_id).status
    except exception.VolumeNotFound:
        return DELETED
    except Exception as failure:
        LOG.info(
            "The status of volume %s is not known: %s",
            identifier(volume_id),
            sentence(repr(failure)),
        )
        return None
    return status


@contextlib.contextmanager
def deletion_waits(volume_id: str, timeout_s: float = 0.0) -> Iterator[None]:
    """Let Cinder's deletion of the volume wait until the block ends.

    Cinder deletes a volume under a lock of its coordinator; the block holds that lock. If a
    deletion has it, or there are no locks for now, the block runs without: it asks
    :func:`is_wanted`.

    :param timeout_s: how long to wait for a deletion that is under way
    """
    name = DELETION_LOCK.format(volume_id)
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(
                held(lambda: coordination.COORDINATOR.get_lock(name), name, timeout_s)
            )
        except (errors.LockTimeout, errors.LockUnavailable) as failure:
            LOG.info("A deletion of volume %s would not wait: %s", identifier(volume_id), failure)
        yield


def backend(configuration: Any) -> Backend:
    """The backend that a section of cinder.conf describes."""
    return Backend.from_options(
        configuration.config_group,
        configuration,
        lambda: deployment.derived_id(*(getattr(cfg.CONF, name, None) or () for name in _READ)),
    )


def locks(configuration: Any) -> ToozLocks:
    """Locks of Cinder's coordinator, told apart by vCenter and backend."""
    return ToozLocks(
        coordination.COORDINATOR.get_lock,
        backend(configuration).lock_scope,
        lambda: str(cfg.CONF.coordination.backend_url),
    )


def download(context: Any, image_service: Any, image_id: str, *, hashed_by_us: bool) -> Any:
    """The image's file, in chunks; raises what Cinder and Glance's client raise. None, perhaps in a
    wrapper, where there is no data (python-glanceclient, v2.images.Controller.data).

    :param hashed_by_us: have Glance's client not check the hash as well, which would cost as much
        CPU time as all the rest of an import. An image service that is not Cinder's own decides
        for itself
    """
    if not (hashed_by_us and isinstance(image_service, glance.GlanceImageService)):
        return image_service.download(context, image_id)
    return image_service._client.call(context, "data", image_id, do_checksum=False)


@contextlib.contextmanager
def thread_context_kept() -> Iterator[None]:
    """Give the thread the request context back that it had before the block, or none.

    oslo.messaging sends a redacted copy of a notification's context, and oslo.context makes each
    copy the thread's own: whatever the thread logs afterwards would bear another request id.
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
    """Cinder's own users at Keystone, each with a session: that of ``[glance]``, then that of
    ``[service_user]``; those that are configured.

    Cinder reads credentials in ``[glance]`` from 27 on; here they are read on 26 as well.
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
    """Once for the process: the plugin keeps its token."""
    user = loading.load_auth_from_conf_options(cfg.CONF, GLANCE)
    return user, loading.load_session_from_conf_options(cfg.CONF, GLANCE, auth=user)


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
