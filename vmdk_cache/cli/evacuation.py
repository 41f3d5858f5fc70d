"""``vmdk-cache purge --datastore``: take the templates off datastores."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vmdk_cache import errors
from vmdk_cache.cli import command, exit_code
from vmdk_cache.quoting import identifier, quoted

if TYPE_CHECKING:
    from vmdk_cache.cache.entry import CacheEntry
    from vmdk_cache.cache.eviction_plan import EvacuationPlan, Verdict
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.periodic.evacuation import Evacuated
    from vmdk_cache.wiring import RunningCache

Row = Callable[..., list[Any]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--datastore`` and ``--replicate``."""
    parser.add_argument(
        "--datastore",
        action="append",
        default=[],
        metavar="NAME",
        help="every template on this datastore, or those of --image on it; may be repeated",
    )
    parser.add_argument(
        "--replicate",
        action="store_true",
        help="with --datastore: first copy each image that has no template elsewhere to another "
        "datastore; expired and superseded templates are not copied",
    )


def check(wanted: argparse.Namespace) -> None:
    """:raises UsageError: the options do not go together"""
    if wanted.replicate and not wanted.datastore:
        raise command.UsageError("argument --replicate: goes with --datastore only")
    if wanted.datastore and (wanted.all or wanted.expired):
        other = "--all" if wanted.all else "--expired"
        raise command.UsageError(f"argument --datastore: not allowed with argument {other}")


def check_names(
    names: Iterable[str], opened: Iterable[tuple[BackendConfiguration, RunningCache]]
) -> None:
    """:raises UsageError: no backend sees a datastore of one of the names"""
    known = {name for _, cache in opened for name in cache.placement.datastore_names().values()}
    seen = ", ".join(identifier(name) for name in sorted(known)) or "none"
    for name in names:
        if name not in known:
            raise command.UsageError(
                f"argument --datastore: no opened backend sees a datastore {quoted(name)}; they "
                f"see {seen}"
            )


class Evacuator:
    """Carries out, or shows, the evacuation of one backend.

    :param row: makes a row of a verdict, an outcome and a reason
    :param question: asks about deleting the templates of these verdicts
    """

    def __init__(
        self,
        caller: command.Command,
        wanted: argparse.Namespace,
        configured: BackendConfiguration,
        cache: RunningCache,
        *,
        row: Row,
        question: Callable[[Sequence[Verdict]], str],
    ) -> None:
        self._caller = caller
        self._wanted = wanted
        self._backend = configured.name
        self._cache = cache
        self._row = row
        self._question = question
        self._names = cache.placement.datastore_names()
        self._leaving = {moref for moref, name in self._names.items() if name in wanted.datastore}

    def rows(self) -> list[list[Any]]:
        """The rows of the backend.

        :raises VmdkCacheError: the plan could not be made
        :raises CommandFailedError: not confirmed
        """
        if self._caller.result == exit_code.INTERRUPTED:  # at another backend
            return []
        images = frozenset(self._wanted.image) if self._wanted.image else None
        plan = self._cache.evacuation.plan(self._leaving, images, replicate=self._wanted.replicate)
        held_up = [each for each in plan.keep if self._is_wanted(each.entry, images)]
        if not plan.remove and not held_up:
            self._caller.tell(
                f"no template on {', '.join(map(identifier, self._wanted.datastore))} in "
                f"{command.the_caches([self._backend])}"
            )
        if self._wanted.dry_run:
            return self._planned(plan) + [self._row(each, "would stay") for each in held_up]
        rows = []
        if plan.remove:
            self._caller.confirm(self._wanted, self._asked(plan))
            rows = self._carried_out(plan)
        if held_up:
            self._caller.fail()
        return rows + [self._row(each, "stayed") for each in held_up]

    def _is_wanted(self, entry: CacheEntry, images: Collection[str] | None) -> bool:
        from vmdk_cache.cache.entry import Phase

        return (
            entry.phase is not Phase.FOREIGN
            and entry.datastore in self._leaving
            and (images is None or entry.image_id in images)
        )

    def _asked(self, plan: EvacuationPlan) -> str:
        question = self._question(plan.remove)
        if not plan.copy_first:
            return question
        count = len(plan.copy_first)
        what = "1 image" if count == 1 else f"{count} images"
        return f"Copy {what} to other datastores, then {question[0].lower()}{question[1:]}"

    def _planned(self, plan: EvacuationPlan) -> list[list[Any]]:
        places = self._cache.evacuation.places(plan, self._leaving)
        rows = []
        for verdict in plan.remove:
            record = verdict.entry.record
            place = places.get(record.key) if record and self._needs_copy(verdict, plan) else None
            if place is None:
                rows.append(self._row(verdict, "would be removed"))
            elif isinstance(place, errors.VmdkCacheError):
                why = f"it could not be copied to another datastore: {place}"
                rows.append(self._row(verdict, "would stay", why))
            else:
                where = identifier(place.datastore_name)
                why = f"replicated to {where} first"
                rows.append(self._row(verdict, "would be removed", why))
        return rows

    def _needs_copy(self, verdict: Verdict, plan: EvacuationPlan) -> bool:
        return verdict.entry.moref in plan.needed

    def _carried_out(self, plan: EvacuationPlan) -> list[list[Any]]:
        from vmdk_cache.cli.progress import progress
        from vmdk_cache.clock import SystemClock

        done: dict[str, Evacuated] = {}
        begun: set[str] = set()
        app = self._caller.app
        shown = progress(app.stderr, SystemClock(), quiet=app.options.verbose_level == 0)

        def say(entry: CacheEntry, state: str) -> None:
            begun.add(entry.moref)
            shown.state(self._what(entry), state)

        try:
            with shown:
                for each in self._cache.evacuation.carry_out(plan, self._leaving, say):
                    entry = each.verdict.entry
                    done[entry.moref] = each
                    shown.state(self._what(entry), _state(each))
        except KeyboardInterrupt:
            self._caller.tell("interrupted: vCenter completes what it has begun, or undoes it")
            self._caller.fail(exit_code.INTERRUPTED)
        except errors.VmdkCacheError as failure:
            self._caller.report(failure, f"backend {self._backend}")
        return [self._ended(verdict, done, begun) for verdict in plan.remove]

    def _ended(
        self, verdict: Verdict, done: dict[str, Evacuated], begun: Collection[str]
    ) -> list[Any]:
        each = done.get(verdict.entry.moref)
        if each is None:
            outcome = "broken off" if verdict.entry.moref in begun else "not begun"
            return self._row(verdict, outcome)
        if each.stayed is not None:
            if not each.stayed.gone:
                self._caller.fail()
            return self._row(verdict, "gone" if each.stayed.gone else "stayed", each.stayed.reason)
        if each.copied_to is None:
            return self._row(verdict, "removed")
        where = self._names.get(each.copied_to, each.copied_to)
        return self._row(verdict, "removed", f"replicated to {identifier(where)} first")

    def _what(self, entry: CacheEntry) -> str:
        where = self._names.get(entry.datastore or "", entry.datastore)
        image = quoted(entry.image_name) if entry.image_name else identifier(entry.image_id)
        return f"{image} on {identifier(where)}"


def _state(each: Evacuated) -> str:
    if each.stayed is None:
        return "removed"
    return f"{'gone' if each.stayed.gone else 'stayed'}: {each.stayed.reason}"
