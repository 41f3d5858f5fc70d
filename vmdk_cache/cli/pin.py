"""``vmdk-cache pin``: keep images in the cache, whatever their age and the limits."""

from __future__ import annotations

import abc
import argparse
import os
import pwd
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vmdk_cache.cli import command, exit_code, image_arguments, image_table
from vmdk_cache.cli.columns import Plain
from vmdk_cache.quoting import identifier

if TYPE_CHECKING:
    from vmdk_cache.cache.pinning import Marked
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.wiring import RunningCache

COLUMNS = ("Backend", "Image", "Name", "Datastore", "Outcome", "Reason", "Image Name")
#: The columns of a table, in their order; "Name" would take half a terminal.
_IN_A_TABLE = ("Backend", "Image", "Image Name", "Datastore", "Outcome", "Reason")
_FLEXIBLE = {"Outcome": 8, "Reason": 12, "Image Name": 16, "Datastore": 9}
_WRAPPED = ("Outcome", "Reason")


class Marking(command.Lister):
    """Common to ``pin`` and ``unpin``: a row for each template of the images."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "image",
            nargs="+",
            metavar="IMAGE",
            help="id or name of an image in the cache, or a prefix that no other image has (4 "
            "characters or more)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        opened = list(self.caches())
        image_ids = image_arguments.chosen(
            self, parsed_args.image, opened, otherwise="nothing was changed"
        )
        found: set[str] = set()

        def marked(configured: BackendConfiguration, cache: RunningCache) -> list[list[Any]]:
            datastores, rows = cache.placement.datastore_names(), []
            for image_id in image_ids:
                for each in self.mark(cache, image_id):
                    found.add(image_id)
                    rows.append(_row(configured.name, datastores, each))
                    if each.failure is not None:
                        self.fail(exit_code.of(each.failure))
            return rows

        rows = self.collect(marked, opened=opened)
        for image_id in image_ids:
            if image_id not in found and self.result < exit_code.CONFIGURATION:
                self.fail()
                self.tell(
                    f"image {identifier(image_id)} has no template that volumes can be cloned "
                    "from: vmdk-cache warm imports it"
                )
        rows.sort(key=lambda row: (row[0], row[2]))
        return image_table.output(
            self, parsed_args, COLUMNS, rows, _IN_A_TABLE, flexible=_FLEXIBLE, wrapped=_WRAPPED
        )

    @abc.abstractmethod
    def mark(self, cache: RunningCache, image_id: str) -> list[Marked]:
        """Pin or unpin the image in one cache.

        :raises VmdkCacheError: the templates could not be listed
        """


class Pin(Marking):
    """Keep images in the cache: their templates neither expire nor are evicted for a limit.

    Nothing deletes the templates of a pinned image, not even "purge --all", until it is unpinned.
    The exception is a template that can no longer be served: its image was deleted or changed in
    Glance, it was altered by hand, or its files are lost. If the image has another template by
    then, the image stays pinned.

    Pinned templates count for the limits. The pin is stored in vCenter, in the custom attribute
    vmdk_cache.pin, with the user and host that ran this command, and applies to all hosts of the
    cloud. An image without a template cannot be pinned: import it with "warm" first.
    """

    def mark(self, cache: RunningCache, image_id: str) -> list[Marked]:
        return cache.pinning.pin(image_id, user(os.getuid(), os.environ), socket.gethostname())


def user(uid: int, environ: Mapping[str, str]) -> str:
    """The name of the user who runs the command: with sudo, of the one who called it."""
    if uid == 0 and "SUDO_USER" in environ:
        return environ["SUDO_USER"]
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)  # in a container, which may lack the user


def _row(backend: str, datastores: Mapping[str, str], marked: Marked) -> list[Any]:
    entry = marked.entry
    return [
        backend,
        Plain(entry.image_id),
        entry.name,
        Plain(datastores.get(entry.datastore or "", entry.datastore)),
        marked.outcome.value,
        Plain(marked.says or None),
        Plain(entry.image_name or None),
    ]
