"""The check for capitals in SQL."""

import pytest

from localstack.lower_case import capitals


@pytest.mark.parametrize(
    "text",
    [
        "select 1",
        "-- A Comment\nselect 'It''s TEXT', \"Quoted Name\" /* Another\nOne */ from t",
        "create function f() returns text language sql as $$ select 'X' $$",
    ],
)
def test_strings_comments_and_quoted_names_may_have_capitals(text: str) -> None:
    assert capitals(text) == []


def test_a_capital_is_found_with_its_line_also_in_a_function_body() -> None:
    text = "/* x\n*/ create function f() returns text as $$\n  -- Fine\n  SELECT 'X' as myColumn $$"
    assert capitals(text) == [(4, "SELECT"), (4, "myColumn")]
