"""Checks that vCenter made the disk that was uploaded, before it becomes a template.

A broken upload can leave a disk of another capacity (4096000 bytes) or without contents, and
vCenter reports success: SAP's nova fork met both in production (docs/assumptions.rst, A47).
"""

from __future__ import annotations

from collections.abc import Sequence

from vmdk_cache import errors

MIB = 1 << 20
#: In a smaller upload, the few files that every VM has can be larger than its disk.
SIZEABLE_BYTES = 64 * MIB


def declared_capacity(image_bytes: int) -> int:
    """The capacity to ask for: at least the image's own, in whole MiB. Every kind of datastore
    supports that; vVols support nothing finer."""
    return -(-image_bytes // MIB) * MIB


def check_capacity(disks_bytes: Sequence[int], image_bytes: int) -> None:
    """Check the disks of the imported VM.

    :param disks_bytes: capacity of each disk
    :param image_bytes: virtual size of the image
    :raises TaskFailed: there is not exactly one, or its size differs from the image's
    """
    if len(disks_bytes) != 1:
        raise errors.TaskFailed(f"vCenter made {len(disks_bytes)} disks of the import, not one")
    (made_bytes,) = disks_bytes
    if not 0 <= made_bytes - image_bytes < MIB:
        raise errors.TaskFailed(
            f"vCenter made a disk of {made_bytes} bytes of an image of {image_bytes}"
        )


def seems_empty(committed_bytes: int, uploaded_bytes: int) -> bool:
    """Whether the VM uses next to no space, compared with the upload.

    The upload counts, not the image's file: a raw image of zeros is large, and little of it is
    sent. Arrays that deduplicate store less than was sent, but not less than a hundredth of it.
    """
    return uploaded_bytes >= SIZEABLE_BYTES and committed_bytes < uploaded_bytes // 100
