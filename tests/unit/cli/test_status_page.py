"""The status page: what it says, and that names from vCenter are text on it and bounded."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import re
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from tests.fakes.entries import GIB, NOW, entry
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.ports import Space
from vmdk_cache.cli.metrics import Look, Measurement, Tally
from vmdk_cache.cli.status_page import DAYS, MOST_ROWS, POLICY, problems, status_page
from vmdk_cache.conf import Settings
from vmdk_cache.ledger import Count, LastPurge
from vmdk_cache.vim.recent_task import ImportProgress

NAMES = {"ds1": "gold", "ds2": "silver"}
SPACES = {"ds1": Space(100 * GIB, 40 * GIB), "ds2": Space(200 * GIB, 80 * GIB)}
TODAY = NOW.date()
VOID = {"meta", "rect"}


class Parser(HTMLParser):
    """Checks that every element is closed in order.

    :ivar tags: with attributes, in order
    """

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID or (tag == "rect" and not self._is_empty()):
            self._open.append(tag)

    def _is_empty(self) -> bool:
        return (self.get_starttag_text() or "").endswith("/>")

    def handle_endtag(self, tag: str) -> None:
        if tag == "rect" and self._is_empty():
            return
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text.append(data)

    def close(self) -> None:
        super().close()
        assert self._open == []


def measured(
    *entries: CacheEntry,
    settings: Settings | None = None,
    away: bool = False,
    has_ledger: bool = True,
    can_be_read: bool = True,
    names: dict[str, str] | None = None,
    spaces: dict[str, Space] | None = None,
) -> Measurement:
    look = Look(entries, SPACES if spaces is None else spaces, names or NAMES)
    tally = Tally([], []) if can_be_read else None
    settings = settings or Settings(enabled=True)
    return Measurement("b1", settings, None if away else look, 0.1, has_ledger, tally)


def named(name: str, datastore: str = "ds1") -> CacheEntry:
    """A virtual machine that is not the cache's."""
    foreign = entry("vm-9", phase=Phase.FOREIGN, datastore=datastore)
    return dataclasses.replace(foreign, name=name)


def day(kind: str, times: int, ago: int = 0, size: int = 0) -> Count:
    return Count(TODAY - datetime.timedelta(days=ago), "b1", "", kind, "", times, 0.0, size)


def html_of(
    of: Measurement, days: Sequence[Count] | None = (), purge: LastPurge | None = None
) -> str:
    counted = {} if days is None else {of.backend: days}
    purges = {} if purge is None else {of.backend: purge}
    return status_page([of], counted, purges, NOW, "1.2", "host<1>")


def parsed(
    of: Measurement, days: Sequence[Count] | None = (), purge: LastPurge | None = None
) -> Parser:
    parser = Parser()
    parser.feed(html_of(of, days, purge))
    parser.close()
    return parser


def text_of(
    of: Measurement, days: Sequence[Count] | None = (), purge: LastPurge | None = None
) -> str:
    return " ".join(" ".join(parsed(of, days, purge).text).split())


# -- what it loads


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = parsed(measured(entry("vm-1")))
    assert not {"script", "img", "link", "iframe", "form"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert attributes.get("href", "/").startswith("/"), tag  # type: ignore[union-attr]


def test_the_policy_trusts_its_style_sheet_alone() -> None:
    found = re.search("<style>(.*?)</style>", html_of(measured()), re.DOTALL)
    assert found
    digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert "default-src 'none'" in POLICY
    assert "url(" not in found[1] and "@import" not in found[1]


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><b onclick=x>', "\x1b]0;x\x07\u202e"]
)
def test_a_name_is_text(name: str) -> None:
    plain = parsed(measured(named("plain")))
    hostile = named(name)
    page = parsed(measured(hostile, names={"ds1": name, "ds2": "silver"}))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert not re.search("[\x00-\x08\x0e-\x1f\u202e]", "".join(page.text))


def test_the_page_is_small_however_large_the_cache_is() -> None:
    long = "n" * 5000
    entries = [named(f"{number} {long}", f"ds{number}") for number in range(3000)]
    page = html_of(measured(*entries, names={f"ds{n}": f"{n} {long}" for n in range(3000)}))
    assert len(page) < 60_000
    assert f"and {3000 - MOST_ROWS} more findings" in page
    assert f"and {3000 - MOST_ROWS} more datastores" in page


# -- what it says


def test_today_is_counted_apart_from_the_days_before() -> None:
    days = [
        day("hit", 7, ago=1, size=GIB),
        day("hit", 5, size=3 * GIB),
        day("miss", 2),
        day("bypass", 1),
        day("import", 9),
    ]
    said = text_of(measured(), days)
    assert "5 hits today 2 misses today 1 bypasses today 3 GiB not downloaded today" in said


def test_a_sparkline_has_a_bar_for_each_day_up_to_today() -> None:
    days = [day("hit", 100, ago=DAYS), day("hit", 8, ago=DAYS - 1), day("hit", 2), day("miss", 9)]
    page = parsed(measured(), days)
    (spark,) = (a for tag, a in page.tags if tag == "svg" and a["class"] == "days")
    numbers = [8, *[0] * (DAYS - 2), 2]
    assert str(spark["aria-label"]).endswith(", ".join(map(str, numbers)))
    bars = [a for tag, a in page.tags if tag == "rect" and a.get("y")]
    assert [float(str(a["height"])) for a in (bars[0], bars[1], bars[-1])] == [28, 1, 7]
    assert f"{TODAY}: 2 hits" in "".join(page.text)


