"""The verdict on an image that is not damaged, and that this package does not read.

Cinder's own driver may read it, so the volume goes on by the plain import.
"""

from __future__ import annotations

from typing import Final

from vmdk_cache.errors import NotCacheable

UNUSUAL: Final = "unusual-format"
"""Reason of NotCacheable."""


def unusual(what: str) -> NotCacheable:
    """The error to raise.

    :param what: the sentence that says what is unusual, and what to do
    """
    return NotCacheable(UNUSUAL, what)
