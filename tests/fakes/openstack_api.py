"""Keystone and Cinder as an administrator's command sees them: token, catalog, projects, volumes.

The answers follow the API references (Identity v3: POST /v3/auth/tokens, GET /v3/projects/{id};
Block Storage v3: GET /v3/volumes/detail). A user without the admin role gets only the volumes of
the user's own project, regardless of ``all_tenants``, and fewer attributes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.web_server import Handler, web_server

PASSWORD = "secret of an openrc"


class OpenStackApi:
    """:ivar volumes: id -> (project id, id that its VM was created with or None)
    :ivar projects: ids
    :ivar roles: of the user
    :ivar regions: those with an endpoint of Cinder
    :ivar max_limit: the largest page of volumes (Cinder's ``osapi_max_limit``)
    :ivar asked: requested paths, without tokens
    """

    def __init__(self) -> None:
        self.volumes: dict[str, tuple[str, str | None]] = {}
        self.projects: set[str] = set()
        self.roles = ["admin"]
        self.regions = ["RegionOne"]
        self.max_limit = 1000
        self.asked: list[str] = []
        self.url = ""

    def environment(self) -> dict[str, str]:
        return {
            "OS_AUTH_TYPE": "v3password",
            "OS_AUTH_URL": f"{self.url}/v3",
            "OS_USERNAME": "admin",
            "OS_PASSWORD": PASSWORD,
            "OS_PROJECT_NAME": "admin",
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
        }

    def answer(self, path: str) -> tuple[int, Any]:
        self.asked.append(path)
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path == "/v3/volumes/detail":
            return 200, {"volumes": self._page(query)}
        if parts.path.startswith("/v3/projects/"):
            project = parts.path.rpartition("/")[2]
            return (200, {"project": {"id": project}}) if project in self.projects else (404, {})
        return 404, {}

    def token(self) -> dict[str, Any]:
        def endpoints(regions: list[str]) -> list[dict[str, str]]:
            return [
                {
                    "id": region,
                    "interface": "public",
                    "region": region,
                    "region_id": region,
                    "url": f"{self.url}/v3",
                }
                for region in regions
            ]

        catalog = [
            {"id": kind, "type": kind, "name": name, "endpoints": endpoints(self.regions)}
            for kind, name in (("identity", "keystone"), ("volumev3", "cinderv3"))
        ]
        return {
            "token": {
                "methods": ["password"],
                "expires_at": "2099-01-01T00:00:00.000000Z",
                "issued_at": "2026-01-01T00:00:00.000000Z",
                "user": {"id": "u", "name": "admin", "domain": {"id": "default", "name": "D"}},
                "project": {"id": "a", "name": "admin", "domain": {"id": "default", "name": "D"}},
                "roles": [{"id": role, "name": role} for role in self.roles],
                "catalog": catalog,
            }
        }

    def _page(self, query: dict[str, str]) -> list[dict[str, Any]]:
        is_admin = "admin" in self.roles
        ids = [each for each, (project, _) in self.volumes.items() if is_admin or project == "a"]
        begin = ids.index(query["marker"]) + 1 if "marker" in query else 0
        page = ids[begin : begin + min(self.max_limit, int(query.get("limit", self.max_limit)))]
        return [self._shown(each, is_admin) for each in page]

    def _shown(self, volume_id: str, is_admin: bool) -> dict[str, Any]:
        project, name_id = self.volumes[volume_id]
        for_admins = {
            "os-vol-tenant-attr:tenant_id": project,
            "os-vol-mig-status-attr:name_id": name_id,
            "os-vol-mig-status-attr:migstat": None,
        }
        return {"id": volume_id, "status": "available", **(for_admins if is_admin else {})}


@contextlib.contextmanager
def openstack_api() -> Iterator[OpenStackApi]:
    """Keystone at ``<url>/v3``, and Cinder likewise."""
    api = OpenStackApi()

    class Answer(Handler):
        def do_GET(self) -> None:
            self._send(*api.answer(self.path))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._send(201, api.token())

        def _send(self, status: int, body: Any) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.send_header("X-Subject-Token", "a token")
            self.end_headers()
            self.wfile.write(text)

    with web_server(Answer) as url:
        api.url = url
        yield api
