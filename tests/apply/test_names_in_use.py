"""Which names stay, and what is rendered for them."""

from collections.abc import Mapping

import pytest

from apply.confsyntax import multipaths, parse
from apply.model import Lun, Model
from apply.names_in_use import with_names_in_use
from apply.plan import Desired
from apply.render import MAIN, Rendered, allow_list, render

pytestmark = pytest.mark.anyio


class Used:
    """The guard; remembers what it was asked."""

    def __init__(self, **uses: str) -> None:
        self.uses, self.asked = uses, dict[str, str]()

    async def reason(self, wwid: str, name: str = "") -> str:
        self.asked[wwid] = name
        return self.uses.get(wwid, "")


def desired(*luns: Lun) -> Desired:
    model = Model(luns={lun.wwid: lun for lun in luns}, empty=not luns)

    def rendering(kept: Mapping[str, str]) -> Rendered:
        return render(model, digest="d", tools_version=None, kept=kept)

    return Desired("d", rendering({}), allow_list(model), True, empty=model.empty, rendering=rendering)


A, B, C = Lun("w1", "a"), Lun("w2", "b"), Lun("w3")


async def test_only_what_is_in_use_stays() -> None:
    guard = Used(w1="swap", w3="mounted on /srv")
    verified = desired(A, B, C).rendered.files
    found, names = await with_names_in_use(desired(B), verified, {"w3"}, guard)
    assert (guard.asked, names) == ({"w1": "a", "w3": "w3"}, {"w1": ("a", "swap"), "w3": ("w3", "mounted on /srv")})
    blocks = multipaths(parse(found.rendered.files[MAIN].content.decode()))
    assert blocks == {"w1": {"wwid": "w1", "alias": "a"}, "w2": {"wwid": "w2", "alias": "b"}, "w3": {"wwid": "w3"}}
    again = await with_names_in_use(desired(B), found.rendered.files, {"w3"}, guard)
    assert again[0].rendered == found.rendered, "what stays goes on staying"


async def test_nothing_is_kept_that_nobody_uses_or_that_is_configured() -> None:
    verified = desired(A, B).rendered.files
    for wanted, guard in ((desired(B), Used(w2="swap")), (desired(A, B), Used(w1="swap")), (desired(), Used())):
        assert await with_names_in_use(wanted, verified, (), guard) == (wanted, {})
