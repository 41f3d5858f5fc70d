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

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyVmomi import vim, vmodl

from vmdk_cache import errors
from vmdk_cache.vim import faults
from vmdk_cache.vim.reference import managed_type, without_references
from vmdk_cache.vim.session import Session

ObjectKey = tuple[str, str]
"""(managed object type, moref)."""
Row = Mapping[str, Any]
"""Property path -> value; paths that are unset or unreadable are absent. Managed objects are morefs
(``str``). A row is immutable."""
Table = Mapping[ObjectKey, Row]
"""Rows by object; immutable, too."""

_OBJECTS_PER_REQUEST = 500

_pc = vmodl.query.PropertyCollector


def read(
    session: Session, type_name: str, morefs: Iterable[str], paths: Sequence[str]
) -> dict[str, Row]:
    """Properties of known objects, by moref: one request per 500 objects.

    Objects that are gone are left out; objects without readable properties have an empty row.

    :param type_name: managed object type of all objects, e.g. ``VirtualMachine``
    :raises VCenterError: the read failed as a whole
    """
    wanted = list(dict.fromkeys(morefs))
    found: dict[str, Row] = {}
    kind = managed_type(type_name)
    for start in range(0, len(wanted), _OBJECTS_PER_REQUEST):
        objects = [
            _pc.ObjectSpec(obj=kind(m)) for m in wanted[start : start + _OBJECTS_PER_REQUEST]
        ]
        spec = _pc.FilterSpec(
            objectSet=objects,
            propSet=property_specs({type_name: paths}),
            reportMissingObjectsInResults=True,
        )
        found.update((moref, row) for (_, moref), row in retrieve(session, spec).items())
    return found


def read_one(session: Session, type_name: str, moref: str, paths: Sequence[str]) -> Row:
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
) -> dict[str, Row]:
    """Properties of all objects of a type that are reached by ``steps``: one request per page.

    :param steps: see :func:`filter_spec`
    :raises ObjectNotFound: the root is gone
    """
    spec = filter_spec((root_type, root_moref), steps, {type_name: paths})
    return {
        moref: row
        for (found_type, moref), row in retrieve(session, spec).items()
        if issubclass(managed_type(found_type), managed_type(type_name))
    }


def filter_spec(
    root: ObjectKey,
    steps: Sequence[tuple[str, str]],
    paths: Mapping[str, Sequence[str]],
    *,
    with_root: bool = False,
    may_be_gone: bool = False,
) -> Any:
    """A PropertyFilterSpec of the objects that are reached by the first of ``steps``, the first
    two, and so on.

    :param steps: (managed object type, property with references), starting at the root, e.g.
        ``[("Folder", "childEntity")]``
    :param paths: property paths by managed object type; objects of other types are left out
    :param with_root: whether to select the root, too
    :param may_be_gone: a root that is gone is no fault
    """
    selection: list[Any] = []
    for step_type, path in reversed(steps):
        selection = [
            _pc.TraversalSpec(type=managed_type(step_type), path=path, selectSet=selection)
        ]
    kind, moref = root
    start = _pc.ObjectSpec(obj=managed_type(kind)(moref), skip=not with_root, selectSet=selection)
    return _pc.FilterSpec(
        objectSet=[start],
        propSet=property_specs(paths),
        reportMissingObjectsInResults=may_be_gone,
    )


def property_specs(paths: Mapping[str, Sequence[str]]) -> list[Any]:
    """PropertySpecs of property paths by managed object type; without paths, a PropertySpec selects
    only the object."""
    return [
        _pc.PropertySpec(type=managed_type(kind), all=False, pathSet=list(of_kind))
        for kind, of_kind in paths.items()
    ]


def retrieve(session: Session, spec: Any) -> dict[ObjectKey, Row]:
    """The objects that a FilterSpec selects, from all pages.

    :raises VCenterError: see :mod:`vmdk_cache.vim.faults`
    """
    generation = session.generation
    try:
        found = _rows(session, spec)
        if found or not _has_expired(session, generation):
            return found
    except errors.SessionExpired as refused:
        session.renew(generation, refused)
    return _rows(session, spec)


def _rows(session: Session, spec: Any) -> dict[ObjectKey, Row]:
    found = _objects(session, spec)
    return {key_of(item.obj): _row(item) for item in found if not _is_gone(item)}


def _objects(session: Session, spec: Any) -> list[Any]:
    """The ObjectContents of all pages.

    :raises SessionExpired: the session was renewed meanwhile, so the page's token is invalid
    """
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
    found: list[Any] = []
    while page is not None:
        found += page.objects or ()
        if not page.token:
            break
        try:
            page = session.invoke(
                "PropertyCollector", collector, "ContinueRetrievePropertiesEx", token=page.token
            )
        except errors.VCenterError as error:
            if session.generation != generation:
                raise errors.SessionExpired(
                    "the session ended twice while properties were being read",
                    method="RetrievePropertiesEx",
                ) from error
            _cancel(session, collector, page.token)
            raise
    return found


def _cancel(session: Session, collector: str, token: str) -> None:
    try:
        session.invoke("PropertyCollector", collector, "CancelRetrievePropertiesEx", token=token)
    except errors.VCenterError:
        pass  # an abandoned read costs vCenter some memory until the session ends


def key_of(obj: Any) -> ObjectKey:
    """The key of one of pyVmomi's managed objects."""
    return type(obj)._wsdlName, str(obj._GetMoId())


def check_log_in(fault: Any, method: str) -> None:
    """:raises SessionExpired: a property is missing because it cannot be read without a log-in"""
    if isinstance(fault, vim.fault.NotAuthenticated):
        raise faults.translate(fault, method=method)


def _row(item: Any) -> Row:
    for missing in item.missingSet or ():
        check_log_in(missing.fault, "RetrievePropertiesEx")
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
