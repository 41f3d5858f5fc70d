"""Each page of the book in a browser: it fits a screen and a phone, and pictures are legible."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.services.chromium import Chromium

DOCS = pathlib.Path(__file__).parents[2] / "docs"
BUILD_TIMEOUT_S = 200
PHONE, SCREEN = 400, 1280
#: Pictures have letters of 11 px and more; below 7 px they cannot be read.
LEGIBLE = 0.65
#: What reaches over the right edge, unless a box around it scrolls or hides it.
_BEYOND_THE_EDGE = """
[...document.querySelectorAll("article *")].filter(element => {
  if (element.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let box = element; box.tagName !== "ARTICLE"; box = box.parentElement)
    if (getComputedStyle(box).overflowX !== "visible") return false;
  return true;
}).map(element => element.tagName + " " + element.textContent.trim().slice(0, 60))
"""
#: What the theme shows in red instead of, or before, what it does not like.
_OBJECTIONS = """
[...document.querySelectorAll("article *")]
  .map(element => getComputedStyle(element, "::before").content)
  .filter(text => text.includes("ERROR"))
"""
_SCALES = "[...document.images].map(image => [image.alt, image.width / image.naturalWidth])"


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    if os.environ.get("VMDK_CACHE_REQUIRE_ALL") != "1":
        pytest.importorskip("furo", reason="make docs installs it")
    built = tmp_path_factory.mktemp("book")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(DOCS), str(built)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return built


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as running:
        yield running


@pytest.mark.parametrize("width", [PHONE, SCREEN])
def test_no_page_is_wider_than_what_shows_it(
    book: pathlib.Path, browser: Chromium, width: int
) -> None:
    pages = sorted(book.glob("*.html"))
    assert len(pages) > len(list(DOCS.glob("*.rst")))  # the index and the search as well
    found: dict[str, object] = {}
    for page in pages:
        browser.show(page.as_uri(), width)
        wide = browser.ask("document.documentElement.scrollWidth")
        beyond = browser.ask(_BEYOND_THE_EDGE)
        if wide > width or beyond:
            found[page.name] = (wide, beyond)
        assert browser.complaints == [], page.name
        assert browser.ask(_OBJECTIONS) == [], page.name
    assert found == {}


@pytest.mark.parametrize("width", [PHONE, SCREEN])
@pytest.mark.parametrize("page", ["index", "how-it-works", "lifecycle"])
def test_pictures_are_large_enough_to_read(
    book: pathlib.Path, browser: Chromium, page: str, width: int
) -> None:
    browser.show((book / f"{page}.html").as_uri(), width)
    scales = dict(browser.ask(_SCALES))
    assert scales
    assert {alt: scale for alt, scale in scales.items() if scale < LEGIBLE} == {}


def test_the_book_asks_no_other_server(book: pathlib.Path, browser: Chromium) -> None:
    """Operators read it on hosts without a way out, and readers are not tracked."""
    for page in book.glob("*.html"):
        browser.show(page.as_uri(), SCREEN)
        elsewhere = [url for url in browser.requested if not url.startswith(("file:", "data:"))]
        assert elsewhere == [], page.name
