"""Foreign text is shown on one line, printable, and cut."""

from __future__ import annotations

import ast
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmdk_cache import errors
from vmdk_cache.quoting import (
    IDENTIFIER_LENGTH,
    SENTENCE_LENGTH,
    VALUE_LENGTH,
    identifier,
    quoted,
    sentence,
)

HOSTILE = [
    "a\nb", "a\r\nCRITICAL forged", "\x1b[2J\x1b]0;title\x07", "\x00", "\x85", "\u2028", "\u202e",
    "\ud800", "x" * 60_000, "\n" * 60_000, "'; \\", "\\" * 200,
]  # fmt: skip
LONGEST = {
    quoted: VALUE_LENGTH + len("'...'"),
    identifier: IDENTIFIER_LENGTH,
    sentence: SENTENCE_LENGTH + len("..."),
}


@pytest.mark.parametrize("show", [quoted, identifier, sentence])
@given(text=st.one_of(st.sampled_from(HOSTILE), st.text(max_size=900)))
def test_any_text_is_shown_on_one_printable_line_of_bounded_length(show, text: str) -> None:  # type: ignore[no-untyped-def]
    shown = show(text)
    assert shown.isprintable()
    assert len(shown) <= LONGEST[show]


@given(text=st.text(max_size=VALUE_LENGTH // 10))
def test_a_short_quoted_value_can_be_read_back(text: str) -> None:
    assert ast.literal_eval(quoted(text)) == text


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_value_is_cut_only_beyond_the_limit(extra: int) -> None:
    text = "x" * (VALUE_LENGTH + extra)
    assert quoted(text) == (f"'{text}'" if extra <= 0 else f"'{text[:-1]}...'")


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_a_long_identifier_is_quoted_and_cut(extra: int) -> None:
    text = "x" * (IDENTIFIER_LENGTH + extra)
    assert identifier(text) == (text if extra <= 0 else quoted(text))


def test_an_escape_is_never_cut_in_half() -> None:
    fitting = "x" * (VALUE_LENGTH - len("\\x1b"))
    assert quoted(f"{fitting}\x1b") == f"'{fitting}\\x1b'"
    assert quoted(f"{fitting}x\x1b") == f"'{fitting}x...'"


@pytest.mark.parametrize("text", ["4f0c-11", "vm-12", "lsiLogic", "DC0_DS0", "::1"])
def test_an_identifier_is_shown_as_it_is(text: str) -> None:
    assert identifier(text) == text


@pytest.mark.parametrize("text", ["", " ", "a b", "a'b", "é", "a\n", "a/b"])
def test_text_that_does_not_look_like_an_identifier_is_quoted(text: str) -> None:
    assert identifier(text) == quoted(text)


def test_a_sentence_keeps_its_words() -> None:
    assert sentence("  The file\n\tis 'locked'. ") == "The file is 'locked'."


@pytest.mark.parametrize("text", HOSTILE)
def test_the_text_of_every_error_is_one_printable_line_of_bounded_length(text: str) -> None:
    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, errors.VmdkCacheError):
            error = kind("fault", text) if kind is errors.NotCacheable else kind(text)
            assert str(error).isprintable(), kind
            assert len(str(error)) <= errors.MESSAGE_LENGTH + len("..."), kind
