"""PropertyCollector: reads properties of many objects, and waits for changes.

The well-known moref "propertyCollector" means one collector per session; CreatePropertyCollector
makes more. Filters, collectors and tokens belong to their session. Waiting calls on one collector
are served one after another. Without a session, RetrievePropertiesEx answers HTTP 200 with every
property in missingSet, fault NotAuthenticated, so clients must look there. (vSphere API reference,
PropertyCollector; vSphere Web Services SDK guide, chapter "PropertyCollector")
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pyVmomi import vmodl

from tests.fakes.vcenter.activity import Pause
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.property_filter import Change, PropertyFilter
from tests.fakes.vcenter.property_path import PropertyPath
from tests.fakes.vcenter.property_selection import CompiledSpec, Selection
from tests.fakes.vcenter.session_manager import not_authenticated, unreadable
from tests.fakes.vcenter.update_versions import UpdateVersions
from tests.fakes.vcenter.wire import property_info

if TYPE_CHECKING:
    from tests.fakes.vcenter.session_manager import Session
    from tests.fakes.vcenter.vcenter import VCenter

_PC = vmodl.query.PropertyCollector
_ANONYMOUS = "System.Anonymous"


def read_properties(
    obj: ManagedObject,
    paths: Iterable[PropertyPath],
    ctx: Context,
    roots: dict[str, Any] | None = None,
) -> tuple[list[tuple[PropertyPath, Any]], list[Any]]:
    """Values (None: unset), and MissingProperty entries for properties that could not be read.

    `roots` receives the properties of `obj` that were read, as for `PropertyPath.read`.
    """
    values: list[tuple[PropertyPath, Any]] = []
    missing: list[Any] = []
    roots = {} if roots is None else roots
    for path in paths:
        try:
            values.append((path, path.read(obj, ctx, roots)))
        except vmodl.MethodFault as unreadable:
            missing.append(_PC.MissingProperty(path=path.text, fault=unreadable))
        # a bug of the fake: report it to the client, record it for the test
        except Exception as error:
            fault = ctx.vcenter.record_error(f"{type(obj).__name__}.{path.text}", error)
            missing.append(_PC.MissingProperty(path=path.text, fault=fault))
    return values, missing


def object_content(obj: ManagedObject, paths: Iterable[PropertyPath], ctx: Context) -> Any:
    """The ObjectContent of one object; unset properties are left out."""
    values, missing = read_properties(obj, paths, ctx)
    return _PC.ObjectContent(
        obj=obj.ref,
        propSet=[
            vmodl.DynamicProperty(name=path.text, val=value)
            for path, value in values
            if value is not None
        ],
        missingSet=missing,
    )


class _Page:
    """The rest of a retrieval; its token can be used once."""

    def __init__(self, found: list[tuple[ManagedObject, tuple[PropertyPath, ...]]], size: int):
        self.found = found
        self.size = size


class PropertyCollector(ManagedObject):
    """A collector of one session."""

    TYPE = _PC

    def __init__(self, vcenter: VCenter, session: Session | None, moref: str | None = None) -> None:
        super().__init__(vcenter, moref or (session.new_moref() if session else None))
        self.session = session
        self.filters: dict[str, PropertyFilter] = {}
        self._pages: dict[str, _Page] = {}
        self._number = 0
        self._versions = UpdateVersions()
        self._news = threading.Condition(vcenter.lock)
        self._waiting = False
        self._pauses: list[Pause] = []
        self._cancelled = 0
        self._ended = False

    def _of(self, ctx: Context) -> PropertyCollector:
        """The collector of this caller's session."""
        return self

    # -- reading

    def RetrievePropertiesEx(self, ctx: Context, specSet: Any, options: Any) -> Any:
        """One page of properties; None if nothing matches."""
        limit = self.vcenter.switches.retrieve_page_limit
        if options.maxObjects is not None:
            if options.maxObjects <= 0:
                raise vmodl.fault.InvalidArgument(invalidProperty="options.maxObjects")
            limit = min(limit, options.maxObjects)
        if ctx.session is None:
            return _unauthenticated_result(ctx, specSet)
        return self._of(ctx)._page(_Page(_find(ctx, specSet), limit), ctx)

    def ContinueRetrievePropertiesEx(self, ctx: Context, token: str) -> Any:
        """The next page. A token works once, on the collector and session that issued it."""
        collector = self._of(ctx)
        page = collector._pages.pop(token, None)
        if page is None:
            raise vmodl.fault.InvalidArgument(invalidProperty="token")
        return collector._page(page, ctx)

    def CancelRetrievePropertiesEx(self, ctx: Context, token: str) -> None:
        """Invalidate a token."""
        if self._of(ctx)._pages.pop(token, None) is None:
            raise vmodl.fault.InvalidArgument(invalidProperty="token")

    def RetrieveProperties(self, ctx: Context, specSet: Any) -> Any:
        """All properties at once, as before vSphere 4.1."""
        if ctx.session is None:
            return _unauthenticated_result(ctx, specSet).objects
        return [object_content(obj, paths, ctx) for obj, paths in _find(ctx, specSet)]

    def _page(self, page: _Page, ctx: Context) -> Any:
        # Objects that vanished since the first page are left out, like those that a traversal
        # misses.
        contents: list[Any] = []
        rest = page.found
        while rest and not contents:
            now, rest = rest[: page.size], rest[page.size :]
            contents = [object_content(obj, paths, ctx) for obj, paths in now if obj.exists]
        if not contents:
            return None
        result = _PC.RetrieveResult(objects=contents)
        if rest:
            result.token = uuid.uuid4().hex
            self._pages[result.token] = _Page(rest, page.size)
        return result

    # -- filters and further collectors

    def CreateFilter(self, ctx: Context, spec: Any, partialUpdates: bool) -> PropertyFilter:
        """Start to watch; the first update contains the whole state."""
        assert ctx.session is not None
        collector = self._of(ctx)
        created = PropertyFilter(collector, ctx, spec, bool(partialUpdates))
        collector.filters[created.moref] = created
        ctx.session.own(created)
        created.build()
        collector.news()
        return created

    @property
    def filter(self) -> list[PropertyFilter]:
        """Filters of this collector."""
        return list(self.filters.values())

    def CreatePropertyCollector(self, ctx: Context) -> PropertyCollector:
        """Create a collector for a thread that waits."""
        assert ctx.session is not None
        collector = PropertyCollector(self.vcenter, ctx.session)
        ctx.session.own(collector)
        return collector

    def DestroyPropertyCollector(self, ctx: Context) -> None:
        """Destroy this collector; a waiting call gets RequestCanceled."""
        collector = self._of(ctx)
        if collector is not self:
            raise vmodl.fault.NotSupported(msg="The default property collector stays.")
        self.destroy_object()

    def session_ended(self) -> None:
        """End with the session; waiting calls get RequestCanceled."""
        self.destroy_object()

    def destroy_object(self) -> None:
        """End filters and waiting calls, and leave the registry."""
        with self.vcenter.lock:
            self._ended = True
            for each in list(self.filters.values()):
                each.destroy_object()
            if self.session is not None:
                self.session.disown(self)
            self.news()
            super().destroy_object()

    # -- waiting

    def next_number(self) -> int:
        """The sequence number of a new change."""
        self._number += 1
        return self._number

    def news(self) -> None:
        """Wake waiting calls: a filter has changes, or there is a new filter."""
        for pause in self._pauses:
            pause.end()
        self._news.notify_all()

    def WaitForUpdatesEx(self, ctx: Context, version: str | None, options: Any) -> Any:
        """Changes since `version` ("" or none: the whole state), or None if none came in time."""
        limit = self.vcenter.switches.update_page_limit
        max_wait_s = None
        if options is not None:
            max_wait_s, max_objects = options.maxWaitSeconds, options.maxObjectUpdates
            if max_wait_s is not None and max_wait_s < 0:
                raise vmodl.fault.InvalidArgument(invalidProperty="options.maxWaitSeconds")
            if max_objects is not None and max_objects <= 0:
                raise vmodl.fault.InvalidArgument(invalidProperty="options.maxObjectUpdates")
            limit = min(limit, max_objects or limit)
        return self._of(ctx)._wait(version or "", max_wait_s, limit)

    def WaitForUpdates(self, ctx: Context, version: str | None) -> Any:
        """As WaitForUpdatesEx, without limits (deprecated since vSphere 4.1)."""
        return self._of(ctx)._wait(version or "", None, None)

    def CheckForUpdates(self, ctx: Context, version: str | None) -> Any:
        """As WaitForUpdatesEx, without waiting (deprecated since vSphere 4.1)."""
        return self._of(ctx)._wait(version or "", 0, None)

    def CancelWaitForUpdates(self, ctx: Context) -> None:
        """End the waiting call, if there is one, with RequestCanceled."""
        collector = self._of(ctx)
        collector._cancelled += 1
        collector.news()

    def _wait(self, version: str, max_wait_s: float | None, page_limit: int | None) -> Any:
        # Real seconds, not the fake's: the client's own timeout runs in real time too.
        deadline = None if max_wait_s is None else time.monotonic() + max_wait_s
        cancelled = self._cancelled
        while self._waiting:
            if not self._sleep(deadline, cancelled):
                return None
        self._waiting = True
        try:
            since, reached = self._versions.find(version, pages=page_limit is not None)
            while True:
                if self._ended:  # before this call got the lock
                    raise vmodl.fault.RequestCanceled(msg="The wait for updates was canceled.")
                update = self._update_set(version, since, reached, page_limit)
                if update is not None:
                    return update
                if not self._sleep(deadline, cancelled):
                    return None
        finally:
            self._waiting = False
            self.news()

    def _sleep(self, deadline: float | None, cancelled: int) -> bool:
        """Wait for changes without the lock; False when the time is up."""
        left_s = None if deadline is None else deadline - time.monotonic()
        if left_s is not None and left_s <= 0:
            return False
        with self.vcenter.clock.activity.pause() as pause:
            self._pauses.append(pause)
            try:
                self._news.wait(left_s)
            finally:
                self._pauses.remove(pause)
        if self._ended or self._cancelled != cancelled:
            raise vmodl.fault.RequestCanceled(msg="The wait for updates was canceled.")
        return True

    def _update_set(
        self, version: str, since: int | None, reached: int, page_limit: int | None
    ) -> Any:
        changes = [
            change
            for each in self.filters.values()
            for change in each.changes_since(since)
            if change.number > reached
        ]
        # The rest of a truncated set may have vanished; the set then ends with an empty page.
        if not changes and not reached and (version != "" or not self.filters):
            return None
        changes.sort(key=lambda change: change.number)
        truncated = page_limit is not None and len(changes) > page_limit
        if truncated:
            changes = changes[:page_limit]
            new_version = self._versions.partial(version, since, changes[-1].number)
        else:
            new_version = self._versions.complete(self._number)
        return vmodl.query.PropertyCollector.UpdateSet(
            version=new_version,
            filterSet=_filter_updates(changes),
            truncated=True if truncated else None,
        )


