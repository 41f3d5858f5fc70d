"""An HTTPS server that answers as a recorded vCenter did.

A request gets the answer that was recorded for the same question: the same method, object,
properties, objects to read and version to wait from. A question that was recorded several times
gets the answers in their order, and then the last one again.

Two of our client's requests are in no recording, and are answered out of what was recorded:

- ``CreatePropertyCollector`` with the collector that the recorded client used;
- ``RetrievePropertiesEx`` with the objects of the recorded ``RetrieveProperties`` of the same
  question (vSphere API reference: the former is the latter with pages).

Anything else is refused as NotSupported, and noted in ``Replay.unanswered``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit
from xml.etree import ElementTree

from tests.fakes.vcenter.certificate import Certificate
from tests.fakes.web_server import Handler, web_server
from tests.recordings.recordings import Exchange
from vmdk_cache.vim.session import Endpoint

#: What tells two requests of one method on one object apart.
_TELLING = {"prop", "pathSet", "obj", "version"}
#: Belong to the connection, not to the answer.
_HOP_HEADERS = {"connection", "content-length", "content-encoding", "transfer-encoding", "date"}
#: With the content of its body.
ENVELOPE = (
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    "<soapenv:Body>{}</soapenv:Body></soapenv:Envelope>"
)
_REFUSAL = (
    "<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>not recorded</faultstring>"
    '<detail><NotSupportedFault xmlns="urn:vim25" xsi:type="NotSupported"/></detail>'
    "</soapenv:Fault>"
)


@dataclass(frozen=True)
class Question:
    """What of a request decides its answer.

    :ivar service: ``sdk`` or ``pbm``
    """

    service: str
    method: str
    moref: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class Request:
    """A request that the replay received."""

    question: Question
    soap_action: str
    cookie: str
    header: str


def question_of(path: str, request: str | bytes) -> Question:
    """The question that a SOAP request asks."""
    body = _child(ElementTree.fromstring(request), "Body")
    call = body[0]
    details = tuple(
        (element.text or "").strip() for element in call.iter() if _name(element) in _TELLING
    )
    service = urlsplit(path).path.split("/")[1]
    return Question(service, _name(call), (_child(call, "_this").text or "").strip(), details)


def exchange_of(
    number: int, method: str, moref: str, answer: str, *, arguments: str = "", status: int = 200
) -> Exchange:
    """An exchange on ``/sdk`` that was recorded in another form, or by nobody.

    :param answer: what the SOAP body of the answer holds
    :param arguments: XML
    """
    request = f'<{method} xmlns="urn:vim25"><_this>{moref}</_this>{arguments}</{method}>'
    return Exchange(
        number=number,
        path="/sdk",
        method=method,
        request=ENVELOPE.format(request),
        request_headers={},
        status=status,
        headers={},
        response=ENVELOPE.format(answer),
    )


@dataclass
class Replay:
    """What a recorded vCenter answers, and what it was asked.

    :ivar replayed: numbers of the exchanges whose answers were sent
    :ivar unanswered: questions that no recording answers
    """

    exchanges: Iterable[Exchange]
    replayed: set[int] = field(default_factory=set)
    unanswered: list[Question] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._answers: dict[Question, list[Exchange]] = {}
        for exchange in self.exchanges:
            if exchange.method is not None:
                asked = question_of(exchange.path, exchange.request)
                self._answers.setdefault(asked, []).append(exchange)

    def answer(self, asked: Question) -> Exchange | None:
        """The recorded exchange that answers, None if there is none."""
        answers = self._answers.get(asked)
        if not answers:
            return None
        exchange = answers.pop(0) if len(answers) > 1 else answers[0]
        self.replayed.add(exchange.number)
        return exchange

    def made_of(self, asked: Question) -> str | None:
        """The answer to a question that only our client asks."""
        if asked.method == "CreatePropertyCollector":
            return (
                '<CreatePropertyCollectorResponse xmlns="urn:vim25"><returnval '
                f'type="PropertyCollector">{asked.moref}</returnval>'
                "</CreatePropertyCollectorResponse>"
            )
        if asked.method == "RetrievePropertiesEx":
            found = self.answer(replace(asked, method="RetrieveProperties"))
            if found is not None:
                objects = "".join(re.findall("<returnval>.*?</returnval>", found.response, re.S))
                return (
                    '<RetrievePropertiesExResponse xmlns="urn:vim25"><returnval>'
                    f"{objects.replace('returnval>', 'objects>')}"
                    "</returnval></RetrievePropertiesExResponse>"
                )
        return None


@contextlib.contextmanager
def replaying(replay: Replay, user: str = "recorded") -> Iterator[Endpoint]:
    """Serve the replay on loopback."""
    certificate = Certificate()
    try:
        with web_server(_handler(replay), certificate.context) as url:
            address = urlsplit(url)
            assert address.hostname and address.port
            yield Endpoint(
                address.hostname,
                user,
                "correct horse",
                port=address.port,
                ca_file=certificate.ca_file,
                read_timeout_s=60.0,
                api_retry_count=1,
            )
    finally:
        certificate.remove()


def _handler(replay: Replay) -> type[Handler]:
    class ReplayHandler(Handler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one piece: a second one would wait for the first's receipt

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = question_of(self.path, body)
            header = re.search(rb"<vcSessionCookie[^>]*>([^<]*)<", body)
            replay.requests.append(
                Request(
                    asked,
                    self.headers.get("SOAPAction", "").strip('"'),
                    self.headers.get("Cookie", ""),
                    header[1].decode() if header else "",
                )
            )
            recorded = replay.answer(asked)
            if recorded is not None:
                self._send(recorded.status, recorded.response, recorded.headers)
                return
            made = replay.made_of(asked)
            if made is None:
                replay.unanswered.append(asked)
            self._send(500 if made is None else 200, ENVELOPE.format(made or _REFUSAL), {})

        def _send(self, status: int, body: str, headers: dict[str, list[str]]) -> None:
            """Chunked where the recorded answer was."""
            self.send_response(status)
            for name, values in headers.items():
                for value in values if name not in _HOP_HEADERS else ():
                    self.send_header(name, value)
            content = body.encode()
            if "transfer-encoding" in headers:
                self.send_header("Transfer-Encoding", "chunked")
                content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
            else:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return ReplayHandler


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _child(element: ElementTree.Element, name: str) -> ElementTree.Element:
    return next(child for child in element if _name(child) == name)
