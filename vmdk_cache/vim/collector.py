"""A PropertyCollector of our own: its filters, and what has changed of the objects they select.

It belongs to one log-in and is gone with it: its owner compares (``is_current``) and makes another.
A request is repeated when its answer was lost: what the lost one made does nothing, and ends with
the session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyVmomi import vmodl

from vmdk_cache import errors
from vmdk_cache.vim.session import LONG_POLL_S, Session

_pc = vmodl.query.PropertyCollector


class Collector:
    """Made with one request for itself and one for each filter.

    :param specs: PropertyFilterSpecs, each under a name of the caller's
    :ivar filters: moref of each filter -> its name
    :raises VCenterError: it could not be made; nothing is left that vCenter can be told to remove
    """

    def __init__(self, session: Session, specs: Mapping[str, Any]) -> None:
        self._session = session
        self._generation = session.generation
        self._moref = ""
        self.filters: dict[str, str] = {}
        try:
            self._make(specs)
        except errors.Unreachable:
            raise  # nor would vCenter hear that the rest is to go
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
            # Without partial updates a change of anything within a property brings all of it.
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
        """Whether its log-in is still the session's."""
        return self._generation == self._session.generation

    def updates(self, version: str, *, most_objects: int) -> Any | None:
        """The UpdateSet of what has changed since ``version``; None if nothing has.

        :param version: of an earlier answer; empty for the whole state
        :param most_objects: that one answer may hold
        :raises VCenterError: the collector is gone, unless that is Unreachable
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
        """As :meth:`updates`, once something has changed; None if nothing does for half a minute.
        For one thread at a time.

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
        """Best effort: what is left ends with the session. Ends a :meth:`wait`."""
        if self._moref and self.is_current:
            try:
                self._session.invoke("PropertyCollector", self._moref, "DestroyPropertyCollector")
            except errors.VCenterError:
                pass  # gone already, or will be
