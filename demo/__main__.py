"""Entry of the demo: arguments, exit status, and a clean end on Ctrl-C.

Exit status: 0 if every proof held, 1 if one failed or could not be shown, 130 if interrupted.

An interrupt can arrive at any time: in the first second, while modules are being imported, so they
are imported late; or inside a lock, which then raises an error of its own or swallows the
interrupt. So the signal handler, not the exception, says whether the demo was interrupted.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType


class Interrupts:
    """From its construction on, the first SIGINT or SIGTERM raises KeyboardInterrupt in the main
    thread. Further ones are ignored, so that everything is stopped without disturbance.
    """

    def __init__(self) -> None:
        self.arrived = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.arrived:
            self.arrived = True
            raise KeyboardInterrupt


def main(arguments: list[str], run: Callable[[list[str]], bool] | None = None) -> int:
    """Returns the exit status.

    :param run: function to run, by default the demo; takes the arguments, returns whether all
        proofs held
    """
    interrupts = Interrupts()
    try:
        held = (run or demo)(arguments)
    except BaseException:
        if not interrupts.arrived:
            raise
    else:
        if not interrupts.arrived:
            return 0 if held else 1
    print("Interrupted; everything that was started has been stopped.", flush=True)
    return 130


def demo(arguments: list[str]) -> bool:
    """Run the demo; :returns: whether every proof held."""
    import argparse

    from demo.screen import Screen
    from demo.story import Plan, tell
    from tests.e2e.stack.service_process import StackError

    def at_least_two(text: str) -> int:
        number = int(text)
        if number < 2:
            raise argparse.ArgumentTypeError(f"{text}: a hit needs a volume before it; take 2")
        return number

    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Volumes from a cached template, on a real Cinder and Glance and a fake "
        "vCenter. Needs no VMware product and leaves nothing behind.",
    )
    parser.add_argument("--volumes", type=at_least_two, default=20, help="default: %(default)s")
    parser.add_argument(
        "--threads", choices=("eventlet", "threading"), default="eventlet",
        help="what Cinder runs on (default: %(default)s)",
    )  # fmt: skip
    chosen = parser.parse_args(arguments)
    screen = Screen()
    screen.title("vmdk_cache: one import from Glance, every further volume a clone in vCenter")
    try:
        held = tell(Plan(chosen.volumes, chosen.threads), screen)
    except StackError as failure:
        screen.plain("\n".join([str(failure), *getattr(failure, "__notes__", [])]))
        held = False
    screen.end(held)
    return held


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
