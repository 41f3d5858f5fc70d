"""What identifies a cached copy, and the names of templates, replicas, folders and locks."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Collection
from dataclasses import dataclass

from vmdk_cache.image import Image

#: They keep names within vCenter's limit of 80 characters (vSphere API reference,
#: ManagedEntity.name).
_BACKEND_LENGTH = 15
_FOLDER_BACKEND_LENGTH = 58  # within "Project (..._image_cache)"
_IMAGE_ID_LENGTH = 36
_REPLICA = r"-[a-z2-7]{4}"
#: Glance takes an image id in capital letters as well (glance/api/v2/images.py, "pattern" of "id").
_NAME = re.compile(
    r"(?P<backend>.+)_image_cache "
    r"\((?P<image>[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\)"
    rf"( (?P<tag>[0-9a-f]{{8}})(?P<replica>{_REPLICA})?)?"
)


@dataclass(frozen=True)
class CacheKey:
    """Two requests with equal keys are served from one template.

    :ivar image_id: Glance image id
    :ivar fingerprint: digest of all that Glance says about the image's content; a changed image
        has another fingerprint and so another template, while clones of the old one finish
    :ivar adapter_type: virtual SCSI or IDE adapter of the disk: clones inherit it
    """

    image_id: str
    fingerprint: str
    adapter_type: str

    @classmethod
    def of(cls, image: Image, adapter_type: str) -> CacheKey:
        return cls(image.id, fingerprint(image), adapter_type)

    @property
    def tag(self) -> str:
        """Eight hex digits that distinguish the templates of one image.

        They also distinguish ids that differ only in case, because vCenter and datastores may
        ignore case in names.
        """
        parts = [self.fingerprint, self.adapter_type]
        if self.image_id != self.image_id.lower():
            parts.append(self.image_id)
        return _digest(*parts)[:8]


def fingerprint(image: Image) -> str:
    """Digest of the image's content, as far as Glance states it, and of its format.

    The time of the last update counts only when Glance has no digest of the data: renaming or
    tagging an image does not change its disk.
    """
    if image.os_hash_value:
        content = f"{image.os_hash_algo}:{image.os_hash_value}"
    elif image.checksum:
        content = f"md5:{image.checksum}"
    else:
        content = f"updated:{image.updated_at}"
    return _digest(
        content, image.size_bytes, image.disk_format, image.container_format, image.disk_type
    )[:32]


def folder_name(backend: str) -> str:
    """Name of the cache's project folder, without upstream's ``Project (...)`` around it."""
    return f"{_short(backend, _FOLDER_BACKEND_LENGTH)}_image_cache"


def template_name(backend: str, key: CacheKey, deployment: str = "") -> str:
    """Name of the template VM, and so of its datastore directory: at most 80 characters.

    :param deployment: whose template it is; two deployments never give the same name
    """
    image = _short(key.image_id, _IMAGE_ID_LENGTH)
    return f"{name_prefix(backend)}{image}) {_tag(key, deployment)}"


def replica_name(backend: str, key: CacheKey, seed: str, deployment: str = "") -> str:
    """Name of a further copy of the key's template; four letters of a digest distinguish copies.

    :param seed: what the digest is of: moref of the copy's datastore
    """
    digest = hashlib.sha256(seed.encode()).digest()
    suffix = base64.b32encode(digest).decode()[:4].lower()
    return f"{template_name(backend, key, deployment)}-{suffix}"


def free_replica_name(
    backend: str, key: CacheKey, seed: str, taken: Collection[str], deployment: str = ""
) -> str:
    """The name of :func:`replica_name`, or a free one made in the same way.

    A replica keeps its name when an administrator moves it to another datastore, so a new replica
    on its first datastore finds the name taken. The same happens if the digests of two datastores
    begin alike.

    :param taken: names of the key's other copies
    """
    name, others = replica_name(backend, key, seed, deployment), itertools.count(1)
    while name in taken:
        name = replica_name(backend, key, f"{seed} {next(others)}", deployment)
    return name


def is_copy_name(name: str, backend: str, key: CacheKey, deployment: str = "") -> bool:
    """Whether a VM of that name is the deployment's template of the key or a replica of it."""
    first = re.escape(template_name(backend, key, deployment))
    return re.fullmatch(f"{first}({_REPLICA})?", name) is not None


def name_prefix(backend: str) -> str:
    """The prefix of the names of all templates of ``backend``, and of their directories."""
    return f"{_short(backend, _BACKEND_LENGTH)}_image_cache ("


def has_tag(name: str) -> bool:
    """Whether only we give a template this name: names of sapcc/cinder's cache have no tag."""
    found = _NAME.fullmatch(name)
    return found is not None and found["tag"] is not None


def image_id_in(name: str, backend: str | None = None) -> str | None:
    """The Glance image id in the name of a template, ours or of sapcc/cinder's cache.

    :param backend: the template's backend; None for any
    :returns: None if it is not the name of a template
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    if backend is not None and found["backend"] not in (backend, _short(backend, _BACKEND_LENGTH)):
        return None
    return found["image"]


def lock_name(name: str) -> str:
    """The lock that a process holds while it makes or deletes the copy of that name.

    Each replica, and each template without a tag, has its own. So other copies of a key can be made
    and deleted at the same time.
    """
    found = _NAME.fullmatch(name)
    if found is None or not found["tag"]:
        return name
    return f"{found['image']}-{found['tag']}{found['replica'] or ''}"


def _tag(key: CacheKey, deployment: str) -> str:
    """The key's tag in that deployment; '' for templates of versions that knew no deployments."""
    return _digest(deployment, key.tag)[:8] if deployment else key.tag


def _short(text: str, length: int) -> str:
    """``text`` without characters that vCenter would escape, shortened so that it stays unique."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", text)
    if plain == text and len(plain) <= length:
        return plain
    return f"{plain[: length - 7]}-{_digest(text)[:6]}"


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
