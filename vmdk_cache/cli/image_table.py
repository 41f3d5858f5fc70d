"""The table of images that people read, made from the columns for programs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from vmdk_cache.cli import command, image_choice
from vmdk_cache.cli.columns import Plain, machine_readable


def readable(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], order: Sequence[str]
) -> tuple[list[str], list[list[Any]]]:
    """The columns named in ``order``, with short ids, and without the backend if there is only one.

    :param columns: of the rows; "Image", if it is one, has the ids, None if unknown
    """
    every = [dict(zip(columns, row, strict=True)) for row in rows]
    ids = [machine_readable(cells.get("Image")) for cells in every]
    short = image_choice.short_ids(each for each in ids if each is not None)
    for cells, image_id in zip(every, ids, strict=True):
        if "Image" in cells:
            cells["Image"] = Plain(short.get(image_id))
    backends = {cells["Backend"] for cells in every}
    kept = [column for column in order if column != "Backend" or len(backends) > 1]
    return kept, [[cells[column] for column in kept] for cells in every]


def output(
    lister: command.Lister,
    parsed_args: argparse.Namespace,
    columns: Sequence[str],
    rows: list[list[Any]],
    order: Sequence[str],
    **how: Any,
) -> tuple[Sequence[str], list[list[Any]]]:
    """What the command prints: :func:`readable` for people, otherwise the rows as they are.

    :param how: see :func:`~vmdk_cache.cli.narrow_table.fit`
    """
    if not lister.is_for_people(parsed_args):
        return columns, rows
    return lister.fitted(parsed_args, *readable(columns, rows, order), **how)
