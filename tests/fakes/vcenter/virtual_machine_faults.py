"""Faults of a ConfigSpec's device changes; each names the change by its index."""

from __future__ import annotations

from pyVmomi import vim


def invalid_spec(index: int, prop: str) -> Exception:
    """InvalidDeviceSpec: a device that cannot be."""
    return vim.fault.InvalidDeviceSpec(
        msg=f"Invalid configuration for device '{index}'.", property=prop, deviceIndex=index
    )


def invalid_operation(index: int, operation: str, why: str) -> Exception:
    """InvalidDeviceOperation: what cannot be done with the device."""
    return vim.fault.InvalidDeviceOperation(
        msg=f"Invalid operation for device '{index}'. {why}",
        property="virtualDeviceSpec.device",
        deviceIndex=index,
        badOp=operation,
    )


def invalid_backing(index: int) -> Exception:
    """InvalidDeviceBacking: what the device is on is of another kind, or not there."""
    return vim.fault.InvalidDeviceBacking(
        msg=f"Incompatible device backing specified for device '{index}'.",
        property="virtualDeviceSpec.device.backing",
        deviceIndex=index,
    )


def too_many_devices(index: int) -> Exception:
    """TooManyDevices: the VM, or the controller, has as many of them as it can have."""
    return vim.fault.TooManyDevices(
        msg=f"Too many devices of one kind: device '{index}'.",
        property=f"virtualDeviceSpec[{index}].device",
    )
