"""``vmdk-cache status``: one screen about each backend's cache.

People get a block for each backend, or one table if there are more than BLOCKS; programs, and
``-c``, get a row for each backend with exact values. What is shown is decided in
vmdk_cache/cli/backend_status.py.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cliff import columns

from vmdk_cache import errors
from vmdk_cache.cli import command
from vmdk_cache.cli.columns import Lines, Plain, Size, Time, cleaned

if TYPE_CHECKING:
    from vmdk_cache.cli.backend_status import BackendStatus, Contents, RunningImport
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.cli.metrics import Look
    from vmdk_cache.ledger import Count, LastPurge

COLUMNS = (
    "Backend",
    "Enabled",
    "vCenter",
    "vCenter Error",
    "Templates",
    "Images",
    "Provisioned",
    "Limits",
    "Hits Today",
    "Misses Today",
    "Bypasses Today",
    "Bytes Saved Today",
    "Imports",
    "Findings",
    "Last Purge",
    "Last Purge Error",
    "Next Purge",
    "Needs Attention",
)
#: Most backends that get a block each.
BLOCKS = 5
#: Most imports and findings that a block names, each.
MOST_LINES = 5
#: Columns of a terminal whose width is unknown, and the most that are used.
WIDTH, WIDEST = 80, 120


class Details(columns.FormattableColumn[list[dict[str, Any]]]):
    """Dictionaries; a table shows how many there are."""

    def human_readable(self) -> str:
        return str(len(self._value))


@dataclass(frozen=True)
class _Shown:
    """:ivar away: why vCenter does not answer, '' if it does"""

    status: BackendStatus
    away: str
    has_ledger: bool


class Status(command.Lister):
    """Show the state of the caches on one screen.

    For each backend: whether the cache is on and vCenter answers, templates, the limits that are
    set, running imports, what was counted today (UTC) and when the last purge ran on this host, and
    what needs attention. Imports report their progress every half minute. A backend whose vCenter
    does not answer is shown with the reason.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        self._shown = [self._look_at(each) for each in self.configuration.backends]
        return COLUMNS, [_row(shown) for shown in self._shown]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        if parsed_args.formatter != "table" or parsed_args.columns:
            return super().produce_output(parsed_args, column_names, data)
        width = min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDEST)
        tables = (
            [_block(shown, width) for shown in self._shown]
            if len(self._shown) <= BLOCKS
            else _tables(self._shown, width)
        )
        parsed_args.sort_columns = []
        for names, rows in tables:
            super().produce_output(parsed_args, names, rows)
        return 0

    def _look_at(self, configured: BackendConfiguration) -> _Shown:
        from vmdk_cache.cli.backend_status import status_of
        from vmdk_cache.cli.scraper import look_at

        look: Look | None = None
        away = ""
        try:
            look = look_at(self.open(configured))
        except errors.VmdkCacheError as failure:
            self.report(failure, f"backend {configured.name}")
            away = str(failure)
        now = datetime.datetime.now(datetime.UTC)
        counts, purge = self._counted(configured, now.date())
        status = status_of(
            configured.name,
            configured.settings,
            configured.backend.deployment,
            look,
            counts,
            purge,
            now,
        )
        return _Shown(status, away, configured.ledger_path is not None)

    def _counted(
        self, configured: BackendConfiguration, today: datetime.date
    ) -> tuple[list[Count] | None, LastPurge | None]:
        """What this host's ledger has of the backend; nothing if there is none yet."""
        from vmdk_cache.ledger import Ledger

        path = configured.ledger_path
        if path is None or not os.path.lexists(path):
            return None, None
        with (
            self.reporting(f"backend {configured.name}"),
            contextlib.closing(Ledger.open(path, read_only=True)) as ledger,
        ):
            counts = [each for each in ledger.daily(today) if each.backend == configured.name]
            return counts, ledger.last_purges().get(configured.name)
        return None, None


# -- for programs


def _row(shown: _Shown) -> list[Any]:
    from vmdk_cache.cli.capacity import Limits

    status = shown.status
    contents, today, purge = status.contents, status.today, status.last_purge
    return [
        status.backend,
        status.settings.enabled,
        Plain(contents and contents.version),
        Plain(shown.away or None),
        Plain(contents and contents.templates),
        Plain(contents and contents.images),
        Size(contents and contents.provisioned_bytes),
        Limits(_limits(contents) if contents else []),
        Plain(today and today.hits),
        Plain(today and today.misses),
        Plain(today and today.bypasses),
        Size(today and today.saved_bytes),
        Details([_import(each) for each in contents.imports] if contents else []),
        Details(_findings(contents) if contents else []),
        Time(purge and purge.began_at),
        Plain(purge and purge.error),
        Time(status.next_purge_at),
        Lines(_attention(shown)),
    ]


def _limits(contents: Contents) -> list[dict[str, Any]]:
    from vmdk_cache.cli.capacity import as_dict

    limits = [as_dict(each.option, each.used, each.limit) for each in contents.limits]
    floor = contents.floor
    if floor is not None:
        lowest = as_dict("image_cache_min_free_percent", floor.free, floor.limit)
        limits.append({**lowest, "datastore": floor.datastore})
    return limits


