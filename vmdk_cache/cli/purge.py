"""``vmdk-cache purge``: run the periodic purge now, or delete selected templates."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from vmdk_cache import errors
from vmdk_cache.cli import command
from vmdk_cache.cli.columns import Plain, Size
from vmdk_cache.quoting import identifier

if TYPE_CHECKING:
    from vmdk_cache.cache.eviction_plan import EvictionPlan, Verdict
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.cli.glance import Glance
    from vmdk_cache.image import Image
    from vmdk_cache.wiring import RunningCache

COLUMNS = ("Backend", "Image", "Name", "Datastore", "Freed", "Outcome", "Reason")


class Purge(command.Lister):
    """Delete templates: what the periodic purge would delete now, or what is asked for.

    Safe while services are running: it takes the same locks and checks each template again before
    deleting it. A template that is in use or being imported stays, and the exit code is then 1.
    Volumes are not affected: they share nothing with the template that they were cloned from.

    Only with --ask-glance does the command ask Glance which images have changed and which are to be
    kept warm, with the same credentials as "warm". Without it, templates of images that were
    deleted in Glance remain until the services' own purge, and a limit evicts the least recently
    used templates, including those of images that are to be kept warm.
    """

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
            metavar="ID",
            help="every template of these images, whatever its age",
        )
        which.add_argument("--all", action="store_true", help="every template of the backends")
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

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        selected = bool(parsed_args.image or parsed_args.all)
        if selected and not parsed_args.dry_run:
            self.check_can_confirm(parsed_args, "--all" if parsed_args.all else "--image")
        if selected and parsed_args.ask_glance:
            raise command.UsageError("--ask-glance goes with --expired only")
        catalog = None
        if parsed_args.ask_glance:
            from vmdk_cache.cli import glance

            catalog = _Catalog(glance.connect(self.configuration.options, os.environ))
        seen: set[str | None] = set()
        rows = self.collect(functools.partial(self._purge, parsed_args, catalog, seen), catalog)
        if catalog is not None and catalog.failure is not None:
            self.report(
                catalog.failure, "templates that Glance could not confirm as stale were kept"
            )
        for image_id in dict.fromkeys(parsed_args.image or ()):
            if image_id not in seen:
                self.fail()
                self.tell(f"no template of image {identifier(image_id)}")
        return COLUMNS, sorted(rows, key=lambda row: (row[0], row[2]))

    def _purge(
        self,
        wanted: argparse.Namespace,
        catalog: _Catalog | None,
        seen: set[str | None],
        configured: BackendConfiguration,
        cache: RunningCache,
    ) -> list[list[Any]]:
        """The rows of one backend; adds the ids of images that have templates to ``seen``.

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
        seen |= {verdict.entry.image_id for verdict in (*planned.remove, *held_up)}
        row = functools.partial(_row, configured.name, cache.placement.datastore_names())
        if wanted.dry_run:
            rows = [row(verdict, "would be removed") for verdict in planned.remove]
            return rows + [row(verdict, "would stay") for verdict in held_up]
        rows = []
        if planned.remove:
            if selected:
                self.confirm(wanted, _question(configured.name, planned.remove))
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
    ]


def _question(backend: str, verdicts: Iterable[Verdict]) -> str:
    entries = [verdict.entry for verdict in verdicts]
    images = {entry.image_id for entry in entries}
    freed = Size(sum(entry.unshared_bytes for entry in entries))
    return (
        f"Delete {len(entries)} template(s) of {len(images)} image(s) from the cache of {backend}, "
        f"{freed}?"
    )
