"""``vmdk-cache check``: find problems in cinder.conf, the caches' folders and datastores."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vmdk_cache import errors
from vmdk_cache.cli import command

if TYPE_CHECKING:
    from vmdk_cache.cache.findings import Finding, Report
    from vmdk_cache.cli.cinder_api import Cinder
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.vim.volume_backing import Backing
    from vmdk_cache.wiring import RunningCache

COLUMNS = ("Backend", "Finding", "Name", "Where", "Fixed", "What To Do")

#: Columns that are wrapped in a narrow terminal, and the width that they keep.
_FLEXIBLE = {"What To Do": 24, "Name": 20, "Where": 10}

_NO_GLANCE_USER = (
    "cinder-volume has no Glance credentials of its own: templates of images that were "
    "deleted, changed or deactivated stay until they expire, and image_cache_auto_warm has "
    "no effect; set send_service_user_token = true, auth_type and the credentials of a "
    "user with the admin role (or auth_type and such credentials in [glance])"
)


class Check(command.Lister):
    """Find what deletions, crashes and manual changes left behind; with --fix, remove it.

    --fix removes only useless objects of this cache: half-imported templates whose importer is
    gone, and templates whose files or records are lost. The exit code is 1 while findings remain
    that need attention; objects of others are shown and do not count. An import that looks
    abandoned gets a minute to show that it is still running. Problems in cinder.conf are shown
    but not changed. Virtual machines of volumes that do not exist in Cinder are listed but never
    removed; this queries Cinder's API with the credentials of the OS_* variables or of cinder.conf,
    which require the admin role.
    """

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--fix", action="store_true", help="remove useless objects of this cache"
        )
        parser.add_argument(
            "--directories",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="search the datastores for directories without files of virtual machines; each "
            "search is a task in vCenter",
        )
        parser.add_argument(
            "--backings",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="look for virtual machines whose volumes do not exist in Cinder; with "
            "--backings, it is a failure if Cinder's API cannot be used",
        )
        parser.add_argument(
            "--remove-directories",
            action="store_true",
            help="permanently delete them; first make sure that no other vCenter with a backend of "
            "the same name uses the datastore: the command cannot detect that",
        )
        command.add_yes(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        if parsed_args.remove_directories:
            if not parsed_args.directories:
                raise command.UsageError(
                    "--remove-directories and --no-directories contradict each other"
                )
            self.check_can_confirm(parsed_args, "--remove-directories")
            self.confirm(
                parsed_args, "Permanently delete orphaned directories from the datastores?"
            )
        rows = self._of_configuration()
        rows += self.collect(functools.partial(self._of_backend, parsed_args))
        rows.sort()
        if not self.is_for_people(parsed_args):
            return COLUMNS, rows
        kept = [
            index
            for index, column in enumerate(COLUMNS)
            if (column != "Backend" or len({row[0] for row in rows}) > 1)
            and (column != "Fixed" or any(row[index] for row in rows))
        ]
        columns = [COLUMNS[index] for index in kept]
        shown = [[row[index] for index in kept] for row in rows]
        how = {"flexible": _FLEXIBLE, "wrapped": list(_FLEXIBLE)}
        return self.fitted(parsed_args, columns, shown, **how)

    def _of_backend(
        self, wanted: argparse.Namespace, configured: BackendConfiguration, cache: RunningCache
    ) -> list[list[Any]]:
        from vmdk_cache.cache.findings import LEFT_ALONE

        backend = configured.name
        report = cache.reconcile.check(
            fix=wanted.fix,
            directories=wanted.directories,
            remove_directories=wanted.remove_directories,
        )
        if report.skipped:
            self.fail()
            self.tell(f"backend {backend}: another process is running this check, try again")
        found = [*report.findings, *self._backings(wanted, configured, cache)]
        if any(not each.fixed and each.kind not in LEFT_ALONE for each in found):
            self.fail()
        if not report.skipped:
            machines = self._machines.get(backend)
            self._summaries.append(summary(backend, wanted, report, machines, len(found)))
        return [
            [backend, each.kind.value, each.name, each.where, each.fixed, each.says]
            for each in found
        ]

    def _backings(
        self, wanted: argparse.Namespace, configured: BackendConfiguration, cache: RunningCache
    ) -> list[Finding]:
        """Virtual machines of volumes that do not exist. Backends may share a vCenter and its
        folders, so those already listed for another backend are left out."""
        from vmdk_cache.periodic import orphaned_backings
        from vmdk_cache.vim import volume_backing

        if wanted.backings is False:
            return []
        backend, folder = f"backend {configured.name}", configured.backend.folder[-1]
        server = configured.backend.endpoint.server

        def look() -> list[Backing]:
            return [
                backing
                for datacenter in cache.placement.datacenters()
                for backing in volume_backing.backings_in(cache.session, datacenter, folder)
                if (server, backing.moref) not in self._seen
            ]

        def counted() -> list[Backing]:
            there = look()
            self._machines[configured.name] = len(there)
            return there

        try:
            found = orphaned_backings.find(
                counted,
                lambda some: volume_backing.still_there(cache.session, some),
                lambda: self._volumes,
            )
        except (errors.ConfigError, errors.SourceUnavailable) as failure:
            self._machines.pop(configured.name, None)
            if wanted.backings:
                self.fail()
            self.tell(f"{backend}: did not look for virtual machines without a volume: {failure}")
            return []
        self._seen |= {(server, each.where) for each in found.findings}
        if found.left_out:
            self.tell(f"{backend}: {found.left_out} more virtual machines without a volume")
        if found.not_judged:
            self.tell(
                f"{backend}: {found.not_judged} virtual machines without a volume are in "
                "folders of projects that do not exist in Keystone (another cloud's, or deleted "
                "ones); they are not listed"
            )
        return list(found.findings)

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        rows = list(data)
        lines = self._summaries if parsed_args.formatter == "table" else []  # for people
        if not rows:  # then the lines are all that is shown
            list(map(self.tell_unless_quiet, lines))
        code = super().produce_output(parsed_args, column_names, rows)
        if rows:
            list(map(self.tell_unless_quiet, lines))
        return code

    @functools.cached_property
    def _summaries(self) -> list[str]:
        """What each backend's check looked at."""
        return []

    @functools.cached_property
    def _machines(self) -> dict[str, int]:
        """By backend, how many virtual machines were compared with Cinder's volumes."""
        return {}

    @functools.cached_property
    def _seen(self) -> set[tuple[str, str]]:
        """(vCenter, moref) of the virtual machines listed so far."""
        return set()

    @functools.cached_property
    def _volumes(self) -> Cinder:
        """:raises ConfigError: no Cinder credentials are configured"""
        from vmdk_cache.cli import cinder_api

        return cinder_api.connect(
            self.configuration.options, os.environ, self.timeout_s, self.patience_with_url
        )

    def _of_configuration(self) -> list[list[Any]]:
        """Rows for problems in cinder.conf that concern all backends."""
        from vmdk_cache.cli.identity import cinder_has_its_own

        if cinder_has_its_own(self.configuration.options):
            return []
        self.fail()
        where = ", ".join(self.configuration.options.config_file or ())
        return [["", "no-glance-user", "[service_user]", where, False, _NO_GLANCE_USER]]


def summary(
    backend: str, wanted: argparse.Namespace, report: Report, machines: int | None, found: int
) -> str:
    """What a check looked at, in one line.

    :param machines: how many virtual machines of volumes it compared with Cinder's; None if it
        could not, or was not to
    """
    parts = [_counted(report.templates, "template")]
    if wanted.directories:
        parts.append(_counted(report.datastores, "datastore"))
    if machines is not None:
        parts.append(_counted(machines, "volume"))
    *others, last = parts
    listed = f"{', '.join(others)} and {last}" if others else last
    result = _counted(found, "finding") if found else "nothing to report"
    return f"looked at {listed} of {backend}: {result}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
