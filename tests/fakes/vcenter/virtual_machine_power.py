"""Power is only a state, since no guest runs; a test defines what the guest reports.

``vm.boot_guest("10.0.0.7", "web-1")`` makes VMware Tools of a running VM report an address;
``vm.ask(...)`` makes the VM wait for an answer. Without Tools, requests to the guest are
ToolsUnavailable. (vSphere API reference, VirtualMachine)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.task import Task
from tests.fakes.vcenter.virtual_machine_placement import not_supported

if TYPE_CHECKING:
    from tests.fakes.vcenter.virtual_machine import VirtualMachine


@dataclass(frozen=True)
class Guest:
    """An operating system with VMware Tools that runs in the VM."""

    ip_address: str
    host_name: str


@dataclass(frozen=True)
class Question:
    """A question that a VM waits for.

    :ivar choices: key -> label
    """

    number: str
    text: str
    choices: dict[str, str]


class PowerOperations:
    """A mixin of VirtualMachine."""

    @property
    def _powered(self) -> VirtualMachine:
        return cast("VirtualMachine", self)

    # For tests

    def boot_guest(self, ip_address: str, host_name: str) -> None:
        """Make Tools report an address, until the VM is powered off."""
        vm = self._powered
        with vm.vcenter.lock:
            assert vm.power_state == "poweredOn", "a guest runs in a running VM"
            vm.guest_system = Guest(ip_address, host_name)
            vm.changed("guest", "summary", "guestHeartbeatStatus")

    def ask(self, text: str, choices: dict[str, str]) -> None:
        """Make the VM wait for an answer."""
        vm = self._powered
        with vm.vcenter.lock:
            vm.question = Question(f"{vm.moref}-{vm.change_number}", text, dict(choices))
            vm.changed("runtime", "summary")

    # Power

    def PowerOnVM_Task(self, ctx: Context, host: Any = None) -> Task:
        return self._power(ctx, "powerOn", "poweredOn", ("poweredOff", "suspended"))

    def PowerOffVM_Task(self, ctx: Context) -> Task:
        return self._power(
            ctx, "powerOff", "poweredOff", ("poweredOn", "suspended")
        )  # the latter is unconfirmed

    def SuspendVM_Task(self, ctx: Context) -> Task:
        return self._power(ctx, "suspend", "suspended", ("poweredOn",))

    def ResetVM_Task(self, ctx: Context) -> Task:
        return self._power(ctx, "reset", "poweredOn", ("poweredOn",))

    def _power(self, ctx: Context, what: str, state: str, allowed: tuple[str, ...]) -> Task:
        """A task that sets a power state; InvalidPowerState unless the present one is allowed."""

        def work(task: Task) -> None:
            vm = self._powered
            if vm.template:
                raise not_supported()
            vm.host.check_usable()
            if vm.power_state not in allowed:
                raise vim.fault.InvalidPowerState(
                    msg="The attempted operation cannot be performed in the current state.",
                    requestedState=state,
                    existingState=vm.power_state,
                )
            self.set_power(state)

        name = f"{what[0].upper()}{what[1:]}VM_Task"
        return self._powered.start_exclusive(ctx, name, f"VirtualMachine.{what}", work)

    def set_power(self, state: str) -> None:
        """Set the state, and notify clients."""
        vm = self._powered
        boots = state == "poweredOn" and vm.power_state != "suspended"
        vm.power_state = state
        vm.guest_system = None
        vm.booted_at = vm.vcenter.clock.now() if state == "poweredOn" else None
        if boots:
            # Its operating system writes to the disks at once: a log, the time of the last boot.
            for disk in vm.disks:
                disk.content.renew_id()
            vm.touch()
        if state == "poweredOff":
            vm.question, vm.tools_mounted = None, False
        vm.changed("runtime", "summary", "guest", "guestHeartbeatStatus")

    # The guest

    def ShutdownGuest(self, ctx: Context) -> None:
        """A real vCenter returns before the guest is down; here it is down at once."""
        self._require_tools()
        self.set_power("poweredOff")

    def RebootGuest(self, ctx: Context) -> None:
        self._require_tools()
        self.set_power("poweredOn")

    def StandbyGuest(self, ctx: Context) -> None:
        self._require_tools()
        self.set_power("suspended")

    def _require_tools(self) -> None:
        """InvalidPowerState for a VM that does not run, ToolsUnavailable without Tools."""
        vm = self._powered
        vm.lock.check_free()
        self.require_powered_on()
        if vm.guest_system is None:
            raise vim.fault.ToolsUnavailable(
                msg="Cannot complete operation because VMware Tools is not running in this virtual "
                "machine."
            )

    def require_powered_on(self) -> None:
        """InvalidPowerState for a VM that does not run."""
        if self._powered.power_state != "poweredOn":
            raise vim.fault.InvalidPowerState(
                msg="The attempted operation cannot be performed in the current state.",
                requestedState="poweredOn",
                existingState=self._powered.power_state,
            )

    def AnswerVM(self, ctx: Context, questionId: str, answerChoice: str) -> None:
        """InvalidArgument for any question other than the one that the VM waits for."""
        vm = self._powered
        question = vm.question
        if question is None or question.number != questionId:
            raise vmodl.fault.InvalidArgument(invalidProperty="questionId")
        if answerChoice not in question.choices:
            raise vmodl.fault.InvalidArgument(invalidProperty="answerChoice")
        vm.question = None
        vm.changed("runtime", "summary")

    # The console

    def MountToolsInstaller(self, ctx: Context) -> None:
        """Insert the image of Tools into the guest's drive; InvalidState unless the VM runs."""
        self._set_tools_mounted(True)

    def UnmountToolsInstaller(self, ctx: Context) -> None:
        self._set_tools_mounted(False)

    def _set_tools_mounted(self, mounted: bool) -> None:
        vm = self._powered
        if vm.power_state != "poweredOn":
            raise vim.fault.InvalidState(msg="The virtual machine is not running.")
        vm.tools_mounted = mounted
        vm.changed("runtime", "summary")

    def AcquireTicket(self, ctx: Context, ticketType: str) -> Any:
        """A console ticket for a running VM; no console exists."""
        vm = self._powered
        if ticketType not in ("mks", "webmks"):
            raise vmodl.fault.InvalidArgument(invalidProperty="ticketType")
        self.require_powered_on()
        return vim.VirtualMachine.Ticket(
            ticket=f"cst-{vm.moref}",
            cfgFile=str(vm.home),
            host=vm.host.name,
            port=443,
            sslThumbprint=vm.vcenter.thumbprint,
        )

    def PutUsbScanCodes(self, ctx: Context, spec: Any) -> int:
        """The number of accepted keys: all, if the VM runs."""
        self.require_powered_on()
        return len(spec.keyEvents)


