"""``vmdk-cache capacity``: the space that the caches use, and how close their limits are."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cliff import columns

from vmdk_cache.cli import command
from vmdk_cache.cli.columns import Percent, Plain, Size

if TYPE_CHECKING:
    from vmdk_cache.cache.capacity import Capacity
    from vmdk_cache.conf import Settings
    from vmdk_cache.vim.inventory import Datastore
    from vmdk_cache.wiring import RunningCache

GIB = 1 << 30
#: Value of the column Datastore in the row of the whole backend.
WHOLE = "(all)"
COLUMNS = (
    "Backend",
    "Datastore",
    "Templates",
    "Imports",
    "Provisioned",
    "Freed By Deletion",
    "Capacity",
    "Free",
    "Free %",
    "Limits",
    "Extra Provisioned GB",
)


class Limits(columns.FormattableColumn[list[dict[str, Any]]]):
    """Limits with their current use; for image_cache_min_free_percent, the free space."""

    def human_readable(self) -> str:
        return "\n".join(map(self._text, self._value))

    @staticmethod
    def _text(limit: dict[str, Any]) -> str:
        # The only lower limit.
        of = "free of at least" if limit["option"] == "image_cache_min_free_percent" else "of"
        return f"{limit['option']}: {limit['used']:g} {of} {limit['limit']:g}"


class ShowCapacity(command.Lister):
    """Show the space that templates use on each datastore, and how close the limits are.

    The row "(all)" of a backend shows the totals, and extra_provisioned_capacity_gb as the
    scheduler sees it: the virtual sizes of all templates and running imports, in GiB, rounded up.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        rows = []
        for configured, cache in self.caches():
            with self.reporting(f"backend {configured.name}"):
                rows += _rows(configured.name, configured.settings, cache)
        return COLUMNS, rows


def _rows(backend: str, settings: Settings, cache: RunningCache) -> list[list[Any]]:
    from vmdk_cache.cache.capacity import provisioned_gib

    used = cache.capacity()
    names = cache.placement.datastore_names()
    datastores = {datastore.moref: datastore for datastore in cache.placement.datastores()}
    by_moref = {each.datastore: each for each in used}
    morefs = {*datastores, *(each.datastore for each in used)}
    rows = []
    for name, moref in sorted((names.get(moref or "", str(moref)), moref) for moref in morefs):
        datastore = datastores.get(moref or "")
        space = [datastore] if datastore else []
        limits = []
        if space and settings.min_free_percent:
            free = _free(space)
            limits = [_limit("image_cache_min_free_percent", free, settings.min_free_percent)]
        here = [by_moref[moref]] if moref in by_moref else []
        rows.append([backend, name, *_taken(here), *_space(space), Limits(limits), Plain(None)])
    everywhere = list(datastores.values())
    gib = provisioned_gib([each.provisioned_bytes for each in used])
    limits = _limits(settings, used, everywhere)
    return [*rows, [backend, WHOLE, *_taken(used), *_space(everywhere), Limits(limits), Plain(gib)]]


def _taken(used: Iterable[Capacity]) -> list[Any]:
    used = list(used)
    return [
        sum(each.templates for each in used),
        sum(each.imports for each in used),
        Size(sum(each.provisioned_bytes for each in used)),
        Size(sum(each.unshared_bytes for each in used)),
    ]


def _space(datastores: list[Datastore]) -> list[Any]:
    if not datastores:
        # The backend no longer uses this datastore.
        return [Size(None), Size(None), Percent(None)]
    return [
        Size(sum(each.capacity_bytes for each in datastores)),
        Size(sum(each.free_bytes for each in datastores)),
        Percent(_free(datastores)),
    ]


def _free(datastores: list[Datastore]) -> float:
    capacity = sum(each.capacity_bytes for each in datastores)
    return 100 * sum(each.free_bytes for each in datastores) / capacity if capacity else 0.0


def _limits(
    settings: Settings, used: Iterable[Capacity], datastores: list[Datastore]
) -> list[dict[str, Any]]:
    """The limits of the whole backend that are set."""
    used = list(used)
    provisioned = sum(each.provisioned_bytes for each in used)
    capacity = sum(each.capacity_bytes for each in datastores)
    percent = 100 * provisioned / capacity if capacity else 0.0
    count = sum(each.templates + each.imports for each in used)
    total_gb = settings.max_total_bytes / GIB
    every = [
        _limit("image_cache_max_count", count, settings.max_count),
        _limit("image_cache_max_total_gb", provisioned / GIB, total_gb),
        _limit("image_cache_max_percent", percent, settings.max_percent),
    ]
    return [limit for limit in every if limit["limit"]]


def _limit(option: str, used: float, limit: float) -> dict[str, Any]:
    return {"option": option, "used": round(used, 3), "limit": limit}
