"""Clients of cache.py on eventlet's green threads, as in cinder-volume.

Importing this module makes the whole process green, so import it only in a fresh process.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

from benchmarks.clients.cache import create_volumes, import_image  # noqa: E402  # after the patch

__all__ = ["create_volumes", "import_image"]
