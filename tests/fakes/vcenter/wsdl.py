"""What clients read before their first call: vimService.wsdl, generated from pyVmomi's type data,
and the served versions.

suds (under oslo.vmware) builds its types from the WSDL at the server's URL unless another location
is configured. A real vCenter serves one; this one describes every vim25 type, enumeration and
method that pyVmomi has up to the served version. The first request generates it, and the process
keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from xml.sax.saxutils import quoteattr

from pyVmomi import VmomiSupport

from tests.fakes.vcenter.soap import VERSIONS

_INTERNAL_VERSION = "uA046D008"
_XSD_PLAIN = {
    "string": "string",
    "boolean": "boolean",
    "int": "int",
    "long": "long",
    "short": "short",
    "byte": "byte",
    "double": "double",
    "float": "float",
    "dateTime": "dateTime",
    "base64Binary": "base64Binary",
    "anyType": "anyType",
    "anyURI": "anyURI",
}
_ARRAYS_OF_PLAIN = ("string", "boolean", "int", "long", "short", "byte", "double", "anyType")
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<definitions targetNamespace="urn:vim25" xmlns="http://schemas.xmlsoap.org/wsdl/" '
    'xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:vim25="urn:vim25" '
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
)
_SCHEMA = (
    '<types><schema targetNamespace="urn:vim25" xmlns="http://www.w3.org/2001/XMLSchema" '
    'elementFormDefault="qualified">'
    '<complexType name="ManagedObjectReference"><simpleContent><extension base="xsd:string">'
    '<attribute name="type" type="xsd:string"/></extension></simpleContent></complexType>'
)


@lru_cache(maxsize=1)
def vim_service() -> bytes:
    """The WSDL of /sdk, UTF-8."""
    methods = _methods()
    parts = [_HEAD, _SCHEMA, _array_of("ManagedObjectReference", "vim25:ManagedObjectReference")]
    parts += [_array_of(name, f"xsd:{name}") for name in _ARRAYS_OF_PLAIN]
    parts += _data_types()
    parts += _enumerations()
    parts += _message_types(methods)
    parts.append("</schema></types>")
    parts += _operations(list(methods))
    return "\n".join(parts).encode()


@lru_cache(maxsize=16)
def service_versions(namespace: str, api_version: str) -> bytes:
    """The vimServiceVersions.xml of a namespace ("vim25" or "pbm"). For vim25, it lists
    `api_version` and all earlier ones down to 4.0 (recordings of 6.5 and 8.0.3), after an internal
    version since 7 (recording of 8.0.3).
    """
    newest = VERSIONS[namespace]
    ids = [
        VmomiSupport.versionIdMap[version]
        for version in VmomiSupport.GetServiceVersions(namespace)
        if VmomiSupport.IsChildVersion(newest, version)
    ]
    own = VmomiSupport.versionIdMap[newest]
    if namespace == "vim25":
        has_internal = _numbers(api_version) >= (7,)
        own = _INTERNAL_VERSION if has_internal else api_version
        ids = [each for each in ids if (4, 0) <= _numbers(each) <= _numbers(api_version)]
    prior = "".join(f"<version>{each}</version>" for each in ids if each and each != own)
    return (
        '<?xml version="1.0" encoding="UTF-8"?><namespaces version="1.0"><namespace>'
        f"<name>urn:{namespace}</name><version>{own}</version>"
        f"<priorVersions>{prior}</priorVersions></namespace></namespaces>"
    ).encode()


def _served(version: str) -> bool:
    return bool(VmomiSupport.IsChildVersion(VERSIONS["vim25"], version))


def _vim_names(definitions: dict[str, Any]) -> Iterator[str]:
    return (name for name in list(definitions) if name.startswith(("vim.", "vmodl.")))


def _reference(declared: Any) -> tuple[str, bool]:
    """The XML type of a pyVmomi type, and whether it is repeated."""
    if issubclass(declared, list) and hasattr(declared, "Item"):
        return _reference(declared.Item)[0], True
    if issubclass(declared, VmomiSupport.ManagedObject):
        return "vim25:ManagedObjectReference", False
    namespace, name = VmomiSupport.GetQualifiedWsdlName(declared)
    if "XMLSchema" in namespace:
        return f"xsd:{_XSD_PLAIN.get(name, name)}", False
    if declared in (type, VmomiSupport.ManagedMethod, VmomiSupport.PropertyPath):
        return "xsd:string", False
    if issubclass(declared, Exception):
        # A fault in data is sent as a LocalizedMethodFault.
        return "vim25:LocalizedMethodFault", False
    return f"vim25:{name}", False


def _element(name: str, declared: Any, flags: int) -> str:
    reference, repeated = _reference(declared)
    bounds = ' minOccurs="0"' if flags & VmomiSupport.F_OPTIONAL or repeated else ""
    if repeated:
        bounds += ' maxOccurs="unbounded"'
    return f'<element name="{name}" type="{reference}"{bounds}/>'


def _array_of(name: str, reference: str) -> str:
    capital = name[0].upper() + name[1:]
    return (
        f'<complexType name="ArrayOf{capital}"><sequence><element name="{name}" '
        f'type="{reference}" minOccurs="0" maxOccurs="unbounded"/></sequence></complexType>'
    )


def _numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, for comparison; empty for internal versions."""
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(p.isdigit() for p in parts) else ()


