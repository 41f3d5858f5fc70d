"""``python -m demo.play``: the demo's stack for people, until Ctrl-C; ``make play`` runs it.

Exit status: 0 if it was ended by Ctrl-C (or a closed terminal), 130 if that came while it booted,
1 if it did not start.
"""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType

from demo.__main__ import main

PASTE = """
    cd {here}
    source {rc}"""
EXAMPLES = """
    openstack image list
    openstack volume create --image ubuntu --size 1 \\
        --property use_image_cache=true first
    openstack volume show first -c status -c properties
    vmdk-cache status

docs/tour.rst goes on from here. With --type stock, Cinder's own driver creates
the volume. Databases and logs are in {state}.
"""


class Ended:
    """From its construction on, SIGINT, SIGTERM and SIGHUP only say that it shall end: also when
    they come again, so that everything is stopped without disturbance.
    """

    def __init__(self) -> None:
        self.arrived = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.arrived = True

    def wait(self) -> None:
        while not self.arrived:
            time.sleep(0.2)


def play(arguments: list[str]) -> bool:
    """Run the stack until it is to end; :returns: whether it started."""
    import argparse
    import contextlib
    import os
    import shlex
    from pathlib import Path

    from demo import playground
    from demo.screen import Screen
    from tests.e2e.stack.service_process import REPOSITORY, StackError

    parser = argparse.ArgumentParser(
        prog="python -m demo.play",
        description="A real Cinder and Glance with this driver on a fake vCenter, for openstack "
        "and vmdk-cache in another terminal, until Ctrl-C. Leaves nothing behind.",
    )
    parser.add_argument(
        "--directory", type=Path, default=REPOSITORY / ".tools" / "play",
        help="a new directory for everything that it writes (default: %(default)s)",
    )  # fmt: skip
    directory = parser.parse_args(arguments).directory.absolute()
    screen = Screen()
    screen.title("vmdk_cache: a Cinder and a Glance to play with, on a fake vCenter")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(playground.own(directory))
            with screen.step("Boot", "Cinder, Glance and a fake vCenter"):
                stack.enter_context(playground.running(directory))
        except (playground.Unusable, StackError) as failure:
            screen.plain("\n".join([str(failure), *getattr(failure, "__notes__", [])]))
            return False
        here = Path.cwd()
        state = Path(os.path.relpath(directory, here))
        screen.chapter("It runs. Paste this into a second terminal:")
        screen.plain(
            PASTE.format(here=shlex.quote(str(here)), rc=shlex.quote(str(state / playground.RC)))
        )
        screen.chapter("Then, for example:")
        screen.plain(EXAMPLES.format(state=state))
        screen.title("Ctrl-C ends it and removes everything.")
        ended = Ended()
        ended.wait()
        with screen.step("Stop", "everything"):
            stack.close()
    screen.plain("Nothing is left.")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], play))
