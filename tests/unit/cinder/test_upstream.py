"""The names of Cinder that we use exist, take our arguments, and behave as we expect.

``make matrix`` runs this with every supported release of Cinder.
"""

from __future__ import annotations

import ast
import concurrent.futures
import inspect
import pathlib
import pkgutil
import re
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from cinder import coordination, exception
from cinder.objects import volume as volume_objects
from cinder.scheduler import host_manager
from cinder.volume import manager
from cinder.volume.drivers.vmware import vmdk, volumeops
from oslo_config import cfg

from vmdk_cache.backend import MANAGED_BY
from vmdk_cache.cache import admission
from vmdk_cache.cinder import driver, upstream
from vmdk_cache.cinder.volume_from_image import VolumeFromImage

_VMDK_DRIVER = "cinder.volume.drivers.vmware.vmdk.VMwareVcVmdkDriver"
_HOST_MANAGER = "cinder.scheduler.host_manager"
_GLANCE = "cinder.image.glance"
#: Everything of Cinder that we call or override: name -> its parameters, as inspect.signature shows
#: them. They are the same in all releases of setup.cfg's range.
SIGNATURES = {
    # Overridden, and called through super().
    _VMDK_DRIVER: "*args **kwargs",
    f"{_VMDK_DRIVER}.clone_image": "self context volume image_location image_meta image_service",
    f"{_VMDK_DRIVER}.copy_image_to_volume": (
        "self context volume image_service image_id disable_sparse"
    ),
    f"{_VMDK_DRIVER}.copy_image_to_encrypted_volume": (
        "self context volume image_service image_id disable_sparse"
    ),
    f"{_VMDK_DRIVER}.do_setup": "self context",
    f"{_VMDK_DRIVER}.check_for_setup_error": "self",
    f"{_VMDK_DRIVER}.get_driver_options": "",
    f"{_VMDK_DRIVER}._update_volume_stats": "self",
    f"{_HOST_MANAGER}.PoolState.update_from_volume_capability": "self capability service",
    f"{_HOST_MANAGER}.BackendState": "host cluster_name capabilities service",
    "cinder.scheduler.weights.BaseHostWeigher._weigh_object": "self obj weight_properties",
    "cinder.scheduler.weights.BaseHostWeigher.weight_multiplier": "self",
    # Called.
    f"{_VMDK_DRIVER}.delete_volume": "self volume",
    f"{_VMDK_DRIVER}._validate_params": "self",
    f"{_VMDK_DRIVER}._get_adapter_type": "self volume",
    f"{_VMDK_DRIVER}._get_disk_type": "volume",
    f"{_VMDK_DRIVER}._get_storage_profile": "self volume",
    "cinder.volume.configuration.Configuration.append_config_values": "self volume_opts",
    "cinder.volume.volume_types.get_volume_type_extra_specs": "volume_type_id",
    "cinder.interface.volumedriver": "cls",
    "cinder.objects.volume.Volume.get_by_id": "context id *args **kwargs",
    "cinder.coordination.COORDINATOR.get_lock": "name",
    "cinder.context.get_admin_context": "read_deleted",
    "cinder.context.RequestContext": (
        "user_id project_id is_admin read_deleted project_name remote_address timestamp "
        "quota_class service_catalog user_auth_plugin message_resource_id message_resource_type "
        "message_action **kwargs"
    ),
    "cinder.db.api.volume_metadata_get": "context volume_id",
    "cinder.db.api.volume_metadata_update": "context volume_id metadata delete meta_type",
    "cinder.db.api.volume_metadata_delete": "context volume_id key meta_type",
    "cinder.message.api.API": "",
    "cinder.message.api.API.create": (
        "self context action resource_type resource_uuid exception detail level"
    ),
    "cinder.rpc.initialized": "",
    "cinder.rpc.get_notifier": "service host publisher_id",
    "cinder.service_auth.get_service_auth_plugin": "",
    "cinder.service_auth.get_service_session": "",
    f"{_GLANCE}.get_default_image_service": "",
    f"{_GLANCE}.GlanceImageService.show": "self context image_id",
    f"{_GLANCE}.GlanceImageService.detail": "self context **kwargs",
    f"{_GLANCE}.GlanceImageService.download": "self context image_id data",
    f"{_GLANCE}.GlanceClientWrapper.call": "self context method *args **kwargs",
}
#: Attributes that we read or set, in addition to those that our modules name with their module.
ATTRIBUTES = (
    f"{_HOST_MANAGER}.HostManager.backend_state_cls",
    "cinder.scheduler.weights.BaseHostWeigher.minval",
    "cinder.scheduler.weights.BaseHostWeigher.maxval",
    "cinder.message.message_field.Action.COPY_IMAGE_TO_VOLUME",
    "cinder.message.message_field.Detail.IMAGE_FORMAT_UNACCEPTABLE",
    "cinder.message.message_field.Detail.NOT_ENOUGH_SPACE_FOR_IMAGE",
    "cinder.message.message_field.Detail.DRIVER_FAILED_CREATE",
)
FOLDER = pathlib.Path(inspect.getfile(upstream)).parent