class DefaultPropertyCollector(PropertyCollector):
    """The collector that ServiceContent.propertyCollector names: one per session under one
    moref.
    """

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, None, moref="propertyCollector")

    def _of(self, ctx: Context) -> PropertyCollector:
        if ctx.session is None:
            raise not_authenticated(self.vcenter)
        if ctx.session.property_collector is None:
            collector = PropertyCollector(self.vcenter, ctx.session)
            ctx.session.own(collector)
            ctx.session.property_collector = collector
        return ctx.session.property_collector  # type: ignore[no-any-return]

    def read(self, name: str, ctx: Context) -> Any:
        """Read a property; `filter` holds the caller's filters."""
        return self._of(ctx).filter if name == "filter" else super().read(name, ctx)


def _find(ctx: Context, spec_set: Any) -> list[tuple[ManagedObject, tuple[PropertyPath, ...]]]:
    found: list[tuple[ManagedObject, tuple[PropertyPath, ...]]] = []
    for spec in spec_set:
        compiled = CompiledSpec(spec)
        selection = Selection(compiled, ctx)
        selection.build()
        for obj in selection.selected:
            paths = compiled.paths_for(obj)
            if paths is not None:
                found.append((obj, paths))
    return found


def _filter_updates(changes: list[Change]) -> list[Any]:
    by_filter: dict[PropertyFilter, list[Any]] = {}
    for change in changes:
        by_filter.setdefault(change.filter, []).append(change.filter.describe(change))
    return [
        _PC.FilterUpdate(filter=each.ref, objectSet=updates) for each, updates in by_filter.items()
    ]


