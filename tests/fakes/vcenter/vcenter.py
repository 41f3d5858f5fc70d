"""VCenter: the fake as one object. Build it, enter it with `with`, and connect to `url`.

``with VCenter(Model(...)) as vc`` starts the HTTPS server on loopback and stops it again. One
re-entrant lock (`lock`) guards the whole model; handlers run with it held, and release it to wait.
Errors of the fake itself are recorded in `errors` (and are SystemError for the client), so that a
test can assert that there were none.
"""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from pyVmomi import vmodl

from tests.fakes.vcenter.clock import Clock
from tests.fakes.vcenter.cost_model import CostModel
from tests.fakes.vcenter.fault_rules import FaultRules
from tests.fakes.vcenter.model import Model
from tests.fakes.vcenter.permissions import Permissions
from tests.fakes.vcenter.registry import Registry
from tests.fakes.vcenter.request_log import RequestLog
from tests.fakes.vcenter.switches import Switches
from tests.fakes.vcenter.transfers import Transfers

if TYPE_CHECKING:
    from tests.fakes.vcenter.alarm_manager import AlarmManager
    from tests.fakes.vcenter.custom_fields_manager import CustomFieldsManager
    from tests.fakes.vcenter.event_manager import EventManager
    from tests.fakes.vcenter.folder import Folder
    from tests.fakes.vcenter.service_instance import ServiceInstance
    from tests.fakes.vcenter.session_manager import SessionManager
    from tests.fakes.vcenter.task_manager import TaskManager

DEFAULT_USER = "administrator@vsphere.local"
DEFAULT_PASSWORD = "vmware"


@dataclass(frozen=True)
class FakeError:
    """An unexpected Python error inside the fake: where it happened, and its traceback."""

    where: str
    traceback: str

    def __str__(self) -> str:
        return f"{self.where}\n{self.traceback}"


class VCenter:
    """See the module's docstring; the attributes are the test-facing API described in README.md."""

    def __init__(
        self,
        model: Model | None = None,
        *,
        user: str = DEFAULT_USER,
        password: str = DEFAULT_PASSWORD,
        port: int = 0,
        host: str = "127.0.0.1",
        clock: Clock | None = None,
        cost_model: CostModel | None = None,
        switches: Switches | None = None,
    ) -> None:
        self.model = model or Model()
        self.user = user
        self.password = password
        self.host = host
        self.lock = threading.RLock()
        self.clock = clock or Clock()
        self.switches = switches or Switches()
        self.cost_model = cost_model or CostModel()
        self.transfers = Transfers(self.clock)
        self.registry = Registry()
        self.request_log = RequestLog()
        self.fault_rules = FaultRules()
        self.permissions = Permissions(self)
        self.errors: list[FakeError] = []
        self.http_tickets: dict[str, str] = {}
        self.root_folder: Folder

        from tests.fakes.vcenter.server import Server
        from tests.fakes.vcenter.service_instance import create_services

        create_services(self)
        self.model.build(self)
        self._server = Server(self, port)

    # -- life

    def start(self) -> VCenter:
        """Start serving; returns self."""
        self._server.start()
        return self

    def stop(self) -> None:
        """Stop serving, and end all sessions and tasks. A second call does nothing."""
        self._server.stop()
        self.sessions.expire_all()
        self.tasks.stop()
        self.transfers.stop()
        self.clock.stop()

    def restart(self) -> None:
        """Restart vCenter as clients see it: connections, sessions, collectors, tasks and leases
        are gone.
        """
        self.sessions.expire_all()
        self.tasks.forget_all()
        self._server.drop_connections()

    def __enter__(self) -> VCenter:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    # -- addresses

    @property
    def port(self) -> int:
        """The TCP port that the fake listens on."""
        return self._server.port

    @property
    def has_silent_connections(self) -> bool:
        """Whether there is a connection whose first request has not been read yet."""
        return self._server.has_silent_connections

    @property
    def url(self) -> str:
        """The SOAP endpoint, such as "https://127.0.0.1:8989/sdk"."""
        return f"https://{self.host}:{self.port}/sdk"

    @property
    def ca_file(self) -> str:
        """Path of the PEM file with the CA that signed the server's certificate."""
        return self._server.ca_file

    @property
    def thumbprint(self) -> str:
        """SHA-1 of the server's certificate, as "AA:BB:...", for the device URLs of leases."""
        return self._server.thumbprint

    @property
    def certificate(self) -> str:
        """The server's certificate in PEM."""
        return self._server.certificate

    @property
    def instance_uuid(self) -> str:
        """Identifies this vCenter."""
        instance = cast("ServiceInstance", self.registry.get("ServiceInstance"))
        return instance.instance_uuid

    # -- singletons, by the names that handlers use

    @property
    def sessions(self) -> SessionManager:
        """The SessionManager."""
        return cast("SessionManager", self.registry.get("SessionManager"))

    @property
    def tasks(self) -> TaskManager:
        """The TaskManager."""
        return cast("TaskManager", self.registry.get("TaskManager"))

    @property
    def events(self) -> EventManager:
        """The EventManager."""
        return cast("EventManager", self.registry.get("EventManager"))

    @property
    def alarms(self) -> AlarmManager:
        """The AlarmManager."""
        return cast("AlarmManager", self.registry.get("AlarmManager"))

    @property
    def custom_fields(self) -> CustomFieldsManager:
        """The CustomFieldsManager."""
        return cast("CustomFieldsManager", self.registry.get("CustomFieldsManager"))

    # -- errors of the fake

    def record_error(self, where: str, error: BaseException) -> Exception:
        """Record an unexpected Python error for the test; returns the SystemError fault for the
        client.
        """
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.errors.append(FakeError(where, text))
        return vmodl.fault.SystemError(
            reason=f"{type(error).__name__}: {error}",
            msg=f"A general system error occurred: {type(error).__name__}: {error}",
        )

    # -- for tests

    def vms(self) -> list[Any]:
        """Every virtual machine and template, oldest first."""
        from pyVmomi import vim

        with self.lock:
            return self.registry.of_type(vim.VirtualMachine)

    def find_vm(self, name: str) -> Any:
        """The virtual machine or template with this name, or None; ValueError if there are
        several.
        """
        found = [vm for vm in self.vms() if vm.name == name]
        if len(found) > 1:
            raise ValueError(f"{len(found)} virtual machines are named {name!r}")
        return found[0] if found else None

    def datastore(self, name: str) -> Any:
        """The datastore with this name; KeyError if there is none."""
        from pyVmomi import vim

        for datastore in self.registry.of_type(vim.Datastore):
            if datastore.name == name:
                return datastore
        raise KeyError(f"no datastore is named {name!r}")

    def leases(self) -> list[Any]:
        """NFC leases that are not done yet."""
        from pyVmomi import vim

        with self.lock:  # a lease under construction is registered but has no state yet
            return [
                lease
                for lease in self.registry.of_type(vim.HttpNfcLease)
                if lease.state in ("initializing", "ready")
            ]

    def read_disk(self, vm_or_path: Any) -> Any:
        """The bytes of a virtual disk: the first disk of a VM (given as an object or by name), or
        the disk at a datastore path "[ds] dir/x.vmdk".

        The result has `size_bytes`, ``read(offset, length) -> bytes`` and ``sha256() -> str``.
        """
        from tests.fakes.vcenter.virtual_machine import find_disk

        with self.lock:
            return find_disk(self, vm_or_path)
