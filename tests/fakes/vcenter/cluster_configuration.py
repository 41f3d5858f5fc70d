"""Configuration of a cluster: DRS, HA, rules, groups, and overrides for single VMs.

The fake stores it and never acts on it. ReconfigureComputeResource_Task changes what the spec
names; if `modify` is false, everything else goes back to its default. vCenter assigns the key of a
rule; a group is identified by its name, an override by its VM. (vSphere API reference,
ClusterConfigSpecEx and ArrayUpdateSpec. InvalidArgument for a wrong key or name is unconfirmed.)
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from pyVmomi import vim, vmodl

#: Lists of a spec, the lists of the configuration that they change, and the identity of an entry.
_LISTS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("rulesSpec", "rule", lambda info: info.key),
    ("groupSpec", "group", lambda info: info.name),
    ("dasVmConfigSpec", "dasVmConfig", lambda info: info.key._moId),
    ("drsVmConfigSpec", "drsVmConfig", lambda info: info.key._moId),
    ("vmOrchestrationSpec", "vmOrchestration", lambda info: info.vm._moId),
)


class ClusterConfiguration:
    """The configuration of one cluster."""

    def __init__(self) -> None:
        self._next_rule = 1
        self._reset()

    def _reset(self) -> None:
        # As in a recording of 8.0.1, with DRS and HA off.
        self.das = vim.cluster.DasConfigInfo(
            enabled=False,
            vmMonitoring="vmMonitoringDisabled",
            hostMonitoring="enabled",
            admissionControlEnabled=True,
            failoverLevel=1,
        )
        self.drs = vim.cluster.DrsConfigInfo(
            enabled=False,
            enableVmBehaviorOverrides=True,
            defaultVmBehavior="fullyAutomated",
            vmotionRate=3,
        )
        self._entries: dict[str, dict[Any, Any]] = {name: {} for _, name, _ in _LISTS}

    def describe(self) -> Any:
        """ClusterComputeResource.configurationEx."""
        lists = {name: list(entries.values()) for name, entries in self._entries.items()}
        return vim.cluster.ConfigInfoEx(dasConfig=self.das, drsConfig=self.drs, **lists)

    def describe_short(self) -> Any:
        """ClusterComputeResource.configuration, which is deprecated."""
        return vim.cluster.ConfigInfo(
            dasConfig=self.das,
            drsConfig=self.drs,
            dasVmConfig=list(self._entries["dasVmConfig"].values()),
            drsVmConfig=list(self._entries["drsVmConfig"].values()),
            rule=self.rules,
        )

    @property
    def rules(self) -> list[Any]:
        """Affinity rules, oldest first."""
        return list(self._entries["rule"].values())

    def apply(self, spec: Any, modify: bool) -> None:
        """Apply a ClusterConfigSpecEx; if one of its entries is wrong, change nothing."""
        before = self.das, self.drs, self._entries
        if modify:
            self._entries = {name: dict(entries) for name, entries in self._entries.items()}
        else:
            self._reset()
        try:
            self.das = _merged(self.das, spec.dasConfig)
            self.drs = _merged(self.drs, spec.drsConfig)
            for asked, name, key_of in _LISTS:
                for change in getattr(spec, asked) or []:
                    self._change(name, key_of, change)
        except vmodl.fault.InvalidArgument:
            self.das, self.drs, self._entries = before
            raise

    def _change(self, name: str, key_of: Callable[[Any], Any], change: Any) -> None:
        entries, info = self._entries[name], change.info
        if change.operation == "remove":
            key = getattr(change.removeKey, "_moId", change.removeKey)
            if entries.pop(key, None) is None:
                raise _wrong(name)
            return
        if info is None:
            raise _wrong(name)
        if change.operation == "add":
            if name == "rule":
                self._check_rule(info)
                info.key, self._next_rule = self._next_rule, self._next_rule + 1
                info.ruleUuid = str(uuid.uuid4())
                info.userCreated, info.status, info.inCompliance = True, "green", True
            if key_of(info) in entries:
                raise _wrong(name)
            entries[key_of(info)] = info
        elif key_of(info) in entries:
            entries[key_of(info)] = _merged(entries[key_of(info)], info)
        else:
            raise _wrong(name)

    def _check_rule(self, rule: Any) -> None:
        """Refuse names that are taken, and groups that do not exist."""
        groups = self._entries["group"]
        named = [getattr(rule, one, None) for one in _GROUPS_OF_RULES]
        if any(one and one not in groups for one in named):
            raise _wrong("rule")
        if not rule.name or any(other.name == rule.name for other in self.rules):
            raise _wrong("rule")


_GROUPS_OF_RULES = (
    "vmGroupName",
    "affineHostGroupName",
    "antiAffineHostGroupName",
    "vmGroup",
    "dependsOnVmGroup",
)


def _wrong(name: str) -> Exception:
    return vmodl.fault.InvalidArgument(invalidProperty=f"spec.{name}")


def _merged(present: Any, asked: Any) -> Any:
    """A copy of `present` with everything that `asked` sets."""
    if asked is None:
        return present
    if type(asked) is not type(present):
        return asked
    fields = {}
    for prop in present._GetPropertyList():
        value = getattr(asked, prop.name)
        is_set = value is not None and value != []
        fields[prop.name] = value if is_set else getattr(present, prop.name)
    return type(present)(**fields)
