"""A vCenter whose requests and tasks take time, for clients in its own process."""

from __future__ import annotations

from typing import Any

from tests.fakes.vcenter.clock import Clock
from tests.fakes.vcenter.cost_model import CostModel
from tests.fakes.vcenter.model import Model
from tests.fakes.vcenter.vcenter import VCenter

#: Longest real duration in seconds of a request or a task; the clock skips the rest of its cost.
LONGEST_PAUSE_S = 0.001


def busy_vcenter(
    model: Model | None = None, *, costs: CostModel | None = None, **options: Any
) -> VCenter:
    """A vCenter whose clients use its clock: ``SharedHastyClock(vcenter.clock)``.

    :param costs: `CostModel.plain` by default
    :param options: of VCenter
    """
    clock = Clock(longest_pause_s=LONGEST_PAUSE_S)
    return VCenter(model, clock=clock, cost_model=costs or CostModel.plain(), **options)
