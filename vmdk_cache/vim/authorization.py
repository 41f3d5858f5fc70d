"""Reads the account's privileges on objects.

``HasPrivilegeOnEntities`` checks many objects and privileges at once, and requires only that the
account can see the objects (vSphere API reference, AuthorizationManager, since API 5.5). vCenter
evaluates roles, groups and propagating permissions.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmdk_cache.vim import properties
from vmdk_cache.vim.reference import managed_type
from vmdk_cache.vim.session import Session

#: The response has an element for each object and privilege: about 1 MiB for 300 objects.
_OBJECTS_PER_REQUEST = 300

#: Managed object type, and moref.
Entity = tuple[str, str]


def granted(
    session: Session, entities: Sequence[Entity], privileges: Sequence[str]
) -> dict[str, frozenset[str]]:
    """The privileges that this session has, by moref: one request per 300 objects.

    :raises VCenterError: the request failed, or an object is gone
    """
    manager = session.content.authorizationManager._GetMoId()
    key = _session_key(session)
    found: dict[str, frozenset[str]] = {}
    for start in range(0, len(entities), _OBJECTS_PER_REQUEST):
        answers = session.invoke(
            "AuthorizationManager",
            manager,
            "HasPrivilegeOnEntities",
            safe=True,
            entity=[
                managed_type(kind)(moref)
                for kind, moref in entities[start : start + _OBJECTS_PER_REQUEST]
            ],
            sessionId=key,
            privId=list(privileges),
        )
        for answer in answers or ():
            found[str(answer.entity._GetMoId())] = frozenset(
                str(each.privId) for each in answer.privAvailability or () if each.isGranted
            )
    return found


def _session_key(session: Session) -> str:
    manager = session.content.sessionManager._GetMoId()
    values = properties.read_one(session, "SessionManager", manager, ["currentSession"])
    return str(values["currentSession"].key)
