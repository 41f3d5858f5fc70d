"""Reads the disks of templates through export leases.

A template that is being read is in use: no process deletes it. The processes that share locks
respect the lock of its name; in others, vCenter refuses the deletion while the lease is held
(docs/assumptions.rst, A39).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry
from vmdk_cache.cache.key import lock_name
from vmdk_cache.cache.ports import TemplateStore
from vmdk_cache.cache.templates_in_use import TemplatesInUse
from vmdk_cache.locks import Locks
from vmdk_cache.quoting import identifier
from vmdk_cache.vim.export_lease import ExportedDisk, open_export
from vmdk_cache.vim.session import Session


class TemplateExport:
    """:param in_use: the templates that this process uses"""

    def __init__(
        self, session: Session, store: TemplateStore, locks: Locks, in_use: TemplatesInUse
    ) -> None:
        self._session = session
        self._store = store
        self._locks = locks
        self._in_use = in_use

    @contextlib.contextmanager
    def open(self, entry: CacheEntry) -> Iterator[ExportedDisk]:
        """The disk of a template, to be read within the block.

        :raises InUse: another process makes or deletes the template, or vCenter works on it
        :raises ObjectNotFound: it is gone
        :raises NotSupported: vCenter does not export it; the text says what to do
        :raises LockUnavailable: the coordinator failed
        :raises VCenterError: see :func:`~vmdk_cache.vim.export_lease.open_export`
        """
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._locks.hold(lock_name(entry.name), 0))
            except errors.LockTimeout:
                raise errors.InUse(
                    "it is in use: another process is making, deleting or reading it",
                    moref=entry.moref,
                ) from None
            held.enter_context(self._in_use.use(entry.moref))
            if self._store.look_again(entry) is None:
                raise errors.ObjectNotFound("the template is gone", moref=entry.moref)
            try:
                disk = held.enter_context(open_export(self._session, entry.moref))
            except errors.NotSupported as refused:
                again = f" --image {identifier(entry.image_id)}" if entry.image_id else ""
                raise errors.NotSupported(
                    f"vCenter does not export this template ({refused}): to be sure of its "
                    f'content, delete it with "vmdk-cache purge{again}", and it is imported again',
                    method=refused.method,
                    moref=entry.moref,
                    fault=refused.fault,
                ) from refused
            yield disk
