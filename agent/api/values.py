"""Option values as clients send them: text, numbers or booleans, names in either spelling."""

from typing import Annotated

from msgspec import Meta

from apply.options import canonical_name
from store.errors import UsageError

Values = dict[str, str | int | bool]
Reason = Annotated[str, Meta(max_length=4096)]


def texts(values: Values) -> dict[str, str]:
    """Option values as text, names in canonical spelling."""
    texts: dict[str, str] = {}
    for name, value in values.items():
        canonical = canonical_name(name)
        if canonical in texts:
            raise UsageError(f"{canonical} is given twice, with - and with _", code="duplicate-option")
        texts[canonical] = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return texts
