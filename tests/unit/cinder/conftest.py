"""Cinder's object classes must be registered before the modules that annotate with them load."""

from __future__ import annotations

from cinder import objects

objects.register_all()
