"""``vmdk-cache show``: all details of one image's templates, or of one template."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from cliff import columns

from vmdk_cache.cli import command, image_choice
from vmdk_cache.cli.columns import Plain, Size, Time, machine_readable

if TYPE_CHECKING:
    from vmdk_cache.cache.entry import CacheEntry
    from vmdk_cache.cache.eviction_plan import Verdict
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.conf import Settings
    from vmdk_cache.wiring import RunningCache

FIELDS = (
    "Image",
    "Image Name",
    "Copies",
    "Virtual Size",
    "Freed By Deletion",
    "Last Used",
    "Templates",
)


class Moment(Time):
    """A point in time, with its time zone: no column or line below says it."""

    def _human(self) -> str:
        return f"{super()._human()} UTC"


class Templates(columns.FormattableColumn[list[dict[str, Any]]]):
    """One block of lines for each template in a table; a list of objects in other formats."""

    def human_readable(self) -> str:
        blocks = []
        for template in self._value:
            name, *fields = template.items()
            blocks.append("\n".join([name[1], *(f"  {key}: {value}" for key, value in fields)]))
        return "\n\n".join(blocks)

    def machine_readable(self) -> list[dict[str, Any]]:
        return [
            {key: machine_readable(value) for key, value in template.items()}
            for template in self._value
        ]


class Show(command.ShowOne):
    """Show one image's templates: their records, their use, and what the next purge will do with
    them.

    Verdict and Reason are those of the purge plan, without asking Glance about the image.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "what",
            metavar="IMAGE",
            help="id or name of an image, or a prefix that no other image has (4 characters or "
            "more); or the name or managed object id of a virtual machine in the cache's folder",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        opened = list(self.caches())
        everything = self.collect(_described, opened=opened)
        self.end_if_unknown(everything)
        what = parsed_args.what
        found = [each for each in everything if what in (each[0].name, each[0].moref)]
        if not found:
            names = image_choice.names_of(entry for entry, _ in everything)
            where = command.the_caches([configured.name for configured, _ in opened])
            chosen = image_choice.chosen(what, names, where)
            found = [each for each in everything if each[0].is_ours and each[0].image_id == chosen]
        entries = [entry for entry, _ in found]
        used = [entry.used_at for entry in entries if entry.used_at is not None]
        images = image_choice.names_of(entries)
        [(image_id, name)] = images.items() if len(images) == 1 else [(None, "")]
        templates = sorted((each for _, each in found), key=itemgetter("Backend", "Name"))
        return FIELDS, [
            Plain(image_id),
            Plain(name or None),
            len(found),
            Size(max(entry.size_bytes for entry in entries)),
            Size(sum(entry.unshared_bytes for entry in entries)),
            Moment(max(used, default=None)),
            Templates(templates),
        ]


def _described(
    configured: BackendConfiguration, cache: RunningCache
) -> list[tuple[CacheEntry, dict[str, Any]]]:
    plan, names = cache.purge.plan(), cache.placement.datastore_names()
    settings = configured.settings
    return [
        (verdict.entry, _template(configured.name, verdict, fate, names, settings))
        for verdicts, fate in ((plan.keep, "keep"), (plan.remove, "remove"))
        for verdict in verdicts
    ]


def _template(
    backend: str, verdict: Verdict, fate: str, datastores: Mapping[str, str], settings: Settings
) -> dict[str, Any]:
    from vmdk_cache.cache.eviction_plan import expires_at

    entry, ours = verdict.entry, verdict.entry.is_ours
    record = entry.record if ours else None
    return {
        "Name": entry.name,
        "Backend": backend,
        "Managed Object": entry.moref,
        "Phase": entry.phase.value,
        "Datastore": Plain(datastores.get(entry.datastore or "", entry.datastore)),
        "Host": Plain(entry.host),
        "Accessible": entry.accessible,
        "Virtual Size": Size(entry.size_bytes),
        "Freed By Deletion": Size(entry.unshared_bytes),
        "Adapter": Plain(record.key.adapter_type if record else None),
        "Fingerprint": Plain(record.key.fingerprint if record else None),
        "Deployment": Plain(entry.deployment or None),
        "Imported By": Plain(record.owner if record else None),
        "Record Schema": Plain(entry.record.schema if entry.record else None),
        "Created": Moment(entry.created_at if ours else entry.made_at),
        "Last Used": Moment(entry.used_at),
        "Last Warmed": Moment(entry.warmed_at),
        "Expires": Moment(expires_at(entry, settings) if ours else None),
        "Pinned By": Plain(entry.pinned and entry.pinned.by),
        "Pinned At": Moment(entry.pinned and entry.pinned.at),
        "Verdict": fate,
        "Rule": Plain(verdict.rule and verdict.rule.value),
        "Reason": verdict.reason,
    }
