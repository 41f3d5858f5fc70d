"""Where a VM can be: host, pool and datastore that fit each other, and the faults if they do not.

If the pool is set but not the host: the first usable host of the pool's cluster, preferring one
that mounts the datastore (a real vCenter takes a random compatible one). If neither is set: the
source's host, so a datastore that it does not mount is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl


@dataclass(frozen=True)
class Placement:
    """Host and home datastore; `pool` is None for a template."""

    host: Any
    pool: Any
    datastore: Any


def choose_host(pool: Any, host: Any, datastore: Any, prefix: str = "spec.location") -> Any:
    """`host` if it belongs to the pool's cluster, else a host of that cluster.

    InvalidArgument for a host outside; InvalidHostState or HostNotConnected if none is usable.
    """
    hosts = pool.owner.host
    if host is not None:
        if host not in hosts:
            raise vmodl.fault.InvalidArgument(
                msg=f"The host '{host.name}' is not in the compute resource of the resource pool.",
                invalidProperty=f"{prefix}.host" if prefix else "host",
            )
        return host
    usable = [candidate for candidate in hosts if candidate.usable]
    if not usable:
        hosts[0].check_usable()
    for candidate in usable:
        if datastore.is_writable_on(candidate):
            return candidate
    return usable[0]


def require_in_datacenter(datacenter: Any, entity: Any, argument: str) -> None:
    """InvalidArgument unless `entity` is below `datacenter`."""
    if datacenter is not None and entity.datacenter is not datacenter:
        raise vmodl.fault.InvalidArgument(
            msg=f"A specified parameter was not correct: {argument}", invalidProperty=argument
        )


def require_datastore(datastore: Any, host: Any) -> None:
    """InaccessibleDatastore or DatastoreNotWritableOnHost if the host cannot write there."""
    if not datastore.accessible:
        raise vim.fault.InaccessibleDatastore(
            msg=f"Unable to access datastore '{datastore.name}'.",
            datastore=datastore.ref,
            name=datastore.name,
        )
    if not datastore.is_writable_on(host):
        raise vim.fault.DatastoreNotWritableOnHost(
            msg=f"Datastore '{datastore.name}' is not writable on host '{host.name}'.",
            datastore=datastore.ref,
            name=datastore.name,
            host=host.ref,
        )


def require_powered_off(vm: Any) -> None:
    """InvalidPowerState for a VM that runs."""
    if vm.power_state != "poweredOff":
        raise vim.fault.InvalidPowerState(
            msg="The attempted operation cannot be performed in the current state (Powered on).",
            requestedState="poweredOff",
            existingState=vm.power_state,
        )


def not_supported(msg: str = "The operation is not supported on the object.") -> Exception:
    """NotSupported, a template's answer to most requests."""
    return vmodl.fault.NotSupported(msg=msg)
