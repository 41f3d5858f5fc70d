"""Removes from a report what identifies people and computers, and what opens a session.

    addresses       of vCenter, this host, the coordinator, every ESXi host that vCenter names,
                    hosts that imported templates, and servers in URLs; all IP and MAC addresses
    users           in every spelling that vCenter uses; all e-mail addresses
    tokens          cookies, session ids, lease tickets, passwords, vCenter's instance id
    certificates    and their thumbprints

The same text gets the same substitute everywhere, so that references still match. Names of
datacenters, clusters, datastores, policies and folders stay.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_HEX = r"[0-9A-Fa-f]{2}"
_THUMBPRINT = re.compile(rf"\b(?:{_HEX}:){{19,63}}{_HEX}\b")
_MAC = re.compile(rf"\b(?:{_HEX}:){{5}}{_HEX}\b")
#: Excludes versions of products and of the API, which may also have four numbers.
_IPV4 = re.compile(
    r"(?<![\d.])(?<!ersion>)(?<!ersionId=[\"'])(?<!vim25/)(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"
)
#: Candidates only; a time has two colons, but never in a row.
_IPV6 = re.compile(r"(?<![\w:])(?=[0-9A-Fa-f:]*(?:::|(?::[0-9A-Fa-f]+){7}))[0-9A-Fa-f:]+(?![\w:])")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
#: The group is a token.
_TOKENS = tuple(
    re.compile(pattern)
    for pattern in (
        r'vmware_soap_session="?([^";\s<]+)',
        r'<vcSessionCookie>"?([^"<]+)',
        r"<key>([^<]+)</key>\s*<userName>",
        r"<sessionId>([^<]+)</sessionId>",
        r"session\[([^\]]+)\]",
        r"/nfc/([^/\s<]+)/",
        r"</apiVersion>\s*<instanceUuid>([^<]+)</instanceUuid>",
    )
)
#: The properties of a host in a property collector's response.
_HOST = re.compile(
    r"<obj\b[^>]*\btype=[\"']HostSystem[\"'][^>]*>[^<]*</obj>(.*?)</(?:objects|objectSet)>", re.S
)
_QUOTE = r'(?:"|&quot;)'
#: The group is the name or the address of a computer.
_MACHINES = (
    re.compile(r"<url>https?://([^/:*\[\s<]+)"),
    # A template's record contains the host and the process that imported it (cache/record.py).
    re.compile(rf"{_QUOTE}owner{_QUOTE}: {_QUOTE}([^\s:<]+):\d+{_QUOTE}"),
)
#: The same within sentences: errors of the clients of Keystone, Glance and Cinder quote the URL.
_IN_SENTENCES = (
    re.compile(r"https?://([^/:@\[\s'\"<>()]+)"),
    re.compile(r"host='([^']+)'"),
)
_USER_IN_URL = re.compile(r"(https?://)[^/@\s'\"]*@")
_NAME_OF_HOST = re.compile(r"<name>name</name>(?:<op>\w+</op>)?<val\b[^>]*>([^<]+)</val>")
#: Elements whose text is always removed.
_LEFT_OUT = re.compile(
    r"(<(password|sslCertificate|certificate|userAgent|ipAddress|serverIp)\b[^>]*>)[^<]*"
)
_USER_OF_SESSION = re.compile(
    r"(<userName>)([^<]*)(</userName>)(?:(\s*<fullName>)([^<]*)(</fullName>))?"
)
_REDACTED = "REDACTED"


class Redaction:
    """The redaction of one report. Pass all texts to :meth:`learn` before any call of
    :meth:`apply`.

    :param machines: names and addresses that are already known
    :param users: user names, as used to log in
    """

    def __init__(self, machines: Iterable[str], users: Iterable[str]) -> None:
        self._substitutes: dict[str, str] = {}
        self._machines: set[str] = set()
        for name in filter(None, machines):
            self._learn_machine(name)
        for number, user in enumerate(dict.fromkeys(filter(None, users)), 1):
            for spelling in _spellings(user):
                self._substitutes[spelling] = f"user-{number}@example"
        self._tokens: dict[str, str] = {}
        self._addresses: dict[str, str] = {}

    def learn(self, text: str) -> None:
        """Collect the tokens and the names of computers in a text."""
        for pattern in _TOKENS:
            for token in pattern.findall(text):
                number = len(self._tokens) + 1
                self._tokens.setdefault(token, f"00000000-0000-4000-8000-{number:012}")
        for pattern in _MACHINES:
            for name in pattern.findall(text):
                self._learn_machine(name)
        for properties in _HOST.findall(text):
            for name in _NAME_OF_HOST.findall(properties):
                self._learn_machine(name)

    def sentence(self, text: str) -> str:
        """A sentence of the checklist with substitutes; any word of it may be the name of a
        computer."""
        text = _USER_IN_URL.sub(r"\1", text)
        for pattern in _IN_SENTENCES:
            for name in pattern.findall(text):
                self._learn_machine(name)
        text = self.apply(text)
        for name in sorted(self._machines, key=len, reverse=True):
            word = rf"(?<![\w.-]){re.escape(name)}(?![\w=-]|\.\w)"
            text = re.sub(word, self._substitutes[name], text, flags=re.I)
        return text

    def _learn_machine(self, name: str) -> None:
        if name not in self._substitutes:
            self._machines.add(name)
            self._substitutes[name] = f"machine-{len(self._machines)}.example"

    def apply(self, text: str) -> str:
        """The text with substitutes."""
        text = _LEFT_OUT.sub(rf"\g<1>{_REDACTED}", text)
        text = _USER_OF_SESSION.sub(self._user, text)
        for known, has_words in ((self._tokens, False), (self._substitutes, True)):
            for secret in sorted(known, key=len, reverse=True):
                if secret.lower() in text.lower():
                    text = re.sub(_pattern(secret, has_words), known[secret], text, flags=re.I)
        text = _THUMBPRINT.sub(lambda found: re.sub(_HEX, "00", found[0]), text)
        text = _MAC.sub("00:00:00:00:00:00", text)
        text = _IPV4.sub(self._address, text)
        text = _IPV6.sub(self._ipv6, text)
        return _EMAIL.sub("user@example", text)

    def _user(self, found: re.Match[str]) -> str:
        name = self._substitutes.get(found[2], "user@example") if found[2] else ""
        full = f"{found[4]}{_REDACTED}{found[6]}" if found[4] else ""
        return f"{found[1]}{name}{found[3]}{full}"

    def _ipv6(self, found: re.Match[str]) -> str:
        try:
            ipaddress.IPv6Address(found[0])
        except ValueError:
            return found[0]
        return self._address(found)

    def _address(self, found: re.Match[str]) -> str:
        # 192.0.2.0/24 is for documentation (RFC 5737).
        number = len(self._addresses) % 254 + 1
        return self._addresses.setdefault(found[0], f"192.0.2.{number}")


def _pattern(secret: str, has_words: bool) -> str:
    """:param has_words: a computer may have the name of a property; such a word counts only before
    a number, as in ``host:443`` and in the record of a template (host and process), at the end of a
    value, and in the URL of a disk
    """
    end = r"(?=:\d|</val>|/nfc/)" if has_words and secret.isalpha() else r"(?![\w-])"
    return rf"(?<![\w-]){re.escape(secret)}{end}"


def _spellings(user: str) -> list[str]:
    """vCenter writes ``user@domain`` as ``DOMAIN\\user`` as well."""
    name, at, domain = user.partition("@")
    if at:
        return [user, f"{domain}\\{name}"]
    domain, backslash, name = user.partition("\\")
    return [user, f"{name}@{domain}"] if backslash else [user]
