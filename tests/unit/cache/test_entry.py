"""What a VM in the cache's folder is, by its name, its record and the notes on it."""

from __future__ import annotations

import dataclasses
import datetime
import json

import pytest

from tests.fakes.entries import NOW, ago, entry
from vmdk_cache.cache.entry import Owner, Phase, classify
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.cache.record import Record

IMAGE_ID = "11111111-2222-3333-4444-555555555555"
RECORD = Record(
    backend="b1",
    key=CacheKey(IMAGE_ID, "f" * 32, "lsiLogic"),
    virtual_size_bytes=1 << 30,
    created_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    owner="host:1",
    deployment="here",
)
LATER = Record.from_json(json.dumps({"schema": 99, "everything": "else"}))
PRIOR_ART = f"b1_image_cache ({IMAGE_ID})"


@pytest.mark.parametrize(
    ("change", "phase"),
    [
        ({}, Phase.READY),
        ({"is_template": False}, Phase.IMPORTING),
        ({"record": None}, Phase.ADOPTED),
        ({"record": None, "name": PRIOR_ART}, Phase.ADOPTED),
        ({"record": None, "name": PRIOR_ART, "is_template": False}, Phase.FOREIGN),
        ({"record": None, "name": PRIOR_ART, "backend": "b2"}, Phase.FOREIGN),
        ({"record": None, "name": "golden image"}, Phase.FOREIGN),
        ({"backend": "b2"}, Phase.FOREIGN),
        ({"name": "renamed"}, Phase.FOREIGN),
        ({"owner": Owner.ANOTHER}, Phase.FOREIGN),
        ({"owner": Owner.ANOTHER, "record": None}, Phase.FOREIGN),
        ({"owner": Owner.UNKNOWN}, Phase.READY),
        ({"was_ready": True}, Phase.READY),
        ({"was_ready": True, "is_template": False}, Phase.FOREIGN),
        ({"has_other_content": True}, Phase.ALTERED),
        ({"has_other_content": True, "is_template": False}, Phase.IMPORTING),
        ({"has_other_content": True, "record": None}, Phase.ADOPTED),
        ({"has_other_content": True, "name": "renamed"}, Phase.FOREIGN),
        ({"has_other_content": True, "disks": 2}, Phase.FOREIGN),
        ({"disks": 0}, Phase.FOREIGN),
        ({"disks": 2}, Phase.FOREIGN),
        ({"record": LATER}, Phase.FOREIGN),
        ({"record": LATER, "is_template": False}, Phase.FOREIGN),
    ],
    ids=str,
)
def test_only_a_complete_template_of_ours_under_its_own_name_is_served(
    change: dict[str, object], phase: Phase
) -> None:
    facts: dict[str, object] = {
        "backend": "b1",
        "name": template_name("b1", RECORD.key, "here"),
        "is_template": True,
        "disks": 1,
        "record": RECORD,
    }
    assert classify(**{**facts, **change}) is phase  # type: ignore[arg-type]


def test_the_record_says_which_image_an_entry_is_of_and_when_it_began() -> None:
    found = dataclasses.replace(entry("vm-1", 100, image=IMAGE_ID), name="renamed", made_at=NOW)
    assert found.image_id == IMAGE_ID
    assert found.created_at == ago(100)


def test_without_a_record_its_name_and_vcenter_say_so() -> None:
    found = entry("vm-1", 100, phase=Phase.ADOPTED, image=IMAGE_ID)
    assert found.record is None
    assert found.image_id == IMAGE_ID
    assert found.created_at == found.made_at == ago(100)
