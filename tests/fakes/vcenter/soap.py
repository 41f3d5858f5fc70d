"""Converts SOAP envelopes to values and faults, and back, with pyVmomi's own types and serializer.

Clients differ: pyVmomi writes vim25 as the default namespace; suds uses prefixes, marks every
element named `value` or `val` as xsd:string, and sends dates without a time zone. The fake reads
both. Its answers carry no `versionId` attribute, which suds would take for a part of the value.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from io import StringIO
from typing import Any
from xml.parsers.expat import ExpatError, ParserCreate

from pyVmomi import SoapAdapter, VmomiSupport

NAMESPACES = {"vim25": "urn:vim25", "pbm": "urn:pbm"}
VERSIONS = {"vim25": "vim.version.v8_0_3_0", "pbm": "pbm.version.v8_0_3_0"}
_SEPARATOR = SoapAdapter.NS_SEP


class BadEnvelope(Exception):
    """The fake cannot read the request as a SOAP envelope."""


@dataclass
class SoapRequest:
    """A parsed call: method by its WSDL name, the target object, and the arguments."""

    method: str = ""
    this_type: str = ""
    this_moref: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    #: Required properties that are missing from data objects of the call: (name, WSDL name of the
    #: type).
    missing: list[tuple[str, str]] = field(default_factory=list)


# Finds the parameters of a method: (moref, type name, method) -> parameter name -> description.
ParameterLookup = Callable[[str, str, str], Mapping[str, Any]]


def parse_request(body: bytes, lookup: ParameterLookup) -> SoapRequest:
    """Read an envelope. BadEnvelope if it is not XML or an argument does not match its type."""
    reader = _EnvelopeReader(lookup)
    try:
        reader.parse(body)
    except BadEnvelope:
        raise
    except (ExpatError, TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        raise BadEnvelope(f"{type(error).__name__}: {error}") from error
    if not reader.request.method:
        raise BadEnvelope("the SOAP body holds no call")
    return reader.request


class _ArgumentReader(SoapAdapter.SoapDeserializer):  # type: ignore[misc]
    """pyVmomi's deserializer for one argument; reports its end, and tolerates suds' type
    attributes.
    """

    def __init__(self, done: Callable[[Any], None], missing: list[tuple[str, str]]) -> None:
        super().__init__()
        self._done = done
        self._missing = missing
        self._seen: list[set[str]] = []

    def _declared_type(self, tag: str) -> Any:
        if not self.stack:
            return self.resultType
        top = self.stack[-1]
        if isinstance(top, list):
            return top.Item  # type: ignore[attr-defined]
        if isinstance(top, VmomiSupport.DataObject):
            return top._GetPropertyInfo(tag.rpartition(_SEPARATOR)[2]).type
        return object

    def StartElementHandler(self, tag: str, attr: dict[str, str]) -> None:
        marked = attr.get(SoapAdapter.XSI_TYPE)
        if marked is not None and self._declared_type(tag) is not object:
            namespace, name = self.GetNSAndWsdlname(marked)
            if namespace == SoapAdapter.XMLNS_XSD or not name:
                attr = {key: value for key, value in attr.items() if key != SoapAdapter.XSI_TYPE}
        if self._seen:
            self._seen[-1].add(tag.rpartition(_SEPARATOR)[2])
        self._seen.append(set())
        super().StartElementHandler(tag, attr)

    def EndElementHandler(self, tag: str) -> None:
        seen, obj = self._seen.pop(), self.stack[-1] if self.stack else None
        if isinstance(obj, VmomiSupport.DataObject):
            kind = VmomiSupport.Type(obj)
            for name in _required(kind):
                if name not in seen:
                    self._missing.append((name, VmomiSupport.GetWsdlName(kind)))
        super().EndElementHandler(tag)
        if not hasattr(self, "stack"):
            self._done(self.GetResult())


@cache
def _required(kind: type) -> tuple[str, ...]:
    """Required properties of a data object; an array may be empty."""
    return tuple(
        info.name
        for info in kind._GetPropertyList()  # type: ignore[attr-defined]
        if not info.flags & VmomiSupport.F_OPTIONAL and not issubclass(info.type, list)
    )


class _EnvelopeReader(SoapAdapter.ExpatDeserializerNSHandlers):  # type: ignore[misc]
    """Envelope > Header > (name), Envelope > Body > method > (_this, arguments)."""

    def __init__(self, lookup: ParameterLookup) -> None:
        super().__init__()
        self.request = SoapRequest()
        self._lookup = lookup
        self._parameters: Mapping[str, Any] | None = None
        self._path: list[str] = []
        self._text: list[str] = []
        self._skip_depth = 0

    def parse(self, body: bytes) -> None:
        self._parser = ParserCreate(namespace_separator=_SEPARATOR)
        self._parser.buffer_text = True
        SoapAdapter.SetHandlers(self._parser, SoapAdapter.GetHandlers(self))
        self._parser.Parse(body, True)

    def StartElementHandler(self, tag: str, attr: dict[str, str]) -> None:
        name = tag.rpartition(_SEPARATOR)[2]
        self._text.clear()
        depth = len(self._path)
        in_body = depth >= 2 and self._path[1] == "Body"
        if in_body and depth == 2:
            self.request.method = name
        elif in_body and depth == 3:
            if name == "_this":
                self.request.this_type = attr.get("type", "").rpartition(":")[2]
            elif self._start_argument(name, tag, attr):
                return
        self._path.append(name)

    def _start_argument(self, name: str, tag: str, attr: dict[str, str]) -> bool:
        if self._parameters is None:
            self._parameters = self._lookup(
                self.request.this_moref, self.request.this_type, self.request.method
            )
        info = self._parameters.get(name)
        if info is None:
            self.request.unknown.append(name)
            return False
        repeated = issubclass(info.type, list)
        reader = _ArgumentReader(
            lambda value: self._argument_read(name, repeated, value), self.request.missing
        )
        reader.Deserialize(
            self._parser, info.type.Item if repeated else info.type, False, self.nsMap
        )
        reader.StartElementHandler(tag, attr)
        return True

    def _argument_read(self, name: str, repeated: bool, value: Any) -> None:
        if repeated:
            self.request.arguments.setdefault(name, []).append(value)
        else:
            self.request.arguments[name] = value

    def CharacterDataHandler(self, data: str) -> None:
        self._text.append(data)

    def EndElementHandler(self, tag: str) -> None:
        name = self._path.pop()
        text = "".join(self._text)
        self._text.clear()
        if name == "_this" and len(self._path) == 3:
            self.request.this_moref = text.strip()
        elif len(self._path) == 2 and self._path[1] == "Header":
            self.request.headers[name] = text.strip()


# -- answers


class _Serializer(SoapAdapter.SoapSerializer):  # type: ignore[misc]
    """pyVmomi's serializer for a server: no versionId, references typed as in the WSDL."""

    def __init__(self, writer: StringIO, endpoint: str, version: str) -> None:
        prefixes = dict(SoapAdapter.SOAP_NSMAP)
        prefixes[NAMESPACES[endpoint]] = ""
        super().__init__(writer, version, prefixes)
        self.outermostAttrs = ""
        self._in_any_array = False

    def _Serialize(self, val: Any, info: Any, defNS: str) -> None:
        """Elements of an array in anyType carry their type, even if it is the array's."""
        within = self._in_any_array
        if within:
            info = VmomiSupport.Object(
                name=info.name, type=object, version=info.version, flags=info.flags
            )
        self._in_any_array = isinstance(val, list) and info.type is object
        super()._Serialize(val, info, defNS)
        self._in_any_array = within

    def _QName(self, typ: Any, defNS: str) -> Any:
        if typ is VmomiSupport.ManagedObject:
            return super()._QName(typ, defNS)[0], "ManagedObjectReference"
        return super()._QName(typ, defNS)


