"""`csirt check`: every problem of configuration and content, before anything starts."""

from __future__ import annotations

import click

from csirt.cli.command import command
from csirt.cli.common import Settings, say, shared, write_json, write_rows


@command()
@click.option("--offline", is_flag=True, help="Do not ask the cluster: the daemon starts without it too.")
@shared
def check(settings: Settings, offline: bool) -> int:
    """Read the configuration and all content, build everything, start nothing.

    Prints every problem with file and line; exits 1 if there is an error, 6 if all is well but the cluster of
    [stores.elasticsearch] cannot be worked with.

    \b
    Examples:
      csirt check --config csirt.toml
      csirt check --offline --json
    """
    from csirt import checking
    from csirt.app import App
    from csirt.configfile import load
    from csirt.errors import Problem, Usage
    from csirt.nodes import unlike

    lost = None
    try:
        app = App(load(settings.config_file()))
        problems = checking.check(app)
    except Usage as error:
        if settings.as_json:
            raise
        write_rows([line] for line in error.message.split("\n"))
        return 1
    if not offline and not any(problem.level == "error" for problem in problems):
        lost = checking.unreachable(app.config)
        found = [Problem("cluster", 1, lost.message)] if lost else unlike(app.config, app.rules_digest(), app.clock)
        problems += found + ([] if lost else checking.rights(app.config))
    errors = sum(problem.level == "error" for problem in problems)
    code = lost.exit_code if lost else 1 if errors else 0
    if settings.as_json:
        items = [problem.as_dict() for problem in problems]
        write_json({"schema": "csirt.check/1", "count": len(items), "errors": errors, "items": items})
        return code
    write_rows([problem] for problem in problems)
    from csirt.messages import text

    say(text("check.done", settings.language(), errors=errors, warnings=len(problems) - errors))
    return code
