"""Entry of the demo: arguments, exit status, and a clean end on Ctrl-C.

Exit status: 0 everything held, 1 something did not or could not be shown, 130 interrupted.

An interrupt can land anywhere: in the first second, while modules are being imported, so they are
imported late; or inside a lock, which then raises an error of its own or swallows the interrupt.
Therefore not the exception tells whether the demo was interrupted, but the handler of the signal.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType


class Interrupts:
    """From construction on, the first SIGINT or SIGTERM raises KeyboardInterrupt in the main
    thread; further ones are ignored, so that everything that was started is stopped in peace.
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
    """The exit status.

    :param run: what is run, the demo by default; takes the arguments, returns whether all held
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
    """Tell the story; :returns: whether everything held."""
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
