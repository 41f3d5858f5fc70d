"""``vmdk-cache list``: one row for each template.

A table for people has the columns that fit a terminal; programs, and ``-c``, have all of them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from vmdk_cache.cli import command
from vmdk_cache.cli.columns import Plain, Size, Time

if TYPE_CHECKING:
    from vmdk_cache.cache.entry import CacheEntry
    from vmdk_cache.cache.eviction import Policy, Verdict
    from vmdk_cache.cache.key import CacheKey

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
#: What a table leaves out unless it is asked for: "Name" alone is as wide as half a terminal, and
#: says little that "Backend" and "Image" do not.
DETAILS = frozenset({"Name", "Adapter", "Created"})


class List(command.Lister):
    """List the templates of the image caches.

    Sizes are rounded in a table and exact, in bytes, in JSON, YAML and CSV; times are UTC. Expires:
    when the template has reached its age (image_cache_age_seconds); a limit may make it go before.
    Copies: how many there are of the same image and adapter, on all datastores. A table leaves out
    the columns Name, Adapter and Created, unless -c or --all asks for them.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--image", action="append", default=[], metavar="ID", help="only of this image"
        )
        parser.add_argument(
            "--datastore",
            action="append",
            default=[],
            metavar="NAME",
            help="only on this datastore",
        )
        parser.add_argument(
            "--all",
            action="store_true",
            help="also what else is in the caches' folders, and why each is kept or has to go",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        from vmdk_cache.cache.eviction import Policy

        rows = []
        for configured, cache in self.caches():
            with self.reporting(f"backend {configured.name}"):
                plan = cache.purge.plan()
                rows += _rows(
                    configured.name,
                    (*plan.keep, *plan.remove),
                    cache.placement.datastore_names(),
                    Policy.of(configured.settings),
                    parsed_args,
                )
        columns = (*COLUMNS, "Why") if parsed_args.all else COLUMNS
        if parsed_args.formatter == "table" and not (parsed_args.columns or parsed_args.all):
            # As if asked for, so that --sort-column still knows the others.
            parsed_args.columns = [name for name in columns if name not in DETAILS]
        return columns, rows


def _rows(
    backend: str,
    verdicts: Iterable[Verdict],
    datastores: Mapping[str, str],
    policy: Policy,
    wanted: argparse.Namespace,
) -> list[list[Any]]:
    from vmdk_cache.cache.eviction import expires_at

    every = sorted(verdicts, key=lambda verdict: (verdict.entry.image_id or "", verdict.entry.name))
    copies = Counter(_key(verdict.entry) for verdict in every)
    rows = []
    for verdict in every:
        entry = verdict.entry
        datastore = datastores.get(entry.datastore or "", entry.datastore)
        if not wanted.all and not is_ours(entry):
            continue
        if wanted.image and entry.image_id not in wanted.image:
            continue
        if wanted.datastore and datastore not in wanted.datastore:
            continue
        ours = is_ours(entry)
        row = [
            backend,
            Plain(entry.image_id if ours else None),
            entry.name,
            entry.phase.value,
            Plain(datastore),
            Size(entry.size_bytes),
            Size(entry.unshared_bytes),
            Plain(entry.record.key.adapter_type if ours and entry.record else None),
            Time(entry.created_at if ours else entry.made_at),
            Time(entry.used_at),
            Time(expires_at(entry, policy) if ours else None),
            copies[_key(entry)] if ours else 0,
        ]
        rows.append([*row, verdict.reason] if wanted.all else row)
    return rows


def is_ours(entry: CacheEntry) -> bool:
    """Whether it is a template of this cache, or becomes one: neither somebody else's VM in our
    folder, nor of a later version of this package, of which nothing is known."""
    from vmdk_cache.cache.entry import Phase

    later = entry.record is not None and entry.record.is_of_later_version
    return entry.phase is not Phase.FOREIGN and not later


def _key(entry: CacheEntry) -> CacheKey | str | None:
    return entry.record.key if entry.record else entry.image_id
