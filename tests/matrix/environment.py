"""Virtual environments of the matrix: made once, made anew when what goes into them changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.matrix.cells import NEWEST, Cell

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".tools" / "matrix"


class NotInstalled(Exception):
    """An environment cannot be made; the text says what is missing."""


def interpreter(python: str) -> str:
    """Path of that Python: the one on PATH, or pyenv's.

    :param python: as ``3.12``
    :raises NotInstalled: this machine has none that works
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [
        shutil.which(f"python{python}"),
        *(str(path) for path in sorted(pyenv.glob(f"{python}.*/bin/python"), reverse=True)),
    ]
    asks = f"import ensurepip, sys; sys.exit('%d.%d' % sys.version_info[:2] != '{python}')"
    for path in filter(None, found):
        # pyenv's shims are on PATH for versions that are not chosen, and fail.
        if subprocess.run([path, "-c", asks], capture_output=True).returncode == 0:
            return path
    raise NotInstalled(f"no python{python} on PATH or in {pyenv}")


def environment(cell: Cell) -> Path:
    """The environment's Python, with the package and the cell's Cinder and Glance installed.

    :raises NotInstalled: no such Python, or pip could not install
    """
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if cell.release.major == NEWEST and cell.python == running:
        return Path(sys.executable)  # what make test runs in
    folder = FOLDER / cell.environment
    python = folder / "bin" / "python"
    constraints = ROOT / cell.release.constraints
    made_of = hashlib.sha256(constraints.read_bytes() + (ROOT / "setup.cfg").read_bytes())
    ready = folder / ".ready"
    if ready.exists() and ready.read_text() == made_of.hexdigest():
        return python
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (folder / "bin" / "pip").exists():  # nor is it there when that was broken off
        _run(interpreter(cell.python), "-m", "venv", str(folder))
    pip = (str(python), "-m", "pip", "--quiet", "--disable-pip-version-check")
    # Half a gigabyte is not taken from the cache again, and little of it is ever imported.
    _run(
        *(*pip, "install", "--no-cache-dir", "--no-compile", "-c", str(constraints)),
        *("-e", f"{ROOT}[cinder,test]"),
    )
    _run(*pip, "check")
    is_it = f"assert version('cinder') == '{cell.release.cinder}', version('cinder')"
    _run(str(python), "-c", f"from importlib.metadata import version; {is_it}")
    ready.write_text(made_of.hexdigest())
    return python


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()[-10:]
        raise NotInstalled("\n".join([f"{' '.join(argv[1:5])} ...: exit {done.returncode}", *said]))
