"""Who asked for the cache: pure decisions on texts that users and operators write."""

from __future__ import annotations

from collections.abc import Mapping

from oslo_utils import strutils

from vmdk_cache import conf

#: Key of the volume's metadata and of the image's properties.
KEY = "use_image_cache"
#: Extra spec of the volume's type.
EXTRA_SPEC = "vmware:use_image_cache"


def wants_cache(
    ways: frozenset[str],
    *,
    metadata: Mapping[str, str],
    extra_spec: str | None,
    image_properties: Mapping[str, object],
) -> bool:
    """Whether the volume is to be made through the cache.

    A volume whose own metadata says no is left alone even where type, image or operator say yes.

    :param ways: ``image_cache_opt_in``
    :param extra_spec: :data:`EXTRA_SPEC` of the volume's type
    """
    if _says(metadata.get(KEY), "no"):
        return False
    return (
        conf.OPT_IN_ALWAYS in ways
        or (conf.OPT_IN_BY_METADATA in ways and _says(metadata.get(KEY), "yes"))
        or (conf.OPT_IN_BY_VOLUME_TYPE in ways and _says(_plain(extra_spec), "yes"))
        or (conf.OPT_IN_BY_IMAGE in ways and _says(image_properties.get(KEY), "yes"))
    )


def _plain(extra_spec: str | None) -> str | None:
    """The value without the operator that the scheduler's filters take: ``<is> true``."""
    return extra_spec.removeprefix("<is>") if extra_spec else extra_spec


def _says(value: object, answer: str) -> bool:
    """Read as Cinder reads booleans; anything else says neither yes nor no."""
    if value is None:
        return False
    try:
        return strutils.bool_from_string(value, strict=True) is (answer == "yes")
    except ValueError:
        return False
