"""Recordings of real vCenters: where they are and what is in them.

They are data of other projects and not part of this repository. Tests find them beside it, in
``../shared/recordings``, or where ``VMDK_CACHE_RECORDINGS`` says. Elsewhere the tests are skipped,
or fail with ``VMDK_CACHE_REQUIRE_ALL=1``; ``VMDK_CACHE_RECORDINGS=none`` skips them even then.
"""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path(
    os.environ.get("VMDK_CACHE_RECORDINGS") or Path(__file__).parents[3] / "shared" / "recordings"
)
#: A whole inventory of a vCenter 8.0.1, as ``govc object.save`` writes it.
SDDC = "nri-vsphere-SDDC-Datacenter.tar.xz"


@dataclass(frozen=True)
class Exchange:
    """A request and its answer.

    :ivar number: its place in the recording, from 0
    :ivar method: the SOAP method; None for a GET
    :ivar headers: the answer's, by their names in lower case
    """

    number: int
    path: str
    method: str | None
    request: str
    request_headers: dict[str, str]
    status: int
    headers: dict[str, list[str]]
    response: str


@dataclass(frozen=True)
class Recording:
    """:ivar vcenter: release of the vCenter, e.g. ``8.0.3``"""

    file: str
    vcenter: str
    exchanges: tuple[Exchange, ...]


def path_of(file: str) -> Path:
    """Path of a recording; the calling test is skipped, or fails, where there is none."""
    path = FOLDER / file
    if not path.exists():
        text = f"no recording {path}: set VMDK_CACHE_RECORDINGS to the folder that holds it"
        if os.environ.get("VMDK_CACHE_REQUIRE_ALL") == "1" and str(FOLDER) != "none":
            pytest.fail(text)
        pytest.skip(text)
    return path


def read(file: str) -> Recording:
    """A recording of exchanges."""
    return parse(file, path_of(file).read_text())


def parse(file: str, text: str) -> Recording:
    """The recording in the text of a file, which may be a preflight's report as well."""
    content = json.loads(text)
    (product,) = content["recorded_on"]  # "VMware vCenter Server 8.0.3 build-69507950"
    exchanges = [
        Exchange(
            number,
            one["path"],
            one["method"],
            one["request"] or "",
            one["request_headers"],
            one["status"],
            {name.lower(): _as_list(value) for name, value in one["response_headers"].items()},
            one["response"],
        )
        for number, one in enumerate(content["exchanges"])
    ]
    return Recording(file, product.split()[3], tuple(exchanges))


def unpack_sddc(folder: Path) -> Path:
    """Unpack :data:`SDDC` into ``folder``; the folder of its XML files."""
    with tarfile.open(path_of(SDDC)) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


def _as_list(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]