def _data_types() -> Iterator[str]:
    for name in _vim_names(VmomiSupport._dataDefMap):
        declared = VmomiSupport.GetVmodlType(name)
        if not _served(declared._version):
            continue
        yield _data_type(declared)
        yield _array_of(declared._wsdlName, f"vim25:{declared._wsdlName}")


def _data_type(declared: Any) -> str:
    base = declared.__mro__[1]
    inherited: set[str] = set()
    base_name = None
    if base is not VmomiSupport.DataObject and issubclass(base, VmomiSupport.DataObject):
        base_name = base._wsdlName
        inherited = {info.name for info in base._GetPropertyList()}
    is_localized = declared._wsdlName == "LocalizedMethodFault"
    elements = []
    for info in declared._GetPropertyList():
        if info.name in inherited or not _served(info.version):
            continue
        if info.name == "msg" and issubclass(declared, Exception):
            continue  # pyVmomi's own field, not on the wire
        if is_localized and info.name == "fault":
            elements.append('<element name="fault" type="vim25:MethodFault"/>')
        else:
            elements.append(_element(info.name, info.type, info.flags))
    body = f"<sequence>{''.join(elements)}</sequence>"
    if base_name:
        body = f'<extension base="vim25:{base_name}">{body}</extension>'
        body = f"<complexContent>{body}</complexContent>"
    return f'<complexType name="{declared._wsdlName}">{body}</complexType>'


def _enumerations() -> Iterator[str]:
    for name in _vim_names(VmomiSupport._enumDefMap):
        declared = VmomiSupport.GetVmodlType(name)
        if not _served(declared._version):
            continue
        values = "".join(
            f"<enumeration value={quoteattr(str(value))}/>"
            for value in declared.values
            if value != "unknown"
        )
        yield (
            f'<simpleType name="{declared._wsdlName}"><restriction base="xsd:string">{values}'
            "</restriction></simpleType>"
        )
        yield _array_of(declared._wsdlName, f"vim25:{declared._wsdlName}")


def _methods() -> dict[str, Any]:
    methods: dict[str, Any] = {}
    for name in _vim_names(VmomiSupport._managedDefMap):
        declared = VmomiSupport.GetVmodlType(name)
        for info in declared._methodInfo.values():
            if _served(info.version):
                methods.setdefault(info.wsdlName, info)
    return methods


def _message_types(methods: dict[str, Any]) -> Iterator[str]:
    for name, info in methods.items():
        parameters = "".join(
            _element(param.name, param.type, param.flags)
            for param in info.params
            if _served(param.version)
        )
        yield (
            f'<complexType name="{name}RequestType"><sequence>'
            f'<element name="_this" type="vim25:ManagedObjectReference"/>{parameters}'
            f'</sequence></complexType><element name="{name}" type="vim25:{name}RequestType"/>'
        )
        result = ""
        if info.result is not None and info.result is not type(None):
            result = _element("returnval", info.result, info.resultFlags)
        yield (
            f'<element name="{name}Response"><complexType><sequence>{result}</sequence>'
            "</complexType></element>"
        )


def _operations(names: list[str]) -> Iterator[str]:
    for name in names:
        yield (
            f'<message name="{name}RequestMsg"><part name="parameters" element="vim25:{name}"/>'
            f'</message><message name="{name}ResponseMsg"><part name="parameters" '
            f'element="vim25:{name}Response"/></message>'
        )
    yield '<portType name="VimPortType">'
    for name in names:
        yield (
            f'<operation name="{name}"><input message="vim25:{name}RequestMsg"/>'
            f'<output message="vim25:{name}ResponseMsg"/></operation>'
        )
    yield (
        '</portType><binding name="VimBinding" type="vim25:VimPortType">'
        '<soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>'
    )
    action = f"urn:vim25/{VmomiSupport.versionIdMap[VERSIONS['vim25']]}"
    for name in names:
        yield (
            f'<operation name="{name}"><soap:operation soapAction="{action}" style="document"/>'
            '<input><soap:body use="literal"/></input><output><soap:body use="literal"/></output>'
            "</operation>"
        )
    yield (
        '</binding><service name="VimService"><port binding="vim25:VimBinding" name="VimPort">'
        '<soap:address location="https://localhost/sdk/vimService"/></port></service>'
        "</definitions>"
    )
