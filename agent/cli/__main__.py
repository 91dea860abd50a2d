"""`python -m agent.cli` is `pathmesh`."""

from agent.cli import main

main()
