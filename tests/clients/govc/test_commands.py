"""Whether every command of govc is in one class, and the README says so."""

from __future__ import annotations

import re

from tests.clients.govc import document
from tests.clients.govc.left_out import LEFT_OUT
from tests.clients.govc.runner import Govc


def test_each_command_of_govc_is_in_a_class(govc: Govc) -> None:
    listed = govc("-h").partition("Available commands:\n")[2]
    registered = set(re.findall(r"^  (\S+)$", listed, re.MULTILINE))
    assert registered == document.counted() | document.other_apis()


def test_no_command_is_both_tested_and_left_out() -> None:
    assert set(document.held()) & set(LEFT_OUT) == set()
    assert set(LEFT_OUT) & document.other_apis() == set()


def test_as_many_commands_are_tested_as_the_fake_promises() -> None:
    assert len(set(document.held()) & document.counted()) >= 220


def test_the_readme_says_which_commands_work() -> None:
    page = document.README.read_text(encoding="utf-8")
    assert document.written(page) == page