def guest_info(vm: VirtualMachine) -> Any:
    """The GuestInfo of VMs with and without Tools, as in a recording of 8.0.1."""
    system = vm.guest_system
    shared = {
        "appHeartbeatStatus": "appStatusGray",
        "guestKernelCrashed": False,
        "appState": "none",
        "interactiveGuestOperationsReady": False,
        "hwVersion": vm.settings.version,
    }
    if system is None:
        return vim.vm.GuestInfo(
            **_tools(vm),
            toolsVersion="0",
            toolsInstallType="guestToolsTypeUnknown",
            guestState="notRunning",
            guestOperationsReady=False,
            guestStateChangeSupported=False,
            **shared,
        )
    return vim.vm.GuestInfo(
        **_tools(vm),
        toolsVersion="11360",
        toolsInstallType="guestToolsTypeOpenVMTools",
        guestId=vm.settings.guest_id,
        guestFamily="linuxGuest",
        guestFullName=vm.settings.guest_name,
        hostName=system.host_name,
        ipAddress=system.ip_address,
        net=[
            _network_of_guest(card, [system.ip_address] if number == 0 else [])
            for number, card in enumerate(_cards(vm))
        ],
        guestState="running",
        guestOperationsReady=True,
        guestStateChangeSupported=True,
        **shared,
    )


def guest_summary(vm: VirtualMachine) -> Any:
    """The guest in a VM's summary."""
    system = vm.guest_system
    return vim.vm.Summary.GuestSummary(
        **_tools(vm),
        guestId=vm.settings.guest_id if system else None,
        guestFullName=vm.settings.guest_name if system else None,
        hostName=system.host_name if system else None,
        ipAddress=system.ip_address if system else None,
        hwVersion=vm.settings.version,
    )


def heartbeat(vm: VirtualMachine) -> str:
    """guestHeartbeatStatus: "green" while Tools run."""
    return "green" if vm.guest_system else "gray"


def question_info(vm: VirtualMachine) -> Any:
    """runtime.question, or None."""
    question = vm.question
    if question is None:
        return None
    return vim.vm.QuestionInfo(
        id=question.number,
        text=question.text,
        choice=vim.option.ChoiceOption(
            choiceInfo=[
                vim.ElementDescription(key=key, label=label, summary=label)
                for key, label in question.choices.items()
            ],
            defaultIndex=0,
        ),
    )


def _cards(vm: VirtualMachine) -> list[Any]:
    kind = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo
    return [device for device in vm.devices.others if isinstance(device.backing, kind)]


def _network_of_guest(card: Any, addresses: list[str]) -> Any:
    """What Tools report about one network card."""
    return vim.vm.GuestInfo.NicInfo(
        network=card.backing.deviceName,
        ipAddress=addresses,
        macAddress=card.macAddress,
        connected=True,
        deviceConfigId=card.key,
        ipConfig=vim.net.IpConfigInfo(
            ipAddress=[
                vim.net.IpConfigInfo.IpAddress(ipAddress=one, prefixLength=24, state="preferred")
                for one in addresses
            ]
        ),
    )


def _tools(vm: VirtualMachine) -> dict[str, str]:
    if vm.guest_system is None:
        return {
            "toolsStatus": "toolsNotInstalled",
            "toolsVersionStatus": "guestToolsNotInstalled",
            "toolsVersionStatus2": "guestToolsNotInstalled",
            "toolsRunningStatus": "guestToolsNotRunning",
        }
    return {
        "toolsStatus": "toolsOk",
        "toolsVersionStatus": "guestToolsUnmanaged",
        "toolsVersionStatus2": "guestToolsUnmanaged",
        "toolsRunningStatus": "guestToolsRunning",
    }
