"""Every benchmark runs, counts the right things, and reports them correctly.

The rows that count run here in small; their times are not checked.
"""

from __future__ import annotations

import json
import pathlib
import socket

import pytest

pytest.importorskip("cinder", reason="needs the extra [cinder]")

from benchmarks import document, fresh_process, results
from benchmarks.row import Bar, Outcome, Row
from benchmarks.rows import all_rows, downloads, mass_creation, one_task, refresh, requests
from benchmarks.stream_image import StreamImage
from tests.fakes.images import read_stream_optimized
from tests.fakes.vcenter import vmdk


def test_a_volume_costs_fewer_requests_than_bare_pyvmomi() -> None:
    outcome = requests.measure(volumes=30, peer_volumes=0, other_vms=0, rounds=1)
    ours, bare = (outcome.values["per_volume"][name] for name in ("this cache", "bare pyVmomi"))
    assert bare["CloneVM_Task"] == ours["ReconfigVM_Task"] == bare["ReconfigVM_Task"] == 1
    assert sum(ours.values()) < sum(bare.values())


def test_a_volume_costs_as_few_tasks_as_vcenter_makes_possible() -> None:
    outcome = one_task.measure(volumes=20, other_vms=0, rounds=1)
    methods = {answer: set(counts) for answer, counts in outcome.values["per_volume"].items()}
    assert {answer: "ReconfigVM_Task" in found for answer, found in methods.items()} == {
        "kept": False,
        "ignored": True,
        "refused": True,
    }
    assert [bar.met for bar in outcome.bars if "task a" in bar.text or "tasks a" in bar.text] == [
        True, True, True
    ]  # fmt: skip


def test_first_volumes_over_processes_download_once() -> None:
    outcome = downloads.measure(volumes=12, processes=2, image_mib=1)
    assert [bar.met for bar in outcome.bars] == [True]
    assert (outcome.values["hits"], outcome.values["imports"]) == (11, 1)


def test_a_refresh_asks_only_for_what_changed() -> None:
    outcome = refresh.measure(vms=20, templates=10, scans=False)
    assert outcome.values["ours"]["requests"] <= 1
    assert outcome.values["ours"]["templates"] == 10


def test_replicas_pay_in_the_cost_model() -> None:
    outcome = mass_creation.measure(volumes=16, upstream_volumes=0, rounds=1)
    seconds = outcome.values["seconds"]
    assert seconds["this cache, replicas there"] < seconds["one template, there already"]


@pytest.mark.parametrize("size_bytes", [1, 64 << 10, 40 << 20])
def test_the_made_up_image_is_a_vmdk(size_bytes: int) -> None:
    stream = StreamImage(size_bytes)
    file = b"".join(stream.chunks())
    assert len(file) == stream.image().size_bytes
    assert len(read_stream_optimized(file)) == stream.capacity_bytes
    parser = vmdk.StreamOptimizedParser()
    parser.feed(file)
    assert parser.complete


def test_a_client_that_fails_is_an_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(RuntimeError, match="no_such_module:x ended without an answer"):
        fresh_process.run("benchmarks.no_such_module:x")
    assert "no_such_module" in capfd.readouterr().err


@pytest.fixture
def kept(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.setattr(results, "DIRECTORY", tmp_path)
    monkeypatch.setattr(results, "FILE", tmp_path / "results.json")
    return tmp_path / "results.json"


def row(name: str) -> Row:
    return Row(name, f"title of {name}", lambda: Outcome())


def test_a_run_of_one_row_keeps_the_others(kept: pathlib.Path) -> None:
    results.save(row("a"), Outcome(values={"x": 1.23456789}), 1.0)
    results.save(row("b"), Outcome(bars=(Bar("at most 1", "2", False),)), 1.0)
    rows = json.loads(kept.read_text())["rows"]
    assert rows["a"]["values"] == {"x": 1.2346}
    assert rows["b"]["bars"] == [{"text": "at most 1", "found": "2", "met": False}]


def test_the_page_shows_a_bar_that_was_not_met(kept: pathlib.Path) -> None:
    results.save(row("a"), Outcome(bars=(Bar("at most 1", "2", False),)), 1.0)
    page = f"Before\n{document.PAGE.begin}old\n{document.PAGE.END}After\n"
    made = document.PAGE.written(page, document.tables(results.load()))
    assert made.startswith("Before\n")
    assert made.endswith("After\n")
    assert "old" not in made
    assert "   * - title of a\n     - at most 1\n     - 2\n     - **no**\n" in made
    assert document.PAGE.written(made, document.tables(results.load())) == made


def test_a_page_without_its_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="lacks the line"):
        document.PAGE.written("nothing", "")


def test_results_do_not_tell_where_they_were_measured(kept: pathlib.Path) -> None:
    results.save(row("a"), Outcome(), 1.0)
    text = kept.read_text()
    assert f'"{socket.gethostname()}"' not in text
    assert str(pathlib.Path.cwd()) not in text
    assert str(pathlib.Path.home()) not in text


def test_each_row_has_its_own_name() -> None:
    assert list(all_rows()) == [
        "requests",
        "one_task",
        "wall_time",
        "engine_ready",
        "refresh",
        "downloads",
        "import",
        "mass_creation",
        "burst",
        "growth",
        "hot_path",
    ]
