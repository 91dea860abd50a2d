"""The process and its faces: wiring, settings, the unix-socket HTTP API and the command line."""

__version__ = "0.1.0"
__all__ = ["__version__"]
