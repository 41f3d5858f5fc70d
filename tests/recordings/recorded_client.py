"""Sends the requests of a recording to a fake vCenter.

References are those of the fake: an object of the same type, or what the fake answered where the
recording answered with a reference. So are user, password and cookie.
"""

from __future__ import annotations

import http.client
import re
import ssl
from dataclasses import dataclass, field

from pyVmomi import VmomiSupport

from tests.fakes.vcenter import VCenter
from tests.recordings.recordings import Exchange

_REFERENCE = re.compile(r'type="(\w+)"( xsi:type="ManagedObjectReference")?>([^<]+)<')
_OBJECT_SET = re.compile(r"<objectSet\b.*?</objectSet>", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """:ivar headers: by their names in lower case"""

    status: int
    headers: dict[str, list[str]]
    body: str


@dataclass
class RecordedClient:
    """A client that sends what recorded ones sent.

    :ivar references: recorded moref -> the fake's, for objects that are to stand for others than
        the first of their type
    :ivar password: "" for the right one
    """

    vcenter: VCenter
    references: dict[str, str] = field(default_factory=dict)
    password: str = ""
    cookie: str = ""

    def send(self, exchange: Exchange) -> Answer:
        """Send the request of an exchange."""
        headers = {
            name: value
            for name, value in exchange.request_headers.items()
            if name.lower() in ("soapaction", "content-type", "user-agent")
        }
        if self.cookie:
            headers["Cookie"] = self.cookie
        answer = self._request(exchange, self._rewritten(exchange.request), headers)
        if exchange.path.startswith("/sdk"):
            for cookie in answer.headers.get("set-cookie", ()):
                self.cookie = cookie.split(";")[0]
        self._learn(exchange.response, answer.body)
        return answer

    def _request(self, exchange: Exchange, body: str, headers: dict[str, str]) -> Answer:
        trust = ssl.create_default_context(cafile=self.vcenter.ca_file)
        connection = http.client.HTTPSConnection(
            self.vcenter.host, self.vcenter.port, context=trust, timeout=30
        )
        try:
            verb = "GET" if exchange.method is None else "POST"
            connection.request(verb, exchange.path, body.encode() or None, headers)
            answer = connection.getresponse()
            found: dict[str, list[str]] = {}
            for name, value in answer.getheaders():
                found.setdefault(name.lower(), []).append(value)
            return Answer(answer.status, found, answer.read().decode())
        finally:
            connection.close()

    def _rewritten(self, request: str) -> str:
        """The request with the fake's references, of the objects that the fake has."""

        def kept(match: re.Match[str]) -> str:
            reference = _REFERENCE.search(match[0])
            known = reference is None or self._reference(reference[1], reference[3])
            return match[0] if known else ""

        request = _OBJECT_SET.sub(kept, request)
        request = _replaced("userName", self.vcenter.user, request)
        request = _replaced("password", self.password or self.vcenter.password, request)
        request = re.sub(
            r"<vcSessionCookie>[^<]*<",
            lambda _: f"<vcSessionCookie>{self.cookie.partition('=')[2].strip(chr(34))}<",
            request,
        )
        return _REFERENCE.sub(self._with_reference, request)

    def _with_reference(self, match: re.Match[str]) -> str:
        moref = self._reference(match[1], match[3]) or match[3]
        return f'type="{match[1]}"{match[2] or ""}>{moref}<'

    def _reference(self, type_name: str, moref: str) -> str | None:
        if moref in self.references:
            return self.references[moref]
        known = self.vcenter.registry.get(moref)
        if known is not None and type(known.ref)._wsdlName == type_name:
            return moref
        if type_name.startswith("Pbm"):
            return moref
        found = self.vcenter.registry.of_type(VmomiSupport.GetWsdlType("urn:vim25", type_name))
        return found[0].moref if found else None

    def _learn(self, recorded: str, answered: str) -> None:
        """Which of the fake's objects stands for the one that the recording made."""
        result = re.compile(r'<returnval type="(\w+)">([^<]+)</returnval>')
        theirs, ours = result.search(recorded), result.search(answered)
        if theirs is not None and ours is not None:
            self.references[theirs[2]] = ours[2]


def _replaced(tag: str, text: str, request: str) -> str:
    return re.sub(
        rf"<{tag}\b([^>/]*)(/>|>[^<]*</{tag}>)", lambda m: f"<{tag}{m[1]}>{text}</{tag}>", request
    )
