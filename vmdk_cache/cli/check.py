"""``vmdk-cache check``: what is not as it should be in the caches' folders and datastores."""

from __future__ import annotations

import argparse
from typing import Any

from vmdk_cache.cli import command

COLUMNS = ("Backend", "Finding", "Name", "Where", "Fixed", "What To Do")


class Check(command.Lister):
    """Look for what deletions, crashes and hands left behind; with --fix, remove it.

    Only what is of this cache and of no use is removed: half-imported templates whose importer is
    gone, templates whose files or records are lost. The exit code is 1 while something stays that
    somebody has to look after; what is not of this cache is shown, and does not count. An import
    that looks abandoned is given a minute to prove that it is not.
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
        rows = []
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
                for found in report.findings:
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
