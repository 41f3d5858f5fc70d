"""``vmdk-cache purge``: run the periodic purge now, or delete selected templates."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vmdk_cache import errors
from vmdk_cache.cli import (
    command,
    evacuation,
    exit_code,
    image_arguments,
    image_choice,
    image_table,
)
from vmdk_cache.cli.columns import Plain, Size
from vmdk_cache.quoting import identifier

if TYPE_CHECKING:
    from vmdk_cache.cache.eviction_plan import EvictionPlan, Verdict
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.cli.glance import Glance
    from vmdk_cache.image import Image
    from vmdk_cache.wiring import RunningCache

COLUMNS = ("Backend", "Image", "Name", "Datastore", "Freed", "Outcome", "Reason", "Image Name")
#: The columns of a table, in their order; "Name" would take half a terminal.
_IN_A_TABLE = ("Backend", "Image", "Image Name", "Datastore", "Freed", "Outcome", "Reason")
_FLEXIBLE = {"Outcome": 8, "Reason": 12, "Image Name": 16, "Datastore": 9}
_WRAPPED = ("Outcome", "Reason")
#: A question names at most this many images.
MOST_NAMED = 5


class Purge(command.Lister):
    """Delete templates: what the periodic purge would delete now, or what is asked for.

    Safe while services are running: it takes the same locks and checks each template again before
    deleting it. A template that is in use or being imported stays, and the exit code is then 1.
    Volumes are not affected: they share nothing with the template that they were cloned from.

    With --datastore, the command takes templates off a datastore; with --replicate, it copies those
    that are needed first. Where a copy fails, the original stays. New imports may choose the
    datastore again, unless it is in maintenance or vmware_datastore_regex leaves it out.

    Only with --ask-glance does the command ask Glance which images have changed and which are to be
    kept warm, with the same credentials as "warm". Without it, templates of images that were
    deleted in Glance remain until the services' own purge, and a limit evicts the least recently
    used templates, including those of images that are to be kept warm.
    """

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--expired",
            action="store_true",
            help="templates that have expired, are superseded, were altered by hand, or exceed a "
            "limit (default)",
        )
        which.add_argument(
            "--image",
            nargs="+",
            action="extend",
            metavar="IMAGE",
            help="every template of these images, whatever its age; by id, name or unique prefix",
        )
        which.add_argument("--all", action="store_true", help="every template of the backends")
        evacuation.add_options(parser)
        parser.add_argument(
            "--dry-run", action="store_true", help="show what would be deleted, delete nothing"
        )
        parser.add_argument(
            "--ask-glance",
            action="store_true",
            help="also delete stale templates, whose image was deleted, changed or deactivated in "
            "Glance",
        )
        command.add_yes(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        evacuation.check(parsed_args)
        options = [o for o in ("all", "datastore", "image") if getattr(parsed_args, o)]
        selected = bool(options)
        if selected and not parsed_args.dry_run:
            self.check_can_confirm(parsed_args, f"--{options[0]}")
        if selected and parsed_args.ask_glance:
            raise command.UsageError("--ask-glance goes with --expired only")
        catalog = None
        if parsed_args.ask_glance:
            catalog = _Catalog(self.glance())
        opened = list(self.caches(catalog))
        evacuation.check_names(parsed_args.datastore, opened)
        if parsed_args.image:
            parsed_args.image = image_arguments.chosen(
                self, parsed_args.image, opened, otherwise="nothing was deleted"
            )
        rows_of = functools.partial(self._purge, parsed_args, catalog)
        if parsed_args.datastore:
            rows_of = functools.partial(self._evacuate, parsed_args)
        rows = self.collect(rows_of, opened=opened)
        if catalog is not None and catalog.failure is not None:
            self.report(
                catalog.failure, "templates that Glance could not confirm as stale were kept"
            )
        if not (rows or parsed_args.datastore) and self.result == exit_code.OK:
            where = command.the_caches([configured.name for configured, _ in opened])
            self.tell(f"nothing to delete in {where}")
        rows.sort(key=lambda row: (row[0], row[2]))
        # A table about one datastore need not name it.
        hidden = {"Datastore"} if len(parsed_args.datastore) == 1 else set()
        shown = [column for column in _IN_A_TABLE if column not in hidden]
        return image_table.output(
            self, parsed_args, COLUMNS, rows, shown, flexible=_FLEXIBLE, wrapped=_WRAPPED
        )

    def _evacuate(
        self, wanted: argparse.Namespace, configured: BackendConfiguration, cache: RunningCache
    ) -> list[list[Any]]:
        """The rows of one backend; errors as for :meth:`_purge`."""
        datastores = cache.placement.datastore_names()
        return evacuation.Evacuator(
            self,
            wanted,
            configured,
            cache,
            row=functools.partial(_row, configured.name, datastores),
            question=functools.partial(_question, configured.name, datastores),
        ).rows()

    def _purge(
        self,
        wanted: argparse.Namespace,
        catalog: _Catalog | None,
        configured: BackendConfiguration,
        cache: RunningCache,
    ) -> list[list[Any]]:
        """The rows of one backend.

        :raises VmdkCacheError: the plan could not be made or carried out
        :raises CommandFailedError: not confirmed, or another process is purging
        """
        from vmdk_cache.cache.entry import Phase

        if catalog is not None and configured.settings.auto_warm:
            cache.kept.set(catalog.marked)
        selected = bool(wanted.image or wanted.all)
        image_ids = None if wanted.all else frozenset(wanted.image or ())
        plan = cache.purge.plan
        if selected:
            plan = functools.partial(cache.purge.plan_requested, image_ids)
        planned = plan()
        held_up = [  # selected, but they cannot be deleted now
            verdict
            for verdict in planned.keep
            if selected
            and verdict.entry.phase is not Phase.FOREIGN
            and (image_ids is None or verdict.entry.image_id in image_ids)
        ]
        datastores = cache.placement.datastore_names()
        row = functools.partial(_row, configured.name, datastores)
        if wanted.dry_run:
            rows = [row(verdict, "would be removed") for verdict in planned.remove]
            return rows + [row(verdict, "would stay") for verdict in held_up]
        rows = []
        if planned.remove:
            if selected:
                self.confirm(wanted, _question(configured.name, datastores, planned.remove))
            rows = self._carried_out(cache, plan, planned, row)
        if held_up:
            self.fail()
        return rows + [row(verdict, "stayed") for verdict in held_up]

    def _carried_out(
        self,
        cache: RunningCache,
        plan: Callable[[], EvictionPlan],
        agreed: EvictionPlan,
        row: Callable[..., list[Any]],
    ) -> list[list[Any]]:
        # Templates that joined the plan after the confirmation wait for the next purge.
        morefs = {verdict.entry.moref for verdict in agreed.remove}

        def still_agreed() -> EvictionPlan:
            now = plan()
            remove = tuple(verdict for verdict in now.remove if verdict.entry.moref in morefs)
            return dataclasses.replace(now, remove=remove)

        try:
            done = cache.purge.carry_out(still_agreed)
        except errors.LockTimeout:
            raise command.CommandFailedError(
                "another process is purging, try again later"
            ) from None
        if not all(why.gone for _, why in done.stayed):
            self.fail()
        return [row(verdict, "removed") for verdict in done.removed] + [
            row(verdict, "gone" if why.gone else "stayed", why.reason)
            for verdict, why in done.stayed
        ]


class _Catalog:
    """Glance; keeps its first failure, since a purge continues without the answer."""

    def __init__(self, glance: Glance) -> None:
        self._glance = glance
        self.failure: errors.SourceUnavailable | None = None

    def describe(self, image_id: str) -> Image | None:
        try:
            return self._glance.describe(image_id)
        except errors.SourceUnavailable as failure:
            self.failure = self.failure or failure
            raise

    @functools.cached_property
    def marked(self) -> frozenset[str]:
        """Ids of the images that are to be kept warm; empty if Glance cannot tell."""
        try:
            return frozenset(image.id for image in self._glance.marked())
        except errors.SourceUnavailable as failure:
            self.failure = self.failure or failure
            return frozenset()


def _row(
    backend: str,
    datastores: Mapping[str, str],
    verdict: Verdict,
    outcome: str,
    reason: str | None = None,
) -> list[Any]:
    entry = verdict.entry
    return [
        backend,
        Plain(entry.image_id),
        entry.name,
        Plain(datastores.get(entry.datastore or "", entry.datastore)),
        Size(entry.unshared_bytes),
        outcome,
        reason or verdict.reason,
        Plain(entry.image_name or None),
    ]


def _question(backend: str, datastores: Mapping[str, str], verdicts: Iterable[Verdict]) -> str:
    """What to confirm: the images by name and id, where they are, and what is freed."""
    entries = [verdict.entry for verdict in verdicts]
    named = image_choice.names_of(entries)
    images = sorted(image_choice.shown(*each) for each in named.items())
    listed = ", ".join(images[:MOST_NAMED])
    if len(images) > MOST_NAMED:
        listed += f" and {len(images) - MOST_NAMED} more"
    names = {datastores.get(entry.datastore or "", entry.datastore) for entry in entries}
    where = ", ".join(sorted(identifier(name) for name in names if name))
    freed = Size(sum(entry.unshared_bytes for entry in entries))
    return (
        f"Delete {len(entries)} template{'s' if len(entries) > 1 else ''} of {listed} on {where} "
        f"from the cache of {backend}, {freed}?"
    )
