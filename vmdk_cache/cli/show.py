"""``vmdk-cache show``: all details of one image's templates, or of one template."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cliff import columns

from vmdk_cache.cli import command
from vmdk_cache.cli.columns import Plain, Size, Time
from vmdk_cache.cli.list import is_ours
from vmdk_cache.quoting import quoted

if TYPE_CHECKING:
    from vmdk_cache.cache.eviction_plan import Verdict
    from vmdk_cache.conf import Settings

FIELDS = ("Image", "Copies", "Virtual Size", "Freed By Deletion", "Last Used", "Templates")


@dataclass(frozen=True)
class _Found:
    """:ivar backend: name
    :ivar goes: whether the purge would remove it
    :ivar datastores: names by managed object id
    """

    backend: str
    verdict: Verdict
    goes: bool
    settings: Settings
    datastores: Mapping[str, str]

    @property
    def names(self) -> frozenset[str | None]:
        """The ids and names that select it."""
        entry = self.verdict.entry
        return frozenset({entry.image_id if is_ours(entry) else None, entry.name, entry.moref})


class Templates(columns.FormattableColumn[list[dict[str, Any]]]):
    """One block of lines for each template in a table; a list of objects in other formats."""

    def human_readable(self) -> str:
        blocks = []
        for template in self._value:
            lines = [str(template["Name"])]
            for key, value in template.items():
                if key != "Name":
                    human = value.human_readable() if hasattr(value, "human_readable") else value
                    lines.append(f"  {key}: {human}")
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks)

    def machine_readable(self) -> list[dict[str, Any]]:
        return [
            {
                key: value.machine_readable() if hasattr(value, "machine_readable") else value
                for key, value in template.items()
            }
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
            help="id of an image, or the name or managed object id of a virtual machine in the "
            "cache's folder",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        everything = self._everything()
        found = [each for each in everything if parsed_args.what in each.names]
        if not found:
            entries = [each.verdict.entry for each in everything]
            known = sorted({str(entry.image_id) for entry in entries if is_ours(entry)})
            raise command.CommandFailedError(
                f"no template of {quoted(parsed_args.what)}; "
                + (f"images in the cache: {', '.join(known)}" if known else "the cache is empty")
            )
        entries = [each.verdict.entry for each in found]
        used = [entry.used_at for entry in entries if entry.used_at is not None]
        images = {entry.image_id for entry in entries if is_ours(entry)}
        return FIELDS, [
            Plain(images.pop() if len(images) == 1 else None),
            len(found),
            Size(max(entry.size_bytes for entry in entries)),
            Size(sum(entry.unshared_bytes for entry in entries)),
            Time(max(used, default=None)),
            Templates([_template(each) for each in found]),
        ]

    def _everything(self) -> list[_Found]:
        found = []
        for configured, cache in self.caches():
            with self.reporting(f"backend {configured.name}"):
                plan, names = cache.purge.plan(), cache.placement.datastore_names()
                settings = configured.settings
                found += [_Found(configured.name, v, False, settings, names) for v in plan.keep]
                found += [_Found(configured.name, v, True, settings, names) for v in plan.remove]
        return sorted(found, key=lambda each: (each.backend, each.verdict.entry.name))


def _template(found: _Found) -> dict[str, Any]:
    from vmdk_cache.cache.eviction_plan import expires_at

    entry, ours = found.verdict.entry, is_ours(found.verdict.entry)
    record = entry.record if ours else None
    return {
        "Name": entry.name,
        "Backend": found.backend,
        "Managed Object": entry.moref,
        "Phase": entry.phase.value,
        "Datastore": Plain(found.datastores.get(entry.datastore or "", entry.datastore)),
        "Host": Plain(entry.host),
        "Accessible": entry.accessible,
        "Virtual Size": Size(entry.size_bytes),
        "Freed By Deletion": Size(entry.unshared_bytes),
        "Adapter": Plain(record.key.adapter_type if record else None),
        "Fingerprint": Plain(record.key.fingerprint if record else None),
        "Deployment": Plain(entry.deployment or None),
        "Imported By": Plain(record.owner if record else None),
        "Record Schema": Plain(entry.record.schema if entry.record else None),
        "Created": Time(entry.created_at if ours else entry.made_at),
        "Last Used": Time(entry.used_at),
        "Last Warmed": Time(entry.warmed_at),
        "Expires": Time(expires_at(entry, found.settings) if ours else None),
        "Verdict": "remove" if found.goes else "keep",
        "Rule": Plain(found.verdict.rule and found.verdict.rule.value),
        "Reason": found.verdict.reason,
    }
