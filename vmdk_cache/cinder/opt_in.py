"""Whether a volume requests the cache: pure decisions on texts that users and operators write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oslo_utils import strutils

from vmdk_cache import conf

#: Key of the volume's metadata and of the image's properties.
KEY = "use_image_cache"
#: Extra spec of the volume's type.
EXTRA_SPEC = "vmware:use_image_cache"


@dataclass(frozen=True)
class Unclear:
    """A request for the cache whose value is neither true nor false.

    :ivar where: the place of the value
    """

    where: str
    value: str


def asked(
    ways: frozenset[str],
    *,
    metadata: Mapping[str, object],
    extra_spec: str | None,
    image_properties: Mapping[str, object],
) -> bool | Unclear:
    """Whether the volume requests the cache.

    The volume's own metadata takes precedence: if it says no, the type, the image and the operator
    do not count; if it is unclear, so is the result.

    :param ways: ``image_cache_opt_in``
    :param extra_spec: :data:`EXTRA_SPEC` of the volume's type
    """
    own = _read(f"{KEY} of the volume", metadata.get(KEY))
    if own is False:
        return False
    others = [
        conf.OPT_IN_ALWAYS in ways,
        conf.OPT_IN_BY_VOLUME_TYPE in ways
        and _read(f"{EXTRA_SPEC} of the volume type", _plain(extra_spec)),
        conf.OPT_IN_BY_IMAGE in ways and _read(f"{KEY} of the image", image_properties.get(KEY)),
    ]
    by_metadata = conf.OPT_IN_BY_METADATA in ways
    if isinstance(own, Unclear):
        return own if by_metadata or any(others) else False
    if (by_metadata and own) or True in others:
        return True
    return next((other for other in others if isinstance(other, Unclear)), False)


def _plain(extra_spec: str | None) -> str | None:
    """The value without the operator of the scheduler's filters, as in ``<is> true``."""
    return extra_spec.removeprefix("<is>") if extra_spec else extra_spec


def _read(where: str, value: object) -> bool | Unclear | None:
    """The value, parsed as Cinder parses booleans; None if it is unset."""
    if value is None:
        return None
    try:
        return bool(strutils.bool_from_string(value, strict=True))
    except ValueError:
        return Unclear(where, str(value))
