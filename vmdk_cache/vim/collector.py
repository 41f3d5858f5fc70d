"""A separate PropertyCollector: its filters, and the changes of the objects that they select.

A collector belongs to one log-in and ends with it: its owner checks ``is_current`` and creates a
new one. A request is repeated when its answer was lost: an object that the lost request created is
not used, and ends with the session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyVmomi import vmodl

from vmdk_cache import errors
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
            # Without partial updates, a change within a property sends the whole property.
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

    def updates(self, version: str, *, most_objects: int) -> Any | None:
        """The UpdateSet of the changes since ``version``; None if there are none.

        :param version: of an earlier answer; empty for the whole state
        :param most_objects: maximum number of objects in one answer
        :raises Unreachable: there was no answer; the collector can still be used
        :raises VCenterError: the collector is gone
        """
        return self._session.invoke(
            "PropertyCollector",
            self._moref,
            "WaitForUpdatesEx",
            safe=True,
            version=version,
            options=_pc.WaitOptions(maxWaitSeconds=0, maxObjectUpdates=most_objects),
        )

    def wait(self, version: str) -> Any | None:
        """As :meth:`updates`, but wait up to half a minute for a change; None if there is none. For
        one thread at a time.

        :raises VCenterError: there was no answer, or the collector is gone
        """
        return self._session.long_poll(
            "PropertyCollector",
            self._moref,
            "WaitForUpdatesEx",
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
