"""How nodes tell each other: the protocol engine (no I/O), the codec, the ZeroMQ transport and the keys."""
