"""What is wrong with one entry of the cache's folder, and whether it may be removed."""

from __future__ import annotations

import dataclasses

import pytest

from tests.fakes.entries import entry
from vmdk_cache.cache.entry import CacheEntry, Owner, Phase
from vmdk_cache.cache.findings import LEFT_ALONE, Kind, diagnose

IMAGE_ID = "11111111-2222-3333-4444-555555555555"
READY = entry("vm-1", image=IMAGE_ID)
IMPORTING = entry("vm-1", image=IMAGE_ID, phase=Phase.IMPORTING)
#: Names of ours without a record: with the tag that only we give, and as the prior art gave them.
TAGGED = entry("vm-1", image=IMAGE_ID, phase=Phase.ADOPTED)
PLAIN = dataclasses.replace(TAGGED, name=f"b1_image_cache ({IMAGE_ID})")
GOLDEN = dataclasses.replace(TAGGED, name="golden image", phase=Phase.FOREIGN)


def changed(found: CacheEntry, **changes: object) -> CacheEntry:
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def of_backend(backend: str) -> CacheEntry:
    assert READY.record is not None
    record = dataclasses.replace(READY.record, backend=backend)
    return changed(READY, record=record, phase=Phase.FOREIGN)


@pytest.mark.parametrize("found", [READY, PLAIN], ids=["ready", "of the prior art"])
def test_nothing_is_wrong_with_a_template_of_ours(found: CacheEntry) -> None:
    assert diagnose(found, "b1") is None


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (IMPORTING, Kind.HALF_IMPORTED),
        (changed(READY, accessible=False), Kind.FILES_LOST),
        (changed(IMPORTING, accessible=False), Kind.FILES_LOST),
        (changed(READY, has_config=False), Kind.WITHOUT_CONFIG),
        (changed(READY, phase=Phase.ALTERED), Kind.ALTERED),
        (TAGGED, Kind.RECORD_BROKEN),
    ],
)
def test_our_broken_templates_may_be_removed(found: CacheEntry, kind: Kind) -> None:
    diagnosis = diagnose(found, "b1")
    assert diagnosis is not None
    assert (diagnosis.kind, diagnosis.ours) == (kind, True)
    assert kind not in LEFT_ALONE


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (GOLDEN, Kind.FOREIGN),
        (changed(READY, phase=Phase.FOREIGN, was_ready=True), Kind.FOREIGN),
        (changed(TAGGED, phase=Phase.FOREIGN), Kind.FOREIGN),
        (changed(READY, owner=Owner.ANOTHER, deployment="there"), Kind.OTHER_DEPLOYMENT),
        (changed(READY, owner=Owner.UNKNOWN), Kind.OWNER_UNKNOWN),
        (of_backend("b2"), Kind.OTHER_BACKEND),
        (changed(GOLDEN, has_config=False), Kind.WITHOUT_CONFIG),
    ],
)
def test_foreign_vms_are_reported_and_stay(found: CacheEntry, kind: Kind) -> None:
    diagnosis = diagnose(found, "b1", "here")
    assert diagnosis is not None
    assert (diagnosis.kind, diagnosis.ours) == (kind, False)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (IMPORTING, True),
        (changed(READY, has_config=False), True),
        (changed(GOLDEN, has_config=False), False),
        (changed(READY, phase=Phase.ALTERED), False),
        (changed(READY, accessible=False), False),
    ],
)
def test_an_entry_may_be_an_import_while_it_is_incomplete(
    found: CacheEntry, expected: bool
) -> None:
    diagnosis = diagnose(found, "b1")
    assert diagnosis is not None
    assert diagnosis.may_be_an_import is expected
