"""The costs of work, off by default: bandwidths, vCenter's queue, and fixed times.

`request_s` and `task_s` are the plain costs: the time of every request and of every task. They
count without `enabled`, and pass by themselves even on a clock that stands still, so a test of
anything else may leave them on.

With ``CostModel(enabled=True)`` whatever moves bytes is a transfer (transfers.py) along a route
that is worked out here: a clone or a copy of a disk goes through the datastores and the host that
does the work, or stays inside the array; an import or an export goes through Glance's link, the
client's process and the host. Operations wait for their turn as in vCenter (operation_queue.py).

The cost of 20 GiB can be measured without moving 20 GiB: each byte that really moves counts as
`bytes_scale` bytes. With a scale of 4096, an image with 5 MiB of data counts as 20 GiB in its
upload and in all its clones. Space on datastores is not scaled. A thick disk occupies, and
therefore moves, its whole capacity.

Each number names its source. An "assumption" is a rate that depends on the hardware; set it to the
value of yours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.fakes.vcenter.clock import Passing
from tests.fakes.vcenter.operation_queue import Admission, OperationQueue
from tests.fakes.vcenter.transfers import Route

# TCP payload of a 10 Gbit/s Ethernet link in one direction: frames of 1538 bytes on the wire carry
# 1448 bytes (IEEE 802.3 preamble, header, FCS and gap; IPv4, TCP with timestamps, RFC 7323).
TEN_GBE = 10e9 / 8 * 1448 / 1538
# Units that a host takes at a time and what a clone needs: 16 units, of which cloning on one host
# takes 4, so 4 at a time; a clone between two hosts takes half of that on each, so 8. Written in
# units of two. (VMware performance blog, "vCenter Limits for Tasks Running at the Same Time",
# 2021-02; VMware KB 326281.) That a clone between two hosts takes half on each is inferred from the
# documented 8 before 6.0.
UNITS_PER_HOST = 8
SAME_HOST_UNITS = 2
EACH_HOST_UNITS = 1
# "vCenter can execute approximately 640 concurrent operations before incoming requests are queued"
# (same blog).
OPERATIONS_AT_A_TIME = 640

# Plain costs of the test suites. Assumptions about a busy vCenter.
PLAIN_REQUEST_S = 0.02
PLAIN_TASK_S = 1.0


@dataclass
class CostModel:
    """Bandwidths are bytes per second of the fake's time; 0 means unlimited.

    :param datastore_bandwidth: read rate of one datastore. Assumption: the array serves each
        datastore through one 10 GbE port
    :param write_share: share of the read rate that it can write at the same time. Assumption
    :param vaai: whether the arrays copy by themselves (VAAI XCOPY, or Full File Clone on NFS) when
        a clone stays on its datastore. Off, because NFS needs the vendor's plug-in for it (VMware
        vSphere 8.0 Storage, "Hardware Acceleration on NAS Devices")
    :param vaai_bandwidth: copy rate of such an array. Assumption; published figures of all-flash
        arrays go up to 7 GB/s (J. Odgers, "Cloning VMs - Why less is better", 2015)
    :param host_bandwidth: copy rate of one host, in both directions at once (full duplex): one 10
        GbE uplink for storage
    :param nfc_stream_bandwidth: highest rate of one upload or download of a lease. "NFC is single
        threaded ... you will never move faster than the single thread", and encrypted (Broadcom KB
        307001); the number is an assumption
    :param glance_bandwidth: the link of Glance, which all imports share: one 10 GbE link
    :param importer_bandwidth: rate at which one session, that is, one cinder-volume process, passes
        bytes from Glance to a lease. Assumption: a Python process that reads TLS and writes TLS
    :param fixed_clone_s: a clone, in addition to its bytes. Assumption
    :param fixed_task_s: any other task on a virtual machine. Assumption
    :param snapshot_s: creating and removing the snapshot that vCenter takes of a running source.
        Assumption
    :param operations_at_a_time: in the whole vCenter; more are queued
    :param bytes_scale: how many bytes each byte counts as
    :param request_s: every HTTP request, half of it before it acts and half before its answer. The
        wait of a long poll comes on top
    :param task_s: every task, and the creation of a lease; where `enabled` gives a task a time of
        its own, that counts instead
    """

    enabled: bool = False
    datastore_bandwidth: float = TEN_GBE
    write_share: float = 0.5
    vaai: bool = False
    vaai_bandwidth: float = 2e9
    host_bandwidth: float = TEN_GBE
    nfc_stream_bandwidth: float = 120e6
    glance_bandwidth: float = TEN_GBE
    importer_bandwidth: float = 200e6
    fixed_clone_s: float = 1.0
    fixed_task_s: float = 0.2
    snapshot_s: float = 1.0
    operations_at_a_time: int = OPERATIONS_AT_A_TIME
    bytes_scale: float = 1.0
    request_s: float = 0.0
    task_s: float = 0.0
    queue: OperationQueue = field(init=False, repr=False, compare=False)

    @classmethod
    def plain(cls, **changes: Any) -> CostModel:
        """The costs that the test suites use: everything takes time."""
        return cls(**{"request_s": PLAIN_REQUEST_S, "task_s": PLAIN_TASK_S, **changes})

    def __post_init__(self) -> None:
        self.queue = OperationQueue(UNITS_PER_HOST, lambda: self.operations_at_a_time)

    def __getstate__(self) -> dict[str, Any]:
        """A copy for another process; the queue's waiting threads stay here."""
        return {name: value for name, value in vars(self).items() if name != "queue"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.__post_init__()

    # Turns

    def clone_admission(self, source_host: Any, target_host: Any) -> Admission | None:
        """The place in the queue of a clone from a VM of one host to another (or the same); None
        when costs are off.
        """
        if not self.enabled:
            return None
        if source_host is target_host:
            return self.queue.new({source_host.moref: SAME_HOST_UNITS})
        hosts = (source_host.moref, target_host.moref)
        return self.queue.new(dict.fromkeys(hosts, EACH_HOST_UNITS))

    def admission(self) -> Admission | None:
        """The place in the queue of any other operation; None when costs are off."""
        return self.queue.new() if self.enabled else None

    # Times

    def task_seconds(self) -> float:
        """Seconds that a task takes if it moves no bytes."""
        return self._seconds(self.fixed_task_s)

    def clone_seconds(self) -> float:
        """Seconds that a clone takes in addition to its bytes."""
        return self._seconds(self.fixed_clone_s)

    def _seconds(self, fixed_s: float) -> float:
        return fixed_s if self.enabled else Passing(self.task_s)

    # Bytes

    def counted(self, size_bytes: int) -> float:
        """How many bytes this number of real bytes counts as."""
        return size_bytes * self.bytes_scale

    def copy_route(self, source: Any, target: Any, host: Any, *, offloadable: bool) -> Route:
        """From one datastore to another, or within one, by the host that owns the source.

        :param host: None for a copy of files; vCenter then picks an idle host
        :param offloadable: whether an array that can copy by itself may do so here
        """
        if self.vaai and offloadable and source is target:
            return _route({f"{source.moref} copy": self.vaai_bandwidth})
        resources = {**self._read(source), **self._write(target)}
        if host is not None:
            resources[host.moref] = self.host_bandwidth
        return _route(resources)

    def import_route(self, importer: str, host: Any, datastore: Any) -> Route:
        """From Glance through a client's process to a host and its datastore, all at once.

        :param importer: identifies the client process
        :param host: None for a file that is sent to vCenter itself
        """
        return self._nfc({**self._client(importer), **self._write(datastore)}, host)

    def export_route(self, importer: str, host: Any, datastore: Any) -> Route:
        """The reverse of `import_route`."""
        return self._nfc({**self._client(importer), **self._read(datastore)}, host)

    def _read(self, datastore: Any) -> dict[str, float]:
        return {f"{datastore.moref} read": self.datastore_bandwidth}

    def _write(self, datastore: Any) -> dict[str, float]:
        return {f"{datastore.moref} write": self.datastore_bandwidth * self.write_share}

    def _client(self, importer: str) -> dict[str, float]:
        return {"glance": self.glance_bandwidth, f"client {importer}": self.importer_bandwidth}

    def _nfc(self, resources: dict[str, float], host: Any) -> Route:
        if host is not None:
            resources[host.moref] = self.host_bandwidth
        return _route(resources, self.nfc_stream_bandwidth)


def _route(resources: dict[str, float], limit: float = 0.0) -> Route:
    limited = {name: bandwidth for name, bandwidth in resources.items() if bandwidth > 0}
    return Route(limited, limit) if limit > 0 else Route(limited)
