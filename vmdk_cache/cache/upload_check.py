"""Whether what vCenter made of an upload is what was sent; decided before it becomes a template.

A broken upload can end as a disk of another capacity (4096000 bytes) or without contents, and
vCenter calls it a success: both were seen in production by SAP's nova fork (docs/assumptions.rst,
A47).
"""

from __future__ import annotations

from collections.abc import Sequence

from vmdk_cache import errors

MIB = 1 << 20
#: The few files that every VM has can be larger than the disk of a smaller upload.
SIZEABLE_BYTES = 64 * MIB


def declared_capacity(image_bytes: int) -> int:
    """The capacity to ask for: whole MiB, which every kind of datastore can have (vVols in nothing
    less), and never below the image's own."""
    return -(-image_bytes // MIB) * MIB


def check_capacity(disks_bytes: Sequence[int], image_bytes: int) -> None:
    """Check the disks of the imported VM.

    :param disks_bytes: capacity of each disk
    :param image_bytes: virtual size of the image
    :raises TaskFailed: there is not exactly one, or it has not the size of the image
    """
    if len(disks_bytes) != 1:
        raise errors.TaskFailed(f"vCenter made {len(disks_bytes)} disks of the import, not one")
    (made_bytes,) = disks_bytes
    if not 0 <= made_bytes - image_bytes < MIB:
        raise errors.TaskFailed(
            f"vCenter made a disk of {made_bytes} bytes of an image of {image_bytes}"
        )


def seems_empty(committed_bytes: int, uploaded_bytes: int) -> bool:
    """Whether the VM takes next to nothing of what was sent.

    The upload is what counts, not the image's file: a raw image of zeros is large, and little is
    sent of it. Arrays that deduplicate take less than what was sent, but not a hundredth of it.
    """
    return uploaded_bytes >= SIZEABLE_BYTES and committed_bytes < uploaded_bytes // 100
