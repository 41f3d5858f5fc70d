"""Finds what is wrong in the cache's folder, and repairs it where that is safe.

A check lists the cache's folder and the directories on the backend's datastores, and diagnoses each
entry (cache/findings.py). With ``fix`` it removes entries that are ours and of no use: under the
lock of their names, after another look, like every template (cache/evictor.py). It also writes
notes that are missing on templates (cache/record.py). One process checks at a time.

An entry that looks like an import gets time, because between the end of its NFC lease and
MarkAsTemplate no task shows it. It is removed if two looks, ABANDONED_AFTER apart, find no process
at work on it. An earlier check of the same object counts as the first look. Without one, and if the
import is not recent, the check waits and looks again.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Collection, Iterable, Iterator

from oslo_log import log as logging

from vmdk_cache import errors
from vmdk_cache.cache.context import CacheContext
from vmdk_cache.cache.entry import ABANDONED_AFTER, CacheEntry, Phase
from vmdk_cache.cache.events import Rule
from vmdk_cache.cache.eviction_plan import Verdict
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.findings import Diagnosis, Finding, Kind, Report, diagnose
from vmdk_cache.cache.key import has_tag, image_id_in, lock_name, name_prefix
from vmdk_cache.cache.ports import Directories, Directory
from vmdk_cache.quoting import quoted

LOG = logging.getLogger(__name__)
LOCK = "reconcile"
#: A check that takes longer stops removing and searching, so that the lock becomes free for other
#: hosts: it is held no longer than this and one deletion (vim/template.py, DESTROY_WITHIN_S).
ENDS_WITHIN_S = 1800.0
#: vCenter creates a VM's directory a moment before the VM is in its inventory. In that moment locks
#: protect it from our own processes, but not from another cloud's with a backend of the same name.
REGISTERED_WITHIN_S = 10.0
_TOO_LONG = "this check has taken too long"


class Reconcile:
    """The checks of one backend's cache; ``check`` may be called by any thread at any time."""

    def __init__(self, context: CacheContext, evictor: Evictor, directories: Directories) -> None:
        self._context = context
        self._evictor = evictor
        self._directories = directories
        self._idle_since: dict[str, datetime.datetime] = {}

    def check(
        self, fix: bool = False, remove_directories: bool = False, directories: bool = True
    ) -> Report:
        """Check everything; one object that fails does not block the others.

        :param fix: remove entries that are ours and of no use
        :param remove_directories: delete orphaned directories, for good. This vCenter cannot show
            whether another one, with a backend of the same name, uses the datastore.
        :param directories: whether to search the datastores at all
        :raises VCenterError: the cache's folder or the datastores could not be listed
        """
        try:
            with self._context.locks.hold(LOCK, 0):
                ends_at = self._context.clock.monotonic() + ENDS_WITHIN_S
                entries = self._context.store.entries()
                if fix:
                    self._note_missing(entries)
                findings = list(self._check_entries(entries, fix, ends_at))
                searched: list[str] = []
                if directories:
                    known = {entry.name for entry in entries}
                    findings += self._check_datastores(known, remove_directories, ends_at, searched)
                templates = sum(entry.is_ours for entry in entries)
                return Report(tuple(findings), templates=templates, datastores=len(searched))
        except errors.LockTimeout:
            LOG.debug("Another process is checking the image cache of %s.", self._context.backend)
            return Report((), skipped=True)

    def _diagnose(self, entry: CacheEntry) -> Diagnosis | None:
        return diagnose(entry, self._context.backend, self._context.deployment)

    def _note_missing(self, entries: Iterable[CacheEntry]) -> None:
        """The note identifies a template that is converted to a virtual machine later."""
        for entry in entries:
            if entry.phase is not Phase.READY or entry.was_ready:
                continue
            try:
                self._context.store.note_ready(entry)
            except errors.VCenterError as failure:
                LOG.info("Template %s has no note yet: %s", quoted(entry.name), failure)

    def _check_entries(
        self, entries: Iterable[CacheEntry], fix: bool, ends_at: float
    ) -> Iterator[Finding]:
        found = [
            (entry, diagnosis)
            for entry in entries
            if (diagnosis := self._diagnose(entry)) is not None
        ]
        imports = [entry for entry, diagnosis in found if diagnosis.may_be_an_import]
        abandoned = self._abandoned(imports, wait=fix)
        for entry, diagnosis in found:
            if diagnosis.may_be_an_import and entry.moref not in abandoned:
                continue
            finding = Finding(diagnosis.kind, entry.name, entry.moref, diagnosis.says)
            if not fix or not diagnosis.ours:
                yield finding
            elif self._context.clock.monotonic() >= ends_at:
                yield dataclasses.replace(finding, says=f"{finding.says} (not now: {_TOO_LONG})")
            else:
                fixed = self._fixed(entry, diagnosis, finding)
                if fixed is not None:
                    yield fixed

    def _fixed(self, entry: CacheEntry, diagnosis: Diagnosis, finding: Finding) -> Finding | None:
        """The finding after an attempt to remove the entry; None if nothing is wrong any more."""

        def still(seen: CacheEntry) -> bool:
            return self._diagnose(seen) == diagnosis and not (
                diagnosis.may_be_an_import and self._context.store.is_importing(seen)
            )

        stayed = self._evictor.attempt(Verdict(entry, diagnosis.kind.value, Rule.BROKEN), still)
        if stayed is None:
            return dataclasses.replace(finding, fixed=True)
        try:
            seen = self._context.store.look_again(entry)
        except errors.VCenterError:
            seen = entry
        if seen is None or self._diagnose(seen) != diagnosis:
            return None
        return dataclasses.replace(finding, says=f"{finding.says} (not now: {stayed.reason})")

    def _abandoned(self, imports: list[CacheEntry], *, wait: bool) -> set[str]:
        """Morefs of those of ``imports`` that no process works on any more.

        :param wait: whether to wait for a second look at those that this process sees first now
        """
        now = self._context.server_time()
        idle = [entry for entry in imports if not self._is_importing(entry)]
        self._idle_since = {entry.moref: self._idle_since.get(entry.moref, now) for entry in idle}
        abandoned = {
            moref for moref, since in self._idle_since.items() if now - since >= ABANDONED_AFTER
        }
        old = [
            entry
            for entry in idle
            if entry.moref not in abandoned
            and entry.created_at is not None
            and now - entry.created_at >= ABANDONED_AFTER
        ]
        if old and wait:
            self._context.clock.sleep(ABANDONED_AFTER.total_seconds())
            old = [entry for entry in old if not self._is_importing(entry)]
        return abandoned | {entry.moref for entry in old}

    def _is_importing(self, entry: CacheEntry) -> bool:
        """Whether a process works on the entry: vCenter's task shows the importer. If another
        process holds the lock of its name, the entry is about to be finished or removed."""
        try:
            with self._context.locks.hold(lock_name(entry.name), 0):
                return self._context.store.is_importing(entry)
        except errors.LockTimeout:
            return True
        except errors.VCenterError as failure:
            # The next check looks again.
            LOG.info("Whether %s is being imported is not known: %s", quoted(entry.name), failure)
            return True

    def _check_datastores(
        self, known: Collection[str], remove: bool, ends_at: float, searched: list[str]
    ) -> Iterator[Finding]:
        """:param searched: gets each datastore that could be searched"""
        prefix = name_prefix(self._context.backend)
        for datastore in self._directories.volumes():
            if self._context.clock.monotonic() >= ends_at:
                says = f"was not searched for orphaned directories: {_TOO_LONG}"
                yield Finding(Kind.DATASTORE_UNREAD, datastore, datastore, says)
                continue
            try:
                unused = self._directories.unused(datastore, prefix, known)
            except errors.VCenterError as failure:
                yield Finding(
                    Kind.DATASTORE_UNREAD,
                    datastore,
                    datastore,
                    f"could not be searched for orphaned directories, which takes the privilege "
                    f"Datastore.Browse: {failure}",
                )
                continue
            searched.append(datastore)
            unused = [each for each in unused if _is_ours(each.name, self._context.backend)]
            if remove and unused:
                self._context.clock.sleep(REGISTERED_WITHIN_S)
            for directory in unused:
                finding = self._orphan(directory, remove, ends_at)
                if finding is not None:
                    yield finding

    def _orphan(self, directory: Directory, remove: bool, ends_at: float) -> Finding | None:
        """None if the directory turns out to be in use, or gone."""
        finding = Finding(
            Kind.DIRECTORY_ORPHANED,
            directory.name,
            directory.path,
            "no registered VM has files in it: if no other vCenter uses the datastore, delete it",
        )
        if not remove:
            return finding
        if self._context.clock.monotonic() >= ends_at:
            return dataclasses.replace(finding, says=f"{finding.says} (not now: {_TOO_LONG})")
        try:
            with self._context.locks.hold(lock_name(_template_of(directory.name)), 0):
                if directory not in self._directories.unused(directory.datastore, directory.name):
                    return None
                self._directories.delete(directory)
        except (errors.VCenterError, errors.LockTimeout) as failure:
            return dataclasses.replace(finding, says=f"{finding.says} (not now: {failure})")
        return dataclasses.replace(finding, fixed=True)


def _template_of(directory: str) -> str:
    """The template's name: vCenter adds ``_1`` to a directory's name that is taken already."""
    return re.sub(r"_\d+$", "", directory)


def _is_ours(directory: str, backend: str) -> bool:
    name = _template_of(directory)
    return image_id_in(name, backend) is not None and has_tag(name)
