"""Where vCenter is, how to log in, and how its certificate is verified."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from vmdk_cache import errors
from vmdk_cache.quoting import quoted, sentence
from vmdk_cache.vim.exchange import Listener


@dataclass(frozen=True)
class Endpoint:
    """Where vCenter is and how to log in.

    :ivar ca_file: PEM file of trusted issuers; None trusts what the system trusts
    :ivar insecure: True checks no certificate, for test beds
    :ivar pool_size: requests under way at a time; long polls have connections of their own
    :ivar listener: told of each SOAP request and its answer, for reports
    :ivar api_retry_count: attempts in all of a call that got no answer and may be repeated: it
        is safe to, or was never sent; none begins later than two minutes after the first failed
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

    @property
    def server(self) -> str:
        """``host:port``, as errors name it."""
        return f"{self.host}:{self.port}"

    def ssl_context(self) -> ssl.SSLContext:
        """A fresh context.

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
