"""The images of a cache as one short text, for the report to the scheduler.

``openstack volume backend pool list --long`` prints a backend's whole report, so each image is
DIGEST_CHARACTERS long there instead of the 36 of its Glance id. The weigher compares digests. A
wrong match takes an image whose digest equals that of one in the cache: with 250 images, one
look-up in 270 million. It would cost a preference for a backend, and no volume.

Drivers before this form reported the ids themselves (:data:`IDS_KEY`); the weigher reads both.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

#: What the driver reports if the cache is enabled: the digests of the images that can be cloned,
#: used last first, separated by spaces.
KEY = "cached_images"
#: A list of Glance ids, from drivers that are not upgraded.
IDS_KEY = "cached_image_ids"
DIGEST_CHARACTERS = 6


def as_text(image_ids: Iterable[str]) -> str:
    """The digests of these images, in the same order."""
    return " ".join(map(_digest, image_ids))


def holds(capabilities: Mapping[str, Any], image_id: str) -> bool:
    """Whether a backend's or pool's report names the image; values of other types name none."""
    text = capabilities.get(KEY)
    if isinstance(text, str):
        return _digest(image_id) in text.split()
    ids = capabilities.get(IDS_KEY)
    return isinstance(ids, list) and image_id in ids


def _digest(image_id: str) -> str:
    """Six bits to a character. Not a part of the id: ids are not always random."""
    whole = hashlib.sha256(image_id.encode(errors="surrogatepass")).digest()
    return base64.urlsafe_b64encode(whole)[:DIGEST_CHARACTERS].decode()
