"""``--help`` fits a screen, and ``--help-all`` leaves out nothing."""

from __future__ import annotations

import argparse
import contextlib
import io

import pytest

from vmdk_cache.cli import exit_code, man_page
from vmdk_cache.cli.app import COMMANDS, App

#: What fits a window of ordinary size; a command's own options come first, and fit a small one.
LINES, LINES_OF_A_COMMAND = 44, 28


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def shown(*arguments: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        assert App().run(list(arguments)) == 0
    return out.getvalue()


def test_the_general_help_fits_a_screen_and_lists_the_commands_first() -> None:
    text = shown("--help")
    assert len(text.splitlines()) <= LINES
    positions = [text.index(f"\n  {name} ") for name in COMMANDS]
    assert positions == sorted(positions) and positions[-1] < text.index("\noptions:")
    assert "exit codes:" not in text and "--log-file" not in text
    assert "--help-all" in text


def test_all_of_the_general_help_has_exit_codes_and_examples() -> None:
    text = shown("--help-all")
    for part in ("exit codes:", "141", "examples:", "--log-file", "--debug", "--timeout"):
        assert part in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_a_screen(command: str) -> None:
    text = shown(command, "--help")
    assert len(text.splitlines()) <= LINES_OF_A_COMMAND, text
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(f"usage: vmdk-cache {command}")
    assert "--max-width" not in text and "--config-file" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_all_of_the_help_of_a_command_has_every_option_and_the_whole_description(
    command: str,
) -> None:
    text = shown(command, "--help-all")
    factory = App().command_manager.find_command([command])[0]
    parser = factory(App(), None).get_parser(command)
    assert [
        option
        for action in parser._actions
        if action.help != argparse.SUPPRESS
        for option in action.option_strings
        if f"  {option}" not in text and f", {option}" not in text
    ] == []
    assert parser.description is not None
    assert "".join(parser.description.split()) in "".join(text.split())


@pytest.mark.parametrize("wrong", [["--nix"], ["--limit", "0"], ["-f", "nix"], ["surplus"]])
def test_wrong_usage_shows_the_commands_own_options_alone(wrong: list[str]) -> None:
    with contextlib.redirect_stderr(io.StringIO()) as err, pytest.raises(SystemExit) as ended:
        App().run(["list", *wrong])
    *usage, error = err.getvalue().splitlines()
    assert ended.value.code == exit_code.USAGE
    assert usage == shown("list", "--help").splitlines()[: len(usage)] and len(usage) == 2
    assert error.startswith("vmdk-cache list: error: ") and wrong[-1] in error


def test_the_short_help_says_how_to_change_the_output() -> None:
    assert "\nOutput: -f {table,csv,json,value,yaml}, -c COLUMN;" in shown("list", "--help")
    assert "Output:" not in shown("exporter", "--help")


def test_the_options_for_help_may_be_before_the_name_and_the_command_help_is_the_same() -> None:
    assert shown("--help-all", "list") == shown("list", "--help-all")
    assert shown("--help", "list") == shown("list", "--help") == shown("help", "list")


def test_a_description_that_does_not_fit_says_where_its_end_is() -> None:
    assert "More about this command: --help-all\n" in shown("check", "--help")
    assert "More about this command" not in shown("capacity", "--help")


def test_the_man_page_keeps_everything() -> None:
    page = man_page.text(App())
    for option in (r"\-\-max\-width", r"\-\-help\-all", r"\-\-timeout", r"\-\-remove\-directories"):
        assert option in page
