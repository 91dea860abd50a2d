"""How fast, how small and how quiet real agents on loopback are, beside the raw limit of the same machine."""
