"""One recorded exchange, repeated by our client: the same call, through its session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyVmomi import pbm  # noqa: F401  # so that the types of /pbm are known

from tests.fakes.vcenter.soap import SoapRequest, parse_request
from tests.recordings.recordings import Exchange
from vmdk_cache.vim.reference import managed_type, without_references
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies


def repeat(session: Session, policies: StoragePolicies, exchange: Exchange) -> Any:
    """What the session makes of the exchange's answer.

    :param session: open, to a replay of the exchange's recording
    """
    request = parse_request(exchange.request.encode(), parameters)
    if request.this_type.startswith("Pbm"):
        return _repeat_pbm(policies, request)
    if request.method == "Fetch":
        return _fetch(session, request, exchange)
    return session.invoke(
        request.this_type, request.this_moref, request.method, **request.arguments
    )


def _fetch(session: Session, request: SoapRequest, exchange: Exchange) -> Any:
    """Read one property, as pyVmomi does for an attribute of a managed object."""
    name = exchange.request.rpartition("</prop>")[0].rpartition(">")[2]
    target = managed_type(request.this_type)(
        request.this_moref, session.content.propertyCollector._stub
    )
    return session.guarded(
        lambda: without_references(getattr(target, name)), method="Fetch", safe=True
    )


def _repeat_pbm(policies: StoragePolicies, request: SoapRequest) -> Any:
    """By the connection that storage policies are read with."""

    def ask(content: Any) -> Any:
        stub = content.profileManager._stub
        target = managed_type(request.this_type)(request.this_moref, stub)
        return getattr(target, request.method)(**request.arguments)

    return policies._call(request.method, ask)


def parameters(moref: str, type_name: str, method: str) -> Mapping[str, Any]:
    """For tests.fakes.vcenter.soap.parse_request."""
    if method == "Fetch":
        return {}
    info = getattr(managed_type(type_name), method).info
    return {parameter.name: parameter for parameter in info.params}
