"""The blacklist of the overrides: which allow-listed LUNs, and which maps of others, would lose paths to it.

multipathd looks at a path's udev properties, device node, vendor and product, protocol and WWID, in this order, and an exception rescues
only from rules that look at the same thing. Every allow-listed LUN has an exception for its WWID in our main file, so rules about WWIDs
take nothing of it away; maps of others have none. (multipath.conf(5), the behaviour of multipath-tools 0.9.4.)
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from apply.ere import Rule, compile_rule
from apply.hosts import Hosts, Sighting
from apply.overrides import Statement, finding
from apply.problems import Problem, Severity

_PROPERTIES = ("DEVNAME", "DEVPATH", "DEVTYPE", "MAJOR", "MINOR", "SUBSYSTEM", "ID_SERIAL")
"""udev properties that every path has; nodes do not report them."""

_TYPICAL = (
    Sighting("", "PURE", "FlashArray", ("sda",), ("scsi:fcp",)),
    Sighting("", "IBM", "2145", ("sdm",), ("scsi:iscsi",)),
    Sighting("", "DELL", "ME5", ("sdzz",), ("scsi:sas",)),
)
"""A rule that takes all of these takes a LUN that no node has seen yet."""

_MAX_NAMED = 3

Subject = tuple[str, str, str]
"""A criterion and what a rule of it looks at: a text, or vendor and product."""


@dataclass(frozen=True)
class FilterRule:
    """One rule of a blacklist or of its exceptions. `key` is what it says, wherever it stands."""

    criterion: str
    key: tuple[str, ...]
    at: Statement
    rules: tuple[Rule | None, Rule | None]

    def matches(self, first: str, second: str) -> bool:
        """Whether the rule is about a subject; what it does not mention may be anything."""
        pairs = zip(self.rules, (first, second), strict=True)
        return all(rule is None or rule.matches(text) for rule, text in pairs)


@dataclass(frozen=True)
class Loss:
    """One rule, and the LUNs that lose paths to it, each with what of it the rule matched."""

    rule: FilterRule
    luns: Mapping[str, str] = field(default_factory=dict)


def losses(statements: Sequence[Statement], wwids: Collection[str], hosts: Hosts) -> dict[tuple[str, ...], Loss]:
    """The rules of a text that take paths from some of these LUNs, by what they say."""
    filters = _Filters(statements)
    found: dict[tuple[str, ...], Loss] = {}
    if filters.empty:
        return found
    for wwid in sorted(wwids):
        _note(found, wwid, filters.hit(hosts.sightings(wwid)))
    return found


def hidden_maps(
    statements: Sequence[Statement], maps: Mapping[str, Sequence[Sighting]], others: Sequence[Statement] = ()
) -> dict[tuple[str, ...], Loss]:
    """The rules of a text that take paths from maps of LUNs that are not allow-listed, by what they say.

    `others` are the statements of other files: their exceptions count.
    """
    filters = _Filters(statements, others)
    found: dict[tuple[str, ...], Loss] = {}
    for wwid, sightings in sorted(maps.items()) if not filters.empty else ():
        _note(found, wwid, filters.hit(sightings, wwid))
    return found


def brought_about(found: Mapping[tuple[str, ...], Loss], known: Mapping[tuple[str, ...], Loss]) -> dict[tuple[str, ...], Loss]:
    """The rules of `found` that are not `known`, or take something there that they did not take before."""
    return {key: loss for key, loss in found.items() if key not in known or loss.luns.keys() - known[key].luns.keys()}


def _note(found: dict[tuple[str, ...], Loss], wwid: str, hit: tuple[FilterRule, str] | None) -> None:
    if hit is not None:
        rule, what = hit
        found[rule.key] = Loss(rule, {**(found[rule.key].luns if rule.key in found else {}), wwid: what})


def loss_problem(loss: Loss) -> Problem:
    """The problem that a rule is which takes allow-listed LUNs."""
    hint = f"narrow it, or add a {loss.rule.criterion} rule for them to blacklist_exceptions; an exception for the WWID does not help"
    return finding("overrides-blacklist", loss.rule.at, loss_message(loss), hint)


def hidden_problem(loss: Loss) -> Problem:
    """The problem that a rule is which takes maps of others."""
    message = f"{loss_message(loss)}, which nodes use without a configured LUN"
    hint = f"narrow it, or add a {loss.rule.criterion} rule for them to blacklist_exceptions"
    return finding("overrides-blacklist", loss.rule.at, message, hint)


def loss_message(loss: Loss) -> str:
    """What a rule takes, in a few words."""
    named = [f"{wwid} ({what})" if what else wwid for wwid, what in sorted(loss.luns.items())[:_MAX_NAMED]]
    more = len(loss.luns) - len(named)
    return f"this {loss.rule.criterion} rule takes the paths of {', '.join(named)}" + (f" and {more} more LUNs" if more else "")


def unchecked(statements: Sequence[Statement]) -> Iterator[Problem]:
    """Remarks on rules whose effect cannot be told."""
    for rule in _rules(statements, "blacklist"):
        if rule.criterion == "property":
            message = "what a property rule takes cannot be told: nodes do not report udev properties"
            hint = "compare it with `udevadm info --query=property` of a path"
            yield finding("overrides-unchecked", rule.at, message, hint, Severity.INFO)


class _Filters:
    """The rules of a text, and what was found of them so far."""

    def __init__(self, statements: Sequence[Statement], others: Sequence[Statement] = ()) -> None:
        self._blacklist = list(_rules(statements, "blacklist"))
        self._exceptions = list(_rules([*statements, *others], "blacklist_exceptions"))
        self._known: dict[Subject, FilterRule | None] = {}
        typical = [self._hit(sighting) for sighting in _TYPICAL]
        self._catch_all = typical[0][0] if typical[0] and all(typical) else None

    @property
    def empty(self) -> bool:
        """Nothing can be lost."""
        return not self._blacklist

    def hit(self, sightings: Sequence[Sighting], wwid: str = "") -> tuple[FilterRule, str] | None:
        """The first rule that takes a path away, and what it matched; of a LUN that nobody sees, only what takes everything.

        `wwid` is that of a LUN whose WWID has no exception of ours.
        """
        if not sightings:
            return None if self._catch_all is None else (self._catch_all, "")
        return next((hit for sighting in sightings if (hit := self._hit(sighting, wwid))), None)

    def _hit(self, sighting: Sighting, wwid: str = "") -> tuple[FilterRule, str] | None:
        for criterion, first, second in _subjects(sighting, wwid):
            rule = self._rule(criterion, first, second)
            if rule is not None:
                what = "" if criterion == "wwid" else " ".join(filter(None, (first, second)))
                return rule, f"{what} on {sighting.node}" if criterion in ("devnode", "protocol") and sighting.node else what
        return None

    def _rule(self, *subject: str) -> FilterRule | None:
        criterion, first, second = subject
        if (criterion, first, second) not in self._known:
            excepted = any(rule.criterion == criterion and rule.matches(first, second) for rule in self._exceptions)
            matching = (rule for rule in self._blacklist if rule.criterion == criterion and rule.matches(first, second))
            self._known[criterion, first, second] = None if excepted else next(matching, None)
        return self._known[criterion, first, second]


def _subjects(sighting: Sighting, wwid: str) -> Iterator[Subject]:
    """What the rules look at, in multipathd's order."""
    yield from (("property", name, "") for name in _PROPERTIES)
    yield from (("devnode", name, "") for name in sighting.devnodes)
    if sighting.vendor or sighting.product:
        yield "device", sighting.vendor, sighting.product
    yield from (("protocol", name, "") for name in sighting.protocols)
    if wwid:
        yield "wwid", wwid, ""


