"""``vmdk-cache verify``: compare the disks of templates with Glance's images."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from vmdk_cache.cli import command, exit_code, image_table
from vmdk_cache.cli.columns import Plain, Seconds, Size
from vmdk_cache.quoting import quoted

if TYPE_CHECKING:
    from vmdk_cache.cli.verify_run import Target

COLUMNS = ("Image", "Name", "Backend", "Datastore", "Status", "Read", "Took", "Detail")
#: How narrow a table may make its columns, those that get more room first; and what it leaves out.
_FLEXIBLE = {"Name": 16, "Detail": 20, "Datastore": 9}
_OPTIONAL = ("Took", "Read")


class Verify(command.Lister):
    """Check whether the disks of templates still hold what Glance's images hold.

    Each copy is read once through an export lease of vCenter, and the image once from Glance, whose
    hash is checked. What is compared is what a guest would read, because vCenter compresses a disk
    anew when it exports it. A copy that is being read is in use: volumes are cloned from it, but it
    is not deleted. The account needs VApp.Export on the templates.

    Glance credentials are those of "warm". Ctrl-C ends the lease and leaves nothing behind. Status:
    ok; differs, with the place of the first difference; not verified, with the reason.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "image",
            nargs="*",
            metavar="IMAGE",
            help="id or name of an image, or a prefix that no other image has (4 characters or "
            "more)",
        )
        parser.add_argument(
            "--datastore",
            action="append",
            default=[],
            metavar="NAME",
            help="only copies on this datastore; may be repeated",
        )
        parser.add_argument("--all", action="store_true", help="every template of the backends")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        from vmdk_cache.cli.progress import progress
        from vmdk_cache.cli.verify_run import INTERRUPTED, Status, VerifyRun
        from vmdk_cache.clock import SystemClock

        if not (parsed_args.image or parsed_args.datastore or parsed_args.all):
            raise command.UsageError("name the images to verify, or use --datastore or --all")
        if parsed_args.image and parsed_args.all:
            raise command.UsageError("argument --all: not allowed with IMAGE")
        glance = self.glance()
        targets = self._targets(parsed_args.image, parsed_args.datastore)
        clock, quiet = SystemClock(), self.app.options.verbose_level == 0
        run = VerifyRun(
            targets,
            glance,
            progress=progress(self.app.stderr, clock, quiet=quiet),
            clock=clock,
        )
        if not run.run():
            self.fail(exit_code.INTERRUPTED)
        for target in targets:
            if target.failure is not None:
                self.fail(exit_code.of(target.failure))
            elif target.status is not Status.OK and target.detail != INTERRUPTED:
                self.fail()
        rows = [_row(target) for target in targets]
        how = {"flexible": _FLEXIBLE, "wrapped": ("Detail",), "optional": _OPTIONAL}
        return image_table.output(self, parsed_args, COLUMNS, rows, COLUMNS, **how)

    def _targets(self, images: Sequence[str], datastores: Collection[str]) -> list[Target]:
        """The chosen copies, by image and datastore.

        :raises CommandFailedError: the cache has no such image, or none of its copies is chosen
        :raises UsageError: no backend uses a datastore of that name
        """
        from vmdk_cache.cache.entry import Phase
        from vmdk_cache.cli import image_choice
        from vmdk_cache.cli.verify_run import Target

        found: list[Target] = []
        known: set[str] = set()
        opened = list(self.caches())
        for configured, cache in opened:
            with self.reporting(f"backend {configured.name}"):
                names = cache.placement.datastore_names()
                known |= set(names.values())
                for entry in cache.store.entries():
                    if entry.phase in (Phase.READY, Phase.ALTERED):
                        on = names.get(entry.datastore or "", entry.datastore or "?")
                        place = f"{on} of {configured.name}" if len(opened) > 1 else on
                        found.append(
                            Target(cache, configured.name, entry, entry.image_name, on, place)
                        )
        listed = ", ".join(map(quoted, sorted(known)))
        for name in datastores:
            if name not in known:
                raise command.UsageError(
                    f"argument --datastore: no opened backend uses a datastore {quoted(name)}; "
                    f"they use {listed or 'none'}"
                )
        if images:
            image_names = image_choice.names_of(each.entry for each in found)
            wanted = {image_choice.chosen(text, image_names) for text in images}
            found = [each for each in found if each.image_id in wanted]
        chosen = [each for each in found if not datastores or each.datastore_name in datastores]
        if not chosen:
            where = " on " + ", ".join(map(quoted, datastores)) if datastores else ""
            raise command.CommandFailedError(f"no template{where} to verify")
        return sorted(
            chosen, key=lambda each: (each.image_name, each.image_id, each.datastore_name)
        )


def _row(target: Target) -> list[Any]:
    return [
        target.image_id,
        Plain(target.image_name or None),
        target.backend,
        target.datastore_name,
        target.status.value,
        Size(target.bytes_read),
        Seconds(target.seconds),
        Plain(target.detail or None),
    ]
