"""What is done in the fake vCenter's process: functions for VCenterProcess.call."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pyVmomi import vim, vmodl

from tests.fakes.vcenter import VCenter

CALLS = (
    "AddCustomFieldDef", "CloneVM_Task", "CreateFolder", "FindChild", "HttpNfcLeaseComplete",
    "HttpNfcLeaseProgress", "ImportVApp", "MarkAsTemplate", "ReconfigVM_Task",
    "RefreshStorageInfo", "RetrievePropertiesEx", "SetField", "WaitForUpdatesEx", "nfc:POST",
)  # fmt: skip
TASKS = ("CloneVM_Task", "ReconfigVM_Task", "Destroy_Task")
#: A fault late in the batch may find no request left to hit.
WITHIN = 30


def add_faults(vcenter: VCenter, seed: int, count: int) -> None:
    """Faults of all kinds that a client can meet, drawn by ``seed``."""
    draw = random.Random(seed)
    for _ in range(count):
        skip = draw.randrange(WITHIN)
        kind = draw.choice(["before", "after", "503", "session", "refused", "task"])
        if kind == "task":
            fault = draw.choice([vim.fault.FileLocked, vim.fault.GenericVmConfigFault])()
            vcenter.fault_rules.add(draw.choice(TASKS), fault, on="task", skip=skip)
            continue
        call = draw.choice(CALLS)
        if kind == "session":
            vcenter.fault_rules.add(call, skip=skip, action=vcenter.sessions.expire_all)
        elif kind == "503":
            vcenter.fault_rules.add(call, skip=skip, http_status=503)
        elif kind == "refused":
            vcenter.fault_rules.add(call, skip=skip, fault=vmodl.fault.SystemError(reason="soak"))
        else:
            vcenter.fault_rules.add(call, skip=skip, drop="after" if kind == "after" else "before")


def no_more_faults(vcenter: VCenter) -> int:
    """:returns: how many have happened"""
    hits = sum(rule.hits for rule in vcenter.fault_rules._rules)
    vcenter.fault_rules.clear()
    return hits


def delete(vcenter: VCenter, uuids: Sequence[str]) -> list[str]:
    """Delete volumes, as their users do; :returns: the uuids of those that were there."""
    with vcenter.lock:
        there = [vm for vm in vcenter.vms() if vm.instance_uuid in set(uuids)]
        for vm in there:
            vm.destroy()
        return [vm.instance_uuid for vm in there]


def advance(vcenter: VCenter, seconds: float) -> None:
    vcenter.clock.advance(seconds)


def sessions(vcenter: VCenter) -> int:
    return len(vcenter.sessions.active())


def left(vcenter: VCenter) -> list[str]:
    """Names of the virtual machines, and paths of the files, that are there."""
    with vcenter.lock:
        stores = [vcenter.datastore(f"DC0_DS{n}") for n in range(vcenter.model.datastores)]
        return [vm.name for vm in vcenter.vms()] + [p for one in stores for p in one.files()]
