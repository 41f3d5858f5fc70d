"""Cinder's object classes must be registered before modules with annotations of them are loaded."""

from __future__ import annotations

from cinder import objects

objects.register_all()