NAMES = [(owner, name) for owner, names in upstream.PRIVATE_NAMES.items() for name in names]


@pytest.mark.parametrize(
    ("owner", "name"), NAMES, ids=lambda value: re.sub(" object at 0x.*", "", str(value))[-40:]
)
def test_every_name_that_we_need_still_exists(owner: object, name: str) -> None:
    assert hasattr(owner, name), f"{owner} has no {name}: see vmdk_cache/cinder/upstream.py"


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_we_call_or_override_takes_the_known_parameters(name: str) -> None:
    parameters = inspect.signature(pkgutil.resolve_name(name)).parameters.values()
    assert [str(one).split(":")[0].split("=")[0] for one in parameters] == SIGNATURES[name].split()


def test_an_instance_has_the_attributes_that_we_set_or_read() -> None:
    backend = host_manager.BackendState("host@backend", None)
    assert backend.pool_state_cls is host_manager.PoolState
    assert {"backend_id", "capabilities"} <= vars(backend).keys() | set(dir(backend))


def names_of_cinder(path: pathlib.Path) -> Iterator[str]:
    """Full names of everything that a module reads from its imports of Cinder."""
    tree = ast.parse(path.read_text())
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cinder"
        for alias in node.names
    }
    yield from imported.values()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, _, rest = ast.unparse(node).partition(".")
            if root in imported and rest.replace(".", "_").isidentifier():
                yield f"{imported[root]}.{rest}"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_each_name_of_cinder_exists_and_its_signature_is_known(path: pathlib.Path) -> None:
    for name in names_of_cinder(path):
        found = pkgutil.resolve_name(name)  # AttributeError, ImportError: it is gone
        is_called = inspect.isroutine(found) and not inspect.ismodule(found)
        assert not is_called or name in SIGNATURES, f"{path.name}: {name} is not in SIGNATURES"


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_each_attribute_of_cinder_exists(name: str) -> None:
    pkgutil.resolve_name(name)


def test_vms_are_marked_as_upstream_marks_its_own() -> None:
    assert MANAGED_BY == (vmdk.EXTENSION_KEY, vmdk.EXTENSION_TYPE)


def test_every_private_name_that_we_use_is_listed() -> None:
    listed = {name for _, name in NAMES}
    for path in FOLDER.glob("*.py"):
        own = {
            node.name for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef)
        }  # fmt: skip
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                known = node.attr in listed or node.attr.startswith("__") or node.attr in own
                of_ours = isinstance(node.value, ast.Name) and node.value.id == "self"
                assert known or of_ours, f"{path.name}:{node.lineno} uses {node.attr}"


@pytest.mark.parametrize(
    "name", ["clone_image", "copy_image_to_volume", "copy_image_to_encrypted_volume"]
)
def test_the_cache_hook_still_has_upstreams_signature(name: str) -> None:
    ours, theirs = (
        [
            (one.name, one.default)
            for one in inspect.signature(getattr(of, name)).parameters.values()
        ]
        for of in (driver.ImageCacheVmdkDriver, vmdk.VMwareVcVmdkDriver)
    )
    assert ours == theirs


def test_nothing_else_of_the_public_interface_is_overridden() -> None:
    own = {*vars(driver.ImageCacheVmdkDriver), *vars(VolumeFromImage)}
    overridden = {
        name
        for name, _ in inspect.getmembers(driver.ImageCacheVmdkDriver, inspect.isroutine)
        if name in own and name in dir(vmdk.VMwareVcVmdkDriver)
    }
    assert overridden == {
        "__init__",
        "_init_vendor_properties",
        "_update_volume_stats",
        "check_for_setup_error",
        "clone_image",
        "copy_image_to_encrypted_volume",
        "copy_image_to_volume",
        "do_setup",
        "get_driver_options",
    }


def test_the_options_of_both_drivers_are_offered() -> None:
    names = [option.name for option in driver.ImageCacheVmdkDriver.get_driver_options()]
    assert {"vmware_host_ip", "enable_image_cache"} <= set(names)
    assert len(names) == len(set(names))