def _import(of: RunningImport) -> dict[str, Any]:
    return {
        "image_id": of.image_id,
        "image_name": of.image_name,
        "datastore": of.datastore,
        "began_at": Time(of.began_at).machine_readable(),
        "percent": of.percent,
        "done_bytes": of.done_bytes,
        "total_bytes": of.total_bytes,
        "bytes_per_second": None if of.bytes_per_s is None else round(of.bytes_per_s),
        "seconds_left": None if of.left_s is None else round(of.left_s),
    }


def _findings(contents: Contents) -> list[dict[str, Any]]:
    return [
        {"finding": each.kind.value, "name": each.name, "where": each.where, "what": each.says}
        for each in contents.findings
    ]


def _attention(shown: _Shown) -> list[str]:
    away = [f"vCenter does not answer: {shown.away}"] if shown.away else []
    return [*away, *shown.status.needs_attention]


# -- for people

_Table = tuple[tuple[str, ...], list[list[Any]]]


def _block(shown: _Shown, width: int) -> _Table:
    """A table about one backend."""
    from vmdk_cache.cli import backend_status

    status = shown.status
    lines: list[tuple[str, Iterable[str]]] = []
    if status.contents is not None:
        lines += _of_vcenter(status.contents, status.now)
    lines += [
        ("Today", [_today(shown)]),
        ("Purge", [backend_status.purge_text(status)]),
    ]
    if attention := _attention(shown):
        lines.append(("Attention", attention))
    state = "on" if status.settings.enabled else "off"
    if status.contents is not None:
        state += f", vCenter {status.contents.version} answers"
    else:
        state += ", vCenter does not answer"
    first = max(len(status.backend), *(len(name) for name, _ in lines))
    rows = [[name, _wrapped(texts, width - first - 7)] for name, texts in lines]
    return (cleaned(status.backend), cleaned(state)), rows


def _of_vcenter(contents: Contents, now: datetime.datetime) -> Iterable[tuple[str, Iterable[str]]]:
    from vmdk_cache.cli import backend_status

    yield "Cache", [f"{backend_status.templates_text(contents)} provisioned"]
    limits = [
        f"{backend_status.limit_text(each)} ({each.share:.0%}): {each.option}"
        for each in contents.limits
    ]
    if contents.floor is not None:
        floor = contents.floor
        limits.append(
            f"{floor.free:.1f}% free on {floor.datastore}, at least {floor.limit:g}%: "
            "image_cache_min_free_percent"
        )
    yield "Limits", limits or ["none"]
    if contents.imports:
        yield (
            "Imports",
            _first(
                f"{_named(each)} on {each.datastore}: {backend_status.progress_text(each, now)}"
                for each in contents.imports
            ),
        )
    if contents.findings:
        kinds = Counter(each.kind.value for each in contents.findings)
        yield "Findings", [", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))]


def _named(of: RunningImport) -> str:
    from vmdk_cache.cli.status_page import NAME_LENGTH
    from vmdk_cache.quoting import sentence

    return sentence(of.image_name or of.image_id, NAME_LENGTH)


def _today(shown: _Shown) -> str:
    from vmdk_cache.cli import backend_status

    today = shown.status.today
    if today is None:
        return "unknown" if shown.has_ledger else "not counted: image_cache_ledger is empty"
    return backend_status.today_text(today)


def _tables(every: Sequence[_Shown], width: int) -> list[_Table]:
    """A row for each backend, then imports and what needs attention."""
    from vmdk_cache.cli import backend_status
    from vmdk_cache.cli.now import until

    rows, imports, attention = [], [], []
    for shown in every:
        status = shown.status
        contents, today, due_at = status.contents, status.today, status.next_purge_at
        fullest = max((each.share for each in contents.limits), default=None) if contents else None
        rows.append(
            [
                status.backend,
                "on" if status.settings.enabled else "off",
                contents.version if contents else "no answer",
                contents.templates if contents else "-",
                "-" if fullest is None else f"{fullest:.0%}",
                today.hits if today else "-",
                today.misses if today else "-",
                Plain(until(due_at, status.now, past="due") if due_at else None),
            ]
        )
        imports += [
            [status.backend, _named(each), backend_status.progress_text(each, status.now)]
            for each in (contents.imports if contents else ())
        ]
        room = width - len(status.backend) - 7
        attention += [[status.backend, _wrapped([text], room)] for text in _attention(shown)]
    tables: list[_Table] = [
        (("Backend", "On", "vCenter", "Templates", "Full", "Hits", "Misses", "Purge"), rows)
    ]
    if imports:
        tables.append((("Backend", "Import", "Progress"), imports))
    if attention:
        tables.append((("Backend", "Needs Attention"), attention))
    return tables


def _first(lines: Iterable[str]) -> list[str]:
    every = list(lines)
    left = len(every) - MOST_LINES
    return [*every[:MOST_LINES], *([f"and {left} more"] if left > 0 else [])]


def _wrapped(lines: Iterable[str], width: int) -> Lines:
    return Lines([part for line in lines for part in textwrap.wrap(line, max(width, 30))])
