"""``vmdk-cache list``: one row for each template.

A table shows only the columns that fit a terminal; other formats, and ``-c``, have all of them.
"""

from __future__ import annotations

import argparse
import functools
from collections import Counter
from typing import TYPE_CHECKING, Any

from vmdk_cache.cli import command
from vmdk_cache.cli.columns import Plain, Size, Time

if TYPE_CHECKING:
    from vmdk_cache.cache.entry import CacheEntry
    from vmdk_cache.cache.key import CacheKey
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.wiring import RunningCache

COLUMNS = (
    "Backend",
    "Image",
    "Name",
    "Phase",
    "Datastore",
    "Virtual Size",
    "Freed By Deletion",
    "Adapter",
    "Created",
    "Last Used",
    "Expires",
    "Copies",
)
#: Columns that a table omits by default: "Name" alone takes half a terminal, and says little more
#: than "Backend" and "Image".
DETAILS = frozenset({"Name", "Adapter", "Created"})


class List(command.Lister):
    """List the templates of the image caches.

    Sizes are rounded in a table, and exact (in bytes) in JSON, YAML and CSV; times are UTC.
    Expires: when the template reaches its maximum age (image_cache_age_seconds); a limit may evict
    it earlier. Copies: the number of copies of the same image and adapter, on all datastores. A
    table omits the columns Name, Adapter and Created unless -c or --all requests them.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--image",
            action="append",
            default=[],
            metavar="ID",
            help="only templates of this image; may be repeated",
        )
        parser.add_argument(
            "--datastore",
            action="append",
            default=[],
            metavar="NAME",
            help="only templates on this datastore; may be repeated",
        )
        parser.add_argument(
            "--all",
            action="store_true",
            help="also list other virtual machines in the caches' folders, and why each entry is "
            "kept or removed",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        rows = self.collect(functools.partial(_rows, parsed_args))
        columns = (*COLUMNS, "Why") if parsed_args.all else COLUMNS
        if parsed_args.formatter == "table" and not (parsed_args.columns or parsed_args.all):
            # Set as if by -c, so that --sort-column still accepts the others.
            parsed_args.columns = [name for name in columns if name not in DETAILS]
        return columns, rows


def _rows(
    wanted: argparse.Namespace, configured: BackendConfiguration, cache: RunningCache
) -> list[list[Any]]:
    from vmdk_cache.cache.eviction_plan import expires_at

    plan = cache.purge.plan()
    datastores = cache.placement.datastore_names()
    every = sorted(
        (*plan.keep, *plan.remove),
        key=lambda verdict: (verdict.entry.image_id or "", verdict.entry.name),
    )
    copies = Counter(_key(verdict.entry) for verdict in every)
    rows = []
    for verdict in every:
        entry = verdict.entry
        datastore = datastores.get(entry.datastore or "", entry.datastore)
        ours = entry.is_ours
        if not (
            (ours or wanted.all)
            and (not wanted.image or entry.image_id in wanted.image)
            and (not wanted.datastore or datastore in wanted.datastore)
        ):
            continue
        row = [
            configured.name,
            Plain(entry.image_id if ours else None),
            entry.name,
            entry.phase.value,
            Plain(datastore),
            Size(entry.size_bytes),
            Size(entry.unshared_bytes),
            Plain(entry.record.key.adapter_type if ours and entry.record else None),
            Time(entry.created_at if ours else entry.made_at),
            Time(entry.used_at),
            Time(expires_at(entry, configured.settings) if ours else None),
            copies[_key(entry)] if ours else 0,
        ]
        rows.append([*row, verdict.reason] if wanted.all else row)
    return rows


def _key(entry: CacheEntry) -> CacheKey | str | None:
    return entry.record.key if entry.record else entry.image_id
