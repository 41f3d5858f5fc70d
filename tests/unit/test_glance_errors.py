"""What an error of Glance's client, of Keystone or of HTTP means, and what its text says."""

from __future__ import annotations

import errno
import http.client
import socket

import pytest
import requests
import urllib3.exceptions
from glanceclient import exc as glance_exc
from keystoneauth1 import exceptions as ksa_exc

from vmdk_cache import errors
from vmdk_cache.glance_errors import cut_short, ended_early, missing, plain, translated

WHAT, USER = "image 4f0c", "the user of the volume"


def raised(failure: BaseException, *, is_stream: bool = False) -> BaseException:
    """The error that results from it."""
    with pytest.raises(BaseException) as caught, translated(WHAT, USER, is_stream=is_stream):
        raise failure
    return caught.value


def closed_early() -> BaseException:
    """As requests raises it: the reason is the cause of the cause."""
    try:
        try:
            raise http.client.IncompleteRead(b"", 7)
        except http.client.IncompleteRead as short:
            raise urllib3.exceptions.ProtocolError("Connection broken", short) from short
    except urllib3.exceptions.ProtocolError as broken:
        failure = requests.exceptions.ChunkedEncodingError(broken)
        failure.__cause__ = broken
        return failure


@pytest.mark.parametrize(
    ("failure", "kind", "said"),
    [
        (ksa_exc.Unauthorized("no"), errors.SourceRefused, "401"),
        (glance_exc.HTTPUnauthorized("no"), errors.SourceRefused, "401"),
        (glance_exc.HTTPForbidden("no"), errors.SourceRefused, "403"),
        (glance_exc.HTTPNotFound("no"), errors.SourceRefused, "404"),
        (ksa_exc.EndpointNotFound("no"), errors.ConfigError, "glance_api_servers"),
        (ksa_exc.EmptyCatalog("no"), errors.ConfigError, "glance_catalog_info"),
        (ksa_exc.SSLError("no"), errors.SourceUnavailable, "glance_ca_certificates_file"),
        (requests.exceptions.SSLError("no"), errors.SourceUnavailable, "OS_CACERT"),
        (glance_exc.CommunicationError("no"), errors.SourceUnavailable, "glance_api_servers"),
        (ksa_exc.ConnectFailure("no"), errors.SourceUnavailable, "Keystone or Glance"),
        (ksa_exc.InternalServerError("no"), errors.SourceUnavailable, "did not give"),
        (glance_exc.HTTPServiceUnavailable("no"), errors.SourceUnavailable, "did not give"),
        (requests.ConnectionError("no"), errors.SourceUnavailable, "broke off"),
        (TimeoutError("no"), errors.SourceUnavailable, "broke off"),
        (KeyError("no"), errors.SourceUnavailable, "does not look like one of Glance"),
        (AttributeError("no"), errors.SourceUnavailable, "does not look like one of Glance"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_failure_has_its_error_whose_text_says_what_to_look_at(
    failure: Exception, kind: type[Exception], said: str
) -> None:
    error = raised(failure)
    assert type(error) is kind
    assert said in str(error)
    assert error.__cause__ is failure


@pytest.mark.parametrize(
    "failure", [errors.VolumeDeleted("gone"), KeyboardInterrupt(), AssertionError("a defect")]
)
def test_other_errors_pass_unchanged(failure: BaseException) -> None:
    assert raised(failure) is failure


def test_a_block_that_succeeds_is_left_alone() -> None:
    with translated(WHAT, USER):
        pass


def test_the_text_names_the_request_and_its_user() -> None:
    text = str(raised(glance_exc.HTTPForbidden("no")))
    assert WHAT in text and USER in text


def test_a_stream_that_is_closed_before_its_end_is_data_that_is_missing() -> None:
    """A retry is useless: Glance's file is too short."""
    error = raised(closed_early(), is_stream=True)
    assert type(error) is errors.ImageDataMissing
    assert "cut short" in str(error)


def test_an_answer_that_is_no_stream_only_broke_off() -> None:
    assert type(raised(closed_early())) is errors.SourceUnavailable


@pytest.mark.parametrize("failure", [ConnectionResetError("reset"), TimeoutError("timed out")])
def test_a_stream_that_was_reset_may_be_whole_the_next_time(failure: Exception) -> None:
    assert type(raised(failure, is_stream=True)) is errors.SourceUnavailable


def test_an_early_end_is_found_anywhere_in_the_chain_of_causes() -> None:
    assert ended_early(closed_early())
    assert ended_early(http.client.IncompleteRead(b""))
    assert not ended_early(ConnectionResetError("reset"))


def test_bytes_that_differ_from_the_clients_hash_are_corrupt() -> None:
    """python-glanceclient raises EPIPE for it, as for a broken pipe."""
    failure = OSError(errno.EPIPE, "Corrupt image download. Hash was 1 expected 2")
    assert type(raised(failure, is_stream=True)) is errors.ImageCorrupt
    broken = OSError(errno.EPIPE, "Broken pipe")
    assert type(raised(broken, is_stream=True)) is errors.SourceUnavailable


def test_a_page_of_html_becomes_one_line_without_tags() -> None:
    text = plain(Exception("<html><b>busy</b>\n</html>\x1b[2J"))
    assert "busy" in text
    assert "<" not in text and "\n" not in text and "\x1b" not in text


def test_an_error_without_a_text_shows_its_class() -> None:
    assert "ConnectTimeout" in plain(requests.exceptions.ConnectTimeout())


def test_missing_data_is_distinguished_from_truncated_data() -> None:
    assert "no data of image 4f0c" in str(missing(WHAT))
    assert "ended the data of image 4f0c early" in str(cut_short(WHAT, "7 bytes less"))


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not"),
        (requests.exceptions.ReadTimeout("read"), "no answer in time"),
    ],
)
def test_a_server_that_did_not_answer_is_named_once(cause: Exception, says: str) -> None:
    request = requests.Request("GET", "http://user:s3cret@glance:9292/v2/images?limit=1").prepare()
    failure = glance_exc.CommunicationError("Error finding address for http://glance: " * 9)
    failure.__cause__ = requests.exceptions.ConnectionError("Max retries", request=request)
    failure.__cause__.__cause__ = cause
    assert plain(failure).startswith(f"http://glance:9292: {says}")