def test_a_day_without_counts_is_a_row_of_zeros() -> None:
    assert "0 hits today 0 misses today 0 bypasses today" in text_of(measured())


@pytest.mark.parametrize(
    ("settings", "said", "kind"),
    [
        (Settings(max_count=4), "2 of 4 (50%)", "ours"),
        (Settings(max_count=2), "2 of 2 (100%)", "near"),
        (Settings(max_count=1), "2 of 1 (200%)", "over"),
        (Settings(max_total_bytes=40 * GIB), "20 GiB of 40 GiB (50%)", "ours"),
        (Settings(max_percent=10), "20 GiB of 30 GiB (67%)", "ours"),
    ],
)
def test_each_limit_has_a_bar(settings: Settings, said: str, kind: str) -> None:
    of = measured(
        entry("vm-1", image="i1"), entry("vm-2", phase=Phase.IMPORTING), settings=settings
    )
    page = parsed(of)
    assert said in text_of(of)
    (bar,) = (place for place, (_, a) in enumerate(page.tags) if a.get("aria-label") == said)
    _, fill = page.tags[bar + 2]
    assert fill["class"] == kind
    percent = float(re.findall(r"([0-9]+)%", said)[-1])
    assert float(str(fill["width"])) == pytest.approx(min(percent, 100), abs=0.5)


def test_without_limits_there_is_no_bar_for_them() -> None:
    said = text_of(measured(entry("vm-1"), settings=Settings(enabled=True)))
    assert "No limit is set." in said and "max_" not in said


def test_a_datastore_shows_templates_others_and_free_space() -> None:
    of = measured(
        entry("vm-1", unshared_gib=10), settings=Settings(min_free_percent=5, enabled=True)
    )
    page = parsed(of)
    said = "templates 10 GiB, free 40 GiB of 100 GiB"
    assert f"gold {said}" in text_of(of)
    (bar,) = (place for place, (_, a) in enumerate(page.tags) if a.get("aria-label") == said)
    parts = {a["class"]: a for _, a in page.tags[bar + 2 : bar + 5]}
    assert (parts["ours"]["x"], parts["ours"]["width"]) == ("0.00", "10.00")
    assert (parts["used"]["x"], parts["used"]["width"]) == ("10.00", "50.00")
    assert parts["floor"]["x"] == "95.00"


def test_a_datastore_without_a_size_is_shown_without_a_bar() -> None:
    said = text_of(measured(entry("vm-1", datastore="ds9"), spaces={"ds1": Space(0, 0)}))
    assert "ds9 templates" in said and "gold templates" in said


def test_running_imports_have_a_bar() -> None:
    importing = entry("vm-1", 65, phase=Phase.IMPORTING)
    assert importing.record is not None
    record = dataclasses.replace(importing.record, image_bytes=4 * GIB, image_name="<b>debian")
    look = Look(
        [dataclasses.replace(importing, record=record)],
        SPACES,
        NAMES,
        "8.0.3",
        {"vm-1": ImportProgress(25, NOW - datetime.timedelta(seconds=60))},
        NOW,
    )
    of = dataclasses.replace(measured(), look=look)
    said = "1 GiB of 4 GiB (25%), 17.1 MiB/s, done in 3 min"
    assert f"Imports under way <b>debian on gold {said}" in text_of(of)
    page = parsed(of)
    (bar,) = (place for place, (_, a) in enumerate(page.tags) if a.get("aria-label") == said)
    assert page.tags[bar + 2][1]["width"] == "25.00"


def test_the_page_says_when_the_next_purge_is_due() -> None:
    purge = LastPurge(NOW - datetime.timedelta(seconds=180), "")
    assert "Purge 3 min ago; next in 7 min" in text_of(measured(), purge=purge)
    assert "Purge none recorded on this host, due every 600 s" in text_of(measured())


def test_what_needs_attention_comes_before_the_figures() -> None:
    purge = LastPurge(NOW, "Unreachable")
    said = text_of(measured(), purge=purge)
    assert "Needs attention the last purge failed (Unreachable)" in said
    assert said.index("Needs attention") < said.index("hits today")
    assert "Needs attention" not in text_of(measured())


def test_findings_are_those_of_a_check_without_imports() -> None:
    of = measured(
        entry("vm-1"),
        entry("vm-2", phase=Phase.IMPORTING),
        named("somebody's"),
    )
    said = text_of(of)
    assert "Findings foreign somebody's" in said and "half-imported" not in said
    assert "Findings None" in text_of(measured(entry("vm-1")))
    assert "1 import under way" in said


@pytest.mark.parametrize(("enabled", "badge"), [(True, "on"), (False, "off")])
def test_whether_the_cache_is_on(enabled: bool, badge: str) -> None:
    assert f"b1 {badge} vCenter answers" in text_of(measured(settings=Settings(enabled=enabled)))


@pytest.mark.parametrize(
    ("of", "wrong", "said"),
    [
        (measured(), [], "vCenter answers"),
        (measured(away=True), ["vCenter does not answer"], "vmdk-cache check --backend b1"),
        (measured(can_be_read=False), ["the ledger cannot be read"], "Hits and misses are unknown"),
        (measured(has_ledger=False, can_be_read=False), [], "Nothing is counted"),
    ],
)
def test_what_is_unknown_is_said_and_unhealthy(
    of: Measurement, wrong: list[str], said: str
) -> None:
    assert problems(of) == wrong
    assert said in text_of(of, None if of.tally is None else ())
