"""The web page: the same API on a loopback TCP port behind a login, and the page's own files."""
