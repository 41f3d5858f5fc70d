"""Any answer of Glance, or of a proxy before it: the command line reports it without a traceback.

Only the body, the status and the headers are made up; that bytes of an image are not what Glance
promised is tests/fuzz/test_vmdk.py's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import strategies as st
from oslo_config import cfg

from tests.fakes.web_server import Handler, web_server
from tests.fuzz.tally import fuzz
from tests.fuzz.test_texts import ID, JSON_VALUES, PROPERTIES, TEXTS
from vmdk_cache.cli import cinder_options, glance
from vmdk_cache.errors import ConfigError, ImageCorrupt, SourceUnavailable
from vmdk_cache.image import Image
from vmdk_cache.vmdk.read_ahead import ReadAhead


class Answer:
    """The next answer of the server."""

    status = 200
    kind = "application/json"
    body = b""


class Answers(Handler):
    def do_GET(self) -> None:
        self.send_response(Answer.status)
        if Answer.status // 100 == 3:
            self.send_header("Location", self.path)
        self.send_header("Content-Type", Answer.kind)
        self.send_header("Content-Length", str(len(Answer.body)))
        self.end_headers()
        self.wfile.write(Answer.body)


@pytest.fixture(scope="module")
def client() -> Iterator[glance.Glance]:
    with web_server(Answers) as url:
        options = cfg.ConfigOpts()
        options([], default_config_files=[])
        options.register_opts(cinder_options.GLANCE)
        options.set_override("auth_strategy", "noauth")
        options.set_override("glance_api_servers", [url])
        yield glance.connect(options, {})


IMAGES = st.dictionaries(
    st.sampled_from(["id", "name", "schema", "self", "file", "tags", *PROPERTIES]),
    JSON_VALUES,
)
BODIES = st.one_of(
    IMAGES,
    IMAGES.map(lambda image: {"id": ID, "name": "n", "disk_format": "vmdk", **image}),
    st.lists(IMAGES, max_size=3).map(lambda images: {"images": images}),
    st.lists(IMAGES, max_size=3).map(lambda images: {"images": [{"id": ID, **i} for i in images]}),
    JSON_VALUES.map(lambda value: {"images": value}),
    JSON_VALUES,
).map(lambda value: json.dumps(value).encode())


def find(client: glance.Glance, name_or_id: str) -> None:
    for found in client.find(name_or_id):
        assert found.name.isprintable(), "it would steer the operator's terminal"


WAYS: list[Callable[[glance.Glance], object]] = [
    lambda client: find(client, ID),
    lambda client: find(client, "debian"),
    lambda client: client.describe(ID),
    lambda client: client.marked(),
    lambda client: b"".join(ReadAhead(Image(ID, 0, "vmdk", "bare"), client)),
]


@fuzz(
    150,
    body=st.one_of(
        BODIES, BODIES, st.binary(max_size=60), TEXTS.map(lambda t: t.encode("utf-8", "replace"))
    ),
    status=st.sampled_from(
        [200, 200, 200, 200, 204, 206, 300, 302, 400, 401, 403, 404, 409, 500, 503]
    ),
    kind=st.sampled_from(["application/json"] * 3 + ["text/html", "application/octet-stream", ""]),
)
def test_whatever_glance_answers_is_told_as_glances_fault(
    client: glance.Glance, body: bytes, status: int, kind: str
) -> None:
    Answer.body, Answer.status, Answer.kind = body, status, kind
    if status == 204:
        Answer.body = b""
    for way in WAYS:
        try:
            way(client)
        except (SourceUnavailable, ImageCorrupt, ConfigError) as failure:
            assert len(str(failure)) < 2000
