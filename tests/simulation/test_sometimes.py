"""The table of rare paths."""

from scripts.simulation.sometimes import ALL, missing, table


def test_what_never_happened_is_said() -> None:
    happened = dict.fromkeys(ALL, 3) | {"late edit": 0}
    assert missing(happened) == ["late edit"]
    lines = table(happened).splitlines()
    assert len(lines) == len(ALL)
    assert next(line for line in lines if line.startswith("late edit")).split()[-1] == "never"
    assert next(line for line in lines if line.startswith("send refused")).split()[-1] == "3"
