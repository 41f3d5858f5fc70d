"""Tasks and requests per volume, by what vCenter does with the edit of a disk in a clone.

A switch of the fake decides what it does. The cache finds out with its first volume, which is
created before the count starts.
"""

from __future__ import annotations

from typing import Any

from benchmarks import population
from benchmarks.row import Bar, Outcome, Row
from benchmarks.rows.requests import BAR, MODEL, OTHER_VMS, count_requests
from benchmarks.turns import spread
from benchmarks.vcenter_process import VCenterProcess
from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.switches import InClone

#: What vCenter does with another uuid for the disk -> its description.
ANSWERS: dict[InClone, str] = {
    "kept": "CloneVM_Task sets size and uuid",
    "ignored": "CloneVM_Task sets the size only",
    "refused": "CloneVM_Task refuses the edit",
}


def measure(volumes: int = 100, other_vms: int = OTHER_VMS, rounds: int = 5) -> Outcome:
    """
    :param rounds: how many volumes share a request differs from burst to burst, so medians are
        judged
    :param volumes: created at once
    """
    every_round = {answer: _count(answer, volumes, other_vms, rounds) for answer in ANSWERS}
    medians = {
        answer: sorted(rounds, key=_requests)[len(rounds) // 2]
        for answer, rounds in every_round.items()
    }
    bars = []
    for answer, name in ANSWERS.items():
        wanted, found = (1 if answer == "kept" else 2), _tasks(medians[answer])
        what = "1 task a volume" if wanted == 1 else f"at most {wanted} tasks a volume"
        bars.append(Bar(f"{name}: {what}", f"{found:g}", found <= wanted))
        requests = [_requests(counts) for counts in every_round[answer]]
        bars.append(
            Bar(
                f"{name}: at most {BAR:g} requests a volume",
                spread(requests),
                _requests(medians[answer]) <= BAR,
            )
        )
    return Outcome(
        bars=tuple(bars),
        figures=tuple(
            (
                name,
                f"{_in_words(_tasks(medians[answer]))}, {_requests(medians[answer]):.2f} requests",
            )
            for answer, name in ANSWERS.items()
        ),
        values={"volumes": volumes, "per_volume": medians},
    )


def _count(answer: InClone, volumes: int, other_vms: int, rounds: int) -> list[dict[str, float]]:
    with VCenterProcess(MODEL) as vcenter:
        vcenter.call(population.add_vms, other_vms)
        vcenter.call(_set_switch, answer)
        return count_requests(vcenter, "cache:create_volumes", volumes, rounds, rounds=rounds)


def _set_switch(vcenter: VCenter, answer: Any) -> None:
    vcenter.switches.disk_uuid_in_clone = answer


def _tasks(counts: dict[str, float]) -> float:
    return sum(number for method, number in counts.items() if method.endswith("_Task"))


def _in_words(tasks: float) -> str:
    return f"{tasks:g} task{'' if tasks == 1 else 's'}"


def _requests(counts: dict[str, float]) -> float:
    return sum(counts.values())


ROW = Row(
    "one_task", "tasks and requests a volume, 100 parallel hits, by what vCenter does", measure
)
