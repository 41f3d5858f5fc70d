"""Green or native threads for Cinder: a choice since release 29, before that eventlet only.

Import it before any module of Cinder.
"""

from __future__ import annotations

import sys
from typing import Any

monkey_patch: Any
try:
    from cinder import monkey_patch
except ImportError:
    monkey_patch = None

CHOICES = ("eventlet", "threading") if monkey_patch else ("eventlet",)


def choose(threads: str) -> None:
    """Patch the standard library, or check that it is not patched, like Cinder's services.

    :param threads: one of :data:`CHOICES`; any other value ends the process
    """
    if threads not in CHOICES:
        sys.exit(f"this Cinder runs on {' or '.join(CHOICES)}, not on {threads}")
    if monkey_patch:
        monkey_patch.patch(threads)
    else:
        import eventlet

        eventlet.monkey_patch()


def is_green() -> bool:
    """Whether the process runs on eventlet."""
    return not monkey_patch or bool(monkey_patch.is_patched())
