"""The report of a preflight: one JSON file that can be attached to a bug report, and replayed.

``exchanges`` has the SOAP requests of the live run with their responses, in the format of the
recordings that the tests read (tests/recordings/). vmdk_cache/preflight/redaction.py lists what is
removed.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from vmdk_cache.preflight.redaction import Redaction
from vmdk_cache.vim.endpoint import Exchange

SCHEMA = 1
#: Maximum size of the exchanges; later ones are only counted.
_MOST_CHARACTERS = 64 << 20
_METHOD = re.compile(r"<(?:\w+:)?Body\b[^>]*>\s*<(?:\w+:)?(\w+)")
#: Columns of the checklist that hold names or sentences.
_SENTENCES = frozenset({"Object", "Seen", "What To Do"})
#: Headers to keep; the others are useless or confidential.
_HEADERS = frozenset({"soapaction", "content-type", "cookie", "set-cookie", "user-agent"})


class Exchanges:
    """Collects SOAP requests and responses; a :data:`~vmdk_cache.vim.endpoint.Listener`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[Exchange] = []
        self._characters = 0
        self.left_out = 0

    def __call__(self, exchange: Exchange, /) -> None:
        with self._lock:
            self._characters += len(exchange.request) + len(exchange.response)
            if self._characters > _MOST_CHARACTERS:
                self.left_out += 1
            else:
                self._kept.append(exchange)

    def kept(self) -> list[Exchange]:
        with self._lock:
            return list(self._kept)


def report(
    versions: Mapping[str, str],
    vcenter: str,
    results: Sequence[Mapping[str, Any]],
    exchanges: Exchanges,
    redaction: Redaction,
) -> str:
    """The text of the file.

    :param versions: versions of the software, by name
    :param vcenter: product, version and build; '' if vCenter was not reached
    :param results: rows of the checklist
    """
    kept = exchanges.kept()
    for each in kept:
        answered = itertools.chain.from_iterable(each.response_headers.values())
        headers = (*each.request_headers.values(), *answered)
        redaction.learn("\n".join((each.request, each.response, *headers)))
    content = {
        "schema": SCHEMA,
        "made_by": "vmdk-cache preflight",
        "versions": dict(versions),
        "recorded_on": [vcenter] if vcenter else [],
        "results": [
            {
                name: redaction.sentence(value) if name in _SENTENCES else value
                for name, value in row.items()
            }
            for row in results
        ],
        "exchanges": [_exchange(each, redaction) for each in kept],
        "exchanges_left_out": exchanges.left_out,
    }
    return json.dumps(content, indent=1)


def _exchange(exchange: Exchange, redaction: Redaction) -> dict[str, Any]:
    method = _METHOD.search(exchange.request)
    return {
        "http_method": "POST",
        "path": exchange.path,
        "method": method[1] if method else None,
        "request_headers": {
            name: redaction.apply(str(value))
            for name, value in exchange.request_headers.items()
            if name.lower() in _HEADERS
        },
        "request": redaction.apply(exchange.request),
        "status": exchange.status,
        "response_headers": {
            name: [redaction.apply(value) for value in values]
            for name, values in exchange.response_headers.items()
            if name.lower() in _HEADERS
        },
        "response": redaction.apply(exchange.response),
    }
