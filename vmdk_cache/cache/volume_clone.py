"""A volume's VM, cloned from a template: whatever happens on the way, it is there whole or not.

    submit    CloneVM_Task with the whole identity; waits for it
    settle    (only when an answer or a task was lost) wait until nothing sent is on its way any
              more, then adopt what it made, or remove it and submit again
    finish    ReconfigVM_Task: size and uuid of the disk
    clean up  (only on failure) settle, then remove what there is

The volume's name is unique in its folder, and its uuid in the world, so what a lost call made can
be told from what is somebody else's. A clone shows up in its folder without a configuration, or
not at all, until its task ends; hence settle looks at the template's tasks first. A restart of
vCenter ends tasks half way and forgets them; so what a clone made before one is never adopted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from oslo_log import log as logging

from vmdk_cache import errors, retry
from vmdk_cache.cache.record import RECORD_KEY
from vmdk_cache.cache.usage import ATTRIBUTE
from vmdk_cache.clock import Clock
from vmdk_cache.vim import template
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

LOG = logging.getLogger(__name__)

ATTEMPTS = 3
POLL_S = 2.0
#: vCenter writes a task's queueTime by its own clock, read a moment later.
CLOCK_SLACK_S = 5.0
#: How long a clone that was cancelled may take to let go of its VM.
LET_GO_S = 600.0
#: On average, between two attempts to remove what a task is at work on.
REMOVE_EVERY_S = 7.5


class VolumeClone:
    """One volume to be made.

    :param source: moref of the template
    :param request: identity and place; ``instance_uuid`` is set
    :param folder: finds or makes the volume's folder, again if it was deleted
    :param capacity_bytes: what its disk is to have, at least the template's
    :param timeout_s: how long the clone may run
    """

    def __init__(
        self,
        session: Session,
        waiter: TaskWaiter,
        clock: Clock,
        *,
        source: str,
        request: template.CloneRequest,
        folder: Callable[[], str],
        capacity_bytes: int,
        timeout_s: float,
    ) -> None:
        self._session = session
        self._waiter = waiter
        self._clock = clock
        self._source = source
        self._request = request
        self._folder = folder
        self._capacity_bytes = capacity_bytes
        self._timeout_s = timeout_s
        self._began = clock.monotonic()

    def make(self) -> None:
        """Make it.

        :raises ObjectNotFound: with the template's moref if that is gone
        :raises VCenterError: anything else; nothing is left behind
        """
        try:
            self._finish(self._submit())
        except BaseException:
            self._clean_up()
            raise

    def _submit(self) -> str:
        for attempt in range(1, ATTEMPTS + 1):
            generation = self._session.generation
            try:
                return template.clone(
                    self._session,
                    self._waiter,
                    self._source,
                    self._request,
                    timeout_s=self._timeout_s,
                )
            except (errors.Unreachable, errors.SessionExpired, errors.TaskLost) as lost:
                made = self._settle(self._timeout_s)
                restarted = (
                    isinstance(lost, errors.TaskLost) or self._session.generation != generation
                )
                if made is not None and made.has_config and not restarted:
                    return made.moref
                if attempt == ATTEMPTS:
                    raise
                if made is not None:
                    self._remove()
            except errors.ObjectNotFound as gone:
                if gone.moref != self._request.folder or attempt == ATTEMPTS:
                    raise
                self._request = dataclasses.replace(self._request, folder=self._folder())
            except errors.NameTaken:
                # Left by an earlier life of this volume, whose clone may still stand in vCenter's
                # queue, or by a call of ours that was lost.
                if attempt == ATTEMPTS or not self._remove(self._timeout_s):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _finish(self, moref: str) -> None:
        retry.call(  # setting size and uuid twice does no harm
            lambda: template.finish_clone(
                self._session,
                self._waiter,
                moref,
                self._capacity_bytes,
                self._request.instance_uuid,
                forbidden_key=RECORD_KEY,
                forbidden_attributes=[ATTRIBUTE],
            ),
            attempts=ATTEMPTS,
            first_wait_s=1.0,
            clock=self._clock,
        )

    def _settle(self, timeout_s: float) -> template.VmInfo | None:
        """The volume's VM, whole or not, once no clone of ours is on its way; None if none."""
        elapsed_s = self._clock.monotonic() - self._began + CLOCK_SLACK_S
        deadline = self._clock.monotonic() + timeout_s
        while template.clone_running(self._session, self._source, within_s=elapsed_s):
            if self._clock.monotonic() >= deadline:
                break
            self._clock.sleep(POLL_S)
            elapsed_s += POLL_S
        return self._find()

    def _find(self) -> template.VmInfo | None:
        try:
            found = template.find_vm(
                self._session, self._request.folder, self._request.name, RECORD_KEY
            )
        except errors.ObjectNotFound:
            return None  # the folder itself is gone
        if found is None or (found.has_config and found.instance_uuid != self._uuid):
            return None
        return found

    def _remove(self, within_s: float = 0.0) -> bool:
        """Whether there was something of ours to remove, and it is gone.

        :param within_s: how long a task of vCenter's may be at work on it
        """

        def work() -> bool:
            found = self._find()
            if found is None:
                return False
            template.destroy(self._session, self._waiter, found.moref)
            return True

        return retry.call(
            work,
            attempts=ATTEMPTS * 2 + math.ceil(within_s / REMOVE_EVERY_S),
            first_wait_s=1.0,
            max_wait_s=2 * REMOVE_EVERY_S,
            within_s=within_s or None,
            clock=self._clock,
        )

    def _clean_up(self) -> None:
        try:
            if self._settle(LET_GO_S) is not None:
                self._remove()
        except errors.VCenterError as failure:
            # The clone's own error matters more. Deleting the volume finds this VM by its uuid.
            LOG.warning(
                "Could not remove what the failed clone of %s left behind: %s",
                self._request.name,
                failure,
            )

    @property
    def _uuid(self) -> str | None:
        return self._request.instance_uuid
