"""Glance without Cinder: its endpoint, the user of its requests, and the meaning of its answers."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from cinder import service_auth
from cinder.common import config as cinder_config
from glanceclient import exc as glance_exc
from glanceclient.common.utils import RequestIdProxy
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import noauth, session
from oslo_config import cfg
from urllib3.exceptions import IncompleteRead

from tests.unit.cache.conftest import image
from vmdk_cache.cli import cinder_options
from vmdk_cache.cli.glance import Glance, connect
from vmdk_cache.cli.identity import (
    ENVIRONMENT,
    GLANCE_USER,
    SERVICE_USER,
    Identity,
    cinder_has_its_own,
    identity,
)
from vmdk_cache.errors import (
    ConfigError,
    ImageCorrupt,
    ImageDataMissing,
    SourceRefused,
    SourceUnavailable,
    VmdkCacheError,
)

IMAGE = image(os_hash_value=None)
ID = IMAGE.id
USER = {
    "OS_AUTH_URL": "http://keystone.example/v3",
    "OS_USERNAME": "operator",
    "OS_PASSWORD": "secret-3141",
    "OS_PROJECT_NAME": "admin",
    "OS_USER_DOMAIN_NAME": "Default",
    "OS_PROJECT_DOMAIN_NAME": "Default",
}
SECTION = """
[service_user]
auth_type = password
auth_url = http://keystone.example/v3
username = cinder
password = secret-2718
user_domain_name = Default
project_name = service
project_domain_name = Default
"""
GLANCE = SECTION.replace("service_user", "glance")


@pytest.fixture
def options(tmp_path: pathlib.Path) -> Callable[[str], cfg.ConfigOpts]:
    def read(text: str = "") -> cfg.ConfigOpts:
        path = tmp_path / "cinder.conf"
        path.write_text(f"[DEFAULT]\n{text}")
        made = cfg.ConfigOpts()
        made(["--config-file", str(path)], project="cinder")
        return made

    return read


def test_options_of_cinders_have_cinders_types_and_defaults() -> None:
    from cinder.image import image_utils  # before glance, which needs it half loaded

    cinder_glance = image_utils.glance
    theirs = {o.name: o for o in (*cinder_config.auth_opts, *cinder_config.image_opts)}
    theirs |= {o.name: o for o in (*cinder_glance.image_opts, *cinder_glance.glance_opts)}
    theirs |= {o.name: o for o in service_auth.service_user_opts}
    for mine in (
        *cinder_options.GLANCE,
        *cinder_options.GLANCE_SECTION,
        *cinder_options.SERVICE_USER,
    ):
        assert type(mine) is type(theirs[mine.name]), mine.name
        assert mine.default == theirs[mine.name].default, mine.name


# -- the user


def test_the_environment_comes_before_the_section(
    options: Callable[[str], cfg.ConfigOpts],
) -> None:
    assert identity(options(SECTION), USER).source == ENVIRONMENT
    assert identity(options(SECTION), {"OS_USERNAME": "alone"}).source == SERVICE_USER
    assert identity(options(SECTION + GLANCE), {}).source == GLANCE_USER
    assert identity(options(GLANCE), {}).source == GLANCE_USER
    assert identity(options("auth_strategy = noauth\n"), {}).source is None


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("", False),
        (SECTION, False),
        (f"{SECTION}send_service_user_token = true\n", True),
        (GLANCE, True),
        ("auth_strategy = noauth\n", True),
    ],
    ids=["nothing", "token not sent", "token sent", "[glance]", "noauth"],
)
def test_cinder_has_its_own_credentials_if_it_uses_those_that_are_configured(
    options: Callable[[str], cfg.ConfigOpts], text: str, has: bool
) -> None:
    assert cinder_has_its_own(options(text)) is has


def test_an_invalid_value_about_cinders_credentials_names_its_option(
    options: Callable[[str], cfg.ConfigOpts],
) -> None:
    with pytest.raises(ConfigError, match=r"^\[service_user\] send_service_user_token is invalid"):
        cinder_has_its_own(options(f"{SECTION}send_service_user_token = maybe\n"))


def test_the_section_of_the_user_sets_the_trusted_ca(
    options: Callable[[str], cfg.ConfigOpts],
) -> None:
    text = f"{SECTION}cafile = /service.pem\n{GLANCE}cafile = /glance.pem\n"
    assert identity(options(text), {}).session.verify == "/glance.pem"
    assert identity(options(f"{SECTION}cafile = /service.pem\n"), {}).session.verify == (
        "/service.pem"
    )


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ("", {}, "OS_AUTH_URL"),
        ("", {"OS_AUTH_TYPE": "password"}, "OS_AUTH_URL"),
        ("", {"OS_AUTH_TYPE": "magic"}, "magic"),
        ("[service_user]\nauth_type = password\n", {}, "[service_user] auth_url"),
        ("[service_user]\nauth_type = magic\n", {}, "[service_user] auth_type"),
        ("[glance]\nauth_type = password\n", {}, "[glance] auth_url"),
        ("glance_request_timeout = long\nauth_strategy = noauth\n", {}, "cinder.conf"),
    ],
)
def test_missing_options_are_named_with_their_place(
    options: Callable[[str], cfg.ConfigOpts], text: str, environ: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError) as wrong:
        identity(options(text), environ)
    assert says in str(wrong.value)


@pytest.mark.parametrize(
    ("text", "environ", "verify"),
    [
        ("", {}, True),
        ("glance_ca_certificates_file = /ca.pem\n", {}, "/ca.pem"),
        ("glance_ca_certificates_file = /ca.pem\n", {"OS_CACERT": "/mine.pem"}, "/mine.pem"),
        ("glance_ca_certificates_file = /ca.pem\nglance_api_insecure = true\n", {}, False),
    ],
)
def test_certificates_are_trusted_as_cinder_does(
    options: Callable[[str], cfg.ConfigOpts],
    text: str,
    environ: dict[str, str],
    verify: str | bool,
) -> None:
    assert identity(options(text), {**USER, **environ}).session.verify == verify


# -- the endpoint


def test_servers_are_read_as_cinder_reads_them(
    options: Callable[[str], cfg.ConfigOpts],
) -> None:
    text = "auth_strategy = noauth\nglance_api_servers = one:9292,https://two/image/v2/,http://three/\n"
    clients = connect(options(text), {})._clients
    urls = [client.http_client.endpoint_override for client in clients]
    assert urls == ["http://one:9292", "https://two/image", "http://three"]


def test_without_servers_the_catalog_is_asked_as_cinder_asks_it(
    options: Callable[[str], cfg.ConfigOpts],
) -> None:
    text = "glance_catalog_info = image:glance:internalURL\n[glance]\nregion_name = two\n"
    (client,) = connect(options(text), USER)._clients
    asked = client.http_client
    assert asked.endpoint_override is None
    assert (asked.service_type, asked.interface, asked.region_name) == (
        "image",
        "internalURL",
        "two",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("auth_strategy = noauth\n", "glance_api_servers"),
        ("auth_strategy = noauth\nglance_catalog_info = image\n", "glance_catalog_info"),
    ],
)
def test_a_glance_that_cannot_be_found_names_the_option(
    options: Callable[[str], cfg.ConfigOpts], text: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        connect(options(text), {})


# -- the meaning of answers


class Images:
    """The ``images`` of a client: one answer, or one error, to all requests.

    :ivar data_answer: the answer to a request for data, if it differs
    """

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.data_answer = answer
        self.asked: list[Any] = []

    def _answered(self, answer: Any, *asked: Any) -> Any:
        self.asked.append(asked)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def get(self, image_id: str) -> Any:
        return self._answered(self._answer, image_id)

    def list(self, filters: dict[str, str], page_size: int) -> Iterator[Any]:
        return iter(self._answered(self._answer, filters))

    def data(self, image_id: str, do_checksum: bool) -> Any:
        return self._answered(self.data_answer, image_id, do_checksum)


class Client:
    def __init__(self, answer: Any) -> None:
        self.images = Images(answer)


class Body:
    """python-glanceclient's IterableWithLength."""

    def __init__(self, iterable: Iterator[bytes]) -> None:
        self.iterable = iterable