def answer(endpoint: str, version: str, method: str, info: Any, value: Any) -> bytes:
    """The envelope of a successful call; `info` describes the result of the method (or
    property).
    """
    writer = StringIO()
    writer.write(SoapAdapter.XML_HEADER + "\n" + SoapAdapter.SOAP_START)
    writer.write(f'<{method}Response xmlns="{NAMESPACES[endpoint]}">')
    if value is not None:
        _Serializer(writer, endpoint, version).Serialize(value, info)
    writer.write(f"</{method}Response>")
    writer.write(SoapAdapter.SOAP_END)
    return writer.getvalue().encode()


def fault_answer(endpoint: str, version: str, fault: Any) -> bytes:
    """The envelope of a SOAP fault; `fault` is a pyVmomi MethodFault."""
    writer = StringIO()
    text = SoapAdapter.XmlEscape(str(fault.msg or default_message(fault)))
    writer.write(SoapAdapter.XML_HEADER + "\n" + SoapAdapter.SOAP_START)
    writer.write(f"<{SoapAdapter.SOAP_FAULT_TAG}><faultcode>ServerFaultCode</faultcode>")
    writer.write(f"<faultstring>{text}</faultstring><detail>")
    fault = copy.copy(fault)
    fault.msg = None
    kind = VmomiSupport.GetCompatibleType(VmomiSupport.Type(fault), version)
    name = VmomiSupport.GetWsdlName(kind)
    info = VmomiSupport.Object(name=f"{name}Fault", type=object, version=version, flags=0)
    _Serializer(writer, endpoint, version)._SerializeDataObject(
        fault, info, f' xmlns="{NAMESPACES[endpoint]}"', NAMESPACES[endpoint]
    )
    writer.write(f"</detail></{SoapAdapter.SOAP_FAULT_TAG}>")
    writer.write(SoapAdapter.SOAP_END)
    return writer.getvalue().encode()


def default_message(fault: Any) -> str:
    """A real vCenter's message for faults that the fake raises without one."""
    name = VmomiSupport.GetWsdlName(VmomiSupport.Type(fault))
    if name == "ManagedObjectNotFound":
        return (
            f"The object '{_reference_text(fault.obj)}' has already been deleted or has not been "
            "completely created"
        )
    if name == "DuplicateName":
        return f"The name '{fault.name}' already exists."
    if name == "InvalidArgument":
        return f"A specified parameter was not correct: {fault.invalidProperty or ''}"
    texts = {
        "NotAuthenticated": "The session is not authenticated.",
        "NotSupported": "The operation is not supported on the object.",
        "TaskInProgress": "Another task is already in progress.",
        "InvalidLogin": "Cannot complete login due to an incorrect user name or password.",
        "InvalidState": "The operation is not allowed in the current state.",
        "InvalidPowerState": "The attempted operation cannot be performed in the current state.",
        "NotFound": "The object or item referred to could not be found.",
        "RequestCanceled": "The task was canceled by a user.",
        "NoDiskSpace": "There is not enough space on the file system for the operation.",
    }
    return str(texts.get(name, name))


def _reference_text(ref: Any) -> str:
    if ref is None:
        return ""
    return f"{VmomiSupport.GetVmodlName(VmomiSupport.Type(ref))}:{ref._moId}"
