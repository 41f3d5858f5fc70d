"""Errors of Glance's client become ours, and Cinder requests images as itself."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from cinder import exception, service_auth
from cinder.image import glance as cinder_glance
from glanceclient import exc as glance_exc
from glanceclient.common import utils as glance_utils
from keystoneauth1 import loading, plugin
from oslo_config import cfg
from urllib3 import exceptions as urllib3_exc

from vmdk_cache.cinder import upstream
from vmdk_cache.cinder.image_service import GlanceCatalog, GlanceImageSource
from vmdk_cache.errors import ImageCorrupt, ImageDataMissing, SourceRefused, SourceUnavailable
from vmdk_cache.image import Image

IMAGE = Image(id="abc", size_bytes=4, disk_format="vmdk", container_format="bare")


class Body:
    """A download's body: chunks, then an optional error; records whether it was closed."""

    def __init__(self, *chunks: bytes, error: Exception | None = None) -> None:
        self._rest = iter(chunks)
        self._error = error
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        for chunk in self._rest:
            return chunk
        if self._error:
            raise self._error
        raise StopIteration

    def close(self) -> None:
        self.closed = True


class ImageService:
    """Cinder's image service with one image."""

    def __init__(self, body: Any = None, error: Exception | None = None) -> None:
        self._body = body
        self._error = error

    def download(self, context: object, image_id: str) -> Any:
        assert image_id == IMAGE.id
        if self._error:
            raise self._error
        return self._body


def test_the_bytes_come_unchanged_and_the_body_is_closed() -> None:
    body = Body(b"ab", b"cd")
    assert b"".join(GlanceImageSource(None, ImageService(body)).open(IMAGE)) == b"abcd"
    assert body.closed


def test_a_reader_that_stops_early_closes_the_connection() -> None:
    body = Body(b"ab", b"cd")
    chunks = GlanceImageSource(None, ImageService(body)).open(IMAGE)
    assert next(chunks) == b"ab"
    chunks.close()  # type: ignore[attr-defined]
    assert body.closed


