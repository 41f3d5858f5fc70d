"""The documents name existing things: commands, options, reasons, exit codes, files."""

from __future__ import annotations

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg

from vmdk_cache import conf
from vmdk_cache.cache.events import Reason, Rule

pytest.importorskip("cliff")

from benchmarks.rows import all_rows
from vmdk_cache.cli import cinder_options, exit_code
from vmdk_cache.cli.app import COMMANDS, App

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("docs/*.rst"), README])
MARKDOWN = [
    ROOT / path
    for path in ("README.md", "CONTRIBUTING.md", "tests/README.md", "tests/fakes/vcenter/README.md")
]
ALL_PAGES = sorted({*PAGES, *MARKDOWN})
OPTIONS = {option.dest for _, options in conf.list_opts() for option in options}
#: They begin like an option but are none: properties of images and volumes, keys, names in code.
OTHER_NAMES = {"image_cache_warm"}
#: Options of Cinder that this package reads; a test compares them with Cinder's own.
OPTIONS_OF_CINDER = set(cinder_options.OTHER_VMWARE) | {
    option.dest
    for listed in vars(cinder_options).values()
    if isinstance(listed, list)
    for option in listed
    if isinstance(option, cfg.Opt)
}
#: Of cinder-api, of Glance's property-protections.conf, and of systemd.
OTHER_KEYS = {
    "reserved_image_namespaces",
    *("create", "read", "update", "delete"),
    *("ExecStart", "ReadWritePaths"),
}
_INI = re.compile(r"code-block:: ini\n((?:\n| +.*\n)+)|^```ini\n((?:[^`].*\n|\n)+)", re.M)
#: In a sentence or a block: the command with everything after it.
_COMMAND = re.compile(r"(?:``|`|^\s+(?:\$ )?|exec \S+ |-- )(vmdk-cache(?: [^`#<>|\n]+)?)", re.M)
_OPTION = re.compile(r"\b((?:enable_)?image_cache_?[a-z_]*[a-z])\b(?!\.)")
_SECTION = re.compile(r"\*([^*]+)\*\s+in\s+:doc:`([a-z-]+)`")
#: In a sentence, or at the beginning of a line of a block.
_TARGET = re.compile(r"(?:`|^\s+(?:\$ )?)make ([a-z][\w-]*)", re.M)
_DOTTED = re.compile(r"\b(vmdk_cache(?:\.\w+){2,})\b(?!\.?[/-])")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
#: As documents write them: 22.00, 10,971, 20.
_FIGURE = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_FILE = re.compile(r"``((?:docs|etc|tests|vmdk_cache|benchmarks|demo|releasenotes)/[\w./-]+)``")


def commands() -> Iterator[tuple[str, str]]:
    """(page, command line), each once per page."""
    for page in PAGES:
        text = re.sub(r"\\\n\s*", "", page.read_text())
        for line in dict.fromkeys(_COMMAND.findall(text)):
            yield page.name, " ".join(line.split())


@pytest.mark.parametrize(("page", "line"), commands())
def test_each_command_in_the_documents_is_one_of_the_program(page: str, line: str) -> None:
    arguments = shlex.split(line)[1:]
    if "COMMAND" in arguments:
        return
    app = App()
    app.options, rest = app.parser.parse_known_args(arguments)
    if not rest:
        return
    found, name, rest = app.command_manager.find_command(rest)
    if name in COMMANDS and rest:  # a sentence may name a command without what it needs
        found(app, None).get_parser(f"vmdk-cache {name}").parse_args(rest)


def test_each_command_is_documented_by_an_example() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    assert {name for name in COMMANDS if f"vmdk-cache {name}" not in text} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_option_that_a_page_names_exists(page: Path) -> None:
    named = {name for name in _OPTION.findall(page.read_text()) if "image_cache_" in name}
    named = {name for name in named if not name.endswith(("image_cache_max", "_vmdk"))}
    assert named <= OPTIONS | OTHER_NAMES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_line_for_a_configuration_file_sets_an_option_that_exists(page: Path) -> None:
    blocks = "".join(either for found in _INI.findall(page.read_text()) for either in found)
    keys = set(re.findall(r"^ *(\w+) *=", blocks, re.M))
    assert keys - OPTIONS - OPTIONS_OF_CINDER - OTHER_KEYS == set()


def test_each_option_is_in_the_sample() -> None:
    sample = (ROOT / "etc" / "vmdk-cache.conf.sample").read_text()
    assert {name for name in OPTIONS if f"\n#{name} = " not in sample} == set()


def test_each_reason_for_a_bypass_is_explained() -> None:
    page = (ROOT / "docs" / "feedback.rst").read_text()
    assert {reason.value for reason in Reason if f"``bypass: {reason}``" not in page} == set()


