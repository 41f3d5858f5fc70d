"""``vmdk-cache check``: what is not as it should be in cinder.conf, the caches' folders and
datastores."""

from __future__ import annotations

import argparse
import functools
import os
from typing import TYPE_CHECKING, Any

from vmdk_cache import errors
from vmdk_cache.cli import command

if TYPE_CHECKING:
    from vmdk_cache.cli.cinder_api import Cinder
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.periodic.findings import Finding
    from vmdk_cache.periodic.orphaned_backings import Orphans
    from vmdk_cache.vim.volume_backing import Backing
    from vmdk_cache.wiring import RunningCache

#: Of one answer of Cinder's API: a page of a thousand volumes takes it a while.
CINDER_TIMEOUT_S = 60

COLUMNS = ("Backend", "Finding", "Name", "Where", "Fixed", "What To Do")


class Check(command.Lister):
    """Look for what deletions, crashes and hands left behind; with --fix, remove it.

    Only what is of this cache and of no use is removed: half-imported templates whose importer is
    gone, templates whose files or records are lost. The exit code is 1 while something stays that
    somebody has to look after; what is not of this cache is shown, and does not count. An import
    that looks abandoned is given a minute to prove that it is not. What cinder.conf lacks is shown
    as well; of that, nothing is changed. Virtual machines of volumes that Cinder does not have are
    listed, and never removed: for that Cinder's API is asked, as the user of OS_* variables or of
    cinder.conf, who must be an admin.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument("--fix", action="store_true", help="remove what is ours and of no use")
        parser.add_argument(
            "--directories",
            action=argparse.BooleanOptionalAction,
            default=True,
            help="search the datastores for directories that no virtual machine has files in (each "
            "search is a task in vCenter)",
        )
        parser.add_argument(
            "--backings",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="look for virtual machines whose volumes Cinder does not have (default: look, and "
            "only say so where Cinder cannot be asked; with --backings that is a failure)",
        )
        parser.add_argument(
            "--remove-directories",
            action="store_true",
            help="delete such directories, for good: make sure first that no other vCenter with a "
            "backend of the same name uses the datastore, which cannot be seen from here",
        )
        command.add_yes(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Any]]:
        from vmdk_cache.periodic.findings import LEFT_ALONE

        if parsed_args.remove_directories:
            if not parsed_args.directories:
                raise command.UsageError("--remove-directories and --no-directories contradict")
            self.check_can_confirm(parsed_args, "--remove-directories")
            self.confirm(parsed_args, "Delete orphaned directories from the datastores, for good?")
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
                    self.tell(f"backend {configured.name}: another process is checking, try again")
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
        """Virtual machines of volumes that do not exist; those of another backend's report are
        left out, for backends may share a vCenter and its folders."""
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
                f"backend {configured.name}: virtual machines without a volume were not looked "
                f"for: {failure}"
            )
            return []
        self._seen |= {(configured.backend.endpoint.server, each.where) for each in found.findings}
        self._tell_of_others(configured.name, found)
        return list(found.findings)

    def _tell_of_others(self, backend: str, found: Orphans) -> None:
        if found.left_out:
            self.tell(f"backend {backend}: {found.left_out} more virtual machines have no volume")
        if found.not_judged:
            self.tell(
                f"backend {backend}: {found.not_judged} virtual machines without a volume are in "
                f"folders of projects that Keystone does not have: another cloud's, or of projects "
                f"that were deleted; they are not listed"
            )

    @functools.cached_property
    def _seen(self) -> set[tuple[str, str]]:
        """(vCenter, moref) of the virtual machines that were listed."""
        return set()

    @functools.cached_property
    def _volumes(self) -> Cinder:
        """:raises ConfigError: there is nobody to ask Cinder as"""
        from vmdk_cache.cli import cinder_api

        return cinder_api.connect(self.configuration.options, os.environ, CINDER_TIMEOUT_S)

    def _of_configuration(self) -> list[list[Any]]:
        """Rows of what is wrong in cinder.conf, whatever the backend."""
        from vmdk_cache.cli.configuration_findings import findings

        where = ", ".join(self.configuration.files)
        found = list(findings(self.configuration.options))
        if found:
            self.fail()
        return [["", each.kind.value, each.name, where, False, each.says] for each in found]
