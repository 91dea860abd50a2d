"""The folded configuration as readers see it: documents, digests, the typed model, expected nodes and problems.

A view is a picture of one moment. What costs time (text, digests, the model) is worked out when somebody asks, and kept.
"""

from collections.abc import Collection, Mapping
from functools import cached_property

from agent.maintenance import Maintenance, read_maintenance
from apply.model import Model, Problem, build
from apply.storages import ExpectedNodes, expected_nodes
from store.document import OVERRIDES, Options, is_config_key
from store.fold import Fold
from store.section_config import apply_digest, config_digest, text_digest, write


class ConfigView:
    """One moment's configuration. Everything on it is a function of the fold and the members at that moment."""

    def __init__(self, fold: Fold, members: Collection[str], inferred: Mapping[str, frozenset[str]]) -> None:
        self.members = frozenset(members)
        self.clock = dict(fold.clock)
        self.conflicts = tuple(fold.conflicts)
        self.document: dict[str, Options] = {}
        self.order: dict[str, tuple[int, bytes]] = {}
        self.acks: dict[str, tuple[str, Options]] = {}
        self.inferred = dict(inferred)
        """The names of the volume groups that nodes found on each LUN, where a storage without a base needs them."""
        for key in fold:
            winner = fold.winner(key)
            if winner is None or winner.value is None:
                continue
            if key.startswith("ack/"):
                self.acks[key] = (str(winner.dot), winner.value)
            elif is_config_key(key) or key == OVERRIDES:
                self.document[key] = winner.value
                self.order[key] = winner.rank

    @cached_property
    def maintenance(self) -> Mapping[str, Maintenance]:
        """The nodes in maintenance, also those whose time has ended since."""
        return read_maintenance((key, options) for key, (_, options) in self.acks.items())

    @property
    def overrides(self) -> str:
        """The free-form overrides; empty if there are none."""
        return self.document.get(OVERRIDES, {}).get("text", "")

    @cached_property
    def text(self) -> str:
        """The canonical SectionConfig text of the `config` document."""
        return write(self.document)

    @cached_property
    def digest(self) -> str:
        """The digest of the `config` document."""
        return config_digest(self.document)

    @cached_property
    def overrides_digest(self) -> str:
        """The digest of the overrides."""
        return text_digest(self.overrides)

    @cached_property
    def apply_digest(self) -> str:
        """The digest that says what a host should have: of both documents."""
        return apply_digest(self.digest, self.overrides_digest)

    @cached_property
    def model(self) -> Model:
        """The typed model, with what makes no sense left out."""
        return build(self.document, self.order)

    @cached_property
    def _expected(self) -> tuple[Mapping[str, ExpectedNodes], tuple[Problem, ...]]:
        return expected_nodes(self.model, self.members, self.inferred)

    @property
    def expected(self) -> Mapping[str, ExpectedNodes]:
        """Which nodes should carry each LUN."""
        return self._expected[0]

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """What in the configuration needs somebody's attention."""
        return (*self.model.problems, *self._expected[1])
