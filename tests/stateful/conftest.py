"""Profiles: the default one is bounded and the same every time; ``long`` searches on."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("long", print_blob=True)
