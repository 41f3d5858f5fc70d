"""The wheel and the source distribution that ``make dist`` builds."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import subprocess
import tarfile
import zipfile

import pytest

from tests.packages.conftest import ROOT, Built, Environment
from tests.services.program import require
from vmdk_cache.cli.app import COMMANDS
from vmdk_cache.cli.samples import MADE, PURPOSES

SHARE = (
    "share/bash-completion/completions/vmdk-cache",
    "share/doc/vmdk-cache/CHANGELOG.rst",
    "share/man/man1/vmdk-cache.1",
    "share/zsh/site-functions/_vmdk-cache",
    "share/fish/vendor_completions.d/vmdk-cache.fish",
)


def test_the_wheel_has_each_file_of_the_package(built: Built) -> None:
    package = ROOT / "vmdk_cache"
    wanted = {path.relative_to(ROOT).as_posix() for path in package.rglob("*.py")}
    wanted |= {f"vmdk_cache/etc/{name}" for name in PURPOSES} | {"vmdk_cache/py.typed"}
    with zipfile.ZipFile(built.wheel) as wheel:
        assert {name for name in wheel.namelist() if name.startswith("vmdk_cache/")} == wanted


def test_the_environment_has_man_page_completion_and_changelog(installed: Environment) -> None:
    assert [name for name in SHARE if not (installed.prefix / name).is_file()] == []
    page = (installed.prefix / "share/man/man1/vmdk-cache.1").read_text()
    assert [name for name in COMMANDS if f'.SS "{name} ' not in page] == []
    changes = (installed.prefix / "share/doc/vmdk-cache/CHANGELOG.rst").read_text()
    assert "The first release: volumes are cloned from a cached template" in changes


def test_man_finds_the_page_of_the_environment(
    installed: Environment, tmp_path: pathlib.Path
) -> None:
    found = subprocess.run(
        [require("man", "man-db"), "-w", "vmdk-cache"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": f"{installed.prefix / 'bin'}:{os.defpath}"},
    )
    assert found.stdout.strip() == str(installed.prefix / "share/man/man1/vmdk-cache.1")


def test_the_program_of_the_wheel_writes_the_samples(
    installed: Environment, tmp_path: pathlib.Path
) -> None:
    done = installed.run("vmdk-cache", "samples", "samples", cwd=tmp_path)
    count = len(PURPOSES.keys() | MADE.keys())
    said = f"vmdk-cache: wrote {count} files to 'samples'\n"
    assert (done.returncode, done.stderr) == (0, said)
    written = {path.name: path.read_bytes() for path in (tmp_path / "samples").iterdir()}
    assert written.keys() == PURPOSES.keys() | MADE.keys()
    for name in PURPOSES:
        assert written[name] == (ROOT / "etc" / name).read_bytes(), name
    assert written["vmdk-cache.1"] == (installed.prefix / SHARE[2]).read_bytes()
    assert written["vmdk-cache.bash"] == (installed.prefix / SHARE[0]).read_bytes()


def test_the_program_is_that_of_the_wheel(installed: Environment, tmp_path: pathlib.Path) -> None:
    asks = "import vmdk_cache; print(vmdk_cache.__version__, vmdk_cache.__file__)"
    version, place = installed.run("python", "-c", asks, cwd=tmp_path).stdout.split()
    assert pathlib.Path(place).is_relative_to(installed.prefix)
    assert version == importlib.metadata.version("vmdk-cache")
    assert installed.run("vmdk-cache", "--version", cwd=tmp_path).stdout.split()[1] == version


def test_the_source_distribution_has_what_the_documents_name(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = {
        *("Makefile", "README.md", "CONTRIBUTING.md", "LICENSE", "docs/install.rst"),
        *("etc/cinder.conf.example", "releasenotes/config.yaml", "tests/constraints.txt"),
        *SHARE,
    }
    assert wanted <= names
    assert [name for name in names if "__pycache__" in name or name.startswith("dist")] == []


def test_the_build_leaves_nothing_but_what_git_ignores(built: Built) -> None:
    left = subprocess.run(
        ["git", "status", "--porcelain", "--ignored"],
        cwd=built.source,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    ignored = {line.removeprefix("!! ") for line in left if line.startswith("!!")}
    assert ignored == {"dist/", "share/", ".tools/"}


@pytest.mark.parametrize("name", ["vmdk-cache.1", "CHANGELOG.rst"])
def test_what_is_made_names_no_path_of_the_builder(built: Built, name: str) -> None:
    (path,) = built.source.glob(f"share/**/{name}")
    assert str(built.source) not in path.read_text()
