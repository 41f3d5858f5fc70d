"""What we rely on of Cinder's driver exists, and behaves as we rely on it."""

from __future__ import annotations

import ast
import inspect
import pathlib

import pytest
from cinder.volume.drivers.vmware import vmdk

from vmdk_cache.backend import MANAGED_BY
from vmdk_cache.cinder import driver, upstream

NAMES = [(owner, name) for owner, names in upstream.PRIVATE_NAMES.items() for name in names]


@pytest.mark.parametrize(("owner", "name"), NAMES, ids=lambda value: str(value)[-40:])
def test_a_name_that_we_rely_on_is_still_there(owner: object, name: str) -> None:
    assert hasattr(owner, name), f"{owner} has no {name}: see vmdk_cache/cinder/upstream.py"


def test_vms_are_marked_as_upstream_marks_its_own() -> None:
    assert MANAGED_BY == (vmdk.EXTENSION_KEY, vmdk.EXTENSION_TYPE)


def test_every_private_name_that_we_use_is_listed() -> None:
    listed = {name for _, name in NAMES}
    folder = pathlib.Path(inspect.getfile(upstream)).parent
    for path in folder.glob("*.py"):
        own = {
            node.name for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef)
        }  # fmt: skip
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                known = node.attr in listed or node.attr.startswith("__") or node.attr in own
                of_ours = isinstance(node.value, ast.Name) and node.value.id == "self"
                assert known or of_ours, f"{path.name}:{node.lineno} uses {node.attr}"


def test_the_cache_hook_still_has_upstreams_signature() -> None:
    ours = inspect.signature(driver.ImageCacheVmdkDriver.clone_image)
    theirs = inspect.signature(vmdk.VMwareVcVmdkDriver.clone_image)
    assert list(ours.parameters) == list(theirs.parameters)


def test_nothing_else_of_the_public_interface_is_overridden() -> None:
    overridden = {
        name
        for name, _ in inspect.getmembers(driver.ImageCacheVmdkDriver, inspect.isroutine)
        if name in vars(driver.ImageCacheVmdkDriver) and name in dir(vmdk.VMwareVcVmdkDriver)
    }
    assert overridden == {
        "__init__",
        "_update_volume_stats",
        "check_for_setup_error",
        "clone_image",
        "do_setup",
        "get_driver_options",
    }


def test_the_options_of_both_drivers_are_offered() -> None:
    names = [option.name for option in driver.ImageCacheVmdkDriver.get_driver_options()]
    assert {"vmware_host_ip", "enable_image_cache"} <= set(names)
    assert len(names) == len(set(names))
