"""Fuzzing: hundreds of generated inputs, and what must hold for all of them.

``pytest tests/fuzz`` tries the same inputs each time, and with ``--hypothesis-profile=long`` twenty
times as many, others each time. Both end with a table of how many each test tried.
"""

from __future__ import annotations

from hypothesis import settings
from pytest import TerminalReporter

from tests.fuzz.tally import TALLY

settings.register_profile("long", print_blob=True)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    if not TALLY:
        return
    terminalreporter.section("inputs tried")
    for name, count in sorted(TALLY.items()):
        terminalreporter.line(f"{count:8,}  {name}")
    terminalreporter.line(f"{sum(TALLY.values()):8,}  in all")
