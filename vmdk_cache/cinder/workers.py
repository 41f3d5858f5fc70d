"""The workers of cinder-volume: how many requests it serves at a time, and how many of them import.

A volume that waits in line for its clone, or for an import, waits in a worker of oslo.messaging.
Cinder gives a driver no other place to wait: whatever ``clone_image`` returns or raises decides
what becomes of the volume. When all workers wait, an attach waits behind them, and fails after
``rpc_response_timeout``. So there have to be more workers than volumes are created at once.

A worker that waits costs little, but one that imports an image without the cache costs bandwidth
and memory. There are never more of these than a service without the cache has workers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import oslo_messaging.opts
from oslo_config import cfg
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

OPTION = "executor_thread_pool_size"
#: So many volumes may be created at once, and no other operation waits for them.
BURST = 500
#: How long a volume waits for others to be imported without the cache; then it is imported as well.
IMPORT_WITHIN_S = 24 * 3600.0


class Workers:
    """The workers of this process; safe for use by many threads. Limits nothing before
    :meth:`limit`.

    :ivar option: oslo.messaging's own definition of it
    :ivar usual: how many a service without the cache has, by oslo.messaging's default
    :ivar wanted: enough for a burst, and for all else as many as usual
    """

    def __init__(self) -> None:
        self.option = _option()
        self.usual: int = self.option.default
        self.wanted = BURST + self.usual
        self._lock = threading.Lock()
        self._count: int | None = None  # once it is known
        self._creating = 0
        self._told = False
        self._importing: threading.BoundedSemaphore | None = None

    def provide(self, conf: cfg.ConfigOpts) -> None:
        """Raise the option's default; the operator's value wins. Then :meth:`limit`.

        It takes effect with RPC servers that are made later, as Cinder's are: in
        ``cinder.service.Service.start``, after ``do_setup``.
        """
        self._register(conf)
        oslo_messaging.opts.set_defaults(conf, executor_thread_pool_size=self.wanted)
        self.limit(conf)

    def limit(self, conf: cfg.ConfigOpts) -> None:
        """Limit imports from now on, and tell the log if there are too few workers; once.

        A cache that is enabled while the service runs has the workers that the service has.
        """
        self._register(conf)
        with self._lock:
            if self._count is not None:
                return
            self._count = conf[OPTION]
            self._importing = threading.BoundedSemaphore(self.usual)
        if self._count < self.wanted:
            LOG.warning(
                "[DEFAULT] %s is %d. When more volumes than that are created from images at once, "
                "attaching, detaching and deleting volumes waits until some of them are done. For "
                "bursts of up to %d volumes, remove the option or set it to %d or more, then "
                "restart cinder-volume.",
                OPTION,
                self._count,
                BURST,
                self.wanted,
            )

    def _register(self, conf: cfg.ConfigOpts) -> None:
        with contextlib.suppress(cfg.DuplicateOptError):  # the same option, defined differently
            conf.register_opt(self.option)

    @contextlib.contextmanager
    def creating(self) -> Iterator[None]:
        """A block in which a volume is made of an image; says so, once, if no worker is left."""
        with self._lock:
            self._creating += 1
            is_full = self._count is not None and self._creating >= self._count
            tells, self._told = is_full and not self._told, self._told or is_full
        if tells:
            LOG.warning(
                "All %d workers of this service create volumes from images: attaching, detaching "
                "and deleting volumes waits for them. To avoid this, raise [DEFAULT] %s.",
                self._count,
                OPTION,
            )
        try:
            yield
        finally:
            with self._lock:
                self._creating -= 1
                if self._creating == 0:
                    self._told = False

    @contextlib.contextmanager
    def importing(self) -> Iterator[bool]:
        """A block that imports an image without the cache; begins once few enough others do.
        Yields whether it had to wait."""
        turns = self._importing
        has_turn = turns is None or turns.acquire(blocking=False)
        has_waited = not has_turn
        if turns is not None and has_waited:
            has_turn = turns.acquire(timeout=IMPORT_WITHIN_S)
        try:
            yield has_waited
        finally:
            if turns is not None and has_turn:
                turns.release()


def _option() -> cfg.Opt:
    """As oslo.messaging registers it with its servers."""
    (found,) = (
        option
        for group, options in oslo_messaging.opts.list_opts()
        for option in options
        if group is None and option.name == OPTION
    )
    return found
