"""The images in the caches that the arguments of a command select."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vmdk_cache.cli import command, image_choice

if TYPE_CHECKING:
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.wiring import RunningCache


def chosen(
    asking: command.Command,
    texts: Iterable[str],
    opened: Sequence[tuple[BackendConfiguration, RunningCache]],
    otherwise: str,
) -> list[str]:
    """The ids of the images that the texts select, each once. The command reports the texts that
    select none.

    :param otherwise: said if none of them selects an image: "nothing was deleted"
    :raises CommandFailedError: none of them selects an image
    """
    entries = asking.collect(lambda _, cache: cache.store.entries(), opened=opened)
    asking.end_if_unknown(entries)
    names = image_choice.names_of(entries)
    where = command.the_caches([configured.name for configured, _ in opened])
    found = []
    for text in dict.fromkeys(texts):
        with asking.reporting(""):
            found.append(image_choice.chosen(text, names, where))
    if not found:
        raise command.CommandFailedError(otherwise)
    return list(dict.fromkeys(found))
