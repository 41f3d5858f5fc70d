"""Model: the initial inventory, given as counts, with the names that vcsim uses.

Datacenter DC0 with folders vm, host, datastore and network; cluster DC0_C0 with hosts DC0_C0_H0,
DC0_C0_H1 and pool Resources; datastores DC0_DS0, DC0_DS1 mounted read-write on every host of the
datacenter; pods DC0_POD0; network "VM Network". Further datacenters have DC1_C0 and so on. There
are no virtual machines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter

TIB = 1 << 40
# Product version -> API version, in recordings.
RECORDED_API_VERSIONS = {
    "5.5.0": "5.5",
    "6.0.0": "6.0",
    "6.5.0": "6.5",
    "8.0.3": "8.0.2.0",
    "9.0.1": "9.0.0.0",
}
T = TypeVar("T")


@dataclass(frozen=True)
class Profile:
    """A storage policy and the datastores (by name) that satisfy it."""

    name: str
    datastores: tuple[str, ...] = ()
    profile_id: str | None = None


@dataclass
class Model:
    """Counts; sizes in bytes.

    :param datastores: per datacenter, named DC0_DS0 and so on
    :param datastore_bytes: capacity of every datastore, or a sequence of capacities by position
        (the last one repeats)
    :param datastore_type: "VMFS", "NFS", "NFS41", "vsan" or "VVOL", for all or by position
    :param shared_datastores: number of the first datacenter's datastores that all datacenters
        mount: the first datastores of the others are the same storage under other names
    :param pods: datastore clusters (empty StoragePod folders) per datacenter
    :param datacenter_folders: folder path above the datacenters ("F0/F1"), "" for none
    :param host_names: names of the first hosts, instead of DC0_C0_H0 and so on. The fake listens on
        "127.0.0.1" and "localhost", but not on "127.0.0.2"
    :param profiles: storage policies known to PBM
    :param api_version: the version that vCenter reports; None for that of the recordings of
        vcenter_version, which can be older
    :param host_version: product version that hosts report
    """

    datacenters: int = 1
    clusters: int = 1
    hosts_per_cluster: int = 2
    datastores: int = 2
    datastore_bytes: int | tuple[int, ...] = 1 * TIB
    datastore_type: str | tuple[str, ...] = "NFS"
    shared_datastores: int = 0
    pods: int = 0
    datacenter_folders: str = ""
    host_names: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = field(default_factory=tuple)
    vcenter_version: str = "8.0.3"
    api_version: str | None = None
    host_version: str = "8.0.3"

    def __post_init__(self) -> None:
        for name in ("datacenters", "clusters", "hosts_per_cluster", "datastores"):
            if getattr(self, name) < 1:
                raise ValueError(f"Model.{name} must be at least 1, not {getattr(self, name)}")

    def build(self, vcenter: VCenter) -> None:
        """Create the objects below `vcenter.root_folder`."""
        from tests.fakes.vcenter.inventory import build_inventory

        build_inventory(vcenter, self)

    @property
    def reported_api_version(self) -> str:
        """The API version that vCenter reports."""
        recorded = RECORDED_API_VERSIONS.get(self.vcenter_version, f"{self.vcenter_version}.0")
        return self.api_version or recorded

    def size_of(self, position: int) -> int:
        """Capacity in bytes of the datastore at this position of its datacenter."""
        return _at(self.datastore_bytes, position)

    def type_of(self, position: int) -> str:
        """Type of the datastore at this position of its datacenter."""
        return _at(self.datastore_type, position)


def _at(value: T | tuple[T, ...], position: int) -> T:
    return value[min(position, len(value) - 1)] if isinstance(value, tuple) else value
