"""Storage policies (SPBM): ids of profiles by name, and compliant datastores.

A separate SOAP service at ``/pbm`` of the same server. It uses the vCenter session: the SOAP header
``vcSessionCookie`` carries the session's cookie (Storage Policy API reference, "Connecting to the
Storage Policy Server").
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pyVmomi import pbm, vmodl

from vmdk_cache import errors
from vmdk_cache.quoting import quoted
from vmdk_cache.vim.channel import Channel, Cookie
from vmdk_cache.vim.faults import NotUnderstood
from vmdk_cache.vim.session import Session

T = TypeVar("T")

_VERSION = "pbm.version.version2"
#: An administrator may delete a policy and create another with the same name.
_IDS_KEPT_S = 300.0


@dataclass(frozen=True)
class _Service:
    generation: int
    channel: Channel
    content: Any


class StoragePolicies:
    """Thread-safe; connects on first use. Ids of policies are cached for 5 minutes, or until one
    fails."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._service: _Service | None = None
        self._ids: dict[str, str] = {}
        self._ids_read_at = 0.0

    def names(self) -> list[str]:
        """Current names of all policies."""
        return sorted(self._call("PbmRetrieveContent", _read_ids))

    def profile_id(self, name: str) -> str:
        """Unique id of the policy with that name.

        :raises ConfigError: the policy does not exist
        """
        now = self._session.clock.monotonic()
        ids = self._ids
        if name not in ids or now - self._ids_read_at >= _IDS_KEPT_S:
            ids = self._call("PbmRetrieveContent", _read_ids)
            self._ids, self._ids_read_at = ids, now
        if name not in ids:
            known = ", ".join(sorted(ids))
            raise errors.ConfigError(
                f"storage policy {quoted(name)} does not exist in vCenter; existing policies: "
                f"{known or '(none)'}"
            )
        return ids[name]

    def compliant_datastores(self, profile_id: str, datastores: Iterable[str]) -> set[str]:
        """The compliant ones of the given datastores (morefs), in one request.

        Datastore clusters in the response are left out.
        """
        hubs = [
            pbm.placement.PlacementHub(hubType="Datastore", hubId=moref) for moref in datastores
        ]
        if not hubs:
            return set()

        def ask(content: Any) -> Any:
            return content.placementSolver.PbmQueryMatchingHub(
                hubsToSearch=hubs, profile=pbm.profile.ProfileId(uniqueId=profile_id)
            )

        try:
            found = self._call("PbmQueryMatchingHub", ask)
        except errors.VCenterError:
            self._ids = {}
            raise
        if not found:
            self._ids = {}
        return {str(hub.hubId) for hub in found or () if hub.hubType == "Datastore"}

    def _call(self, method: str, ask: Callable[[Any], T]) -> T:
        def readable() -> T:
            try:
                return ask(self._content())
            except (vmodl.fault.SecurityError, NotUnderstood) as error:
                # An unknown session causes a SecurityError, or a fault of vim's namespace, which
                # pyVmomi cannot read here. If the session turns out to be alive, the guard turns
                # this into NoPermission.
                raise errors.SessionExpired(
                    f"the storage policy service refused the session ({type(error).__name__})",
                    method=method,
                ) from error

        return self._session.guarded(readable, method=method, safe=True)

    def _content(self) -> Any:
        with self._lock:
            service = self._service
            if service is None or service.generation != self._session.generation:
                if service is not None:
                    service.channel.close()
                self._service = service = self._connect()
            return service.content

    def _connect(self) -> _Service:
        session = self._session
        header = session.cookie().partition("=")[2].strip('"')
        generation = session.generation
        channel = Channel(
            session.endpoint,
            cookie=Cookie(),
            version=_VERSION,
            ssl_context=session.ssl_context,
            read_timeout_s=session.endpoint.read_timeout_s,
            path="/pbm",
            request_context={"vcSessionCookie": header},
        )
        instance: Any = pbm.ServiceInstance("ServiceInstance", channel)
        return _Service(generation, channel, instance.PbmRetrieveServiceContent())


def _read_ids(content: Any) -> dict[str, str]:
    manager = content.profileManager
    ids = manager.PbmQueryProfile(
        resourceType=pbm.profile.ResourceType(resourceType="STORAGE"),
        profileCategory="REQUIREMENT",
    )
    profiles = manager.PbmRetrieveContent(profileIds=ids) if ids else ()
    return {str(profile.name): str(profile.profileId.uniqueId) for profile in profiles}
