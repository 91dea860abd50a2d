"""Cells in their small form say what they said whole."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from store.cells import Cell, PackedCell, content_hash, pack

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
details = st.dictionaries(st.text(max_size=8), plain, max_size=5)
names = st.text(max_size=6)
cells = st.builds(Cell, names, names, names, st.lists(names, max_size=3).map(tuple), details, details, st.floats(0, 2e9))


@given(cells)
def test_a_packed_cell_says_what_the_cell_says(cell: Cell) -> None:
    packed = pack(cell)
    assert packed.whole() == cell
    assert packed.whole().whole() is not cell.whole() is cell
    assert packed.key == cell.key
    for name in Cell.__struct_fields__:
        assert getattr(packed, name) == getattr(cell, name)
    assert content_hash(packed.whole()) == content_hash(cell)


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(cells)
def test_equal_cells_are_packed_equally(cell: Cell) -> None:
    other = msgspec.structs.replace(cell, detail=shuffled(cell.detail), measures=shuffled(cell.measures))
    assert pack(other) == pack(cell)
    assert hash(pack(other)) == hash(pack(cell))


@given(cells, st.sampled_from(Cell.__struct_fields__), cells)
def test_cells_that_differ_in_anything_are_packed_differently(cell: Cell, name: str, another: Cell) -> None:
    other = msgspec.structs.replace(cell, **{name: getattr(another, name)})
    if msgspec.json.encode(other, order="deterministic") == msgspec.json.encode(cell, order="deterministic"):
        assert pack(other) == pack(cell)
    else:
        assert pack(other) != pack(cell)


def test_a_body_is_compressed_where_that_is_shorter() -> None:
    short, long = pack(Cell("k", "i", "s", detail={"x": 1})), pack(Cell("k", "i", "s", detail={"x": ["the same again"] * 100}))
    assert len(short.body) < 10 and len(long.body) < 100
    assert (short.detail, long.detail) == ({"x": 1}, {"x": ["the same again"] * 100})
    assert pack(Cell("k", "i", "s")).body == b""


def test_names_are_kept_once() -> None:
    def come(text: str) -> PackedCell:
        return pack(msgspec.msgpack.decode(msgspec.msgpack.encode(Cell("kind", text, "healthy", ("path-lost",))), type=Cell))

    one, two = come("360014050000000100004000800000000"), come("360014050000000100004000800000000")
    assert one.id is two.id and one.kind is two.kind and one.state is two.state and one.reasons[0] is two.reasons[0]
