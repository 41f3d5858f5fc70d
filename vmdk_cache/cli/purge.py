"""``vmdk-cache purge``: run the periodic purge now, or delete selected templates."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from vmdk_cache import errors
from vmdk_cache.cli import command
from vmdk_cache.cli.columns import Plain, Size
from vmdk_cache.quoting import identifier

if TYPE_CHECKING:
    from vmdk_cache.cache.eviction_plan import EvictionPlan, Verdict
    from vmdk_cache.cli.glance import Glance
    from vmdk_cache.image import Image
    from vmdk_cache.wiring import RunningCache

COLUMNS = ("Backend", "Image", "Name", "Datastore", "Freed", "Outcome", "Reason")


class PurgeTemplates(command.Lister):
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
        wanted = bool(parsed_args.image or parsed_args.all)
        image_ids = None if parsed_args.all else frozenset(parsed_args.image or ())
        if wanted and not parsed_args.dry_run:
            self.check_can_confirm(parsed_args, "--all" if parsed_args.all else "--image")
        catalog = self._catalog(wanted) if parsed_args.ask_glance else None
        rows, seen = [], set()
        for configured, cache in self.caches(catalog):
            if catalog is not None and configured.settings.auto_warm:
                cache.kept.set(catalog.marked)

            def plan(cache: RunningCache = cache) -> EvictionPlan:
                return cache.purge.plan_requested(image_ids) if wanted else cache.purge.plan()

            try:
                planned = plan()
                table = _Table(configured.name, cache.placement.datastore_names())
                held_up = [v for v in planned.keep if wanted and _is_asked_for(v, image_ids)]
                seen |= {v.entry.image_id for v in (*planned.remove, *held_up)}
                if parsed_args.dry_run:
                    rows += [table.row(v, "would be removed") for v in planned.remove]
                    rows += [table.row(v, "would stay") for v in held_up]
                    continue
                if wanted and planned.remove:
                    self.confirm(parsed_args, _question(configured.name, planned.remove))
                rows += self._carried_out(cache, plan, table, planned)
                rows += [table.row(v, "stayed") for v in held_up]
                if held_up:
                    self.fail()
            except command.NotConfirmedError as refused:
                # Concerns this backend only; show what was removed from the previous ones.
                self.fail()
                self.tell(f"backend {configured.name}: {refused}")
            except errors.LockTimeout:
                self.fail()
                self.tell(f"backend {configured.name}: another process is purging, try again later")
            except errors.VmdkCacheError as failure:
                self.report(failure, f"backend {configured.name}")
        if catalog is not None and catalog.failure is not None:
            self.report(
                catalog.failure, "templates that Glance could not confirm as stale were kept"
            )
        for image_id in dict.fromkeys(parsed_args.image or ()):
            if image_id not in seen:
                self.fail()
                self.tell(f"no template of image {identifier(image_id)}")
        return COLUMNS, sorted(rows, key=lambda row: (row[0], row[2]))

    def _catalog(self, wanted: bool) -> _Catalog:
        from vmdk_cache.cli import glance

        if wanted:
            raise command.UsageError("--ask-glance goes with --expired only")
        return _Catalog(glance.connect(self.configuration.options, os.environ))

    def _carried_out(
        self,
        cache: RunningCache,
        plan: Callable[[], EvictionPlan],
        table: _Table,
        planned: EvictionPlan,
    ) -> list[list[Any]]:
        if not planned.remove:
            return []
        # Templates that joined the plan after the confirmation wait for the next purge.
        agreed = {verdict.entry.moref for verdict in planned.remove}
        done = cache.purge.carry_out(lambda: _only(plan(), agreed))
        rows = [table.row(verdict, "removed") for verdict in done.removed]
        for verdict, why in done.stayed:
            rows.append(table.row(verdict, "gone" if why.gone else "stayed", why.reason))
            if not why.gone:
                self.fail()
        return rows


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


class _Table:
    def __init__(self, backend: str, datastores: dict[str, str]) -> None:
        self._backend = backend
        self._datastores = datastores

    def row(self, verdict: Verdict, outcome: str, reason: str | None = None) -> list[Any]:
        entry = verdict.entry
        return [
            self._backend,
            Plain(entry.image_id),
            entry.name,
            Plain(self._datastores.get(entry.datastore or "", entry.datastore)),
            Size(entry.unshared_bytes),
            outcome,
            reason or verdict.reason,
        ]


def _is_asked_for(verdict: Verdict, image_ids: frozenset[str] | None) -> bool:
    """Whether the plan keeps a template that was selected for deletion but cannot be deleted
    now."""
    from vmdk_cache.cache.entry import Phase

    entry = verdict.entry
    return entry.phase is not Phase.FOREIGN and (image_ids is None or entry.image_id in image_ids)


def _only(plan: EvictionPlan, morefs: set[str]) -> EvictionPlan:
    from vmdk_cache.cache.eviction_plan import EvictionPlan

    return EvictionPlan(plan.keep, tuple(v for v in plan.remove if v.entry.moref in morefs))


def _question(backend: str, verdicts: Iterable[Verdict]) -> str:
    entries = [verdict.entry for verdict in verdicts]
    images = {entry.image_id for entry in entries}
    freed = Size(sum(entry.unshared_bytes for entry in entries))
    return (
        f"Delete {len(entries)} template(s) of {len(images)} image(s) from the cache of {backend}, "
        f"{freed}?"
    )
