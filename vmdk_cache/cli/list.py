"""``vmdk-cache list``: which images are cached, where, when they were used and when they go.

A table for people has a row for each image and fits the terminal. With ``--wide``, and in all other
formats, there is a row for each template, with exact values.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from vmdk_cache import errors
from vmdk_cache.cli import command, image_choice, listing
from vmdk_cache.cli.columns import cleaned
from vmdk_cache.cli.screen import Screen
from vmdk_cache.clock import SystemClock
from vmdk_cache.quoting import identifier, quoted, sentence

if TYPE_CHECKING:
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.cli.listing import Row
    from vmdk_cache.wiring import RunningCache

_Look: TypeAlias = "Callable[[], _Seen]"

WATCH_S = 5.0
_LONGEST_WATCH_S = 3600
#: The columns of a table with --wide, in their order.
_WIDE = (
    "Backend",
    "Image",
    "Image Name",
    "Phase",
    "Datastore",
    "Copies",
    "Virtual Size",
    "Freed By Deletion",
    "Last Used",
    "Expires",
    "Created",
    "Adapter",
    "Name",
)
_FLEXIBLE = {"Image Name": 16, "Datastore": 12, "Backend": 8}
#: Left out first: the datastore's "+2" tells the number of copies, too.
_OPTIONAL = ("Copies", "Used", "Size")
#: More than any terminal has.
_UNLIMITED = 1 << 16
#: A message lists at most this many datastores.
_MOST_NAMES = 10


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What was in the cache of one backend.

    :ivar names: of the images, by id
    :ivar datastores: names of those that the backend uses
    """

    backend: str
    rows: list[Row]
    names: dict[str, str]
    datastores: frozenset[str]


@dataclasses.dataclass(frozen=True)
class _Listed:
    """What is printed.

    :ivar ids: of the images in the rows
    :ivar total: the line below the rows, or instead of them
    """

    columns: Sequence[str]
    rows: list[list[Any]]
    ids: list[str]
    total: str


