"""`pathmesh doctor`: what is wrong here, and what to do about it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from agent.cli.base import Command, exits
from agent.cli.errors import FAILED, AgentUnreachable
from agent.cli.session import Session


@click.command(cls=Command)
@click.pass_obj
def doctor(session: Session) -> None:
    """Find what is wrong on this node and in its place in the cluster, and say what to do; exit status 1 if there is anything.

    It asks the agent. If none runs, it checks the files of this node: settings, keys, database and guard.
    """
    try:
        body = session.get("/v1/doctor")
        findings: list[Mapping[str, Any]] = body["findings"]
    except AgentUnreachable as fault:
        findings = _without_agent(session, fault)
        body = {"node": None, "findings": findings}
    if session.output == "json":
        session.json(body)
    elif session.output == "tsv":
        names = ("severity", "code", "message", "hint")
        session.table(names, [[str(finding.get(name) or "") for name in names] for finding in findings])
    else:
        session.lines(line for finding in findings for line in _lines(session, finding))
        if not findings:
            session.say(f"nothing is wrong on {body['node']}")
    if findings:
        exits(FAILED)


def _lines(session: Session, finding: Mapping[str, Any]) -> list[str]:
    from agent.cli.output import one_line

    severity = str(finding.get("severity") or "error")
    first = f"{session.paint(severity, severity)}: {finding.get('code')}: {one_line(str(finding.get('message') or ''))}"
    hint = one_line(str(finding.get("hint") or ""))
    return [first, *([f"  hint: {hint}"] if hint else [])]


def _without_agent(session: Session, fault: AgentUnreachable) -> list[Mapping[str, Any]]:
    from agent.checkup import examine
    from agent.findings import Finding

    down = Finding("agent-unreachable", "error", f"{fault.message}: only this node's files were checked", fault.hint)
    return [found.json() for found in (down, *examine(Path(session.config) if session.config else None))]
