"""The only entry point for SOAP calls: moref -> session -> method -> privileges -> fault rule ->
handler, in this order.

An unknown object is ManagedObjectNotFound, a request without a live session NotAuthenticated, and a
method that the type does not have MethodNotFound. A method that exists in vSphere but not in the
fake is NotImplemented, and is recorded in `VCenter.errors`, because the test needs more than is
simulated. Handlers run under the vCenter's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyVmomi import VmomiSupport, vmodl

from tests.fakes.vcenter import internal_api, recorded_headers, soap, wire
from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.fault_rules import FaultRule
from tests.fakes.vcenter.http_exchange import HttpExchange
from tests.fakes.vcenter.session_manager import OutOfSessions, not_authenticated

if TYPE_CHECKING:
    from tests.fakes.vcenter.managed_object import ManagedObject
    from tests.fakes.vcenter.vcenter import FakeError, VCenter

XML = "text/xml; charset=utf-8"
# Methods that need only System.Anonymous (vSphere API reference), or check the session themselves.
OPEN_METHODS = frozenset(
    {
        "RetrieveServiceContent",
        "RetrieveInternalContent",
        "PbmRetrieveServiceContent",
        "Login",
        "CloneSession",
        "RetrieveProperties",
        "RetrievePropertiesEx",
    }
)
# Objects whose properties can be read by Fetch without a session.
OPEN_OBJECTS = frozenset({"ServiceInstance", "SessionManager"})
LONG_POLLS = frozenset({"WaitForUpdatesEx", "WaitForUpdates"})
_methods_of_type: dict[type, dict[str, Any]] = {}
_parameters: dict[tuple[type, str], dict[str, Any]] = {}


def methods_of(managed_type: Any) -> dict[str, Any]:
    """WSDL name -> method description, of a pyVmomi managed type and its supertypes."""
    methods = _methods_of_type.get(managed_type)
    if methods is None:
        methods = {}
        for cls in reversed(managed_type.__mro__):
            for info in getattr(cls, "_methodInfo", {}).values():
                methods[info.wsdlName] = info
            methods |= internal_api.methods_of(cls)
        _methods_of_type[managed_type] = methods
    return methods


def parameters_of(managed_type: Any, method: str) -> Mapping[str, Any]:
    """Parameter name -> description; empty for a method that the type does not have."""
    key = (managed_type, method)
    if key not in _parameters:
        if method == "Fetch":
            prop = VmomiSupport.Object(
                name="prop", type=str, version=soap.VERSIONS["vim25"], flags=0
            )
            _parameters[key] = {"prop": prop}
        else:
            info = methods_of(managed_type).get(method)
            _parameters[key] = {param.name: param for param in info.params} if info else {}
    return _parameters[key]


def find_object(vcenter: VCenter, endpoint: str, moref: str) -> ManagedObject | None:
    """The object with this moref at this endpoint; PBM has objects of its own under the same
    morefs.
    """
    if endpoint == "pbm":
        return vcenter.registry.get(f"pbm:{moref}") or vcenter.registry.get(moref)
    return vcenter.registry.get(moref)


def serve_soap(exchange: HttpExchange, endpoint: str) -> None:
    """Read a call, execute it, and answer it."""
    vcenter = exchange.vcenter
    version = _client_version(exchange, endpoint)

    def lookup(moref: str, type_name: str, method: str) -> Mapping[str, Any]:
        obj = find_object(vcenter, endpoint, moref)
        if obj is not None:
            return parameters_of(obj.TYPE, method)
        return parameters_of(_type_by_name(endpoint, type_name), method)

    try:
        request = soap.parse_request(exchange.read_all(), lookup)
    except soap.BadEnvelope as error:
        fault = vmodl.fault.InvalidRequest(msg=f"Unable to parse the request: {error}")
        exchange.respond(500, soap.fault_answer(endpoint, version, fault), XML)
        return
    vcenter.request_log.record(request.method, request.this_moref)
    cookie = exchange.cookie
    if endpoint == "pbm":
        cookie = request.headers.get("vcSessionCookie", "").strip('"') or cookie
    session = vcenter.sessions.by_cookie(cookie)
    ctx = Context(
        vcenter,
        session,
        exchange.host,
        exchange.client_address,
        cookie or "",
        exchange.headers.get("User-Agent") or "",
        [],
    )
    if endpoint == "pbm":
        vcenter.sessions.answer_with_pbm_cookie(ctx)
    else:
        vcenter.sessions.answer_with_cookie(ctx, request.method)
    call = _Call(ctx, endpoint, version, request)
    rule = call.matching_rule()
    if rule is not None:
        _apply_before(rule, exchange, vcenter)
        if exchange.answered:
            return
    status, body = call.run(rule.fault if rule else None)
    if rule is not None and rule.drop == "after":
        exchange.drop()
    _respond(exchange, endpoint, status, body, ctx.set_cookies)


def _respond(
    exchange: HttpExchange, endpoint: str, status: int, body: bytes, cookies: list[str] | None
) -> None:
    model = exchange.vcenter.model
    headers = recorded_headers.of_pbm()
    if endpoint != "pbm":
        headers = recorded_headers.of_sdk(
            model.vcenter_version,
            model.reported_api_version,
            exchange.headers.get("SOAPAction") or "",
        )
    if recorded_headers.is_chunked(model.vcenter_version, len(body)):
        exchange.respond_chunked(status, body, XML, headers, cookies)
    else:
        exchange.respond(status, body, XML, headers, cookies)


def _apply_before(rule: FaultRule, exchange: HttpExchange, vcenter: VCenter) -> None:
    vcenter.clock.sleep(rule.delay_s)
    if rule.action is not None:
        rule.action()
    if rule.drop == "before":
        exchange.drop()
    if rule.http_status is not None:
        exchange.respond(rule.http_status, b"Injected by a fault rule\n")


def _client_version(exchange: HttpExchange, endpoint: str) -> str:
    """The client's API version (SOAPAction "urn:vim25/8.0.0.0"), or the newest one served."""
    action = (exchange.headers.get("SOAPAction") or "").strip('"').removeprefix("urn:")
    version = VmomiSupport.versionMap.get(action)
    newest = soap.VERSIONS[endpoint]
    if version is None or not VmomiSupport.IsChildVersion(newest, version):
        return newest
    return str(version)


