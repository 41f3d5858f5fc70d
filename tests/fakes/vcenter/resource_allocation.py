"""ResourceAllocationInfo of a pool: reservation, limit and shares. They limit nothing.

Low, normal and high are 1 : 2 : 4. (vSphere Resource Management, "Resource Allocation Shares"; a
pool of a recorded 8.0.1 has 4000 and 163840 as normal)
"""

from __future__ import annotations

from typing import Any

from pyVmomi import vim, vmodl

CPU_SHARES = {"low": 2000, "normal": 4000, "high": 8000}
MEMORY_SHARES = {"low": 81920, "normal": 163840, "high": 327680}


def unlimited(shares: dict[str, int]) -> Any:
    """No reservation, no limit, normal shares."""
    return vim.ResourceAllocationInfo(
        reservation=0,
        expandableReservation=True,
        limit=-1,
        shares=vim.SharesInfo(shares=shares["normal"], level="normal"),
    )


def allocated(present: Any, asked: Any, shares: dict[str, int]) -> Any:
    """`present` with the fields that `asked` sets.

    InvalidArgument for a reservation below 0 or above the limit.
    """
    if asked is None:
        return present
    fields = {
        name: getattr(present if getattr(asked, name) is None else asked, name)
        for name in ("reservation", "expandableReservation", "limit", "shares")
    }
    reservation, limit = fields["reservation"], fields["limit"]
    if reservation < 0 or limit < -1 or -1 < limit < reservation:
        raise vmodl.fault.InvalidArgument(invalidProperty="spec")
    level = fields["shares"].level
    if level in shares:
        fields["shares"] = vim.SharesInfo(shares=shares[level], level=level)
    return vim.ResourceAllocationInfo(**fields)
