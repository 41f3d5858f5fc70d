"""``vmdk-cache history``: counts of what the caches did."""

from __future__ import annotations

import argparse
import datetime
import functools
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vmdk_cache import errors
from vmdk_cache.cli import command, exit_code, image_choice, image_table
from vmdk_cache.cli.columns import Percent, Plain, Seconds, Size
from vmdk_cache.quoting import quoted, sentence

if TYPE_CHECKING:
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.ledger import Count

SUMS = (
    "Hits",
    "Misses",
    "Hit Rate",
    "In One Task",
    "Bypasses",
    "Failed",
    "Imports",
    "Imports Failed",
    "Seconds Per Import",
    "Bytes Imported",
    "Bytes Saved",
    "Replicas",
    "Evictions",
)
#: Left out first in a narrow terminal.
_OPTIONAL = (
    "Seconds Per Import",
    "Imports Failed",
    "In One Task",
    "Bytes Imported",
    "Replicas",
    "Evictions",
    "Failed",
    "Imports",
)
_HINT = "vmdk-cache history --by image shows which images were counted"
#: Events that have a reason for ``--by reason``.
_EXPLAINED = ("bypass", "failed", "import-failed", "evict", "not-kept-warm")


class History(command.Lister):
    """Show counts of what the caches did; users are not recorded.

    The counts are those of this host, from the file set by image_cache_ledger; vCenter is asked
    only for the name of an image. Days are in UTC. Counts by day and image cover the last 90 days;
    older counts are summed in one row without day or image. Hit rate: hits as a share of hits and
    misses. In one task: hits and misses for which vCenter needed no second task. Bytes saved: bytes
    that Glance did not have to send. A table leaves out columns that do not fit the terminal.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--days",
            type=_days,
            metavar="N",
            help="counts of the last N days, including today (default: all)",
        )
        parser.add_argument(
            "--image",
            action="append",
            default=[],
            metavar="IMAGE",
            help="counts of this image only: its id, or a prefix of 4 characters or more that no "
            "other image has; or, if vCenter answers, the name of an image in the cache; may be "
            "repeated",
        )
        parser.add_argument(
            "--by",
            choices=["day", "image", "reason"],
            default="day",
            help="one row for each day (default), for each image, or for each reason why a volume "
            "bypassed the cache or failed, an import failed, a template was deleted, or a marked "
            "image has none",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        columns: Sequence[str]
        counts: list[Count] = []
        for configured in self.configuration.backends:
            with self.reporting(f"backend {configured.name}"):
                counts += self._counts(configured, parsed_args.days)
        if parsed_args.image:
            counts = self._of_images(parsed_args.image, counts)
        if parsed_args.by == "reason":
            columns, rows = ("Backend", "Event", "Reason", "Count"), _reasons(counts)
        else:
            by_day = parsed_args.by == "day"
            columns = ("Backend", "Day" if by_day else "Image", *SUMS)
            rows = _sums(counts, by_day=by_day)
        if not rows and self.result == exit_code.OK and not self.has_told:
            days = f" in the last {parsed_args.days} days" if parsed_args.days else ""
            what = "nothing that has a reason" if counts else "nothing"
            self.tell(f"{what} was counted{days}")
        return image_table.output(
            self, parsed_args, columns, rows, columns, flexible={}, optional=_OPTIONAL
        )

    def _of_images(self, texts: Iterable[str], counts: list[Count]) -> list[Count]:
        """The counts of the images that the texts select.

        :raises CommandFailedError: a text selects none; says which ones it may mean
        """
        counted = {count.image_id: "" for count in counts if count.image_id}
        chosen = set()
        for text in texts:
            try:
                chosen.add(image_choice.chosen(text, counted, "the counts", _HINT))
            except command.CommandFailedError:
                # The ledger knows no names.
                names = {id_: self._names.get(id_, "") for id_ in counted}
                chosen.add(image_choice.chosen(text, names, "the counts", _HINT))
        return [count for count in counts if count.image_id in chosen]

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        """The names of the images in the caches that can be listed now."""
        names: dict[str, str] = {}
        for configured in self.configuration.backends:
            try:
                names |= image_choice.names_of(self.open(configured).store.entries())
            except errors.VmdkCacheError as failure:
                self.tell(f"backend {configured.name}: no names of images are known: {failure}")
        return names

    def _counts(self, configured: BackendConfiguration, days: int | None) -> list[Count]:
        from vmdk_cache.ledger import Ledger

        path = configured.ledger_path
        if path is None:
            raise errors.ConfigError("image_cache_ledger is empty: nothing is counted")
        try:
            os.stat(path)
        except FileNotFoundError:
            self.tell(
                f"backend {configured.name}: nothing has been counted yet, {path} does not exist"
            )
            return []
        except OSError as failure:
            raise errors.ConfigError(
                f"image_cache_ledger cannot be read: {sentence(failure)}"
            ) from failure
        since = None
        if days is not None:
            since = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=days - 1)
        ledger = Ledger.open(path, read_only=True)
        try:
            return ledger.counts(configured.name, since)
        finally:
            ledger.close()


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 36500:
        raise argparse.ArgumentTypeError(f"not a number of days from 1 to 36500: {quoted(text)}")
    return int(text)


def _sums(counts: Iterable[Count], *, by_day: bool) -> list[list[Any]]:
    grouped: dict[tuple[str, str], list[Count]] = defaultdict(list)
    for count in counts:
        what = (count.day.isoformat() if count.day else "") if by_day else count.image_id
        grouped[count.backend, what].append(count)
    return [
        [backend, Plain(what or None), *_summed(group)]
        for (backend, what), group in sorted(grouped.items())
    ]


def _summed(counts: list[Count]) -> list[Any]:
    from vmdk_cache.ledger import IN_ONE_TASK

    number: Counter[str] = Counter()
    size: Counter[str] = Counter()
    seconds, in_one_task = 0.0, 0
    for count in counts:
        number[count.kind] += count.count
        size[count.kind] += count.bytes
        seconds += count.seconds if count.kind == "import" else 0.0
        in_one_task += count.count if count.detail == IN_ONE_TASK else 0
    served, imports = number["hit"] + number["miss"], number["import"]
    return [
        number["hit"],
        number["miss"],
        Percent(100 * number["hit"] / served if served else None),
        in_one_task,
        number["bypass"],
        number["failed"],
        imports,
        number["import-failed"],
        Seconds(seconds / imports if imports else None),
        Size(size["import"]),
        Size(size["hit"] + size["miss"]),
        number["replica"],
        number["evict"],
    ]


def _reasons(counts: Iterable[Count]) -> list[list[Any]]:
    number: Counter[tuple[str, str, str]] = Counter()
    for count in counts:
        if count.kind in _EXPLAINED:
            number[count.backend, count.kind, count.detail] += count.count
    return [[*key, number[key]] for key in sorted(number)]