def glance(*answers: Any, source: str | None = None) -> Glance:
    asking = Identity(session.Session(), noauth.NoAuth(), source)
    return Glance([Client(answer) for answer in answers], asking)


TROUBLE = [
    (ksa_exc.Unauthorized("no"), SourceUnavailable, "401"),
    (glance_exc.HTTPUnauthorized("no"), SourceUnavailable, "401"),
    (glance_exc.HTTPForbidden("no"), SourceUnavailable, "403"),
    (ksa_exc.EndpointNotFound(), ConfigError, "glance_catalog_info"),
    (ksa_exc.EmptyCatalog(), ConfigError, "glance_api_servers"),
    (ksa_exc.SSLError("bad"), SourceUnavailable, "glance_ca_certificates_file"),
    (requests.exceptions.SSLError("bad"), SourceUnavailable, "glance_ca_certificates_file"),
    (glance_exc.CommunicationError("gone"), SourceUnavailable, "glance_api_servers"),
    (ksa_exc.ConnectFailure("gone"), SourceUnavailable, "Keystone"),
    (ksa_exc.ConnectTimeout("gone"), SourceUnavailable, "Keystone"),
    (glance_exc.HTTPServiceUnavailable("<html><b>busy</b>\n</html>"), SourceUnavailable, "busy"),
    (ksa_exc.InternalServerError("broken"), SourceUnavailable, "broken"),
    (requests.ConnectionError("reset"), SourceUnavailable, "reset"),
]