def _unauthenticated_result(ctx: Context, spec_set: Any) -> Any:
    """vCenter's answer without a session: the requested objects, with the properties that need only
    System.Anonymous, and all others as missing (govmomi,
    vim25/mo/fixtures/not_authenticated_fault.xml).
    """
    contents = []
    for spec in spec_set:
        compiled = CompiledSpec(spec)
        for start in spec.objectSet:
            obj = ctx.vcenter.registry.find(start.obj)
            names = [name for prop in spec.propSet for name in prop.pathSet]
            paths: Iterable[PropertyPath] = ()
            if start.selectSet:
                names = [getattr(step, "path", None) or "name" for step in start.selectSet]
            elif obj is not None:
                paths = compiled.paths_for(obj) or ()
                names = [path.text for path in paths]
            open_paths = [path for path in paths if _privilege(start.obj, path.text) == _ANONYMOUS]
            content = _PC.ObjectContent(obj=start.obj)
            if obj is not None:
                content.propSet = object_content(obj, open_paths, ctx).propSet
            closed = [
                name for name in names or ["name"] if _privilege(start.obj, name) != _ANONYMOUS
            ]
            content.missingSet = [
                _PC.MissingProperty(
                    path=name, fault=unreadable(ctx.vcenter, _privilege(start.obj, name))
                )
                for name in closed
            ]
            contents.append(content)
    return _PC.RetrieveResult(objects=contents)


def _privilege(ref: Any, path: str) -> str | None:
    """The privilege for reading a property, if pyVmomi's type data contains it."""
    info = property_info(type(ref), path.partition(".")[0])
    return info.privId if info is not None else None
