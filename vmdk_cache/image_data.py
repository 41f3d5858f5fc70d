"""What Glance's client gives for an image whose data is missing, or is cut short.

Glance answers 204 where its store has no file for the image. Of a file that is too short it sends
what there is, below a Content-Length of the image's size, and closes the connection.
"""

from __future__ import annotations

import http.client
from typing import Any

from vmdk_cache.errors import ImageDataMissing


def missing(image: str) -> ImageDataMissing:
    """The error for an image whose file is not in Glance's store.

    :param image: as messages name it
    """
    return ImageDataMissing(f"Glance has no data of {image}: its file is not in Glance's store")


def cut_short(image: str, how: str) -> ImageDataMissing:
    """The error for an image of which Glance sent less than it promised (:func:`ended_early`).

    :param how: what Glance's client says of it
    """
    return ImageDataMissing(
        f"Glance ended the data of {image} early: the image's file is cut short in Glance's store, "
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
