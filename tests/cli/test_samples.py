"""``vmdk-cache samples``: writes the files that come with the package, from a checkout."""

from __future__ import annotations

import pathlib
import subprocess

import pytest
import yaml

from tests.cli.conftest import Run
from tests.services.program import require
from vmdk_cache.cli.app import COMMANDS
from vmdk_cache.cli.samples import MADE, PURPOSES

ETC = pathlib.Path(__file__).parents[2] / "etc"


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    """Without a cinder.conf and without a vCenter."""
    return Run(tmp_path, list)


def test_it_writes_every_file_and_says_what_each_is_for(run: Run, tmp_path: pathlib.Path) -> None:
    rows = run("samples", "new/samples", "-f", "csv", bare=True).stdout.splitlines()[1:]
    written = {path.name: path.read_bytes() for path in (tmp_path / "new" / "samples").iterdir()}
    assert len(rows) == len(written)
    assert written.keys() == PURPOSES.keys() | MADE.keys()
    for name in PURPOSES:
        assert written[name] == (ETC / name).read_bytes(), name


def test_people_read_the_directory_once_and_whole_names_of_files(
    run: Run, tmp_path: pathlib.Path
) -> None:
    directory = "a-directory-with-a-rather-long-name/" * 2
    done = run("samples", directory, bare=True, env={"COLUMNS": "80"})
    assert done.stderr.startswith(f"vmdk-cache: wrote {len(PURPOSES | MADE)} files to 'a-directory")
    assert all(f"\n| {name} " in done.stdout for name in PURPOSES | MADE)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_every_file_of_etc_is_a_sample_or_a_tool_of_the_build() -> None:
    assert {path.name for path in ETC.iterdir()} - PURPOSES.keys() == {
        "vmdk-cache-config-generator.conf"
    }


def test_it_overwrites_nothing(run: Run, tmp_path: pathlib.Path) -> None:
    (tmp_path / "vmdk-cache.1").symlink_to("nowhere")
    (tmp_path / "cinder.conf.example").write_text("mine")
    done = run("samples", ".", bare=True, code=1)
    assert "cinder.conf.example, vmdk-cache.1 already: nothing was written" in done.stderr
    assert "--force" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"cinder.conf.example", "vmdk-cache.1"}
    assert (tmp_path / "cinder.conf.example").read_text() == "mine"


def test_force_overwrites_a_file_and_replaces_a_link(run: Run, tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "cinder.conf.example").write_text("old")
    (tmp_path / "samples" / "prometheus-alerts.yaml").symlink_to(other)
    run("samples", "samples", "--force", bare=True)
    for name in PURPOSES:
        assert (tmp_path / "samples" / name).read_bytes() == (ETC / name).read_bytes()
    assert other.read_text() == "mine"


def test_alerts_link_to_the_book_where_it_is_published(run: Run, tmp_path: pathlib.Path) -> None:
    run("samples", "linked", "--docs", "https://docs.example.com/cache/", bare=True)
    path = tmp_path / "linked" / "prometheus-alerts.yaml"
    (group,) = yaml.safe_load(path.read_text())["groups"]
    (unlinked,) = yaml.safe_load((ETC / path.name).read_text())["groups"]
    assert len(group["rules"]) == len(unlinked["rules"]) > 0
    for rule in group["rules"]:
        anchor = f"https://docs.example.com/cache/metrics.html#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook_url"] == anchor
        assert "runbook" not in rule["annotations"]


@pytest.mark.parametrize("url", ["docs", "https://", 'https://x/"', "https://x/{{y}}", "ftp://x/"])
def test_a_wrong_url_of_the_book_is_named(run: Run, tmp_path: pathlib.Path, url: str) -> None:
    done = run("samples", "linked", "--docs", url, bare=True, code=2)
    assert "argument --docs: " in done.stderr and "https://docs.example.com" in done.stderr
    assert not (tmp_path / "linked").exists()


def test_a_directory_that_cannot_be_is_named(run: Run, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("samples", "file", bare=True, code=1)
    assert done.stderr == "vmdk-cache: cannot write 'file': File exists\n"
    done = run("samples", "file/below", bare=True, code=1)
    assert "cannot write 'file/below': Not a directory" in done.stderr


def test_an_empty_name_is_wrong_usage(run: Run, tmp_path: pathlib.Path) -> None:
    """As when a variable of a script is not set."""
    done = run("samples", "", bare=True, code=2)
    assert "argument DIRECTORY: the name of the directory is empty" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_control_characters_is_quoted(run: Run) -> None:
    run("samples", "a\x1b[2Jb", bare=True)
    done = run("samples", "a\x1b[2Jb", bare=True, code=1)
    assert "\x1b" not in done.stderr and "'a\\x1b[2Jb'" in done.stderr


def test_bash_takes_the_completion(run: Run, tmp_path: pathlib.Path) -> None:
    run("samples", "samples", bare=True)
    asks = f"source {tmp_path}/samples/vmdk-cache.bash; complete -p"
    said = output(require("bash", "bash"), "--norc", "-c", asks)
    assert said == "complete -F _vmdk_cache vmdk-cache\n"


def test_groff_finds_no_fault_in_the_man_page(run: Run, tmp_path: pathlib.Path) -> None:
    run("samples", "samples", bare=True)
    page = tmp_path / "samples" / "vmdk-cache.1"
    groff = require("groff", "groff-base")
    shown = output(groff, "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=80n", page)
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert [name for name in COMMANDS if f"\n   {name} [options]" not in shown] == []


def output(*words: str | pathlib.Path) -> str:
    """What a program prints; it fails the test if it fails or complains."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
