"""RabbitMQ with its own port mapper, so that it meets no other Erlang on the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.services.program import Server, free_ports, require

# The one on the PATH changes its user and its directories; this is what it runs.
DEBIAN = "/usr/lib/rabbitmq/bin"


class RabbitMQ(Server):
    """:ivar url: for ``transport_url``"""

    def __init__(self) -> None:
        self._program = require("rabbitmq-server", "rabbitmq-server", DEBIAN)
        self._epmd = require("epmd", "erlang-base")
        super().__init__()
        self._erlang_port, self._epmd_port = free_ports(2)
        self.url = f"rabbit://guest:guest@127.0.0.1:{self.port}/"

    def prepare(self) -> None:
        (self.directory / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        (self.directory / "plugins").write_text("[].\n")

    def start(self) -> None:
        # In the foreground and before RabbitMQ, which would leave one of its own behind.
        self.spawn([self._epmd, "-port", str(self._epmd_port), "-address", "127.0.0.1"])
        super().start()

    def environment(self) -> Mapping[str, str]:
        return {
            "HOME": str(self.directory),
            "PATH": f"{DEBIAN}:/usr/sbin:/usr/bin:/sbin:/bin",
            # Its script then becomes the server instead of starting one, which would outlive it.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_NODENAME": "test@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._erlang_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "logs"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ("-kernel inet_dist_use_interface {127,0,0,1}"),
        }

    def command(self) -> Sequence[str]:
        return [self._program]