def _rules(statements: Sequence[Statement], section: str) -> Iterator[FilterRule]:
    """The rules of all sections of that name that multipathd takes. A device's `product_blacklist` is a rule of the blacklist too."""
    if section == "blacklist":
        yield from _hidden_products(statements)
    for statement in (child for found in statements if found.keyword == section for child in found.children):
        if statement.value is not None:
            rule = compile_rule(statement.value)
            if rule is not None:
                yield FilterRule(statement.keyword, (statement.keyword, statement.value), statement, (rule, None))
        elif statement.keyword == "device":
            yield from _device_rule(statement, "vendor", "product")


def _device_rule(statement: Statement, *names: str) -> Iterator[FilterRule]:
    """The rule that a device makes with the values of two of its keywords, about vendor and product; none if neither is there."""
    values = statement.values(*names)
    vendor, product = (compile_rule(values[name]) if name in values else None for name in names)
    if vendor or product:
        yield FilterRule("device", ("device", *(values.get(name, "") for name in names)), statement, (vendor, product))


def _hidden_products(statements: Sequence[Statement]) -> Iterator[FilterRule]:
    """What the `product_blacklist` of devices hides, of their vendor if they name one."""
    devices = (child for found in statements if found.keyword == "devices" for child in found.children)
    for statement in (child for child in devices if child.keyword == "device"):
        if "product_blacklist" in statement.values("product_blacklist"):
            yield from (rule for rule in _device_rule(statement, "vendor", "product_blacklist") if rule.rules[1] is not None)
