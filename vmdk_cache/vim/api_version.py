"""The vSphere API version to use: the newest that vCenter and pyVmomi both support."""

from __future__ import annotations

import re

from pyVmomi import VmomiSupport

#: vSphere 6.0, used to ask for the server's version.
OLDEST_VERSION = "vim.version.version10"


def newest_version(api_version: str) -> str:
    """pyVmomi's name of the newest vSphere API that both sides support.

    :param api_version: ServiceContent.about.apiVersion, e.g. ``8.0.2.0``
    """
    limit = _numbers(api_version)
    best = (_numbers("6.0"), OLDEST_VERSION)
    for wire_name, version in VmomiSupport.versionMap.items():
        namespace, _, number = wire_name.partition("/")
        if namespace == "vim25" and re.fullmatch(r"[\d.]+", number):
            best = max(best, (_numbers(number), version)) if _numbers(number) <= limit else best
    return best[1]


def is_at_least(api_version: str, number: str) -> bool:
    """Whether ``api_version`` includes the API of version ``number``, e.g. ``6.7``."""
    return _numbers(api_version) >= _numbers(number)


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    return (*numbers, 0, 0, 0, 0)[:4]
