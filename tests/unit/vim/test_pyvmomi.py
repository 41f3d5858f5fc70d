"""The names of pyVmomi that we use exist; tests/recordings checks that it reads vCenter's
answers.
"""

from __future__ import annotations

import ast
import inspect
import pathlib
import re

import pytest
from pyVmomi import SoapAdapter

from vmdk_cache.vim import channel

ROOT = pathlib.Path(__file__).parents[3]
NAMES = [
    (owner, name, parameters)
    for owner, names in channel.PRIVATE_NAMES.items()
    for name, parameters in names.items()
]


@pytest.mark.parametrize(("owner", "name", "parameters"), NAMES, ids=[name for _, name, _ in NAMES])
def test_a_private_name_of_pyvmomi_is_there_with_its_parameters(
    owner: object, name: str, parameters: str | None
) -> None:
    found = getattr(owner, name)
    if parameters is not None:
        assert list(inspect.signature(found).parameters) == parameters.split()


def test_an_adapter_has_the_attributes_that_are_used() -> None:
    adapter = SoapAdapter.SoapStubAdapter(host="")
    for name in channel.PRIVATE_ATTRIBUTES:
        assert hasattr(adapter, name), name
    assert adapter.pool == []


def test_each_private_name_of_pyvmomi_that_is_used_is_listed() -> None:
    """Ours begin with a small letter after the underscore, pyVmomi's with a capital one."""
    listed = {name for _, name, _ in NAMES}
    for path in sorted((ROOT / "vmdk_cache" / "vim").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.match(r"_[A-Z][a-z]\w+$|_wsdl", node.attr):
                assert node.attr in listed, f"{path}: {node.attr}"
