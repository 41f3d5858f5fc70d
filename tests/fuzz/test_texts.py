"""Texts that users, administrators and Glance write: properties, metadata, names, records.

None of them may keep a cache from listing what it has, or a volume from being made plainly.
"""

from __future__ import annotations

import datetime
import json

from hypothesis import strategies as st

from tests.fakes.vcenter.managed_entity import NAME_LIMIT, check_name
from tests.fuzz.tally import fuzz
from vmdk_cache import conf
from vmdk_cache.cache import admission
from vmdk_cache.cache.entry import CacheEntry, Phase, classify
from vmdk_cache.cache.eviction_plan import expires_at, plan_eviction
from vmdk_cache.cache.findings import diagnose
from vmdk_cache.cache.key import (
    CacheKey,
    folder_name,
    image_id_in,
    is_copy_name,
    lock_name,
    name_prefix,
    replica_name,
    template_name,
)
from vmdk_cache.cache.record import Notes, Record
from vmdk_cache.cinder.opt_in import asked
from vmdk_cache.cli.columns import Time
from vmdk_cache.conf import Settings
from vmdk_cache.errors import ImageFormatError, NotCacheable
from vmdk_cache.image import describe
from vmdk_cache.locks import ToozLocks
from vmdk_cache.periodic.backend_report import report_of
from vmdk_cache.vim.reference import escape_name, unescape_name

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
ID = "11111111-2222-4333-8444-555555555555"
ODD = st.sampled_from(
    ["", " ", "\0", "\n", "../..", "/etc/passwd", "a/b", "a\\b", "%2f", "%2F%5c%25", "%252f", "%",
     "[ds] x", "\x1b]0;x\x07", "\ud800", "\U0010ffff", "é" * 80, "x" * 80, "x" * 81, "x" * 5000,
     "true", "True", "yes", "no", "-1", "9" * 5000, "1e400", "nan", "٣", ID, ID.upper(),
     "b1_image_cache (" + ID + ")", "b1_image_cache (" + ID + ") 01234567", "vmdk", "ova", "md5",
     "sha512", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00"]
)  # fmt: skip
TEXTS = st.one_of(ODD, st.text(st.characters(), max_size=100))
#: Of a backend's name: files are read as UTF-8, so no half characters.
SECTIONS = TEXTS.filter(lambda text: text.isprintable() and "\ud800" not in text)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.binary(max_size=9)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
PROPERTIES = (
    "size", "virtual_size", "disk_format", "container_format", "checksum", "os_hash_algo",
    "os_hash_value", "updated_at", "status", "properties", "vmware_disktype",
    "vmware_adaptertype", "use_image_cache", "image_cache_warm",
)  # fmt: skip
META = st.dictionaries(st.sampled_from(PROPERTIES), VALUES)
TIMES = st.datetimes(timezones=st.sampled_from(
    [datetime.UTC, *(datetime.timezone(datetime.timedelta(hours=h)) for h in (-14, 14))]
))  # fmt: skip


@fuzz(600, meta=META, image_id=TEXTS, nested=st.booleans(), backend=SECTIONS)
def test_whatever_glance_says_of_an_image_it_has_a_name_a_lock_and_a_judgement(
    meta: dict[str, object], image_id: str, nested: bool, backend: str
) -> None:
    if nested:
        meta = {**meta, "properties": {key: meta[key] for key in meta if "_" in key}}
    image = describe({**meta, "id": image_id})
    assert image.size_bytes >= 0 and image.virtual_size_bytes >= 0
    try:
        admission.check_image(image, Settings(enabled=True))
    except (NotCacheable, ImageFormatError):
        pass
    key = CacheKey.of(image, image.adapter_type or "lsiLogic")
    check_names(backend, key)


def check_names(backend: str, key: CacheKey) -> None:
    """Names are vCenter's as they are, within its limit, and never another directory."""
    for name in (
        template_name(backend, key),
        replica_name(backend, key, "datastore-1"),
        f"Project ({folder_name(backend)})",
    ):
        assert check_name(name) == name == escape_name(name)
        assert len(name) <= NAME_LIMIT and name.isprintable()
        assert not {"/", "\\", "[", "]"} & set(name)
    assert template_name(backend, key).startswith(name_prefix(backend))
    assert is_copy_name(template_name(backend, key), backend, key)
    asked: list[str] = []

    def get_lock(name: str) -> object:
        asked.append(name)
        raise OSError("no lock in this test")

    for name in (lock_name(template_name(backend, key)), lock_name(backend)):
        try:
            with ToozLocks(get_lock, backend).hold(name, 0):
                raise AssertionError("there are no locks")
        except Exception as failure:
            assert "no lock in this test" in str(failure)
    assert all(one.isascii() and one.isprintable() and "/" not in one for one in asked)


@fuzz(400, name=TEXTS)
def test_a_name_comes_back_from_vcenter_as_it_was(name: str) -> None:
    assert unescape_name(escape_name(name)) == name
    assert not {"/", "\\"} & set(escape_name(name))


@fuzz(300, front=TEXTS, backend=SECTIONS, tail=TEXTS)
def test_a_strangers_name_is_never_taken_for_ours(front: str, backend: str, tail: str) -> None:
    name = f"{front}_image_cache ({ID}){tail}"
    for taken in (name, front, backend, f"{backend}{name}"):
        if image_id_in(taken, backend or "b") is not None:
            assert taken.startswith((f"{backend}_image_cache (", name_prefix(backend)))


@fuzz(
    400,
    ways=st.frozensets(st.sampled_from(["metadata", "volume_type", "image"])),
    metadata=st.dictionaries(st.just("use_image_cache"), VALUES),
    extra_spec=st.none() | TEXTS | TEXTS.map(lambda text: f"<is> {text}"),
    properties=st.dictionaries(st.just("use_image_cache"), VALUES),
)
def test_who_does_not_clearly_ask_for_the_cache_is_not_given_it(
    ways: frozenset[str],
    metadata: dict[str, str],
    extra_spec: str | None,
    properties: dict[str, object],
) -> None:
    answer = asked(ways, metadata=metadata, extra_spec=extra_spec, image_properties=properties)
    if answer is True:
        clear = {"1", "t", "true", "on", "y", "yes"}
        said = [*metadata.values(), *properties.values(), (extra_spec or "").removeprefix("<is>")]
        assert ways and clear & {str(text).strip().lower() for text in said}


RECORD = {
    "schema": 2, "deployment": "d", "backend": "b1", "image_id": ID, "fingerprint": "f" * 32,
    "adapter_type": "lsiLogic", "virtual_size_bytes": 1 << 30,
    "created_at": NOW.isoformat(), "owner": "host:1",
}  # fmt: skip
CHANGES = st.dictionaries(
    st.sampled_from([*RECORD, "other"]),
    st.one_of(TEXTS, ODD, TIMES.map(lambda time: time.isoformat()), JSON_VALUES),
)
USES = st.dictionaries(
    st.sampled_from(["used_at", "warmed_at"]),
    JSON_VALUES | TIMES.map(lambda time: time.isoformat()),
).map(json.dumps)


@fuzz(
    600,
    altered=st.lists(st.tuples(CHANGES, USES | TEXTS, TEXTS), min_size=1, max_size=3),
    age_s=st.sampled_from([0, 1, 86400, 1 << 40, 1 << 62]),
    idle=st.booleans(),
)
def test_no_record_altered_by_hand_keeps_the_others_from_being_listed_judged_and_told(
    altered: list[tuple[dict[str, object], str, str]], age_s: int, idle: bool
) -> None:
    expiry = conf.EXPIRY_IDLE if idle else conf.EXPIRY_AGE
    settings = Settings(enabled=True, age_s=age_s, expiry=expiry, max_count=2)
    good = template_name("b1", CacheKey(ID, "f" * 32, "lsiLogic"), "d")
    written = [
        (RECORD, "", good),
        *((RECORD | changes, use, name) for changes, use, name in altered),
    ]
    entries = [
        entry_of(f"vm-{number}", shown, json.dumps(record), use)
        for number, (record, use, name) in enumerate(written)
        for shown in {name, good}
    ]
    plan = plan_eviction(entries, NOW, settings)
    assert {verdict.entry.moref for verdict in plan.remove} <= {entry.moref for entry in entries}
    for verdict in plan.remove:
        assert verdict.entry.phase in (Phase.READY, Phase.ADOPTED), "not ours to remove"
    report_of(entries)
    for entry in entries:
        diagnosis = diagnose(entry, "b1")
        if diagnosis is not None and diagnosis.ours:
            assert image_id_in(entry.name, "b1"), "not ours to remove"
        for time in (entry.created_at, entry.used_at, expires_at(entry, settings)):
            Time(time).human_readable()
            Time(time).machine_readable()


def entry_of(moref: str, name: str, record_text: str, use: str) -> CacheEntry:
    """As adapters/entry_index.py makes it."""
    record, times = Record.from_json(record_text), Notes.from_json(use)
    return CacheEntry(
        moref, name, classify("b1", name, True, 1, record), record, "datastore-1", 2000, 1 << 30,
        used_at=times.used_at, warmed_at=times.warmed_at, made_at=NOW,
    )  # fmt: skip