def _type_by_name(endpoint: str, name: str) -> Any:
    try:
        return VmomiSupport.GetWsdlType(soap.NAMESPACES[endpoint], name)
    except KeyError:
        try:
            return VmomiSupport.GuessWsdlType(name)
        except KeyError:
            return VmomiSupport.ManagedObject


class _Call:
    """One call, from its envelope to its handler."""

    def __init__(
        self, ctx: Context, endpoint: str, version: str, request: soap.SoapRequest
    ) -> None:
        self.ctx = ctx
        self.vcenter = ctx.vcenter
        self.endpoint = endpoint
        self.version = version
        self.request = request
        self.target = find_object(ctx.vcenter, endpoint, request.this_moref)

    def matching_rule(self) -> FaultRule | None:
        """The fault rule that applies to this call, if any."""
        name = getattr(self.target, "name", None)
        names = [self.request.this_moref]
        if isinstance(name, str):
            names.append(name)
        return self.vcenter.fault_rules.match(self.request.method, *names, on="call")

    def run(self, injected: Exception | None) -> tuple[int, bytes]:
        """Returns HTTP status and envelope."""
        session = self.ctx.session
        if session is not None and session.ended:  # by the action of a fault rule
            self.ctx.session = session = None
        if not self.vcenter.switches.long_poll_keeps_session and self.request.method in LONG_POLLS:
            session = None
        if session is not None:
            session.outstanding += 1
        try:
            with self.vcenter.lock:
                return 200, self._answer(injected)
        except vmodl.MethodFault as raised:
            return 500, soap.fault_answer(self.endpoint, self.version, raised)
        except OutOfSessions as error:
            return 503, str(error).encode()
        except Exception as error:
            fault = self.vcenter.record_error(
                f"{type(self.target).__name__}.{self.request.method}", error
            )
            return 500, soap.fault_answer(self.endpoint, self.version, fault)
        finally:
            if session is not None:
                session.outstanding -= 1
                session.last_active = self.vcenter.clock.monotonic()

    def _answer(self, injected: Exception | None) -> bytes:
        target, request = self.target, self.request
        if target is None:
            kind = _type_by_name(self.endpoint, request.this_type)
            raise vmodl.fault.ManagedObjectNotFound(obj=kind(request.this_moref))
        self._check_session(target)
        if target.session is not None and target.session is not self.ctx.session:
            raise vmodl.fault.ManagedObjectNotFound(obj=target.ref)
        if request.method == "Fetch":
            if injected is not None:
                raise injected
            return self._fetch(target)
        info = methods_of(target.TYPE).get(request.method)
        if info is None:
            raise vmodl.fault.MethodNotFound(receiver=target.ref, method=request.method)
        arguments = self._arguments(info)
        self.vcenter.permissions.check(self.ctx.user, target, info, arguments)
        if injected is not None:
            raise injected
        handler = getattr(target, request.method, None)
        if handler is None:
            raise self._not_simulated(target)
        value = handler(self.ctx, **arguments)
        value = wire.to_wire(value, info.result)
        result = VmomiSupport.Object(
            name="returnval",
            type=info.result,
            version=info.version,
            flags=info.resultFlags | VmomiSupport.F_OPTIONAL,
        )
        return soap.answer(self.endpoint, self.version, request.method, result, value)

    def _check_session(self, target: ManagedObject) -> None:
        if self.ctx.session is not None or self.request.method in OPEN_METHODS:
            return
        if self.request.method == "Fetch" and target.ref._moId in OPEN_OBJECTS:
            return
        raise not_authenticated(self.vcenter)

    def _arguments(self, info: Any) -> dict[str, Any]:
        if self.request.unknown:
            names = ", ".join(self.request.unknown)
            raise vmodl.fault.InvalidRequest(
                msg=f"Unexpected element {names} in the call of {self.request.method}"
            )
        for name, kind in self.request.missing:
            # The text of vCenter's parser. (CenturyLinkCloud/chef-provisioning-vsphere#64)
            raise vmodl.fault.InvalidRequest(
                msg=f"\nRequired property {name} is missing from data object of type {kind}\n"
            )
        arguments: dict[str, Any] = {}
        for param in info.params:
            value = self.request.arguments.get(param.name)
            if value is None and not param.flags & VmomiSupport.F_OPTIONAL:
                raise vmodl.fault.InvalidRequest(msg=f"Required parameter {param.name} is missing")
            arguments[param.name] = value
        return arguments

    def _fetch(self, target: ManagedObject) -> bytes:
        name = self.request.arguments.get("prop") or ""
        info = wire.property_info(target.TYPE, name)
        if info is None:
            raise vmodl.query.InvalidProperty(name=name)
        value = wire.to_wire(target.read(name, self.ctx), info.type)
        if value is None and issubclass(info.type, list):
            value = info.type()  # an array is never unset but empty, as in recordings of 8.0.3
        result = VmomiSupport.Object(
            name="returnval",
            type=object,  # so that the value carries its type
            version=info.version,
            flags=info.flags | VmomiSupport.F_OPTIONAL,
        )
        return soap.answer(self.endpoint, self.version, "Fetch", result, value)

    def _not_simulated(self, target: ManagedObject) -> Exception:
        error: FakeError | NotImplementedError
        where = f"{type(target).__name__}.{self.request.method}"
        error = NotImplementedError(f"{where} is not simulated by the fake vCenter")
        self.vcenter.record_error(where, error)
        return vmodl.fault.NotImplemented(msg=str(error))
