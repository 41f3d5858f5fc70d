"""Actions of a backend when its service stops: after the last request, before the process ends.

Cinder does not notify a driver when its service stops, and ``atexit`` functions do not run:
oslo.service ends a backend's process with ``os._exit``. Without a log-out, vCenter keeps a session
for 30 minutes, and the number of sessions is limited.

So ``cinder.service.Service.stop`` is wrapped, in the process of the backend. oslo.service calls it
once on SIGTERM, where blocking is allowed, and ends the process when it returns::

    Service.stop   no further request is accepted
    Service.wait   running requests finish; the process would wait for them anyway, for at most
                   graceful_shutdown_timeout
    the actions    all concurrently, within ACTIONS_WITHIN_S

A second call during that wait means that the time is over: it does not wait. On native threads
(experimental in Cinder 29) nothing waits: oslo.service ends the process once ``stop`` has returned,
whether requests are running or not, and ``wait`` may not return at all.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable
from typing import Any

from cinder import service as cinder_service
from oslo_log import log as logging

from vmdk_cache.clock import Clock, SystemClock
from vmdk_cache.quoting import sentence

LOG = logging.getLogger(__name__)

#: A vCenter that does not answer must not hold up the stop.
ACTIONS_WITHIN_S = 5.0


class ServiceStop:
    """The actions of the services of one class; thread-safe.

    :param services: ``cinder.service.Service``, whose ``stop`` is wrapped by the first action
    :param awaits_requests: whether the process waits for running requests before it ends
    :param within_s: how long a stop waits for all its actions together
    """

    def __init__(
        self,
        services: Any,
        awaits_requests: Callable[[], bool],
        within_s: float = ACTIONS_WITHIN_S,
        clock: Clock | None = None,
    ) -> None:
        self._services = services
        self._awaits_requests = awaits_requests
        self._within_s = within_s
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._actions: dict[str, tuple[Callable[[], None], ...]] = {}
        self._stopping: set[str] = set()
        self._is_wrapped = False

    def after_last_request(self, host: str, *actions: Callable[[], None]) -> None:
        """Run the actions concurrently when the service of ``host`` stops. They replace earlier
        ones.

        :param host: host of the service, e.g. ``controller@vmware1``
        """
        with self._lock:
            self._actions[host] = actions
            if not self._is_wrapped:
                self._is_wrapped = True
                self._services.stop = self._wrapped(self._services.stop)

    def _wrapped(self, stop: Callable[[Any], None]) -> Callable[[Any], None]:
        @functools.wraps(stop)
        def stop_and_act(service: Any) -> None:
            try:
                stop(service)
            finally:
                self._act(service)

        return stop_and_act

    def _act(self, service: Any) -> None:
        with self._lock:
            actions = self._actions.get(service.host, ())
            if not actions or service.host in self._stopping:
                return
            self._stopping.add(service.host)
        try:
            if self._awaits_requests():
                service.wait()
        except Exception as failure:
            LOG.warning("Could not wait for running requests: %s", sentence(repr(failure)))
        threads = [threading.Thread(target=_quietly, args=(a,), daemon=True) for a in actions]
        ends_at = self._clock.monotonic() + self._within_s
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, ends_at - self._clock.monotonic()))


def is_on_green_threads() -> bool:
    """Whether oslo.service runs on eventlet; versions before 4.2 support nothing else."""
    try:
        backend: Any = importlib.import_module("oslo_service.backend")
    except ImportError:
        return True
    return backend.get_backend_type() is not backend.BackendType.THREADING


#: The actions of Cinder's services in this process.
SERVICE_STOP = ServiceStop(cinder_service.Service, is_on_green_threads)


def _quietly(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception as failure:
        LOG.info("A shutdown action failed: %s", sentence(repr(failure)))