def test_the_adapter_types_are_those_of_cinders_own_driver() -> None:
    taken = [one for one in vars(volumeops.VirtualDiskAdapterType).values() if isinstance(one, str)]
    known = [one for one in taken if volumeops.VirtualDiskAdapterType.is_valid(one)]
    assert set(known) == set(admission.ADAPTER_TYPES)


class Row:
    """Cinder's database with one volume."""

    def __init__(self, status: str | None, failure: Exception | None = None) -> None:
        self.status = status
        self._failure = failure
        self.asked_for: list[str] = []

    def get_by_id(self, context: Any, volume_id: str) -> Row:
        assert context.is_admin, "the volume's project need not be the request's"
        self.asked_for.append(volume_id)
        if self._failure is not None:
            raise self._failure
        return self


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row("creating"), True),
        (Row("downloading"), False),  # like a volume that is being reimaged
        (Row("available"), False),
        (Row("in-use"), False),
        (Row("deleting"), False),
        (Row("error"), False),
        (Row(None, exception.VolumeNotFound(volume_id="v1")), False),
        (Row(None, OSError("the database is away")), False),
    ],
    ids=lambda value: repr(getattr(value, "status", value)),
)
def test_a_vm_is_removed_for_a_volume_that_cinder_does_not_say_is_being_created(
    monkeypatch: pytest.MonkeyPatch, row: Row, expected: bool
) -> None:
    monkeypatch.setattr(volume_objects.Volume, "get_by_id", row.get_by_id)

    assert upstream.is_being_created("v1") is expected
    assert row.asked_for == ["v1"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row("creating"), True),
        (Row("error"), True),  # as an administrator may set it in the meantime
        (Row("error_deleting"), True),  # so it has an owner
        (Row("deleting"), False),
        (Row(None, exception.VolumeNotFound(volume_id="v1")), False),
        (Row(None, OSError("the database is away")), True),
    ],
    ids=lambda value: repr(getattr(value, "status", value)),
)
def test_a_volume_is_given_up_only_if_cinder_says_that_it_is_deleted(
    monkeypatch: pytest.MonkeyPatch, row: Row, expected: bool
) -> None:
    monkeypatch.setattr(volume_objects.Volume, "get_by_id", row.get_by_id)

    assert upstream.is_wanted("v1") is expected
    assert row.asked_for == ["v1"]


class Deletion:
    """A part of Cinder that deletes a volume, like its volume manager.

    :ivar entered: it has the volume's lock
    """

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()

    @coordination.synchronized(upstream.DELETION_LOCK.format("{volume.id}"))
    def delete_volume(self, volume: Any) -> None:
        self.entered.set()
        assert self.go_on.wait(60)


@pytest.fixture
def coordinator(tmp_path: pathlib.Path) -> Iterator[None]:
    """Cinder's own coordinator, with locks in files."""
    cfg.CONF.set_override("backend_url", f"file://{tmp_path}", group="coordination")
    coordination.COORDINATOR.start()
    yield
    coordination.COORDINATOR.stop()
    cfg.CONF.clear_override("backend_url", group="coordination")


def test_cinder_deletes_volumes_under_the_lock_that_we_hold() -> None:
    source = inspect.getsource(manager.VolumeManager.delete_volume)
    assert f"synchronized('{upstream.DELETION_LOCK.format('{volume.id}')}')" in source


def test_a_deletion_waits_until_the_block_ends(coordinator: None) -> None:
    deletion = Deletion()
    deletion.go_on.set()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with upstream.deletion_lock("v1"):
            deleted = pool.submit(deletion.delete_volume, SimpleNamespace(id="v1"))
            assert not deletion.entered.wait(0.3)
            deletion.delete_volume(SimpleNamespace(id="v2"))
            deletion.entered.clear()
        deleted.result(30)
    assert deletion.entered.is_set()


def test_a_block_waits_for_a_deletion_only_on_request(coordinator: None) -> None:
    deletion = Deletion()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        deleted = pool.submit(deletion.delete_volume, SimpleNamespace(id="v1"))
        assert deletion.entered.wait(60)
        with upstream.deletion_lock("v1"):
            assert not deleted.done()

        def wait() -> bool:
            with upstream.deletion_lock("v1", 30):
                return deletion.go_on.is_set()

        waits = pool.submit(wait)
        deletion.go_on.set()
        assert waits.result(30)


def test_without_a_coordinator_the_block_runs() -> None:
    with upstream.deletion_lock("v1"), pytest.raises(KeyError):
        raise KeyError


def test_a_cluster_of_cinder_volumes_is_refused_as_the_documents_say() -> None:
    """The volume manager refuses ``cluster`` for a driver that does not declare support."""
    assert driver.ImageCacheVmdkDriver.SUPPORTS_ACTIVE_ACTIVE is False