@pytest.mark.parametrize(
    "error",
    [
        exception.ImageNotFound(image_id="abc"),
        exception.ImageNotAuthorized(image_id="abc"),
        exception.GlanceConnectionFailed(reason="refused"),
        exception.ImageDownloadFailed(image_href="abc", reason="no data"),
        glance_exc.CommunicationError("down"),
        glance_exc.HTTPServiceUnavailable("busy"),
        glance_exc.HTTPNotFound("gone"),
        glance_exc.HTTPForbidden("not yours"),
        requests.ConnectionError("reset"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refused_download_is_a_source_that_is_unavailable(error: Exception) -> None:
    with pytest.raises(SourceUnavailable, match="abc") as caught:
        list(GlanceImageSource(None, ImageService(error=error)).open(IMAGE))
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "only_this_user"),
    [
        (exception.ImageNotAuthorized(image_id="abc"), True),
        (exception.ImageNotFound(image_id="abc"), True),
        (glance_exc.HTTPUnauthorized("token expired"), True),
        (glance_exc.HTTPForbidden("not yours"), True),
        (glance_exc.HTTPNotFound("not visible"), True),
        (exception.GlanceConnectionFailed(reason="refused"), False),
        (glance_exc.HTTPServiceUnavailable("busy"), False),
        (requests.ConnectionError("reset"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refused_token_is_distinguished_from_an_unreachable_glance(
    error: Exception, only_this_user: bool
) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        list(GlanceImageSource(None, ImageService(error=error)).open(IMAGE))
    assert isinstance(caught.value, SourceRefused) == only_this_user
    assert caught.value.retryable == (not only_this_user)


@pytest.mark.parametrize(
    "error",
    [
        requests.exceptions.ChunkedEncodingError("IncompleteRead(2 bytes read, 2 more expected)"),
        requests.ReadTimeout("timed out"),
        OSError(errno.EPIPE, "Broken pipe"),
        OSError(errno.EIO, "Input/output error"),
    ],
    ids=str,
)
def test_a_stream_that_breaks_off_is_not_taken_for_a_corrupt_image(error: Exception) -> None:
    body = Body(b"ab", error=error)
    with pytest.raises(SourceUnavailable, match="abc"):
        list(GlanceImageSource(None, ImageService(body)).open(IMAGE))
    assert body.closed


def test_bytes_that_do_not_match_glances_hash_are_corrupt() -> None:

    checked = glance_utils.serious_integrity_iter(iter([b"ab"]), hashlib.sha256(), "0" * 64)
    with pytest.raises(ImageCorrupt, match=r"abc.*expected 0000"):
        list(GlanceImageSource(None, ImageService(checked)).open(IMAGE))


def test_bytes_that_do_not_match_glances_md5_are_corrupt() -> None:
    checked = glance_utils.integrity_iter(iter([b"ab"]), "0" * 32)
    with pytest.raises(ImageCorrupt, match="abc"):
        list(GlanceImageSource(None, ImageService(checked)).open(IMAGE))


class GlanceClient:
    """Cinder's wrapper of Glance's client, with one image; records how its data was requested."""

    def __init__(self, body: Body | None) -> None:
        self._body = body
        self.asked: list[dict[str, Any]] = []

    def call(self, context: object, method: str, image_id: str, **options: Any) -> Body | None:
        assert (method, image_id) == ("data", IMAGE.id)
        self.asked.append(options)
        return self._body


@pytest.mark.parametrize(
    ("known", "options"),
    [
        ({"os_hash_algo": "sha512", "os_hash_value": "0" * 128}, [{"do_checksum": False}]),
        ({"checksum": "0" * 32}, [{"do_checksum": False}]),
        ({}, [{}]),
    ],
    ids=["hash", "checksum", "neither"],
)
def test_bytes_hashed_by_the_reader_are_not_hashed_by_the_client(
    known: dict[str, str], options: list[dict[str, bool]]
) -> None:
    client = GlanceClient(Body(b"ab", b"cd"))
    source = GlanceImageSource(None, cinder_glance.GlanceImageService(client))
    chunks = source.open(dataclasses.replace(IMAGE, **known))  # type: ignore[arg-type]
    assert b"".join(chunks) == b"abcd"
    assert client.asked == options


@pytest.mark.parametrize("checksum", [None, "0" * 32], ids=["Cinder's service", "our call"])
@pytest.mark.parametrize(
    "body",
    [None, glance_utils.RequestIdProxy((None, requests.Response()))],
    ids=["None", "None in the client's wrapper"],
)
def test_an_image_without_data_is_reported_as_one(body: Any, checksum: str | None) -> None:
    image = dataclasses.replace(IMAGE, checksum=checksum)
    service = cinder_glance.GlanceImageService(GlanceClient(body))
    with pytest.raises(ImageDataMissing, match="its file is not in Glance's store"):
        list(GlanceImageSource(None, service).open(image))


class NoLocation(ImageService):
    """An image that Glance may or may not show, and whose data it does not find."""

    def __init__(self, shown: bool) -> None:
        super().__init__(error=exception.ImageNotFound(image_id=IMAGE.id))
        self._shown = shown

    def show(self, context: object, image_id: str) -> dict[str, str]:
        assert image_id == IMAGE.id
        if self._shown:
            return {"id": image_id}
        raise exception.ImageNotFound(image_id=image_id)


def test_an_image_that_glance_shows_but_does_not_find_has_no_data() -> None:
    with pytest.raises(ImageDataMissing):
        list(GlanceImageSource(None, NoLocation(shown=True)).open(IMAGE))


def test_an_image_that_glance_does_not_show_is_refused() -> None:
    with pytest.raises(SourceRefused):
        list(GlanceImageSource(None, NoLocation(shown=False)).open(IMAGE))


def cut_short() -> requests.exceptions.ChunkedEncodingError:
    """The error of requests for an answer that is shorter than its Content-Length."""
    try:
        try:
            raise urllib3_exc.IncompleteRead(5, 7)
        except urllib3_exc.IncompleteRead as short:
            raise urllib3_exc.ProtocolError("Connection broken", short) from short
    except urllib3_exc.ProtocolError as broken:
        return requests_raises(broken)


def requests_raises(broken: Exception) -> requests.exceptions.ChunkedEncodingError:
    failure = requests.exceptions.ChunkedEncodingError(broken)
    failure.__context__ = broken
    return failure


def test_a_short_answer_is_distinguished_from_a_broken_connection() -> None:
    with pytest.raises(ImageDataMissing, match="cut short"):
        list(GlanceImageSource(None, ImageService(Body(b"ab", error=cut_short()))).open(IMAGE))
    reset = requests_raises(urllib3_exc.ProtocolError("Connection broken", ConnectionResetError()))
    with pytest.raises(SourceUnavailable) as caught:
        list(GlanceImageSource(None, ImageService(Body(b"ab", error=reset))).open(IMAGE))
    assert not isinstance(caught.value, ImageDataMissing)


def test_a_fault_of_the_reader_is_not_translated() -> None:
    chunks = GlanceImageSource(None, ImageService(Body(b"ab", b"cd"))).open(IMAGE)
    next(chunks)
    with pytest.raises(ZeroDivisionError):
        chunks.throw(ZeroDivisionError())  # type: ignore[attr-defined]


class Shows:
    """Cinder's image service with one image, or with an error as its answer.

    :ivar contexts: of each request
    """

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self._answer = answer
        self.contexts: list[Any] = []

    def detail(self, context: Any, filters: dict[str, str]) -> list[dict[str, Any]]:
        """The image twice: unchanged, and marked to be kept warm."""
        assert filters == {"status": "active", "disk_format": "vmdk"}
        marked = {"properties": {"image_cache_warm": "True"}}
        return [self.show(context, "abc"), {**self.show(context, "def"), **marked}]

    def download(self, context: Any, image_id: str) -> Iterator[bytes]:
        assert self.show(context, image_id)
        return iter([b"ab", b"cd"])

    def show(self, context: Any, image_id: str) -> dict[str, Any]:
        self.contexts.append(context)
        if isinstance(self._answer, Exception):
            raise self._answer
        return {"id": image_id, **self._answer}


class Access:
    def __init__(self, roles: tuple[str, ...]) -> None:
        self.role_names = list(roles)


class ServiceUser(plugin.BaseAuthPlugin):
    """The user of [service_user], logged in."""

    def __init__(self, *roles: str) -> None:
        super().__init__()
        self._roles = roles

    def get_token(self, session: Any, **kwargs: Any) -> str:
        return "token"

    def get_endpoint(self, session: Any, **kwargs: Any) -> str:
        return "http://glance.example:9292"

    def get_access(self, session: Any, **kwargs: Any) -> Access:
        return Access(self._roles)


@pytest.fixture
def noauth() -> Iterator[None]:
    cfg.CONF.set_override("auth_strategy", "noauth")
    yield
    cfg.CONF.clear_override("auth_strategy")


@pytest.fixture
def keystone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ServiceUser]]:
    """Keystone in use, as by default; a function that logs in a service user with these roles."""
    option, section = "send_service_user_token", "service_user"

    def log_in(*roles: str) -> ServiceUser:
        cfg.CONF.set_override(option, True, section)
        user = ServiceUser(*roles)
        monkeypatch.setattr(service_auth, "_SERVICE_AUTH", user)
        monkeypatch.setattr(service_auth, "_SERVICE_SESSION", None)
        return user

    yield log_in
    cfg.CONF.clear_override(option, section)


@pytest.mark.usefixtures("noauth")
def test_the_catalog_describes_whosever_image_it_is() -> None:
    service = Shows({"size": 4, "status": "active"})
    found = GlanceCatalog(service).describe("abc")
    assert found is not None
    assert (found.id, found.size_bytes, found.status) == ("abc", 4, "active")
    (context,) = service.contexts
    assert context.is_admin


@pytest.mark.usefixtures("noauth")
def test_a_deleted_image_is_no_error() -> None:
    gone = Shows(exception.ImageNotFound(image_id="abc"))
    assert GlanceCatalog(gone).describe("abc") is None


@pytest.mark.usefixtures("noauth")
@pytest.mark.parametrize(
    "trouble",
    [
        exception.ImageNotAuthorized(image_id="abc"),
        exception.GlanceConnectionFailed(reason="refused"),
        glance_exc.HTTPServiceUnavailable("busy"),
        requests.ConnectionError("reset"),
        StopIteration(),  # no endpoint in the service catalog
        TypeError("none"),
    ],
    ids=lambda trouble: type(trouble).__name__,
)
def test_no_trouble_with_glance_makes_an_image_look_deleted(trouble: Exception) -> None:
    with pytest.raises(SourceUnavailable, match="abc"):
        GlanceCatalog(Shows(trouble)).describe("abc")


@pytest.mark.usefixtures("keystone")
def test_without_a_user_of_its_own_cinder_asks_nothing_and_says_what_to_set() -> None:
    service = Shows(exception.ImageNotFound(image_id="abc"))
    with pytest.raises(SourceUnavailable, match="send_service_user_token"):
        GlanceCatalog(service).describe("abc")
    assert service.contexts == []


def test_the_service_user_asks_with_its_token_and_finds_glance_in_its_catalog(
    keystone: Callable[..., ServiceUser],
) -> None:
    user = keystone("service", "admin")
    service = Shows({})
    assert GlanceCatalog(service).describe("abc") is not None
    (context,) = service.contexts
    wrapped = service_auth.get_auth_plugin(context)
    assert wrapped.get_headers(None)["X-Auth-Token"] == "token"
    assert context.get_auth_plugin() is user
    (server, use_ssl) = next(iter(cinder_glance.get_api_servers(context)))
    assert (server, use_ssl) == ("glance.example:9292", False)


@pytest.fixture
def glance_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ServiceUser]]:
    """A function that logs in the user of [glance] with these roles. keystoneauth's own loader
    creates plugins that need a Keystone, so this fixture replaces it."""
    upstream.own_users()  # registers the options

    def log_in(*roles: str) -> ServiceUser:
        user = ServiceUser(*roles)
        monkeypatch.setattr(loading, "load_auth_from_conf_options", lambda *_, **__: user)
        cfg.CONF.set_override("auth_type", "password", upstream.GLANCE)
        upstream._glance_user.cache_clear()
        return user

    yield log_in
    cfg.CONF.clear_override("auth_type", upstream.GLANCE)
    upstream._glance_user.cache_clear()


def test_the_user_of_the_glance_section_asks(glance_user: Callable[..., ServiceUser]) -> None:
    user = glance_user("admin")
    service = Shows({})
    assert GlanceCatalog(service).describe("abc") is not None
    (context,) = service.contexts
    assert context.get_auth_plugin() is user
    gone = Shows(exception.ImageNotFound(image_id="abc"))
    assert GlanceCatalog(gone).describe("abc") is None


@pytest.mark.parametrize(
    ("glance_role", "service_role", "asks"),
    [
        ("admin", "admin", "glance"),
        ("service", "admin", "service_user"),
        ("admin", "service", "glance"),
        ("service", "service", "glance"),
    ],
)
def test_of_two_users_the_first_one_asks_that_is_an_admin(
    keystone: Callable[..., ServiceUser],
    glance_user: Callable[..., ServiceUser],
    glance_role: str,
    service_role: str,
    asks: str,
) -> None:
    users = {"glance": glance_user(glance_role), "service_user": keystone(service_role)}
    service = Shows({})
    GlanceCatalog(service).describe("abc")
    (context,) = service.contexts
    assert context.get_auth_plugin() is users[asks]


def test_an_image_that_is_perhaps_only_private_does_not_look_deleted(
    keystone: Callable[..., ServiceUser],
) -> None:
    gone = Shows(exception.ImageNotFound(image_id="abc"))
    keystone("admin")
    assert GlanceCatalog(gone).describe("abc") is None
    keystone("service")
    with pytest.raises(SourceUnavailable, match="admin role"):
        GlanceCatalog(gone).describe("abc")


def test_marked_images_are_listed_and_read_as_cinder_itself(
    keystone: Callable[..., ServiceUser],
) -> None:
    user = keystone("admin")
    service = Shows({"size": 4})
    catalog = GlanceCatalog(service)
    (marked,) = catalog.marked()
    assert (marked.id, marked.keep_warm) == ("def", True)
    assert b"".join(catalog.open(marked)) == b"abcd"
    assert all(context.get_auth_plugin() is user for context in service.contexts)


@pytest.mark.usefixtures("noauth")
def test_no_trouble_with_glance_makes_marks_look_gone() -> None:
    with pytest.raises(SourceUnavailable, match="list images"):
        GlanceCatalog(Shows(exception.GlanceConnectionFailed(reason="refused"))).marked()