@pytest.mark.parametrize(("failure", "kind", "says"), TROUBLE, ids=lambda v: type(v).__name__)
def test_every_trouble_is_one_line_that_names_the_option(
    failure: Exception, kind: type[VmdkCacheError], says: str
) -> None:
    asks: list[Callable[[Glance], object]] = [
        lambda one: one.find("debian"),
        lambda one: one.describe(ID),
        lambda one: one.marked(),
        lambda one: list(one.open(IMAGE)),
    ]
    for ask in asks:
        with pytest.raises(kind) as told:
            ask(glance(failure))
        assert says in str(told.value)
        assert "<" not in str(told.value) and "\n" not in str(told.value)


def test_only_a_user_who_sees_every_image_knows_that_one_is_deleted() -> None:
    gone = glance_exc.HTTPNotFound("gone")
    assert glance(gone).describe(ID) is None
    with pytest.raises(SourceUnavailable, match="admin role"):
        glance(gone, source=ENVIRONMENT).describe(ID)


def test_the_next_server_is_asked_only_when_one_is_away() -> None:
    shown = {"id": ID, "name": "debian", "vmware_disktype": "sparse"}
    found = glance(glance_exc.CommunicationError("gone"), shown).find(ID)
    assert [(each.name, each.disk_type) for each in found] == [("debian", "sparse")]
    with pytest.raises(SourceUnavailable, match="403"):
        glance(glance_exc.HTTPForbidden("no"), shown).find(ID)


def test_marked_images_are_those_that_say_yes() -> None:
    listed = [
        {"id": "b", "image_cache_warm": "yes"},
        {"id": "c"},
        {"id": "a", "image_cache_warm": "1"},
    ]
    assert [each.id for each in glance(listed).marked()] == ["a", "b"]


@pytest.mark.parametrize(
    ("known", "checked"),
    [({"os_hash_value": "0"}, False), ({"checksum": "0"}, False), ({}, True)],
    ids=["hash", "checksum", "neither"],
)
def test_bytes_hashed_by_the_reader_are_not_hashed_by_the_client(
    known: dict[str, str], checked: bool
) -> None:
    client = Client(Body(iter([b"ab", b"cd"])))
    asking = Identity(session.Session(), noauth.NoAuth(), None)
    assert b"".join(Glance([client], asking).open(dataclasses.replace(IMAGE, **known))) == b"abcd"
    assert client.images.asked == [(ID, checked)]


@pytest.mark.parametrize(
    "answer",
    [None, RequestIdProxy((None, requests.Response()))],
    ids=["None", "None in the client's wrapper"],
)
def test_an_image_without_data_is_reported_as_one(answer: Any) -> None:
    with pytest.raises(ImageDataMissing, match=ID):
        list(glance(answer).open(IMAGE))


@pytest.mark.parametrize(
    ("shown", "kind"),
    [({"id": ID}, ImageDataMissing), (glance_exc.HTTPNotFound("gone"), SourceRefused)],
    ids=["an image without a location", "an image of others"],
)
def test_an_image_whose_data_is_not_found(shown: Any, kind: type[VmdkCacheError]) -> None:
    client = Client(shown)
    client.images.data_answer = glance_exc.HTTPNotFound("gone")
    asking = Identity(session.Session(), noauth.NoAuth(), None)
    with pytest.raises(SourceUnavailable) as told:
        list(Glance([client], asking).open(IMAGE))
    assert type(told.value) is kind


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (IncompleteRead(2, 2), ImageDataMissing),
        (ConnectionResetError("reset"), SourceUnavailable),
    ],
)
def test_a_short_answer_is_distinguished_from_a_broken_connection(
    cause: Exception, kind: type[VmdkCacheError]
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"ab"
        raise requests.exceptions.ChunkedEncodingError("broken") from cause

    with pytest.raises(SourceUnavailable) as told:
        list(glance(Body(chunks())).open(IMAGE))
    assert type(told.value) is kind


def test_bytes_that_only_the_client_can_check_are_corrupt_and_not_broken_off() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"ab"
        raise OSError(32, "Corrupt image download. Hash was 1 expected 0")

    with pytest.raises(ImageCorrupt, match=ID):
        list(glance(Body(chunks())).open(IMAGE))


def test_a_reader_that_stops_early_closes_the_stream() -> None:
    closed = []

    def chunks() -> Iterator[bytes]:
        try:
            yield b"ab"
            yield b"cd"
        finally:
            closed.append(True)

    stream = glance(Body(chunks())).open(IMAGE)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert closed == [True]
