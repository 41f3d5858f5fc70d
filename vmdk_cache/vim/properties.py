"""Reads properties in bulk: one call per page instead of one per object.

Three facts about the PropertyCollector shape this module (vSphere API reference,
RetrievePropertiesEx, which requires only System.Anonymous):

- An expired session causes no fault: the response has every property in ``missingSet`` with
  NotAuthenticated, or is empty. So the session is checked after an empty response, and the read
  repeated if needed.
- The server chooses the size of pages; a page's token is valid once, in the same session.
- An object that is gone fails the whole call unless ``reportMissingObjectsInResults`` is set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pyVmomi import vim, vmodl

from vmdk_cache import errors
from vmdk_cache.vim import faults
from vmdk_cache.vim.reference import managed_type, without_references
from vmdk_cache.vim.session import Session

Properties = dict[str, Any]
"""Property path -> value; paths that are unset or unreadable are absent. Managed objects are morefs
(``str``)."""

_OBJECTS_PER_REQUEST = 500

_pc = vmodl.query.PropertyCollector


class _Restart(Exception):
    """The session was renewed while pages were read: the page's token is invalid."""


def read(
    session: Session, type_name: str, morefs: Iterable[str], paths: Sequence[str]
) -> dict[str, Properties]:
    """Properties of known objects, by moref: one request per 500 objects.

    Objects that are gone are left out; objects without readable properties have an empty dict.

    :param type_name: managed object type of all objects, e.g. ``VirtualMachine``
    :raises VCenterError: the read failed as a whole
    """
    wanted = list(dict.fromkeys(morefs))
    found: dict[str, Properties] = {}
    kind = managed_type(type_name)
    for start in range(0, len(wanted), _OBJECTS_PER_REQUEST):
        objects = [
            _pc.ObjectSpec(obj=kind(m)) for m in wanted[start : start + _OBJECTS_PER_REQUEST]
        ]
        spec = _pc.FilterSpec(
            objectSet=objects,
            propSet=[property_spec(type_name, paths)],
            reportMissingObjectsInResults=True,
        )
        found.update((moref, values) for _, moref, values in retrieve(session, spec))
    return found


def read_one(session: Session, type_name: str, moref: str, paths: Sequence[str]) -> Properties:
    """Like :func:`read`, for one object.

    :raises ObjectNotFound: the object is gone
    """
    found = read(session, type_name, [moref], paths)
    if moref not in found:
        raise errors.ObjectNotFound(
            f"{type_name} {moref} does not exist", method="RetrievePropertiesEx", moref=moref
        )
    return found[moref]


def read_through(
    session: Session,
    root_type: str,
    root_moref: str,
    steps: Sequence[tuple[str, str]],
    type_name: str,
    paths: Sequence[str],
) -> dict[str, Properties]:
    """Properties of all objects of a type that are reached by ``steps``: one request per page.

    :param steps: (managed object type, property with references), starting at the root, e.g.
        ``[("Folder", "childEntity")]``
    :raises ObjectNotFound: the root is gone
    """
    selection: list[Any] = []
    for step_type, path in reversed(steps):
        selection = [
            _pc.TraversalSpec(type=managed_type(step_type), path=path, selectSet=selection)
        ]
    root = managed_type(root_type)(root_moref)
    spec = _pc.FilterSpec(
        objectSet=[_pc.ObjectSpec(obj=root, skip=True, selectSet=selection)],
        propSet=[property_spec(type_name, paths)],
    )
    return {
        moref: values
        for found_type, moref, values in retrieve(session, spec)
        if issubclass(managed_type(found_type), managed_type(type_name))
    }


def property_spec(type_name: str, paths: Sequence[str]) -> Any:
    """A PropertySpec; without paths it selects only the object."""
    return _pc.PropertySpec(type=managed_type(type_name), all=False, pathSet=list(paths))


def retrieve(session: Session, spec: Any) -> list[tuple[str, str, Properties]]:
    """(type, moref, properties) of all objects that a FilterSpec selects, all pages.

    :raises VCenterError: see :mod:`vmdk_cache.vim.faults`
    """
    for attempt in (1, 2):
        generation = session.generation
        try:
            found = [
                (type(item.obj)._wsdlName, str(item.obj._GetMoId()), _values(item))
                for item in _pages(session, spec)
                if not _is_gone(item)
            ]
        except _Restart:
            continue
        except errors.SessionExpired as refused:
            if attempt == 2:
                raise
            session.renew(generation, refused)
            continue
        if found or attempt == 2 or not _has_expired(session, generation):
            return found
    raise errors.SessionExpired(
        "the session ended twice while properties were being read", method="RetrievePropertiesEx"
    )


def _pages(session: Session, spec: Any) -> Iterator[Any]:
    collector = session.content.propertyCollector._GetMoId()
    generation = session.generation
    page = session.invoke(
        "PropertyCollector",
        collector,
        "RetrievePropertiesEx",
        safe=True,
        specSet=[spec],
        options=_pc.RetrieveOptions(),
    )
    while page is not None:
        try:
            yield from page.objects or ()
        except BaseException:
            _cancel(session, collector, page.token)
            raise
        if not page.token:
            return
        try:
            page = session.invoke(
                "PropertyCollector", collector, "ContinueRetrievePropertiesEx", token=page.token
            )
        except errors.VCenterError as error:
            if session.generation != generation:
                raise _Restart from error
            _cancel(session, collector, page.token)
            raise


def _cancel(session: Session, collector: str, token: str | None) -> None:
    if token:
        try:
            session.invoke(
                "PropertyCollector", collector, "CancelRetrievePropertiesEx", token=token
            )
        except errors.VCenterError:
            pass  # an abandoned read costs vCenter some memory until the session ends


def _values(item: Any) -> Properties:
    for missing in item.missingSet or ():
        if isinstance(missing.fault, vim.fault.NotAuthenticated):
            raise faults.translate(missing.fault, method="RetrievePropertiesEx")
    return {entry.name: without_references(entry.val) for entry in item.propSet or ()}


def _is_gone(item: Any) -> bool:
    return any(
        isinstance(missing.fault, vmodl.fault.ManagedObjectNotFound)
        for missing in item.missingSet or ()
    )


def _has_expired(session: Session, generation: int) -> bool:
    """Whether an empty response came from an expired session, which is then renewed."""
    try:
        session.renew(generation)
    except errors.NoPermission:
        return False  # the session is alive, so the result is really empty
    return True
