"""What completion offers, without a shell."""

from __future__ import annotations

import pathlib
import time

import pytest

from vmdk_cache.cli import completion, known_names
from vmdk_cache.cli.app import COMMANDS
from vmdk_cache.cli.completion import DIRECTORIES, FILES, VALUES, main, offer

BREAKS = " \t\n\"'><=;|&(:"
IMAGES = {
    "0aaa1111-0000-4000-8000-000000000001": "debian-13",
    "0bbb2222-0000-4000-8000-000000000002": "debian: 12 $(reboot)",
    "0ccc3333-0000-4000-8000-000000000003": "--yes",
    "0ddd4444-0000-4000-8000-000000000004": "de\nbian",
}


@pytest.fixture(autouse=True)
def names(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    known_names.remember(known_names.path(), "vc/one", IMAGES, ["DS1", "fast DS"], time.time())


@pytest.fixture
def cinder_conf(tmp_path: pathlib.Path) -> str:
    file = tmp_path / "cinder.conf"
    file.write_text(
        "[DEFAULT]\nenabled_backends = vmware1\n[backend_defaults]\nvolume_driver = x\n"
        "[vmware1]\nvolume_driver = x\n[lvm]\nvolume_driver = y\n[coordination]\nbackend_url = z\n"
    )
    return str(file)


def values(*words: str) -> list[str]:
    found = offer(["vmdk-cache", *words])
    assert found.add == VALUES
    return [value for value, _ in found.beginning_with(words[-1])]


def test_commands_are_offered_with_what_they_do() -> None:
    assert {*COMMANDS, "help", "complete"} == {*values("")}
    assert offer(["vmdk-cache", "ca"]).beginning_with("ca") == [("capacity", COMMANDS["capacity"])]
    assert values("--timeout", "5", "-q", "capa") == ["capacity"]
    assert values("help", "pur") == ["purge"]


def test_options_are_those_of_the_command() -> None:
    assert values("purge", "--dry") == ["--dry-run"]
    assert values("list", "--dry") == []
    assert {"--config-file", "--timeout", "--max-width"} <= {*values("list", "-")}
    assert "--log-file" in values("--") and "--dry-run" not in values("--")


def test_choices_are_offered() -> None:
    assert values("list", "-f", "j") == ["json"]
    assert values("list", "--format=j") == ["--format=json"]
    assert values("complete", "") == ["bash", "zsh", "fish"]


def test_backends_are_those_of_the_cinder_conf_of_the_line(cinder_conf: str) -> None:
    assert values("--config-file", cinder_conf, "list", "--backend", "") == ["vmware1", "lvm"]
    assert values("list", f"--config-file={cinder_conf}", "--backend", "l") == ["lvm"]
    assert values("--config-file", "/nowhere/cinder.conf", "list", "--backend", "") == []


def test_images_are_offered_by_name_and_by_id() -> None:
    assert values("show", "debian-") == ["debian-13"]
    assert values("show", "0aaa") == ["0aaa1111-0000-4000-8000-000000000001"]
    assert values("purge", "--image", "debian-13", "0b") == ["0bbb2222-0000-4000-8000-000000000002"]
    described = dict(offer(["vmdk-cache", "show", ""]).beginning_with(""))
    assert described["0aaa1111-0000-4000-8000-000000000001"] == "debian-13"


def test_datastores_are_offered() -> None:
    assert values("list", "--datastore", "") == ["DS1", "fast DS"]


def test_a_name_that_would_be_an_option_or_break_the_line_is_not_offered() -> None:
    offered = values("show", "")
    assert "--yes" not in offered and "0ccc3333-0000-4000-8000-000000000003" in offered
    assert not [value for value in offered if "\n" in value or "bian" in value[:4]]


def test_files_and_directories_are_left_to_the_shell() -> None:
    assert offer(["vmdk-cache", "--config-file", ""]).add == FILES
    assert offer(["vmdk-cache", "--log-file", ""]).add == FILES
    assert offer(["vmdk-cache", "samples", ""]).add == DIRECTORIES


def test_nothing_is_offered_where_anything_may_stand() -> None:
    assert values("--timeout", "") == []
    assert values("list", "") == []


def bash(line: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["bash", line, BREAKS]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.splitlines()[1:]


def test_bash_gets_words_that_mean_only_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    assert bash("vmdk-cache show debian:", capsys) == [r"\ 12\ \$\(reboot\)"]
    assert bash(r"vmdk-cache show debian:\ 1", capsys) == [r"\ 12\ \$\(reboot\)"]
    assert bash("vmdk-cache show deb", capsys) == ["debian-13", r"debian:\ 12\ \$\(reboot\)"]


def test_in_an_open_quote_bash_gets_only_what_needs_no_quote(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bash('vmdk-cache show "deb', capsys) == ["debian-13"]
    assert bash("vmdk-cache show 'debian: ", capsys) == []


def test_bash_replaces_only_what_follows_the_equals_sign(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bash("vmdk-cache list --format=j", capsys) == ["json"]


@pytest.mark.parametrize(
    "arguments", [[], ["bash"], ["words"], ["words", "vmdk-cache", "nonsense", ""]]
)
def test_an_error_is_no_output(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert capsys.readouterr() == ("", "")


def test_each_shell_has_a_script() -> None:
    for shell in completion.SHELLS:
        assert completion.ENTRANCE in completion.script(shell)
