"""Custom attributes: short texts that vCenter stores for a VM or template, in its own database.

They can be set on a template, immediately and without a task, unlike any other property except its
name and annotation: the API reference names no object for which SetField fails
(docs/assumptions.rst, A54).

    undefined   -- first use: AddCustomFieldDef -->   defined; DuplicateName: another was faster
    defined     -- SetField -->                       set; '' removes the value
    refused     a privilege is missing, or the name belongs to another type of object: not tried
                again for some minutes, with one warning in the log

Names are unique across all types of objects, and values refer to them by a key. Keys are read once
per log-in, and again when a key is unknown or no longer valid. An attribute that is renamed in
vCenter keeps its old name here until the next log-in.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from oslo_log import log as logging
from pyVmomi import vim

from vmdk_cache import errors
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import properties
from vmdk_cache.vim.reference import managed_type
from vmdk_cache.vim.session import Session

LOG = logging.getLogger(__name__)

#: How long to wait after a refusal before trying again; the cause may have been fixed.
_REFUSED_PAUSE_S = 600.0
_DEFINE_PRIVILEGE = "Global.ManageCustomFields"
_SET_PRIVILEGE = "Global.SetCustomField"

NO_VALUES: Mapping[str, str] = MappingProxyType({})


@dataclass
class _Definitions:
    """The CustomFieldsManager.field as read during one log-in.

    :ivar key_of: by name; if several types share a name, the key for VMs
    :ivar name_of: by key
    :ivar not_for_vms: names that belong to another type of object
    :ivar nameless: keys set on VMs whose definition vCenter does not show
    """

    generation: int
    key_of: dict[str, int] = field(default_factory=dict)
    name_of: dict[int, str] = field(default_factory=dict)
    not_for_vms: set[str] = field(default_factory=set)
    nameless: set[int] = field(default_factory=set)


class _Unusable(Exception):
    """The attribute cannot be used; the text says why and what to do."""


class CustomAttributes:
    """Thread-safe. :meth:`of` returns the instance that all users of a session share."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._definitions: _Definitions | None = None
        self._refused_until: dict[str, float] = {}
        self._warned: set[str] = set()

    @classmethod
    def of(cls, session: Session) -> CustomAttributes:
        """The session's instance, so that definitions and refusals are shared."""
        return session.shared("custom_attributes", lambda: cls(session))

    def set(self, moref: str, name: str, value: str) -> bool:
        """Set the value on a VM or template; the attribute is defined if needed.

        Sends one request once the attribute's key is known, and none for some minutes after a
        refusal.

        :param value: '' removes the value
        :returns: False if this account or this vCenter does not allow it; logged once as a warning
        :raises ObjectNotFound: the VM is gone
        :raises VCenterError: any other fault
        """
        if self._is_refused(name):
            return False
        try:
            self._set(moref, name, value)
        except _Unusable as reason:
            self._refuse(name, str(reason))
            return False
        with self._lock:
            self._warned.discard(name)
        return True

    def set_or_refuse(self, moref: str, name: str, value: str) -> None:
        """As :meth:`set`, for a caller who has asked for it: also tries after a refusal.

        :raises NoPermission: this account or this vCenter does not allow it
        """
        try:
            self._set(moref, name, value)
        except _Unusable as reason:
            raise errors.NoPermission(
                f"cannot set the custom attribute {quoted(name)}: {reason}", moref=moref
            ) from reason

    def field_key(self, name: str) -> int | None:
        """Key of the attribute, None if vCenter shows no attribute of that name.

        Keys are cached until the next log-in; unknown names are looked up again each time.
        """
        found = self._known().key_of.get(name)
        return self._read().key_of.get(name) if found is None else found

    def is_for_vms(self, name: str) -> bool | None:
        """Whether the attribute may be set on virtual machines; None if vCenter shows no attribute
        of that name."""
        if self.field_key(name) is None:
            return None
        return name not in self._known().not_for_vms

    def named(self, values: Iterable[Any], names: Collection[str]) -> Mapping[str, str]:
        """The values of an object that are set and have one of the names.

        :param values: the object's ``customValue`` (pyVmomi objects)
        :returns: attribute name -> value, read-only
        """
        stored = {entry.key: getattr(entry, "value", "") for entry in values}
        stored = {key: str(value) for key, value in stored.items() if value}
        if not names or not stored:
            return NO_VALUES
        name_of = self._names(stored)
        return MappingProxyType(
            {name_of[key]: value for key, value in stored.items() if name_of.get(key) in names}
        )

    def blank(self, moref: str, values: Iterable[Any], names: Sequence[str]) -> None:
        """Remove the VM's values that have one of the names: one request for each.

        If that is refused, they stay, with a warning in the log: a text that every reader of the
        source could see does no harm on its clone.

        :param values: the VM's ``customValue`` (pyVmomi objects)
        """
        for name in self.named(values, names):
            self.set(moref, name, "")

    # -- setting ---------------------------------------------------------------------------------

    def _set(self, moref: str, name: str, value: str) -> None:
        for attempt in (1, 2):
            key = self.field_key(name)
            if key is None:
                key = self._define(name)
            try:
                vm = managed_type("VirtualMachine")(moref)
                self._call("SetField", entity=vm, key=key, value=value)
                return
            except errors.NoPermission as refused:
                raise _Unusable(f"the account requires {_SET_PRIVILEGE} ({refused})") from refused
            except errors.VCenterError as error:
                # The definition was removed, perhaps recreated, or is not for VMs.
                if error.fault != "vmodl.fault.InvalidArgument":
                    raise
                if name in self._read().not_for_vms:
                    raise _Unusable(
                        "it is defined for another type of object; rename that definition, or make "
                        "it global"
                    ) from error
                if attempt == 2:
                    raise

    def _define(self, name: str) -> int:
        """Define the attribute, unless another process just did; return its key."""
        try:
            made = self._call("AddCustomFieldDef", name=name, moType=vim.VirtualMachine)
        except errors.NoPermission as refused:
            raise _Unusable(
                f"the account requires {_DEFINE_PRIVILEGE} to define it, and {_SET_PRIVILEGE} to "
                f"use it; an administrator can define it for virtual machines instead ({refused})"
            ) from refused
        except errors.NameTaken as taken:
            key = self._read().key_of.get(name)
            if key is None:
                raise _Unusable(
                    f"it exists in vCenter but is not visible to this account: {taken}"
                ) from taken
            return key
        known, key = self._known(), int(made.key)
        with self._lock:
            known.key_of[name], known.name_of[key] = key, name
        return key

    def _call(self, method: str, **args: Any) -> Any:
        return self._session.invoke(
            "CustomFieldsManager", self._manager(), method, safe=True, **args
        )

    def _manager(self) -> str:
        return str(self._session.content.customFieldsManager._GetMoId())

    def _is_refused(self, name: str) -> bool:
        with self._lock:
            return self._session.clock.monotonic() < self._refused_until.get(name, 0.0)

    def _refuse(self, name: str, reason: str) -> None:
        with self._lock:
            self._refused_until[name] = self._session.clock.monotonic() + _REFUSED_PAUSE_S
            known = name in self._warned
            self._warned.add(name)
        if not known:
            LOG.warning(
                "Cannot set the custom attribute %s: %s. Images are still cached, cloned and "
                "expired by age, but only this process knows the values of the attribute, such as "
                "the time of last use.",
                quoted(name),
                reason,
            )

    # -- definitions -----------------------------------------------------------------------------

    def _known(self) -> _Definitions:
        """The definitions as last read during this log-in."""
        with self._lock:
            known = self._definitions
            if known is None or known.generation != self._session.generation:
                known = self._definitions = self._request()
            return known

    def _read(self) -> _Definitions:
        """Read the definitions again."""
        with self._lock:
            self._definitions = self._request()
            return self._definitions

    def _names(self, keys: Iterable[int]) -> Mapping[int, str]:
        """Names of the given keys; unknown keys are looked up once."""
        known = self._known()
        unknown = set(keys) - known.name_of.keys() - known.nameless
        if unknown:
            nameless = known.nameless
            known = self._read()
            known.nameless |= nameless | (unknown - known.name_of.keys())
        return known.name_of

    def _request(self) -> _Definitions:
        generation = self._session.generation
        values = properties.read_one(
            self._session, "CustomFieldsManager", self._manager(), ["field"]
        )
        found = _Definitions(generation)
        for definition in values.get("field") or ():
            name, kind = str(definition.name), definition.managedObjectType
            found.name_of[definition.key] = name
            if kind is None or issubclass(vim.VirtualMachine, kind):
                found.key_of[name] = definition.key
                found.not_for_vms.discard(name)
            elif name not in found.key_of:
                found.key_of[name] = definition.key
                found.not_for_vms.add(name)
        return found
