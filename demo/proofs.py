"""What the demo proves, from the present answers of Cinder, Glance and vCenter.

Each function looks and returns a :class:`Proof`; none of them changes anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.e2e.cloud import GIB, Cloud
from tests.fakes.images import FakeImage

MIB = 1 << 20
#: Name of the backend with this driver.
CACHED = "vmware"


@dataclass(frozen=True)
class Proof:
    """A sentence, perhaps of several lines, and whether it describes what should be seen."""

    text: str
    holds: bool


def downloads(count: int, expected: int) -> Proof:
    return Proof(f"Glance sent the image {count} time{'s' * (count != 1)}", count == expected)


def one_miss_and_hits(outcomes: Sequence[str]) -> Proof:
    misses, hits = outcomes.count("miss"), outcomes.count("hit")
    others = len(outcomes) - misses - hits
    text = f"{misses} miss, {hits} hits" + (f", {others} without the cache" if others else "")
    return Proof(text, (misses, hits) == (1, len(outcomes) - 1))


def same_bytes(cloud: Cloud, volume_ids: Sequence[str], image: FakeImage, size_gb: int) -> Proof:
    """Read each volume's disk back from the vCenter and compare it with the image's."""
    wanted = hashlib.sha256(image.disk).hexdigest()
    differing = 0
    for volume_id in volume_ids:
        disk = cloud.disk(volume_id)
        held = hashlib.sha256(disk.read(0, len(image.disk))).hexdigest()
        differing += held != wanted or disk.size_bytes != size_gb * GIB
    text = (
        f"{len(volume_ids) - differing} of {len(volume_ids)} volumes have {size_gb} GiB and hold "
        f"the image's {len(image.disk) // MIB} MiB"
    )
    return Proof(text, differing == 0)


def one_template(cloud: Cloud) -> Proof:
    """One import created one template; a datastore without it may have got a replica since."""
    copies = sorted(
        (vm for vm in cloud.vcenter.vms() if vm.config.template), key=lambda vm: len(vm.name)
    )
    homes = [copy.datastore[0].name for copy in copies]
    if not copies or len(set(homes)) != len(homes):
        return Proof(f"templates on {', '.join(homes) or 'no datastore'}: one each expected", False)
    template = copies[0]
    lines = ["the template", template.name, f"in {folder_path(template)}"]
    for copy, home in zip(copies, homes, strict=True):
        what = "on" if copy is template else "and, because volumes go there as well, a replica on"
        lines.append(f"{what} {home}, {_size_bytes(cloud, copy) / MIB:.1f} MiB")
    return Proof("\n".join(lines), all(copy.name.startswith(template.name) for copy in copies))


def _size_bytes(cloud: Cloud, vm: Any) -> int:
    directory = vm.config.files.vmPathName.rpartition("/")[0] + "/"
    return sum(size for path, size in cloud.files().items() if path.startswith(directory))


def no_template(cloud: Cloud) -> Proof:
    names = [vm.name for vm in cloud.vcenter.vms()]
    files = [path for path, size in cloud.files().items() if size]
    text = "the purge emptied the cache: vCenter has no machine and no file left"
    if names or files:
        text = f"left in vCenter: {', '.join(names + files)}"
    return Proof(text, not names and not files)


def pool_counts(cloud: Cloud, extra_gb: int) -> Proof:
    capabilities = pool(cloud)
    extra = capabilities.get("extra_provisioned_capacity_gb")
    return Proof(
        f"the scheduler sees extra_provisioned_capacity_gb = {extra},\n"
        f"provisioned_capacity_gb = {capabilities.get('provisioned_capacity_gb')}, "
        f"allocated_capacity_gb = {capabilities.get('allocated_capacity_gb')}",
        extra == extra_gb,
    )


def pool(cloud: Cloud) -> dict[str, Any]:
    """The present capabilities of the cached backend's pool in the scheduler."""
    (cached,) = (pool for pool in cloud.cinder.pools() if f"@{CACHED}#" in pool["name"])
    capabilities: dict[str, Any] = cached["capabilities"]
    return capabilities


def folder_path(vm: Any) -> str:
    """Inventory path of a virtual machine's folder, e.g. ``/DC0/vm/OpenStack``."""
    names = []
    parent = vm.parent
    while parent is not None and parent.parent is not None:
        names.append(parent.name)
        parent = parent.parent
    return "/" + "/".join(reversed(names))
