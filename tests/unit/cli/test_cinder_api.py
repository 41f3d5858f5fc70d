"""Cinder's API as an administrator reads it, on a server that answers like Cinder."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from keystoneauth1 import noauth, session
from oslo_config import cfg

from vmdk_cache import errors
from vmdk_cache.cli import cinder_api
from vmdk_cache.cli.identity import Identity


class Server:
    """:ivar answers: by path: lists, served in pages of ``limit`` from ``marker`` on; the status of
    a refusal; or a body
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                status, body = outer.answer(parts.path, query)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        listed = self.answers[path]
        if isinstance(listed, int):
            return listed, b'{"forbidden": {"message": "no"}}'
        if isinstance(listed, bytes):
            return 200, listed
        (what, rows), *_ = listed.items()
        begin = 0
        if "marker" in query:
            begin = 1 + next(n for n, row in enumerate(rows) if row["id"] == query["marker"])
        page = rows[begin : begin + int(query["limit"])]
        return 200, json.dumps({what: page}).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, daemon=True)
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def cinder(server: Server) -> cinder_api.Cinder:
    url = f"http://127.0.0.1:{server.http.server_address[1]}"
    asking = Identity(session.Session(timeout=30), noauth.NoAuth(endpoint=url), "a test")
    return cinder_api.Cinder(asking)


def volumes(*hosts: str | None) -> dict[str, list[dict[str, Any]]]:
    return {
        "volumes": [{"id": f"{n}", "os-vol-host-attr:host": host} for n, host in enumerate(hosts)]
    }


def test_the_volumes_of_a_backend_are_counted_by_pool(
    server: Server, cinder: cinder_api.Cinder
) -> None:
    server.answers["/volumes/detail"] = volumes(
        "host1@vmware1#gold",
        "host2@vmware1#gold",
        "host1@vmware1#silver",
        "host1@vmware11#gold",
        "host1@lvm#lvm",
        None,  # not scheduled yet
        "host1",
    )
    assert cinder.pools("vmware1") == {"gold": 2, "silver": 1}
    assert "all_tenants=1" in server.asked[0]


def test_all_pages_are_read(server: Server, cinder: cinder_api.Cinder) -> None:
    server.answers["/volumes/detail"] = volumes(*["h@vmware1#gold"] * 2000)
    assert cinder.pools("vmware1") == {"gold": 2000}
    assert len(server.asked) == 3, "1000 and 1000 and none"


def test_the_names_that_types_ask_for_are_read(server: Server, cinder: cinder_api.Cinder) -> None:
    server.answers["/types"] = {
        "volume_types": [
            {"id": "1", "name": "gold", "extra_specs": {"volume_backend_name": "gold"}},
            {"id": "2", "name": "s", "extra_specs": {"capabilities:volume_backend_name": "silver"}},
            {"id": "3", "name": "any", "extra_specs": {"other": "x"}},
            {"id": "4", "name": "none"},
        ]
    }
    assert cinder.backend_names_of_types() == {"gold": "gold", "s": "silver"}
    assert "is_public=None" in server.asked[0], "private types count as well"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (401, "admin role"),
        (403, "admin role"),
        (404, "request to Cinder.s API failed"),
        (503, "request to Cinder.s API failed"),
        (b"<html>", "not a response of Cinder.s API"),
        (b"{}", "not a response of Cinder.s API"),
        (b'{"volumes": {}}', "not a response of Cinder.s API"),
    ],
)
def test_an_api_that_does_not_answer_as_cinder_does_is_one_error(
    server: Server, cinder: cinder_api.Cinder, answer: object, says: str
) -> None:
    server.answers["/volumes/detail"] = answer
    with pytest.raises(errors.SourceUnavailable, match=says):
        cinder.pools("vmware1")


def test_an_api_that_is_away_is_one_error(server: Server, cinder: cinder_api.Cinder) -> None:
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(errors.SourceUnavailable, match=r"request to Cinder.s API failed"):
        cinder.pools("vmware1")
    server.http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    threading.Thread(target=server.http.serve_forever, daemon=True).start()


def test_cinder_is_asked_as_the_environment_says(server: Server) -> None:
    """keystoneauth's plugin "none" takes the endpoint from the environment."""
    server.answers["/volumes/detail"] = volumes("host1@vmware1#gold")
    options = cfg.ConfigOpts()
    options([], default_config_files=[])
    url = f"http://127.0.0.1:{server.http.server_address[1]}"
    cinder = cinder_api.connect(options, {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": url}, 30)
    assert cinder.pools("vmware1") == {"gold": 1}


def test_without_keystone_cinder_is_not_asked() -> None:
    options = cfg.ConfigOpts()
    options([], default_config_files=[])
    with pytest.raises(errors.ConfigError, match="no Glance credentials are configured"):
        cinder_api.connect(options, {}, 5)
    options.set_override("auth_strategy", "noauth")
    with pytest.raises(errors.ConfigError, match="without Keystone"):
        cinder_api.connect(options, {}, 5)
