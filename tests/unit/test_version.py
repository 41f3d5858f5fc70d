"""``vmdk_cache.__version__`` is the version of the installed package."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import vmdk_cache

ROOT = Path(__file__).parents[2]


def test_it_is_that_of_the_metadata() -> None:
    assert vmdk_cache.__version__ == importlib.metadata.version("vmdk-cache")


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="'vmdk_cache' has no attribute '__author__'"):
        vmdk_cache.__author__  # noqa: B018


def test_importing_the_package_reads_no_metadata() -> None:
    program = "import sys, vmdk_cache; print('importlib.metadata' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout == "False\n"
