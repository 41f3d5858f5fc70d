"""``vmdk-cache``: the operator's command line for the image caches.

    vmdk_cache/cli/app.py              the commands, and the options that all of them take
    vmdk_cache/cli/command.py          what every command is: opens caches, closes them, exit codes
    vmdk_cache/cli/configuration.py    cinder.conf, read without Cinder
    vmdk_cache/cli/columns.py          sizes and times, for people and for programs

Every run ends with an exit code of vmdk_cache/cli/exit_code.py; an error also prints one line on
stderr, and a traceback with ``--debug``. SIGTERM and SIGHUP act like Ctrl-C: the command cleans up
before it exits. Only a further Ctrl-C cuts the cleanup short.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from vmdk_cache.cli import exit_code

_TERMINATING = (signal.SIGTERM, signal.SIGHUP)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    :param argv: its name and arguments; None: the process's
    :returns: the exit code
    """
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # As on stderr: an image name must not crash a command, whatever the locale.
            sys.stdout.reconfigure(errors="backslashreplace")
        for number in _TERMINATING:
            if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
                signal.signal(number, _interrupt)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not in the background
            signal.signal(signal.SIGINT, _interrupt)
        arguments = list(sys.argv[1:] if argv is None else argv)
        # Imported here, so that Ctrl-C during the import is handled too.
        if arguments[:1] == ["__complete"]:  # see completion.py
            from vmdk_cache.cli import completion

            return completion.main(arguments[1:])
        from vmdk_cache.cli.app import App

        try:
            return App().run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader closed the pipe; keep the interpreter from flushing the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_code.BROKEN_PIPE
    except KeyboardInterrupt:
        print("vmdk-cache: interrupted", file=sys.stderr)
        return exit_code.INTERRUPTED


def _interrupt(*_: Any) -> None:
    """Handle the first signal only: a closing terminal may send both, also after a Ctrl-C, and a
    second interrupt would cut the cleanup short."""
    for each in _TERMINATING:
        signal.signal(each, signal.SIG_IGN)
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    raise KeyboardInterrupt
