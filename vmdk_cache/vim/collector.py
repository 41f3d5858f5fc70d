"""A separate PropertyCollector: its filters, and the changes of the objects that they select.

A collector belongs to one log-in and ends with it: its owner checks ``is_current`` and creates a
new one. A request is repeated when its answer was lost: an object that the lost request created is
not used, and ends with the session.

Filters have no partial updates, so any change within a property sends the whole property (vSphere
API reference, PropertyCollector, CreateFilter).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyVmomi import vmodl

from vmdk_cache import errors
from vmdk_cache.vim.properties import ObjectKey, Row, check_log_in, key_of
from vmdk_cache.vim.reference import without_references
from vmdk_cache.vim.session import LONG_POLL_S, Session

_pc = vmodl.query.PropertyCollector


class Collector:
    """A collector with its filters; one request creates it, and one more each filter.

    :param specs: PropertyFilterSpecs by name; the caller chooses the names
    :ivar filters: moref of each filter -> its name
    :raises VCenterError: it could not be created; it was destroyed again if vCenter was reachable
    """

    def __init__(self, session: Session, specs: Mapping[str, Any]) -> None:
        self._session = session
        self._generation = session.generation
        self._moref = ""
        self.filters: dict[str, str] = {}
        try:
            self._make(specs)
        except errors.Unreachable:
            raise  # a request to destroy the rest would not reach vCenter either
        except BaseException:
            self.close()
            raise

    def _make(self, specs: Mapping[str, Any]) -> None:
        self._moref = self._session.invoke(
            "PropertyCollector",
            self._session.content.propertyCollector._GetMoId(),
            "CreatePropertyCollector",
            safe=True,
        )
        for name, spec in specs.items():
            made = self._session.invoke(
                "PropertyCollector",
                self._moref,
                "CreateFilter",
                safe=True,
                spec=spec,
                partialUpdates=False,
            )
            self.filters[made] = name

    @property
    def is_current(self) -> bool:
        """Whether the session still has the log-in that it was created for."""
        return self._generation == self._session.generation

    def updates(self, version: str, *, most_objects: int) -> tuple[list[Any], str]:
        """The FilterUpdates since ``version``, from all pages, and the version that they lead to.

        :param version: of earlier updates; empty for the whole state
        :param most_objects: maximum number of objects in one page; vCenter may send fewer
        :raises Unreachable: there was no answer; the collector can still be used
        :raises VCenterError: the collector is gone
        """
        found: list[Any] = []
        while True:
            page = self._session.invoke(
                "PropertyCollector",
                self._moref,
                "WaitForUpdatesEx",
                safe=True,
                version=version,
                options=_pc.WaitOptions(maxWaitSeconds=0, maxObjectUpdates=most_objects),
            )
            if page is None and not version:
                # Without a first update the state of the objects is unknown.
                raise errors.TaskFailed(
                    "vCenter did not report the objects of a new filter", method="WaitForUpdatesEx"
                )
            if page is None:
                return found, version
            found += page.filterSet or ()
            version = page.version
            if not page.truncated:
                return found, version

    def wait(self, version: str) -> Any | None:
        """Wait up to half a minute for a change; the UpdateSet, None if there is none. For one
        thread at a time.

        :raises VCenterError: there was no answer, or the collector is gone
        """
        return self._session.invoke(
            "PropertyCollector",
            self._moref,
            "WaitForUpdatesEx",
            poll=True,
            version=version,
            options=_pc.WaitOptions(maxWaitSeconds=LONG_POLL_S),
        )

    def close(self) -> None:
        """Best effort: what remains ends with the session. Ends a :meth:`wait`."""
        if self._moref and self.is_current:
            try:
                self._session.invoke("PropertyCollector", self._moref, "DestroyPropertyCollector")
            except errors.VCenterError:
                pass  # it is gone, or will end with the session


def apply_update(rows: dict[ObjectKey, Row], update: Any) -> set[ObjectKey]:
    """Apply a FilterUpdate to ``rows``; existing rows are replaced, not changed.

    :returns: the objects in the update; those that are gone no longer have a row
    :raises SessionExpired: it contains properties that cannot be read without a log-in
    """
    told: set[ObjectKey] = set()
    for change in update.objectSet or ():
        key = key_of(change.obj)
        told.add(key)
        if change.kind == "leave":
            rows.pop(key, None)
            continue
        row = dict(rows.get(key, {})) if change.kind == "modify" else {}
        for value in change.changeSet or ():
            if value.op in ("assign", "add") and value.val is not None:
                row[value.name] = without_references(value.val)
            else:  # unset, removed, or gone with its parent
                row.pop(value.name, None)
        for missing in change.missingSet or ():
            check_log_in(missing.fault, "WaitForUpdatesEx")
            row.pop(missing.path, None)
        rows[key] = row
    for missing in update.missingSet or ():
        check_log_in(missing.fault, "WaitForUpdatesEx")
        rows.pop(key_of(missing.obj), None)
        told.add(key_of(missing.obj))
    return told
