"""Builds a running cache from settings: the one file that sees every layer below it.

Nothing connects until all parts are assembled, so a wrong option leaves no session behind. The task
waiter is closed after the parts that give it work, and before the session that it polls.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmdk_cache.adapters.placement import VCenterPlacement
from vmdk_cache.adapters.template_directories import VCenterDirectories
from vmdk_cache.adapters.template_export import TemplateExport
from vmdk_cache.adapters.template_store import VCenterTemplateStore
from vmdk_cache.backend import Backend
from vmdk_cache.cache.capacity import Capacity, capacity_by_datastore
from vmdk_cache.cache.clone_queue import CloneQueue
from vmdk_cache.cache.context import CacheContext, KeptImages
from vmdk_cache.cache.engine import ImageCache
from vmdk_cache.cache.events import Listener, to_all
from vmdk_cache.cache.evictor import Evictor
from vmdk_cache.cache.importer import Importer
from vmdk_cache.cache.pinning import Pinning
from vmdk_cache.cache.ports import Catalog, MarkedImages
from vmdk_cache.cache.record import ATTRIBUTES, RECORD_KEY
from vmdk_cache.cache.replication import Replication
from vmdk_cache.cache.room import Room
from vmdk_cache.cache.usage import Usage
from vmdk_cache.clock import Clock, SystemClock
from vmdk_cache.conf import LiveSettings, Settings
from vmdk_cache.locks import Locks
from vmdk_cache.periodic.backend_report import BackendReporter
from vmdk_cache.periodic.evacuation import Evacuation
from vmdk_cache.periodic.housekeeping import Housekeeping
from vmdk_cache.periodic.purge import Purge
from vmdk_cache.periodic.reconcile import Reconcile
from vmdk_cache.periodic.warm_up import WarmUp
from vmdk_cache.vim.inventory_index import InventoryIndex
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies
from vmdk_cache.vim.task import TaskWaiter
from vmdk_cache.vmdk.transfer import open_disk

__all__ = ["Backend", "RunningCache", "build"]


@dataclass
class RunningCache:
    """A cache with its connection to vCenter.

    :ivar placement: knows the datastores that the backend uses
    :ivar images: creates volumes from images
    :ivar replication: makes further copies of templates, in threads of its own
    :ivar purge: deletes templates that have expired, are stale or exceed a limit
    :ivar evacuation: takes the templates off datastores for operators
    :ivar pinning: pins images for operators
    :ivar reconcile: finds and repairs what is wrong in the cache's folder
    :ivar housekeeping: runs both at each ``image_cache_purge_interval``
    :ivar reporter: the report to Cinder's scheduler
    :ivar export: reads the disks of templates
    :ivar kept: images whose last copy is not evicted to make room
    :ivar warm_up: keeps marked images warm while the settings say so; None without Glance. Run it
        in a thread of its own, because it may import
    """

    session: Session
    waiter: TaskWaiter
    store: VCenterTemplateStore
    placement: VCenterPlacement
    images: ImageCache
    replication: Replication
    purge: Purge
    evacuation: Evacuation
    pinning: Pinning
    reconcile: Reconcile
    housekeeping: Housekeeping
    reporter: BackendReporter
    export: TemplateExport
    kept: KeptImages
    warm_up: WarmUp | None = None

    def capacity(self) -> tuple[Capacity, ...]:
        """The space that the cache uses on each datastore.

        :raises VCenterError: vCenter cannot be asked
        """
        return capacity_by_datastore(self.store.entries())

    def close(self) -> None:
        """Log out; safe to call twice. vCenter finishes the replicas that are being made."""
        if self.warm_up is not None:
            self.warm_up.close()
        self.replication.close()
        self.waiter.close()
        self.session.close()


def build(
    settings: Settings | LiveSettings,
    backend: Backend,
    locks: Locks,
    *,
    events: Listener,
    catalog: Catalog | None = None,
    marked: MarkedImages | None = None,
    adapter_type: str = "lsiLogic",
    clock: Clock | None = None,
) -> RunningCache:
    """Connect to vCenter and assemble the cache.

    :param settings: may be changed later if they are :class:`~vmdk_cache.conf.LiveSettings`
    :param catalog: the purge asks it for the state of images; None: no copy is stale
    :param marked: the images to keep warm if ``image_cache_auto_warm`` is set; None: no warm-up
    :param adapter_type: of volumes that name none
    :raises VCenterError: vCenter is out of reach or refuses; the text names the option to change
    :raises ConfigError: an option does not match the vCenter, for example an unknown cluster
    """
    clock = clock or SystemClock()
    live = settings if isinstance(settings, LiveSettings) else LiveSettings(settings)
    session = Session(backend.endpoint, clock)
    waiter = TaskWaiter(session)
    index = InventoryIndex(
        session,
        clock,
        folder=backend.folder[:-1],
        record_key=RECORD_KEY,
        cluster_names=backend.clusters,
        attributes=ATTRIBUTES,
    )
    store = VCenterTemplateStore(
        session, waiter, index, backend=backend, lock_domain=lambda: locks.domain
    )
    placement = VCenterPlacement(
        index, StoragePolicies(session), datastore_regex=backend.datastore_regex
    )
    context = CacheContext(
        backend=backend.name,
        deployment=backend.deployment,
        settings=live,
        store=store,
        placement=placement,
        locks=locks,
        usage=Usage(store, clock, live),
        events=to_all(events),
        clock=clock,
        server_time=session.server_time,
    )
    evictor = Evictor(context)
    room = Room(context, evictor)
    queue = CloneQueue(lambda: live().clones_per_template, clock, context.templates_in_use)
    replication = Replication(context, room=room, queue=queue)
    images = ImageCache(
        context,
        importer=Importer(context, transfer=open_disk, room=room, evictor=evictor),
        queue=queue,
        replication=replication,
        evictor=evictor,
    )
    purge = Purge(context, evictor, catalog)
    directories = VCenterDirectories(session, waiter, placement.datastores, index.datastores_at)
    reconcile = Reconcile(context, evictor, directories)
    running = RunningCache(
        session,
        waiter,
        store,
        placement,
        images,
        replication,
        purge,
        Evacuation(context, replication=replication, room=room, evictor=evictor, purge=purge),
        Pinning(context),
        reconcile,
        Housekeeping(purge, reconcile, clock),
        BackendReporter(context),
        TemplateExport(session, store, locks, context.templates_in_use),
        context.kept,
        None if marked is None else WarmUp(context, images, marked, adapter_type),
    )
    session.open()
    try:
        placement.check()
    except BaseException:
        session.close()
        raise
    return running
