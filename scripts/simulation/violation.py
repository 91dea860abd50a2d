"""What a check raises."""


class Violation(AssertionError):
    """Something happened that must never happen. `invariant` is its number."""

    def __init__(self, invariant: int, label: str, text: str, now_ms: int) -> None:
        super().__init__(f"invariant {invariant} broken{f' on {label}' if label else ''} at {now_ms} ms: {text}")
        self.invariant = invariant
