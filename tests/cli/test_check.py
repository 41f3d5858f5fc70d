"""``vmdk-cache check`` finds what is wrong, and puts right what is ours."""

from __future__ import annotations

from tests.cli.conftest import Lab, Run


def test_a_broken_template_is_found_and_then_removed(lab: Lab, run: Run) -> None:
    assert run.json("check") == []
    made = lab.warm()
    lab.write_record(made, "{}")
    [found] = run.json("check", "--no-directories", code=1)
    assert (found["Finding"], found["Name"], found["Fixed"]) == ("record-broken", made.name, False)
    assert "delete it" in found["What To Do"]
    assert "record-broken" in run("check", "--fix", "--no-directories").stdout
    assert lab.templates() == []


def test_what_is_not_ours_is_told_and_fails_nobody(lab: Lab, run: Run) -> None:
    lab.write_record(lab.warm(), '{"schema": 99}')
    [found] = run.json("check", "--fix", "--no-directories")
    assert (found["Finding"], found["Fixed"]) == ("foreign", False)
    assert len(lab.templates()) == 1


def test_directories_are_deleted_only_by_who_says_so_twice(lab: Lab, run: Run) -> None:
    made = lab.warm()
    lab.forget(made)
    [found] = run.json("check", "--fix", code=1)
    assert (found["Finding"], found["Fixed"]) == ("directory-orphaned", False)
    assert "--yes" in run("check", "--remove-directories", code=2).stderr
    run("check", "--remove-directories", "--no-directories", "--yes", code=2)
    [fixed] = run.json("check", "--remove-directories", "--yes")
    assert fixed["Fixed"]
    assert run.json("check") == []
