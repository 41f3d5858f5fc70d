"""The authentication of the end-to-end tests answers as keystonemiddleware does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.e2e.stack.auth import TokenAuth


class Api:
    """The application behind the middleware; ``seen`` is the environ of the last request."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] | None = None

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        self.seen = environ
        start_response("200 OK", [])
        return []


def status_of(api: Api, headers: dict[str, str]) -> str:
    statuses: list[str] = []
    TokenAuth(api)(dict(headers), lambda status, *_: statuses.append(status))
    (status,) = statuses
    return status


@pytest.mark.parametrize("token", ["", "alice", "alice:", ":project-a", "alice:project-a:king"])
def test_a_token_that_names_no_user_or_project_or_role_is_refused(token: str) -> None:
    api = Api()
    assert status_of(api, {"HTTP_X_AUTH_TOKEN": token}) == "401 Unauthorized"
    assert api.seen is None


def test_a_request_without_a_token_is_refused() -> None:
    """keystoneauth looks up the API's versions without one, and repeats with one after a 401."""
    assert status_of(Api(), {}) == "401 Unauthorized"


def test_a_token_without_a_role_is_a_members() -> None:
    api = Api()
    assert status_of(api, {"HTTP_X_AUTH_TOKEN": "alice:project-a"}) == "200 OK"
    assert api.seen is not None
    assert api.seen["HTTP_X_USER_ID"] == "alice"
    assert api.seen["HTTP_X_PROJECT_ID"] == "project-a"
    assert api.seen["HTTP_X_ROLES"] == "member,reader"
