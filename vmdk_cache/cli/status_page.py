"""The status page of the exporter: one HTML page, made from a scrape and the ledger's days. Pure.

The page loads nothing and runs no script, so the server can forbid both (:data:`POLICY`). Bars and
sparklines are SVG with widths as attributes, because a policy that trusts one style sheet by its
hash allows no ``style`` attribute.

Names come from vCenter and Glance: :func:`_name` bounds and escapes them, and lists are cut at
MOST_ROWS, so that the page stays small.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from vmdk_cache.cache.capacity import Capacity, capacity_by_datastore
from vmdk_cache.cache.events import as_text
from vmdk_cache.cache.findings import LEFT_ALONE, Finding
from vmdk_cache.cli import backend_status
from vmdk_cache.cli.backend_status import (
    NEAR,
    BackendStatus,
    Contents,
    Limit,
    status_of,
)
from vmdk_cache.cli.metrics import Look, Measurement, datastore_labels
from vmdk_cache.ledger import Count, LastPurge
from vmdk_cache.quoting import sentence

#: Days in a sparkline, with today.
DAYS = 14
#: Most datastores, imports and findings of a backend, each.
MOST_ROWS = 25
NAME_LENGTH = 80
#: Seconds after which a browser loads the page again.
RELOADED_AFTER_S = 60

_STYLE = """
:root { color-scheme: light dark; --back: #f6f7f9; --card: #fff; --text: #1b1f24; --dim: #5b6470;
  --line: #d8dde3; --hit: #2e8b57; --miss: #d9822b; --bypass: #8e5bb5; --bad: #c62f2f;
  --used: #9aa5b1; }
@media (prefers-color-scheme: dark) { :root { --back: #14171a; --card: #1e2328; --text: #e8eaed;
  --dim: #a3adb8; --line: #39414a; --hit: #5cc48b; --miss: #f0a35a; --bypass: #bd92e0;
  --bad: #ff7b72; --used: #66717d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--back);
  color: var(--text); font: 15px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1.15rem; margin: 0; }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem; color: var(--dim); font-weight: 600; }
header p, footer { color: var(--dim); margin: .2rem 0 1rem; }
p { margin: .3rem 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 1rem; margin-bottom: 1rem; }
.head { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
.badge { border: 1px solid; border-radius: 1rem; padding: 0 .6rem; font-size: .85rem; }
.good { color: var(--hit); } .warn { color: var(--miss); } .bad { color: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .8rem;
  margin-top: 1rem; }
.figures b { display: block; font-size: 1.6rem; line-height: 1.2; }
.figures span, .dim { color: var(--dim); }
.hit { color: var(--hit); } .miss { color: var(--miss); } .bypass { color: var(--bypass); }
.days { display: block; width: 100%; height: 3rem; fill: var(--hit); }
.days .none { fill: var(--line); }
.rows { display: grid; grid-template-columns: minmax(8rem, 1fr) 2fr minmax(10rem, 1.2fr);
  gap: .35rem 1rem; align-items: center; }
.bar { display: block; width: 100%; height: .8rem; border-radius: 3px; }
.bar .track { fill: var(--line); } .bar .used { fill: var(--used); }
.bar .ours { fill: var(--hit); } .bar .near { fill: var(--miss); } .bar .over { fill: var(--bad); }
.bar .floor { fill: var(--bad); }
ul { margin: 0; padding-left: 1.2rem; } a { color: inherit; }
@media (max-width: 600px) { body { padding: .6rem; } section { padding: .8rem; }
  .figures { grid-template-columns: repeat(2, 1fr); }
  .rows { grid-template-columns: 1fr; gap: .15rem; } .rows > :nth-child(3n) { margin-bottom: .6rem;
  color: var(--dim); } }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: ``Content-Security-Policy`` of the page: its own style sheet and nothing else.
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def status_page(
    measurements: Iterable[Measurement],
    days: Mapping[str, Sequence[Count]],
    purges: Mapping[str, LastPurge],
    now: datetime.datetime,
    version: str,
    host: str,
) -> str:
    """The page.

    :param days: by backend, what the ledger counted on each of the last days, UTC
    :param purges: by backend, the last purge
    :param now: UTC
    """
    sections = [
        _section(each, days.get(each.backend), purges.get(each.backend), now)
        for each in measurements
    ]
    title = f"Image caches on {_name(host)}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{RELOADED_AFTER_S}">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>{title}</h1><p>{now:%Y-%m-%d %H:%M:%S} UTC, vmdk-cache {_name(version)}, "
        f"reloaded every {RELOADED_AFTER_S} s</p></header>"
        f"<main>{''.join(sections)}</main>"
        '<footer><a href="/metrics">/metrics</a> for Prometheus, <a href="/healthz">/healthz</a> '
        "for probes</footer></body></html>\n"
    )


def problems(measurement: Measurement) -> list[str]:
    """Why the backend is not healthy; empty if it is."""
    found = []
    if measurement.look is None:
        found.append("vCenter does not answer")
    if measurement.has_ledger and measurement.tally is None:
        found.append("the ledger cannot be read")
    return found


def _section(
    measured: Measurement,
    days: Sequence[Count] | None,
    purge: LastPurge | None,
    now: datetime.datetime,
) -> str:
    status = status_of(
        measured.backend,
        measured.settings,
        measured.deployment,
        measured.look,
        days,
        purge,
        now,
    )
    on = _badge("on", "good") if measured.settings.enabled else _badge("off", "warn")
    answers = (
        _badge("vCenter does not answer", "bad")
        if status.contents is None
        else _badge("vCenter answers", "good")
    )
    parts = [f'<div class="head"><h2>{_name(measured.backend)}</h2>{on}{answers}</div>']
    parts.append(_attention(status))
    parts.append(_activity(measured, status, days, now.date()))
    if measured.look is None or status.contents is None:
        parts.append(
            '<p class="bad">Templates and space are unknown: the log of the exporter says why, and '
            f"<code>vmdk-cache check --backend {_name(measured.backend)}</code>.</p>"
        )
    else:
        parts += [
            _imports(status.contents, now),
            _limits(status.contents),
            _datastores(measured, measured.look),
            _findings(status.contents.findings),
        ]
    parts.append(f"<h3>Purge</h3><p>{_text(backend_status.purge_text(status))}</p>")
    return f'<section id="{_name(measured.backend)}">{"".join(parts)}</section>'


# -- what was counted


def _attention(status: BackendStatus) -> str:
    found = "".join(f"<li>{_text(each)}</li>" for each in status.needs_attention)
    return f'<h3>Needs attention</h3><ul class="warn">{found}</ul>' if found else ""


def _activity(
    measured: Measurement,
    status: BackendStatus,
    days: Sequence[Count] | None,
    date: datetime.date,
) -> str:
    if not measured.has_ledger:
        return '<p class="dim">Nothing is counted: image_cache_ledger is empty.</p>'
    if days is None or status.today is None:
        return (
            '<p class="bad">Hits and misses are unknown: the ledger (image_cache_ledger) cannot be '
            "read; the log of the exporter says why.</p>"
        )
    today = status.today
    hits: Counter[datetime.date] = Counter()
    for count in days:
        if count.kind == "hit" and count.day is not None:
            hits[count.day] += count.count
    figures = [
        _figure("hits today", str(today.hits), "hit"),
        _figure("misses today", str(today.misses), "miss"),
        _figure("bypasses today", str(today.bypasses), "bypass"),
        _figure("not downloaded today", as_text(today.saved_bytes), ""),
    ]
    return (
        f'<div class="figures">{"".join(figures)}</div>'
        f"<h3>Hits a day, the last {DAYS} days (UTC)</h3>{_sparkline(hits, date)}"
    )


def _figure(label: str, value: str, kind: str) -> str:
    return f'<div><b class="{kind}">{value}</b><span>{label}</span></div>'


def _sparkline(hits: Mapping[datetime.date, int], today: datetime.date) -> str:
    dates = [today - datetime.timedelta(days=ago) for ago in reversed(range(DAYS))]
    numbers = [hits.get(date, 0) for date in dates]
    most = max(numbers) or 1
    bars = []
    for place, (date, number) in enumerate(zip(dates, numbers, strict=True)):
        height = max(28 * number / most, 1)
        none = ' class="none"' if number == 0 else ""
        bars.append(
            f'<rect{none} x="{place * 10 + 1}" y="{30 - height:.1f}" width="8" '
            f'height="{height:.1f}"><title>{date}: {number} hits</title></rect>'
        )
    label = f"Hits a day, oldest first: {', '.join(map(str, numbers))}"
    return (
        f'<svg class="days" viewBox="0 0 {DAYS * 10} 30" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{"".join(bars)}</svg>'
    )


# -- what is in vCenter


def _imports(contents: Contents, now: datetime.datetime) -> str:
    if not contents.imports:
        return ""
    rows = []
    for each in contents.imports[:MOST_ROWS]:
        name = _name(each.image_name or each.image_id)
        said = backend_status.progress_text(each, now)
        bar = (
            "<span></span>" if each.percent is None else _bar([("ours", each.percent / 100)], said)
        )
        rows.append(_row(f"{name} on {_name(each.datastore)}", bar, said))
    more = _more(len(contents.imports), "imports: vmdk-cache status -f json lists all")
    return f'<h3>Imports under way</h3><div class="rows">{"".join(rows)}</div>{more}'


def _limits(contents: Contents) -> str:
    under_way = backend_status.counted(contents.under_way, "import", "imports")
    said = f"{backend_status.templates_text(contents)}; {under_way} under way"
    bars = "".join(_limit(each) for each in contents.limits)
    shown = f'<div class="rows">{bars}</div>' if bars else '<p class="dim">No limit is set.</p>'
    return f"<h3>Templates</h3><p>{said}</p>{shown}"


def _limit(limit: Limit) -> str:
    kind = "over" if limit.share > 1 else "near" if limit.share > NEAR else "ours"
    said = f"{backend_status.limit_text(limit)} ({limit.share:.0%})"
    label = f"of {limit.option}"
    if limit.option == "image_cache_max_percent":
        label += f" ({limit.limit:g})"
    return _row(label, _bar([(kind, limit.share)], said), said)


def _datastores(measured: Measurement, look: Look) -> str:
    labels = datastore_labels(look)
    sums = {each.datastore: each for each in capacity_by_datastore(look.entries)}
    rows = []
    for moref, label in list(labels.items())[:MOST_ROWS]:
        held = sums.get(moref, Capacity(moref))
        space = look.spaces.get(moref) if moref is not None else None
        said = f"templates {as_text(held.unshared_bytes)}"
        bar = "<span></span>"
        if space is not None and space.capacity_bytes > 0:
            said += f", free {as_text(space.free_bytes)} of {as_text(space.capacity_bytes)}"
            ours = held.unshared_bytes / space.capacity_bytes
            others = max(0.0, 1 - space.free_bytes / space.capacity_bytes - ours)
            floor = measured.settings.min_free_percent / 100
            bar = _bar([("ours", ours), ("used", others)], said, floor)
        rows.append(_row(_name(label), bar, said))
    more = _more(len(labels), "datastores: vmdk-cache capacity lists all")
    return f'<h3>Datastores</h3><div class="rows">{"".join(rows)}</div>{more}'


def _findings(findings: Sequence[Finding]) -> str:
    found = [
        f'<li><b class="{"dim" if each.kind in LEFT_ALONE else "warn"}">{each.kind}</b> '
        f"{_name(each.name)}: {_text(each.says)}</li>"
        for each in findings
    ]
    if not found:
        return '<h3>Findings</h3><p class="good">None</p>'
    more = _more(len(found), "findings: vmdk-cache check lists all")
    return f"<h3>Findings</h3><ul>{''.join(found[:MOST_ROWS])}</ul>{more}"


# -- parts


def _row(label: str, bar: str, said: str) -> str:
    return f"<div>{label}</div>{bar}<div>{said}</div>"


def _bar(parts: Iterable[tuple[str, float]], said: str, floor: float = 0.0) -> str:
    """A bar of adjacent parts, each a share of the whole; ``floor`` marks a share at the end."""
    drawn, at = [], 0.0
    for kind, share in parts:
        width = max(0.0, min(100.0 - at, 100 * share))
        drawn.append(f'<rect class="{kind}" x="{at:.2f}" width="{width:.2f}" height="1"/>')
        at += width
    if floor:
        drawn.append(f'<rect class="floor" x="{100 - 100 * floor:.2f}" width="0.6" height="1"/>')
    return (
        '<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" role="img" '
        f'aria-label="{said}"><rect class="track" width="100" height="1"/>{"".join(drawn)}</svg>'
    )


def _badge(text: str, kind: str) -> str:
    return f'<span class="badge {kind}">{text}</span>'


def _more(number: int, what: str) -> str:
    left = number - MOST_ROWS
    return f'<p class="dim">and {left} more {what}</p>' if left > 0 else ""


def _name(name: str) -> str:
    return html.escape(sentence(name, NAME_LENGTH))


def _text(text: str) -> str:
    return html.escape(sentence(text))
