"""Names of managed entities, as vCenter writes them and as people do.

vSphere API reference, ManagedEntity.name: ``%``, ``/`` and ``\\`` are escaped as %25, %2f, %5c.
"""

from __future__ import annotations


def escape_name(name: str) -> str:
    """``name`` as vCenter takes it."""
    return name.replace("%", "%25").replace("/", "%2f").replace("\\", "%5c")


def unescape_name(name: str) -> str:
    """What :func:`escape_name` was given."""
    for escaped, plain in (("%2f", "/"), ("%2F", "/"), ("%5c", "\\"), ("%5C", "\\")):
        name = name.replace(escaped, plain)
    return name.replace("%25", "%")
