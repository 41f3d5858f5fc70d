"""A fake vCenter for tests and demonstrations: an HTTPS SOAP server on loopback that behaves like
the real one.

Start with README.md beside this file. ``VCenter(Model(...))`` is the server, `Model` its first
inventory.
"""

from tests.fakes.vcenter.clock import Clock
from tests.fakes.vcenter.cost_model import CostModel
from tests.fakes.vcenter.model import Model
from tests.fakes.vcenter.switches import Switches
from tests.fakes.vcenter.vcenter import DEFAULT_PASSWORD, DEFAULT_USER, VCenter
from tests.fakes.vcenter.virtual_time import VirtualTime

__all__ = [
    "DEFAULT_PASSWORD",
    "DEFAULT_USER",
    "Clock",
    "CostModel",
    "Model",
    "Switches",
    "VCenter",
    "VirtualTime",
]