class List(command.Lister):
    """List the cached images: where they are, when they were used, when they expire.

    A table has one row for each image and adapter, the last used first. Used: space on the
    datastores. Expires: when the image reaches its maximum age (image_cache_age_seconds); a limit
    may evict it earlier, and then "next purge" is shown; a pinned image stays. With --wide, -c or
    --sort-column, and in JSON, YAML and CSV, there is a row for each template, with exact values
    and times in UTC.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--image",
            action="append",
            default=[],
            metavar="IMAGE",
            help="only this image: its id or name, or a prefix of 4 characters or more that no "
            "other image has; may be repeated",
        )
        parser.add_argument(
            "--datastore",
            action="append",
            default=[],
            metavar="NAME",
            help="only templates on this datastore; may be repeated",
        )
        parser.add_argument(
            "--wide",
            action="store_true",
            help="a row for each template, with all columns and full ids",
        )
        parser.add_argument(
            "--all",
            action="store_true",
            help="as --wide, with other virtual machines in the caches' folders, and why each is "
            "kept or removed",
        )
        parser.add_argument(
            "--sort",
            type=_column,
            choices=list(listing.ORDERS),
            default="last-used",
            metavar="COLUMN",
            help=f"sort by {', '.join(listing.ORDERS)} (default: last-used)",
        )
        parser.add_argument(
            "--limit", type=_positive, metavar="N", help="show the first N rows only"
        )
        parser.add_argument(
            "-q",
            "--ids",
            action="store_true",
            help="only print the ids of the images, one per line (-q before the command's name "
            "is --quiet)",
        )
        parser.add_argument(
            "--watch",
            type=_seconds,
            nargs="?",
            const=WATCH_S,
            metavar="SECONDS",
            help=f"show the table again every SECONDS (default: {WATCH_S:g}) until Ctrl-C",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        if parsed_args.watch is not None:
            self._watch(parsed_args)
            return (), []
        seen = self.collect(lambda *each: [_look(*each)])
        self.end_if_unknown(seen)
        self._listed = self._list(parsed_args, seen)
        if parsed_args.ids:
            parsed_args.formatter, parsed_args.columns = "value", []
            ids: Any = self._formatter_plugins["value"].obj
            self.formatter = ids
            return ("Image",), [[image_id] for image_id in self._listed.ids]
        return self._listed.columns, self._listed.rows

    #: What is printed in the end.
    _listed: _Listed

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        if parsed_args.watch is not None:
            return self.result
        listed = self._listed
        if not listed.rows:
            self.tell(listed.total)
        super().produce_output(parsed_args, column_names, data)
        options: Any = self.app_args
        if listed.rows and parsed_args.formatter == "table" and options.verbose_level:
            print(listed.total, file=self.app.stderr)
        return self.result

    def _list(self, wanted: argparse.Namespace, seen: Sequence[_Seen]) -> _Listed:
        """:raises CommandFailedError: a filter matches nothing"""
        templates = _selected(wanted, seen)
        if not templates:
            return _Listed(listing.COLUMNS, [], [], f"no templates in {_where(seen)}")
        people = self.is_for_people(wanted) and not (wanted.wide or wanted.all)
        every = listing.by_image(templates) if people or wanted.ids else templates
        rows = listing.in_order(every, wanted.sort)[: wanted.limit]
        ids = list(dict.fromkeys(cleaned(row.image_id) for row in rows if row.image_id))
        total = listing.total(templates)
        if len(rows) < len(every):
            total += f"; {len(rows)} of {listing.counted(len(every), 'row')} shown"
        if people:
            every_id = [image_id for each in seen for image_id in each.names]
            table = listing.for_people(rows, every_id, [each.backend for each in seen])
            fitted = self.fitted(wanted, *table, flexible=_FLEXIBLE, optional=_OPTIONAL)
            return _Listed(*fitted, ids, total)
        columns: Sequence[str]
        columns, cells = listing.for_programs(rows, why=wanted.all)
        if self.is_for_people(wanted):
            # cliff would break the cells of a terminal's table; a pager can scroll long lines.
            wanted.max_width = wanted.max_width or _UNLIMITED
            order = [columns.index(column) for column in (*_WIDE, *columns[len(_WIDE) :])]
            columns, cells = [columns[i] for i in order], [[row[i] for i in order] for row in cells]
        return _Listed(columns, cells, ids, f"{total}; times are UTC")

    def _watch(self, wanted: argparse.Namespace) -> None:
        """Show the table again and again, until Ctrl-C. A refresh that fails does not end it, but
        the first one does, if no backend can be listed.

        :raises UsageError: the output is no terminal, or not to be a table
        :raises CommandFailedError: a filter matches nothing
        """
        if wanted.ids or wanted.formatter != "table":
            raise command.UsageError("--watch shows a table: it goes with neither -q nor -f")
        if not self.app.stdout.isatty():
            raise command.UsageError("--watch needs a terminal: the output goes elsewhere")
        screen, clock, last = Screen(self.app.stdout), SystemClock(), dict[str, _Seen]()
        caches, is_drawn = list(self._opened_caches()), False
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                failures = _refresh(caches, last)
                if not last:
                    for name, failure in failures.items():
                        self.report(failure, f"backend {name}")
                    return
                lines = [f"vmdk-cache list, every {wanted.watch:g} s: {clock.now():%H:%M:%S} UTC"]
                lines += [f"backend {name}: {failure}" for name, failure in failures.items()]
                # A table has four more lines than rows, and the total follows it.
                try:
                    lines += self._lines(wanted, last, screen.height - len(lines) - 5)
                except command.CommandFailedError as failure:
                    if not is_drawn:
                        raise
                    lines.append(sentence(failure))  # what was asked for has gone
                screen.draw(lines)
                is_drawn = True
                clock.sleep(wanted.watch)

    def _opened_caches(self) -> Iterator[tuple[str, _Look]]:
        """For each backend, a function that lists it. One that cannot be opened raises its error,
        without another attempt: wrong passwords lock an account."""
        for configured in self.configuration.backends:
            try:
                cache = self.open(configured)
            except errors.VmdkCacheError as failure:
                yield configured.name, functools.partial(_raise, failure)
            else:
                yield configured.name, functools.partial(_look, configured, cache)

    def _lines(self, wanted: argparse.Namespace, last: dict[str, _Seen], most: int) -> list[str]:
        """The table with its total, of at most so many rows."""
        limit = max(1, min(most, wanted.limit or most))
        now = argparse.Namespace(**{**vars(wanted), "limit": limit, "print_empty": True})
        listed = self._list(now, list(last.values()))
        if not listed.rows:
            return [listed.total]
        table = io.StringIO()
        rows = [[cleaned(cell) for cell in row] for row in listed.rows]
        self.formatter.emit_list(listed.columns, rows, table, now)
        return [*table.getvalue().splitlines(), listed.total]


def _refresh(
    caches: Iterable[tuple[str, _Look]], last: dict[str, _Seen]
) -> dict[str, errors.VmdkCacheError]:
    """List each backend anew; returns the errors of those that cannot be listed now.

    :param last: what was listed last; a backend that fails keeps that
    """
    failures = {}
    for name, look in caches:
        try:
            last[name] = look()
        except errors.VmdkCacheError as failure:
            failures[name] = failure
    return failures


def _raise(failure: errors.VmdkCacheError) -> _Seen:
    raise failure


def _look(configured: BackendConfiguration, cache: RunningCache) -> _Seen:
    plan, datastores = cache.purge.plan(), cache.placement.datastore_names()
    return _Seen(
        configured.name,
        listing.templates_in(configured.name, plan, datastores, configured.settings),
        image_choice.names_of(each.entry for each in (*plan.keep, *plan.remove)),
        frozenset(each.name for each in cache.placement.datastores()),
    )


def _selected(wanted: argparse.Namespace, seen: Sequence[_Seen]) -> list[Row]:
    """The rows that the filters let through; without a filter, there may be none.

    :raises CommandFailedError: a filter matches nothing
    """
    where = _where(seen)
    found = [row for each in seen for row in each.rows if wanted.all or row.image_id is not None]
    names: dict[str, str] = {}
    for each in seen:
        names |= {id_: name or names.get(id_, "") for id_, name in each.names.items()}
    if wanted.image:
        chosen = {image_choice.chosen(text, names, where) for text in wanted.image}
        found = [row for row in found if row.image_id in chosen]
    if not wanted.datastore:
        return found
    places = {name for row in found for name in row.datastores}
    known = places.union(*(each.datastores for each in seen))
    for name in wanted.datastore:
        if name not in known:
            backends = ", ".join(each.backend for each in seen)
            raise command.CommandFailedError(
                f"no datastore {quoted(name)} in {backends}; use {_some(known) or 'none'}"
            )
    here = [row for row in found if any(name in wanted.datastore for name in row.datastores)]
    if not here:
        what = "templates of this image" if wanted.image else "templates"
        there = f"; there are some on {_some(places)}" if places else ""
        raise command.CommandFailedError(
            f"no {what} on {_some(wanted.datastore)} in {where}{there}"
        )
    return here


def _some(names: Iterable[str]) -> str:
    """The first of these names."""
    ordered = sorted(set(names))
    listed = ", ".join(map(identifier, ordered[:_MOST_NAMES]))
    more = len(ordered) - _MOST_NAMES
    return f"{listed} and {more} more" if more > 0 else listed


def _where(seen: Iterable[_Seen]) -> str:
    return command.the_caches([each.backend for each in seen])


def _column(text: str) -> str:
    """A column of ``--sort``, however it is written: ``Last Used`` is ``last-used``."""
    return text.strip().lower().replace(" ", "-").replace("_", "-")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a positive number: {quoted(text)}")
    return int(text)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 1 <= float(text) <= _LONGEST_WATCH_S:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"not a number of seconds from 1 to {_LONGEST_WATCH_S}: {quoted(text)}"
    )