def test_exit_codes_are_those_of_the_page() -> None:
    says = (exit_code.__doc__ or "").split("\n\n")[1]
    table = (ROOT / "docs" / "cli.rst").read_text()
    for line in says.splitlines():
        assert re.sub(r"\s+", " ", line.strip()) in re.sub(r" +", " ", table)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_file_that_a_page_names_exists(page: Path) -> None:
    assert [name for name in _FILE.findall(page.read_text()) if not (ROOT / name).exists()] == []


def _text_of(node: ast.expr) -> str | None:
    """The string of a node as a regular expression in which values are ``.+``."""
    match node:
        case ast.Constant(value=str(text)):
            return ".+".join(re.escape(part) for part in _VALUE.split(text))
        case ast.JoinedStr(values=parts):
            return "".join(
                re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in parts
            )
    return None


_VALUE = re.compile(r"%[-+.\d]*[a-z]")
#: What stands before a message on stderr and in a note, and what follows one in the log.
_AROUND = re.compile(r"(?:vmdk-cache: )?(?:backend vmware1: )?(?:failed: )?(.+?)(?: \[vmware1\])?")


@functools.cache
def messages() -> re.Pattern[str]:
    """Every text of the package that is long enough to be a message."""
    found = set()
    for module in (ROOT / "vmdk_cache").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            text = _text_of(node) if isinstance(node, ast.expr) else None
            if text and len(text.replace(".+", "")) > 12:
                found.add(text)
    return re.compile("|".join(f"(?:{text})" for text in sorted(found)))


def shown_messages() -> list[str]:
    page = (ROOT / "docs" / "troubleshooting.rst").read_text()
    blocks = re.findall(r"\.\. code-block:: text\n\n((?: +.+\n)+)", page)
    return [line.strip() for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("line", shown_messages())
def test_each_message_that_troubleshooting_shows_is_one_of_the_package(line: str) -> None:
    found = _AROUND.fullmatch(line)
    assert found is not None
    message = found[1].removeprefix("Image cache ")  # of each event in the log
    assert messages().fullmatch(message), f"nothing in vmdk_cache prints {message!r}"


def test_troubleshooting_says_what_to_do_for_each_reason_and_deletion() -> None:
    page = (ROOT / "docs" / "troubleshooting.rst").read_text()
    assert {value.value for value in (*Reason, *Rule) if f"``{value}``" not in page} == set()


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.rst")), ids=lambda page: page.name)
def test_each_page_begins_with_what_it_is_for(page: Path) -> None:
    title, line, below = page.read_text().partition("\n\n")
    assert title.splitlines()[-1].strip("=") == "", "a page begins with its title"
    first = below.lstrip().partition("\n\n")[0]
    assert line and not first.startswith(".. ") and not re.search(r"^[=-]{3,}$", first, re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_section_that_a_page_names_exists(page: Path) -> None:
    for title, name in _SECTION.findall(page.read_text()):
        other = (ROOT / "docs" / f"{name}.rst").read_text()
        title = " ".join(title.split())
        heading = rf"^{re.escape(title)}\n[=-]{{{len(title)}}}$|\*{re.escape(title)}\.\*"
        assert re.search(heading, other, re.M), title


def relative_links() -> list[tuple[Path, str]]:
    """Of each page that a forge shows: (page, path with its anchor)."""
    pages = [
        path for path in ROOT.rglob("*.md") if not path.relative_to(ROOT).parts[0].startswith(".")
    ]
    found = [(page, link) for page in pages for link in _LINK.findall(page.read_text())]
    return [(page, link) for page, link in found if "://" not in link]


@pytest.mark.parametrize(("page", "link"), relative_links())
def test_each_relative_link_leads_to_a_file_and_a_heading_in_it(page: Path, link: str) -> None:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    assert target.exists()
    if anchor:
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
        slugs = {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
        assert anchor in slugs


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(_TARGET.findall(page.read_text()))
    assert named - targets == set()


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_class_and_module_that_a_page_names_exists(page: Path) -> None:
    for name in set(_DOTTED.findall(page.read_text())):
        module, _, last = name.rpartition(".")
        whole = ROOT / (name.replace(".", "/") + ".py")
        defining = ROOT / (module.replace(".", "/") + ".py")
        assert whole.exists() or re.search(rf"^(class|def) {last}\b", defining.read_text(), re.M)


def readme_figures() -> list[tuple[str, str]]:
    """(figure, row of the benchmark that prints it) of README's table."""
    rows = re.findall(r"^\|(.+)\|(.+)\| `make bench ARGS=(\w+)` \|$", README.read_text(), re.M)
    return [(figure, row) for ours, other, row in rows for figure in _FIGURE.findall(ours + other)]


@pytest.mark.parametrize(("figure", "row"), readme_figures())
def test_each_figure_of_the_readme_is_one_that_was_measured(figure: str, row: str) -> None:
    assert row in all_rows()
    measured = re.sub(r"(\.\d)0\b", r"\1", (ROOT / "docs" / "performance.rst").read_text())
    assert figure.replace(".00", ".0") in _FIGURE.findall(measured)
