"""Entry of the demo: arguments, exit status, and a clean end on Ctrl-C.

Exit status: 0 everything held, 1 something did not or could not be shown, 130 interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys

from demo.screen import Screen
from demo.story import Plan, tell
from tests.e2e.stack.service_process import StackError


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Volumes from a cached template, on a real Cinder and Glance and a fake "
        "vCenter. Needs no VMware product and leaves nothing behind.",
    )
    parser.add_argument("--volumes", type=_at_least_two, default=20, help="default: %(default)s")
    parser.add_argument(
        "--age", type=int, default=20, metavar="SECONDS",
        help="image_cache_age_seconds: how long the template lives; raise it on a slow machine, "
        "where making the volumes takes longer than that (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", choices=("eventlet", "threading"), default="eventlet",
        help="what Cinder runs on (default: %(default)s)",
    )  # fmt: skip
    chosen = parser.parse_args(arguments)
    screen = Screen()
    # A SIGTERM ends the demo as Ctrl-C does: everything that was started is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        screen.title("vmdk_cache: one import from Glance, every further volume a clone in vCenter")
        held = tell(Plan(chosen.volumes, chosen.age, chosen.threads), screen)
    except KeyboardInterrupt:
        screen.plain("Interrupted; everything that was started has been stopped.")
        return 130
    except StackError as failure:
        screen.plain("\n".join([str(failure), *getattr(failure, "__notes__", [])]))
        held = False
    screen.end(held)
    return 0 if held else 1


def _at_least_two(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"{text}: a hit needs a volume before it; take 2 or more")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
