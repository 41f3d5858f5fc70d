from __future__ import annotations

import io

import pytest

from vmdk_cache.cli.screen import Screen


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setenv("LINES", "5")


def test_text_is_drawn_from_the_first_line_and_the_rest_is_erased() -> None:
    terminal = io.StringIO()
    Screen(terminal).draw(["one", "two"])
    assert terminal.getvalue() == "\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J"


def test_what_exceeds_the_terminal_is_cut_off() -> None:
    """A longer line would wrap, and a further one scroll."""
    terminal = io.StringIO()
    Screen(terminal).draw(["0123456789abc", "雲のイメージ", "3", "4", "5"])
    shown = terminal.getvalue()
    assert "0123456789\x1b" in shown and "雲のイメー\x1b" in shown
    assert "3\x1b" in shown and "4" not in shown.replace("0123456789", "")
