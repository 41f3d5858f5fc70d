"""The table of govc's commands in tests/fakes/vcenter/README.md, written from the tests:
``python -m tests.clients.govc.document``. ``--check`` only says whether it is up to date.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.clients import govc
from tests.clients.govc.left_out import LEFT_OUT, OTHER_APIS

README = Path(__file__).parents[2] / "fakes" / "vcenter" / "README.md"
BEGIN = "<!-- Written by python -m tests.clients.govc.document from here -->\n"
END = "<!-- to here -->\n"


def held() -> dict[str, str]:
    """Command -> the first test that holds it."""
    found: dict[str, str] = {}
    for module in sorted(pkgutil.iter_modules(govc.__path__), key=lambda one: one.name):
        if module.name.startswith("test_"):
            tests = vars(importlib.import_module(f"{govc.__name__}.{module.name}"))
            for name, test in tests.items():
                if not name.startswith("test_"):
                    continue
                for command in getattr(test, "holds", ()):
                    found.setdefault(command, f"{module.name}.py::{name}")
    return found


def counted() -> set[str]:
    """The commands that use vCenter's SOAP API."""
    return (set(held()) | set(LEFT_OUT)) - other_apis()


def other_apis() -> set[str]:
    """The commands that need another API; some hold nevertheless."""
    return {command for commands in OTHER_APIS.values() for command in commands.split()}


def table() -> str:
    """Lines of the table, and the sums above it."""
    holding, counts = set(held()), counted()
    beyond = sorted(holding & other_apis())
    lines = [
        f"Of {len(counts)} commands that use vCenter's SOAP API, {len(holding & counts)} hold.",
        "A number in brackets is that of the family's commands, where not all of them hold.",
        "",
        "| family | hold | left out, and why |",
        "|---|---|---|",
    ]
    for family in sorted({_family(command) for command in counts}):
        members = {command for command in counts if _family(command) == family}
        number = len(members & holding)
        shown = str(number) if number == len(members) else f"{number} ({len(members)})"
        lines.append(f"| {family} | {shown} | {'; '.join(_reasons(members - holding))} |")
    lines += [
        "",
        "Commands of other APIs are not counted; the fake has only that of storage policies:",
        "",
    ]
    for reason, commands in OTHER_APIS.items():
        rest = [command for command in commands.split() if command not in holding]
        lines.append(f"- {reason}, of {_families(rest)}: {len(rest)}")
    if beyond:
        lines.append(f"- Of these hold nevertheless: {', '.join(f'`{one}`' for one in beyond)}")
    return "\n".join(lines)


def _family(command: str) -> str:
    return command.partition(".")[0]


def _families(commands: list[str]) -> str:
    return ", ".join(dict.fromkeys(f"`{_family(command)}`" for command in sorted(commands)))


def _reasons(commands: set[str]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for command in sorted(commands):
        by_reason.setdefault(LEFT_OUT[command], []).append(f"`{command}`")
    for reason, names in by_reason.items():
        yield f"{', '.join(names)}: {reason}"


def written(page: str) -> str:
    """The README with the table as it is now; ValueError when it lacks one of the comments."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README.name} lacks the line {(END if begin else BEGIN).strip()!r}")
    return f"{head}{BEGIN}\n{table()}\n\n{END}{tail}"


def main() -> int:
    """Write the README; with ``--check``, exit code 1 when it would change."""
    before = README.read_text(encoding="utf-8")
    after = written(before)
    if "--check" in sys.argv[1:]:
        if before != after:
            print(f"{README} is out of date: run python -m tests.clients.govc.document")
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
