"""Translates errors of Glance's client, Keystone's client and HTTP, for Cinder and the CLI.

Glance answers 204 if its store has no file for the image. If the file is too short, Glance
announces the image's size as Content-Length, sends the whole file and closes the connection.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from glanceclient import exc as glance_exc
from keystoneauth1 import exceptions as ksa_exc
from urllib3 import exceptions as urllib3_exc

from vmdk_cache.errors import (
    ConfigError,
    ImageCorrupt,
    ImageDataMissing,
    SourceRefused,
    SourceUnavailable,
)
from vmdk_cache.quoting import sentence

#: Start of the text of python-glanceclient's integrity error.
_HASH_DIFFERS = "Corrupt image download"
_WHERE = "see glance_api_servers of cinder.conf"


@contextlib.contextmanager
def translated(what: str, user: str, *, is_stream: bool = False) -> Iterator[None]:
    """Translate errors of the block into errors of this package, each raised from its cause.

    :param what: the subject of the request, for messages: ``image 4f0c``, ``its images``
    :param user: the user of the request, for messages
    :param is_stream: the block reads the bytes of an image
    :raises SourceRefused: Glance does not show it to this user
    :raises ImageDataMissing: the stream ended before the image did
    :raises ImageCorrupt: the bytes differ from a hash that only Glance's client knows
    :raises SourceUnavailable: the request failed, or the stream broke off
    :raises ConfigError: the service catalog has no Glance
    """
    try:
        yield
    except (ksa_exc.Unauthorized, glance_exc.HTTPUnauthorized) as failure:
        raise SourceRefused(f"Keystone or Glance refuses {what} to {user} (401)") from failure
    except glance_exc.HTTPForbidden as failure:
        raise SourceRefused(f"Glance refuses {what} to {user} (403)") from failure
    except glance_exc.HTTPNotFound as failure:
        raise SourceRefused(f"Glance does not show {what} to {user} (404)") from failure
    except (ksa_exc.EndpointNotFound, ksa_exc.EmptyCatalog) as failure:
        raise ConfigError(
            f"the service catalog has no Glance that fits glance_catalog_info and [glance] "
            f"region_name of cinder.conf, and glance_api_servers is not set: {sentence(failure)}"
        ) from failure
    except (ksa_exc.SSLError, requests.exceptions.SSLError) as failure:
        raise SourceUnavailable(
            f"the certificate of Keystone or Glance is not trusted: see OS_CACERT, or "
            f"glance_ca_certificates_file of cinder.conf: {plain(failure)}"
        ) from failure
    except (glance_exc.CommunicationError, glance_exc.InvalidEndpoint) as failure:
        raise SourceUnavailable(
            f"Glance cannot be reached for {what}, {_WHERE}: {plain(failure)}"
        ) from failure
    except ksa_exc.ConnectionError as failure:
        raise SourceUnavailable(
            f"Keystone or Glance cannot be reached for {what} as {user}: {plain(failure)}"
        ) from failure
    except (
        ksa_exc.ClientException,
        glance_exc.BaseException,
        glance_exc.ClientException,
    ) as failure:
        raise SourceUnavailable(f"Glance did not give {what}: {plain(failure)}") from failure
    except (OSError, urllib3_exc.HTTPError) as failure:  # requests' errors are OSErrors too
        if is_stream and ended_early(failure):
            raise cut_short(what, plain(failure)) from failure
        if getattr(failure, "errno", None) == errno.EPIPE and _HASH_DIFFERS in str(failure):
            raise ImageCorrupt(f"{what}: {plain(failure)}") from failure
        raise SourceUnavailable(
            f"Glance's answer for {what} broke off: {plain(failure)}"
        ) from failure
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as failure:
        # The client assumes that the answer is complete and comes from Glance.
        raise SourceUnavailable(
            f"the answer for {what} does not look like one of Glance, {_WHERE}: "
            f"{sentence(repr(failure))}"
        ) from failure


def missing(what: str) -> ImageDataMissing:
    """The error for an image whose file is not in Glance's store."""
    return ImageDataMissing(f"Glance has no data of {what}: its file is not in Glance's store")


def cut_short(what: str, how: str) -> ImageDataMissing:
    """The error for an image of which Glance sent less than it announced (:func:`ended_early`).

    :param how: text of the client's error
    """
    return ImageDataMissing(
        f"Glance ended the data of {what} early: the image's file is cut short in Glance's store, "
        f"or Glance was stopped while it sent it: {how}"
    )


def has_none(body: Any) -> bool:
    """Whether ``body`` is None, which means that there is no data. The client wraps it to add a
    request id (``glanceclient.common.utils.RequestIdProxy``)."""
    return getattr(body, "__wrapped__", body) is None


def ended_early(failure: BaseException) -> bool:
    """Whether Glance closed the connection properly before the last byte.

    It does so if the file is too short, or if it is stopped while it sends. A connection that was
    reset or timed out does not count.
    """
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, http.client.IncompleteRead):  # urllib3's is a subclass
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def plain(failure: Exception) -> str:
    """The text of the error in one line, without the HTML of Glance or a proxy.

    If no server answered, only the server and the reason: the client and its libraries repeat the
    request's URL several times.
    """
    request: Any = None
    cause: BaseException | None = failure
    while cause is not None:
        request = getattr(cause, "request", None) or request
        reason = _reason(cause)
        if reason and request is not None:
            url = urlsplit(str(request.url))
            return sentence(f"{url.scheme}://{url.netloc.rpartition('@')[2]}: {reason}")
        cause = cause.__cause__ or cause.__context__
    return sentence(re.sub(r"<[^<>]*>", " ", str(failure) or repr(failure)))


def _reason(cause: BaseException) -> str:
    """Why a server did not answer; empty if ``cause`` does not say it."""
    if isinstance(cause, requests.exceptions.Timeout):
        return "no answer in time"
    if isinstance(cause, ConnectionRefusedError | socket.gaierror):
        return str(cause.strerror)
    return ""
