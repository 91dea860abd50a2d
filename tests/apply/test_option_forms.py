"""The form of an option: whatever it offers is taken, and what lies beyond it is not."""

import pytest

from apply.option_forms import Control, form_of
from apply.option_model import Option
from apply.option_tables import TABLES

ALL = [pytest.param(option, id=f"{scope.value}.{name}") for scope, table in TABLES.items() for name, option in table.items()]


@pytest.mark.parametrize("option", ALL)
def test_what_a_form_offers_is_taken_as_it_stands(option: Option) -> None:
    form = form_of(option.type)
    assert all(option.type.parse(word) == word for word in form.words)
    if form.control is Control.NUMBER:
        assert form.low is not None and form.high is not None
        assert option.type.parse(str(form.high)) in (str(form.high), *form.words)
        assert option.type.parse(str(form.low)) in (str(form.low), *form.words)
        with pytest.raises(ValueError):
            option.type.parse(str(form.high + 1))
    if form.control is Control.CHOICE:
        assert form.words
        with pytest.raises(ValueError):
            option.type.parse("no such word")
    if form.longest:
        with pytest.raises(ValueError):
            option.type.parse("x" * (form.longest + 1))


@pytest.mark.parametrize("option", ALL)
def test_the_default_is_something_that_the_form_can_show(option: Option) -> None:
    form = form_of(option.type)
    if option.default and form.control is Control.CHOICE:
        assert option.default in form.words
    if option.default and form.control is Control.NUMBER:
        assert option.default in form.words or (form.low is not None and form.low <= int(option.default) <= (form.high or 0))


def test_each_control_is_used() -> None:
    used = {form_of(option.type).control for table in TABLES.values() for option in table.values()}
    assert used == set(Control)
