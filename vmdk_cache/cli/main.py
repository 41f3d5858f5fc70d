"""``vmdk-cache``: what an operator can ask of the image caches, and tell them to do.

    vmdk_cache/cli/app.py              the commands, and the options that all of them take
    vmdk_cache/cli/command.py          what every command is: opens caches, closes them, exit codes
    vmdk_cache/cli/configuration.py    cinder.conf, read without Cinder
    vmdk_cache/cli/columns.py          sizes and times, for people and for programs

Whatever happens ends in an exit code of vmdk_cache/cli/exit_code.py and, if it is an error, in one
line on stderr: a traceback is shown only to those who ask for it with ``--debug``. A terminal that
hangs up, and a SIGTERM, are taken for Ctrl-C: commands put right what they were at.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from vmdk_cache.cli import exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: its name and arguments; None: the process's
    :returns: the exit code
    """
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # As stderr has it: an image's name must not end a command, whatever the locale is.
            sys.stdout.reconfigure(errors="backslashreplace")
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # as nohup does not leave it
                signal.signal(number, _interrupt)
        # Here, since Ctrl-C may come as early as this.
        from vmdk_cache.cli.app import App

        try:
            return App().run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Who read the output has seen enough; the interpreter must not try to write the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_code.BROKEN_PIPE
    except KeyboardInterrupt:
        print("vmdk-cache: interrupted", file=sys.stderr)
        return exit_code.INTERRUPTED


def _interrupt(number: int, _: Any) -> None:
    """Once: a terminal's end may come as two of them, and a second Ctrl-C cuts putting right
    short."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
