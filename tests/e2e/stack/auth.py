"""Authenticates callers of Cinder and Glance without a Keystone, instead of keystonemiddleware's
``auth_token``.

A token is ``user:project`` or ``user:project:role``; the default role is ``member``. The middleware
passes what a Keystone would have said about the token on in the same headers, to Cinder's own
``keystonecontext`` and Glance's ``context``. From there on everything is as in production: roles,
policies, projects. Cinder's ``noauth`` would make every caller an administrator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

#: The roles that each role implies, as set up by Keystone's bootstrap.
_IMPLIED = {
    "admin": "admin,manager,member,reader",
    "member": "member,reader",
    "reader": "reader",
    "service": "service,member,reader",
}


class TokenAuth:
    """WSGI middleware; :meth:`factory` creates it for paste."""

    def __init__(self, application: Application) -> None:
        self._application = application

    @classmethod
    def factory(cls, global_conf: object, **local_conf: object) -> Callable[[Application], Any]:
        return cls

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        parts = environ.get("HTTP_X_AUTH_TOKEN", "").split(":")
        user, project, role = [*parts, *("", "", "member")[len(parts) :]][:3]
        if not user or not project or role not in _IMPLIED:
            start_response("401 Unauthorized", [("Content-Type", "text/plain")])
            return [b"no such token\n"]
        # Overwrites headers of these names from the client, so that no client can claim a role.
        environ.update(
            HTTP_X_IDENTITY_STATUS="Confirmed",
            HTTP_X_USER_ID=user,
            HTTP_X_PROJECT_ID=project,
            HTTP_X_ROLES=_IMPLIED[role],
        )
        return self._application(environ, start_response)


def cinder_paste_ini(shipped: str) -> str:
    """Cinder's own api-paste.ini with :class:`TokenAuth` in its pipelines.

    :raises ValueError: the pipelines differ from those of Cinder 29
    """
    return _changed(
        shipped,
        r"^(noauth|keystone) = (.*) (?:noauth|authtoken keystonecontext) apiv3$",
        r"\1 = \2 tokenauth keystonecontext apiv3",
        count=2,
    )


def glance_paste_ini(shipped: str) -> str:
    """Glance's own glance-api-paste.ini with :class:`TokenAuth` in its default pipeline.

    :raises ValueError: the pipeline differs from that of Glance 33
    """
    return _changed(
        shipped,
        r"^default = (.*) unauthenticated-context rootapp$",
        r"default = \1 tokenauth context rootapp",
        count=1,
    )


def _changed(shipped: str, pipeline: str, ours: str, *, count: int) -> str:
    text, found = re.subn(pipeline, ours, shipped, flags=re.MULTILINE)
    if found != count:
        raise ValueError(f"{found} pipelines match {pipeline!r}, not {count}")
    return f"{text}\n[filter:tokenauth]\npaste.filter_factory = {__name__}:TokenAuth.factory\n"
