"""The error for an image that is not damaged but that this package does not read.

Cinder's own driver may read it, so the volume falls back to the plain import.
"""

from __future__ import annotations

from typing import Final

from vmdk_cache.errors import NotCacheable

UNUSUAL: Final = "unusual-format"
"""The reason in NotCacheable."""


def unusual(what: str) -> NotCacheable:
    """Return the error to raise.

    :param what: a sentence that says what is unusual and what to do
    """
    return NotCacheable(UNUSUAL, what)
