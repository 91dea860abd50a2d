"""How long something has lasted, as people say it."""


def lasting(seconds: float) -> str:
    """A time in its largest unit of which there are two at least."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
