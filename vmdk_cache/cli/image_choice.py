"""Which image an operator means: its id, its name, or a prefix that no other image shares. Pure.

    id          wins over everything else
    name        if only one image has it; Glance's names are not unique
    prefix      of ids or names, SHORTEST_PREFIX characters or more

Anything else is an error that offers the nearest ids and names.
"""

from __future__ import annotations

import datetime
import difflib
import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from vmdk_cache.cli.command import CommandFailedError
from vmdk_cache.quoting import identifier, quoted

if TYPE_CHECKING:
    from vmdk_cache.cache.entry import CacheEntry

#: A shorter text that an operator mistyped would select an image by accident.
SHORTEST_PREFIX = 4
MOST_CANDIDATES = 5
#: Characters of an id that a table shows, if they are enough to tell it from the others.
SHORT = 8
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)


def names_of(entries: Iterable[CacheEntry]) -> dict[str, str]:
    """The images that have templates: id -> name at the latest import, '' if unknown."""
    names: dict[str, str] = {}
    for entry in sorted(entries, key=lambda entry: entry.created_at or _EPOCH):
        if entry.is_ours and entry.image_id is not None:
            names[entry.image_id] = entry.image_name or names.get(entry.image_id, "")
    return names


def chosen(
    text: str, names: Mapping[str, str], where: str = "the cache", hint: str | None = None
) -> str:
    """The id of the image that ``text`` selects.

    :param names: image id -> name, '' if unknown
    :param where: what holds these images, for the error
    :param hint: what lists them, for the error if none resembles ``text``; None: vmdk-cache list
    :raises CommandFailedError: none, or more than one, fits; the message offers candidates
    """
    if text in names:
        return text
    for fits in (_named, _begins):
        found = sorted(id_ for id_, name in names.items() if fits(text, id_, name))
        if len(found) == 1:
            return found[0]
        if found:
            raise CommandFailedError(
                f"{quoted(text)} fits {len(found)} images in {where}: use an id, "
                + _listed(found, names)
            )
    raise CommandFailedError(f"no image {quoted(text)} in {where}{_offer(text, names, hint)}")


def short_ids(image_ids: Iterable[str]) -> dict[str, str]:
    """Id -> its first characters, as many as tell all of these ids apart, :data:`SHORT` or more."""
    ids = set(image_ids)
    for length in itertools.count(SHORT):
        short = {each: each[:length] for each in ids}
        if len(set(short.values())) == len(ids):
            break
    return short


def shown(image_id: str, name: str) -> str:
    """The image in messages: its name if known, and its id."""
    return f"{quoted(name)} ({identifier(image_id)})" if name else identifier(image_id)


def _named(text: str, image_id: str, name: str) -> bool:
    return name == text


def _begins(text: str, image_id: str, name: str) -> bool:
    return len(text) >= SHORTEST_PREFIX and (image_id.startswith(text) or name.startswith(text))


def _offer(text: str, names: Mapping[str, str], hint: str | None) -> str:
    if not names and hint is None:
        return ", which is empty"
    near = _near(text, names)
    if near:
        return f"; did you mean {_listed(near, names)}?"
    return f"; {hint or 'vmdk-cache list shows what is there'}"


def _near(text: str, names: Mapping[str, str]) -> list[str]:
    """Ids of the images whose name or id resembles the text, or contains it."""
    wanted = text.lower()
    by_word: dict[str, list[str]] = {}
    for image_id, name in names.items():
        for word in {image_id, name.lower()} - {""}:
            by_word.setdefault(word, []).append(image_id)
    inside = sorted(word for word in by_word if len(wanted) > 1 and wanted in word)
    alike = difflib.get_close_matches(wanted[:255], by_word, MOST_CANDIDATES)
    near = (image_id for word in (*alike, *inside) for image_id in sorted(by_word[word]))
    return list(dict.fromkeys(near))[:MOST_CANDIDATES]


def _listed(image_ids: Iterable[str], names: Mapping[str, str]) -> str:
    ids = list(image_ids)
    listed = ", ".join(shown(id_, names[id_]) for id_ in ids[:MOST_CANDIDATES])
    more = len(ids) - MOST_CANDIDATES
    return f"{listed} and {more} more" if more > 0 else listed
