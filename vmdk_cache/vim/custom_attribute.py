"""Custom attributes: short texts that vCenter keeps beside a VM or template, in its own database.

A template takes them, at once and without a task, which is true of nothing else but its name and
annotation: the API reference names no object that SetField refuses (docs/assumptions.rst, A54).

    undefined   -- first need: AddCustomFieldDef -->  defined; DuplicateName: another was faster
    defined     -- SetField -->                       set; '' takes the value away
    refused     a privilege is missing, or the name belongs to another type of object: left alone
                for some minutes, with one warning in the log

Names are unique over all types of objects, and values refer to them by a key. Keys are read once
per log-in; a key that is not known then, or not any more, has them read again. An attribute that
is renamed in vCenter keeps its old name here until the next log-in.
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

#: How long a refusal counts before the attribute is tried again; somebody may have mended it.
_REFUSED_PAUSE_S = 600.0
_DEFINE_PRIVILEGE = "Global.ManageCustomFields"
_SET_PRIVILEGE = "Global.SetCustomField"

NO_VALUES: Mapping[str, str] = MappingProxyType({})


@dataclass
class _Definitions:
    """What one log-in has seen of CustomFieldsManager.field.

    :ivar key_of: by name; where several types share a name, the one for VMs
    :ivar name_of: by key
    :ivar not_for_vms: names that belong to another type of object
    :ivar nameless: keys on VMs whose definition vCenter does not show
    """

    generation: int
    key_of: dict[str, int] = field(default_factory=dict)
    name_of: dict[int, str] = field(default_factory=dict)
    not_for_vms: set[str] = field(default_factory=set)
    nameless: set[int] = field(default_factory=set)


class _Unusable(Exception):
    """The attribute cannot be used; the text says why and what would help."""


class CustomAttributes:
    """Thread-safe. :meth:`of` gives the one that all users of a session share."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._definitions: _Definitions | None = None
        self._refused_until: dict[str, float] = {}
        self._warned: set[str] = set()

    @classmethod
    def of(cls, session: Session) -> CustomAttributes:
        """The session's own, so that definitions are read and refusals met once."""
        return session.shared("custom_attributes", lambda: cls(session))

    def set(self, moref: str, name: str, value: str) -> bool:
        """Give a VM or template the value; the attribute is defined if need be.

        Costs one request once the attribute's key is known, and none for some minutes after a
        refusal.

        :param value: '' takes the value away
        :returns: False if this account or this vCenter does not allow it; a warning said so once
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

    def field_key(self, name: str) -> int | None:
        """Key of the attribute, None if vCenter shows none of that name.

        A key that was found is remembered until the next log-in; a name that was not is looked
        for again each time.
        """
        found = self._known().key_of.get(name)
        return self._read().key_of.get(name) if found is None else found

    def is_for_vms(self, name: str) -> bool | None:
        """Whether the attribute may be set on virtual machines; None if vCenter shows none of that
        name."""
        if self.field_key(name) is None:
            return None
        return name not in self._known().not_for_vms

    def named(self, values: Iterable[Any], names: Collection[str]) -> Mapping[str, str]:
        """Those of an object's values that are set and have one of the names.

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
        """Take away those of the VM's values that have one of the names: a request for each.

        Where that is refused they stay: a warning was logged, and a text that any reader of the
        source could see harms nobody on its clone.

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
                raise _Unusable(f"the account needs {_SET_PRIVILEGE} ({refused})") from refused
            except errors.VCenterError as error:
                if error.fault != "vmodl.fault.InvalidArgument":
                    raise
                # The definition has been removed, and perhaps made anew, or is not for VMs.
                self._forget()
                if attempt == 2:
                    self._explain(name, error)
                    raise

    def _define(self, name: str) -> int:
        """Key of the attribute, which may be another process's work of this moment."""
        try:
            made = self._call("AddCustomFieldDef", name=name, moType=vim.VirtualMachine)
        except errors.NoPermission as refused:
            raise _Unusable(
                f"the account needs {_DEFINE_PRIVILEGE} to define it, and {_SET_PRIVILEGE} to use "
                f"it; an administrator may define it for virtual machines instead ({refused})"
            ) from refused
        except errors.NameTaken as taken:
            key = self._read().key_of.get(name)
            if key is None:
                raise _Unusable(
                    f"vCenter has it but does not show it to this account: {taken}"
                ) from taken
            return key
        known, key = self._known(), int(made.key)
        with self._lock:
            known.key_of[name], known.name_of[key] = key, name
        return key

    def _explain(self, name: str, error: errors.VCenterError) -> None:
        """:raises _Unusable: if the name belongs to another type of object"""
        if name in self._read().not_for_vms:
            raise _Unusable(
                "it is defined for another type of object; rename that definition, or make it a "
                "global one"
            ) from error

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
                "The custom attribute %s cannot be set: %s. Images are cached, cloned and expired "
                "by age all the same; what the attribute would tell, such as the time of last "
                "use, is known to this process only.",
                quoted(name),
                reason,
            )

    # -- definitions -----------------------------------------------------------------------------

    def _known(self) -> _Definitions:
        """Definitions as this log-in last read them."""
        with self._lock:
            known = self._definitions
            if known is None or known.generation != self._session.generation:
                known = self._definitions = self._request()
            return known

    def _read(self) -> _Definitions:
        """Definitions as they are now."""
        with self._lock:
            self._definitions = self._request()
            return self._definitions

    def _forget(self) -> None:
        with self._lock:
            self._definitions = None

    def _names(self, keys: Iterable[int]) -> Mapping[int, str]:
        """Names of all these keys that have one; unknown keys are asked for once."""
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
