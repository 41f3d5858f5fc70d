"""What ``make dist`` builds from this checkout, and the wheel installed."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
import sysconfig
from collections.abc import Sequence

import pytest

ROOT = pathlib.Path(__file__).parents[2]
BUILT_WITHIN_S = 280
OF_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS"}


def output(*words: str | pathlib.Path, cwd: pathlib.Path | None = None) -> str:
    """What a program prints; the test fails with that if the program does."""
    done = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        # A make around the tests would hand its own ARGS on to the make that they call.
        env={name: value for name, value in os.environ.items() if name not in OF_MAKE},
        capture_output=True,
        text=True,
        timeout=BUILT_WITHIN_S,
    )
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclasses.dataclass(frozen=True)
class Built:
    """:ivar source: the copy of the checkout in which they were built"""

    source: pathlib.Path
    wheel: pathlib.Path
    sdist: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment with the wheel; its dependencies are those of the tests."""

    prefix: pathlib.Path

    def run(
        self, *words: str | pathlib.Path, cwd: pathlib.Path
    ) -> subprocess.CompletedProcess[str]:
        """:param words: a program of the environment, and its arguments"""
        program, *arguments = words
        return subprocess.run(
            [str(self.prefix / "bin" / program), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=cwd,
        )


def _files_of_the_checkout() -> Sequence[str]:
    """Tracked files and new ones, as far as they exist."""
    listed = output("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT).split("\0")
    return [name for name in listed if name and (ROOT / name).exists()]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built in a clone, which has the history and none of what other commands left here."""
    source = tmp_path_factory.mktemp("built") / "source"
    output("git", "clone", "-q", "--shared", ROOT, source)
    output("cp", "-P", "--parents", "-t", source, *_files_of_the_checkout(), cwd=ROOT)
    venv = pathlib.Path(sys.prefix)
    output("make", "dist", f"VENV={venv}", "-o", venv / ".ready", cwd=source)
    (wheel,) = source.glob("dist/*.whl")
    (sdist,) = source.glob("dist/*.tar.gz")
    return Built(source, wheel, sdist)


@pytest.fixture(scope="session")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    prefix = tmp_path_factory.mktemp("installed") / "venv"
    output(sys.executable, "-m", "venv", prefix)
    pip = (prefix / "bin" / "python", "-m", "pip", "-q", "--disable-pip-version-check")
    output(*pip, "install", "--no-deps", "--no-index", built.wheel)
    libraries = output(
        prefix / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
    )
    # Such a directory is searched last, and its own .pth files, as of an editable install, are not
    # read.
    (pathlib.Path(libraries.strip()) / "dependencies.pth").write_text(
        sysconfig.get_path("purelib") + "\n"
    )
    return Environment(prefix)
