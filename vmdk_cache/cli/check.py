"""``vmdk-cache check``: find problems in cinder.conf, the caches' folders and datastores."""

from __future__ import annotations

import argparse
import functools
import os
from typing import TYPE_CHECKING, Any

from vmdk_cache import errors
from vmdk_cache.cli import command

if TYPE_CHECKING:
    from vmdk_cache.cache.findings import Finding
    from vmdk_cache.cli.cinder_api import Cinder
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.periodic.orphaned_backings import Orphans
    from vmdk_cache.vim.volume_backing import Backing
    from vmdk_cache.wiring import RunningCache

#: Timeout of one response of Cinder's API: a page of a thousand volumes takes a while.
CINDER_TIMEOUT_S = 60

COLUMNS = ("Backend", "Finding", "Name", "Where", "Fixed", "What To Do")


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

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--fix", action="store_true", help="remove useless objects of this cache"
        )
        parser.add_argument(
            "--directories",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="search the datastores for directories that contain no virtual machine's files "
            "(each search is a task in vCenter)",
        )
        parser.add_argument(
            "--backings",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="look for virtual machines whose volumes do not exist in Cinder (default: look, "
            "but only print a message if Cinder's API cannot be used; with --backings that is a "
            "failure)",
        )
        parser.add_argument(
            "--remove-directories",
            action="store_true",
            help="permanently delete those directories; first make sure that no other vCenter with "
            "a backend of the same name uses the datastore, which this command cannot detect",
        )
        command.add_yes(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        from vmdk_cache.cache.findings import LEFT_ALONE

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
        for configured, cache in self.caches():
            with self.reporting(f"backend {configured.name}"):
                report = cache.reconcile.check(
                    fix=parsed_args.fix,
                    directories=parsed_args.directories,
                    remove_directories=parsed_args.remove_directories,
                )
                if report.skipped:
                    self.fail()
                    self.tell(
                        f"backend {configured.name}: another process is running this check, "
                        "try again"
                    )
                for found in (*report.findings, *self._backings(parsed_args, configured, cache)):
                    if not found.fixed and found.kind not in LEFT_ALONE:
                        self.fail()
                    rows.append(
                        [
                            configured.name,
                            found.kind.value,
                            found.name,
                            found.where,
                            found.fixed,
                            found.says,
                        ]
                    )
        return COLUMNS, sorted(rows)

    def _backings(
        self, wanted: argparse.Namespace, configured: BackendConfiguration, cache: RunningCache
    ) -> list[Finding]:
        """Virtual machines of volumes that do not exist. Backends may share a vCenter and its
        folders, so those already listed for another backend are left out."""
        from vmdk_cache.periodic import orphaned_backings
        from vmdk_cache.vim import volume_backing

        if wanted.backings is False:
            return []
        folder = configured.backend.folder[-1]

        def look() -> list[Backing]:
            return [
                backing
                for datacenter in cache.placement.datacenters()
                for backing in volume_backing.backings_in(cache.session, datacenter, folder)
                if (configured.backend.endpoint.server, backing.moref) not in self._seen
            ]

        try:
            found = orphaned_backings.find(
                look,
                lambda some: volume_backing.still_there(cache.session, some),
                lambda: self._volumes,
            )
        except (errors.ConfigError, errors.SourceUnavailable) as failure:
            if wanted.backings:
                self.fail()
            self.tell(
                f"backend {configured.name}: did not look for virtual machines without a volume: "
                f"{failure}"
            )
            return []
        self._seen |= {(configured.backend.endpoint.server, each.where) for each in found.findings}
        self._tell_of_others(configured.name, found)
        return list(found.findings)

    def _tell_of_others(self, backend: str, found: Orphans) -> None:
        if found.left_out:
            self.tell(f"backend {backend}: {found.left_out} more virtual machines without a volume")
        if found.not_judged:
            self.tell(
                f"backend {backend}: {found.not_judged} virtual machines without a volume are in "
                "folders of projects that do not exist in Keystone (another cloud's, or deleted "
                "ones); they are not listed"
            )

    @functools.cached_property
    def _seen(self) -> set[tuple[str, str]]:
        """(vCenter, moref) of the virtual machines listed so far."""
        return set()

    @functools.cached_property
    def _volumes(self) -> Cinder:
        """:raises ConfigError: no Cinder credentials are configured"""
        from vmdk_cache.cli import cinder_api

        return cinder_api.connect(self.configuration.options, os.environ, CINDER_TIMEOUT_S)

    def _of_configuration(self) -> list[list[Any]]:
        """Rows for problems in cinder.conf that concern all backends."""
        from vmdk_cache.cli.configuration_findings import findings

        where = ", ".join(self.configuration.files)
        found = list(findings(self.configuration.options))
        if found:
            self.fail()
        return [["", each.kind.value, each.name, where, False, each.says] for each in found]
