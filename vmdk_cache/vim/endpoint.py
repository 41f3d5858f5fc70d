"""vCenter's address, credentials and certificate verification, and the listener to requests."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vmdk_cache import errors
from vmdk_cache.patience import Patience
from vmdk_cache.quoting import quoted, sentence


@dataclass(frozen=True)
class Exchange:
    """One request and its response; bodies are decoded text.

    :ivar response_headers: name -> values
    """

    path: str
    request_headers: Mapping[str, str]
    request: str
    status: int
    response_headers: Mapping[str, list[str]]
    response: str


#: Called with each exchange, in the thread of the request.
Listener = Callable[[Exchange], None]


@dataclass(frozen=True)
class Endpoint:
    """vCenter's address and credentials.

    :ivar ca_file: PEM file of trusted issuers; None uses the system's trust store
    :ivar insecure: True disables certificate verification, for test beds
    :ivar pool_size: maximum number of concurrent requests; long polls use separate connections
    :ivar listener: receives each SOAP request and response, for reports
    :ivar api_retry_count: total attempts of a call that got no answer and may be repeated, because
        it is safe or was never sent; no attempt starts more than two minutes after the first
        failure
    :ivar patience: limits these times further, for commands
    """

    host: str
    user: str
    password: str = field(repr=False)
    port: int = 443
    ca_file: str | None = None
    insecure: bool = False
    pool_size: int = 10
    api_retry_count: int = 10
    listener: Listener | None = field(default=None, repr=False, compare=False)
    connect_timeout_s: float = 30.0
    read_timeout_s: float = 180.0
    patience: Patience = field(default=Patience(), repr=False, compare=False)

    @property
    def server(self) -> str:
        """``host:port``, as errors name it."""
        return f"{self.host}:{self.port}"

    def ssl_context(self) -> ssl.SSLContext:
        """Create an SSL context.

        :raises ConfigError: ``ca_file`` cannot be used
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise errors.ConfigError(
                f"vmware_ca_file {quoted(self.ca_file)} cannot be used: {sentence(error)}; "
                "it must be a readable PEM file of certificates"
            ) from error
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
