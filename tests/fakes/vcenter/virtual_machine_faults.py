"""Faults of a ConfigSpec's device changes; each contains the index of its change."""

from __future__ import annotations

from pyVmomi import vim


def invalid_spec(index: int, prop: str) -> Exception:
    """InvalidDeviceSpec: an impossible device."""
    return vim.fault.InvalidDeviceSpec(
        msg=f"Invalid configuration for device '{index}'.", property=prop, deviceIndex=index
    )


def invalid_operation(index: int, operation: str, why: str) -> Exception:
    """InvalidDeviceOperation: an operation that the device does not allow."""
    return vim.fault.InvalidDeviceOperation(
        msg=f"Invalid operation for device '{index}'. {why}",
        property="virtualDeviceSpec.device",
        deviceIndex=index,
        badOp=operation,
    )


def invalid_backing(index: int) -> Exception:
    """InvalidDeviceBacking: a backing of another kind, or one that does not exist."""
    return vim.fault.InvalidDeviceBacking(
        msg=f"Incompatible device backing specified for device '{index}'.",
        property="virtualDeviceSpec.device.backing",
        deviceIndex=index,
    )


def too_many_devices(index: int) -> Exception:
    """TooManyDevices: the VM, or the controller, has no room for another one."""
    return vim.fault.TooManyDevices(
        msg=f"Too many devices of one kind: device '{index}'.",
        property=f"virtualDeviceSpec[{index}].device",
    )
