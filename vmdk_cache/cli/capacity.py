"""``vmdk-cache capacity``: the space that the caches use, and how close their limits are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cliff import columns

from vmdk_cache.cli import command
from vmdk_cache.cli.columns import Percent, Plain, Size

if TYPE_CHECKING:
    from vmdk_cache.cache import capacity
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.vim.inventory import Datastore
    from vmdk_cache.wiring import RunningCache

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
#: Shorter names for a table.
_SHORT = {"Freed By Deletion": "Used", "Extra Provisioned GB": "Extra GB"}
#: Left out first in a narrow terminal.
_OPTIONAL = ("Extra GB", "Imports", "Capacity", "Free", "Free %")
_FLEXIBLE = {"Limits": 20, "Datastore": 9}


class Limits(columns.FormattableColumn[list[dict[str, Any]]]):
    """Limits with their current use; for image_cache_min_free_percent, the free space. A table
    shows the options without "image_cache_"."""

    def human_readable(self) -> str:
        return "\n".join(map(self._text, self._value))

    @staticmethod
    def _text(limit: dict[str, Any]) -> str:
        # The only lower limit.
        of = "free, at least" if limit["option"] == "image_cache_min_free_percent" else "of"
        name = limit["option"].removeprefix("image_cache_")
        return f"{name}: {limit['used']:.4g} {of} {limit['limit']:g}"


class Capacity(command.Lister):
    """Show the space that templates use on each datastore, and how close the limits are.

    The row "(all)" of a backend shows the totals, and extra_provisioned_capacity_gb as the
    scheduler sees it: the virtual sizes of all templates and running imports, in GiB, rounded up.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        rows = self.collect(_rows)
        if not self.is_for_people(parsed_args):
            return COLUMNS, rows
        first = 0 if len({row[0] for row in rows}) > 1 else 1
        columns = [_SHORT.get(column, column) for column in COLUMNS[first:]]
        shown = [row[first:] for row in rows]
        how = {"flexible": _FLEXIBLE, "wrapped": ("Limits",), "optional": _OPTIONAL}
        return self.fitted(parsed_args, columns, shown, **how)


def _rows(configured: BackendConfiguration, cache: RunningCache) -> list[list[Any]]:
    from vmdk_cache.cache.capacity import provisioned_gib
    from vmdk_cache.cli.backend_status import limits_of

    settings, used = configured.settings, cache.capacity()
    names = cache.placement.datastore_names()
    datastores = cache.placement.datastores()
    morefs = {*(each.moref for each in datastores), *(each.datastore for each in used)}
    rows = []
    for name, moref in sorted((names.get(moref or "", str(moref)), moref) for moref in morefs):
        here = [each for each in used if each.datastore == moref]
        space = [each for each in datastores if each.moref == moref]
        limits = []
        if space and settings.min_free_percent:
            free = _free_percent(space)
            limits = [as_dict("image_cache_min_free_percent", free, settings.min_free_percent)]
        rows.append([configured.name, name, *_numbers(here, space), Limits(limits), Plain(None)])
    found = limits_of(settings, used, cache.placement.spaces().values())
    limits = [as_dict(each.option, each.used, each.limit) for each in found]
    gib = provisioned_gib([each.provisioned_bytes for each in used])
    whole = [configured.name, WHOLE, *_numbers(used, datastores)]
    return [*rows, [*whole, Limits(limits), Plain(gib)]]


def _numbers(used: Sequence[capacity.Capacity], datastores: Sequence[Datastore]) -> list[Any]:
    """The columns from Templates to Free %; without datastores, the backend uses none any more."""
    space = [Size(None), Size(None), Percent(None)]
    if datastores:
        space = [
            Size(sum(each.capacity_bytes for each in datastores)),
            Size(sum(each.free_bytes for each in datastores)),
            Percent(_free_percent(datastores)),
        ]
    return [
        sum(each.templates for each in used),
        sum(each.imports for each in used),
        Size(sum(each.provisioned_bytes for each in used)),
        Size(sum(each.unshared_bytes for each in used)),
        *space,
    ]


def _free_percent(datastores: Sequence[Datastore]) -> float:
    capacity_bytes = sum(each.capacity_bytes for each in datastores)
    free_bytes = sum(each.free_bytes for each in datastores)
    return 100 * free_bytes / capacity_bytes if capacity_bytes else 0.0


def as_dict(option: str, used: float, limit: float) -> dict[str, Any]:
    """A limit for :class:`Limits`."""
    return {"option": option, "used": round(used, 3), "limit": limit}
