"""What errors of Glance's client, of Keystone's and of HTTP mean, for Cinder and the command line.

Glance answers 204 where its store has no file for the image. Of a file that is too short it sends
what there is, below a Content-Length of the image's size, and closes the connection.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import re
from collections.abc import Iterator
from typing import Any

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

#: How python-glanceclient begins the text of its integrity error.
_HASH_DIFFERS = "Corrupt image download"
_WHERE = "see glance_api_servers of cinder.conf"


@contextlib.contextmanager
def translated(what: str, user: str, *, is_stream: bool = False) -> Iterator[None]:
    """Raise errors of the block as errors of this package, each from its cause.

    :param what: Glance is asked for, as messages name it: ``image 4f0c``, ``its images``
    :param user: that Glance is asked as, as messages name it
    :param is_stream: the bytes of an image are read in the block
    :raises SourceRefused: Glance does not show it to this user
    :raises ImageDataMissing: the stream ended before the image did
    :raises ImageCorrupt: the bytes differ from a hash that only Glance's client knows
    :raises SourceUnavailable: Glance cannot be asked, or the stream broke off
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
        # The client takes for granted that a Glance answers, and that it answers in full.
        raise SourceUnavailable(
            f"what answered for {what} is no Glance, or a broken one, {_WHERE}: "
            f"{sentence(repr(failure))}"
        ) from failure


def missing(what: str) -> ImageDataMissing:
    """The error for an image whose file is not in Glance's store."""
    return ImageDataMissing(f"Glance has no data of {what}: its file is not in Glance's store")


def cut_short(what: str, how: str) -> ImageDataMissing:
    """The error for an image of which Glance sent less than it promised (:func:`ended_early`).

    :param how: what Glance's client says of it
    """
    return ImageDataMissing(
        f"Glance ended the data of {what} early: the image's file is cut short in Glance's store, "
        f"or Glance was stopped while it sent it: {how}"
    )


def has_none(body: Any) -> bool:
    """Whether ``body`` says that there is no data: None, which the client wraps to add a request id
    (``glanceclient.common.utils.RequestIdProxy``), so that it is not None itself."""
    return getattr(body, "__wrapped__", body) is None


def ended_early(failure: BaseException) -> bool:
    """Whether the answer was closed in good order before its last byte.

    A file that is too short looks so, and so does a Glance that is stopped while it sends. A
    connection that was reset, or timed out, does not.
    """
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, http.client.IncompleteRead):  # urllib3's is a subclass
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def plain(failure: Exception) -> str:
    """Its text in one line: Glance answers in HTML, and a proxy in its place in anything."""
    return sentence(re.sub(r"<[^<>]*>", " ", str(failure) or repr(failure)))
