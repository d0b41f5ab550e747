"""The command line of ``greenchat-admin``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from greenchat import __version__
from greenchat.admin.ask import CommandFailed, ask

VARIABLE = "GREENCHAT_CONTROL_SOCKET"
"""Of the environment: the server's setting of the same name, so that one line serves both."""

DESCRIPTION = "Manage a running greenchat server over its socket (the server's setting control_socket)."

ADD_IN_HELP = """\
Make a URL to which other programs POST messages in Slack's form: Grafana, Alertmanager, GitLab, Uptime Kuma,
Sentry, or a line of curl.  The URL is shown once; only a hash of it is kept."""

ADD_OUT_HELP = """\
POST each message that a bot is sent to a URL, signed as Standard Webhooks does.  The secret is shown once to
you; the receiver checks signatures with it."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, and where the help is."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0 if it was done, 1 if not.  A wrong command line exits with 2.
    """
    given = _parser().parse_args(arguments)
    path = given.socket or os.environ.get(VARIABLE, "")
    try:
        if not path:
            raise CommandFailed(f"say which server: --socket PATH, or {VARIABLE} in the environment")
        given.run(path, given)
    except CommandFailed as error:
        print(f"greenchat-admin: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # no second error at the end
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="greenchat-admin", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"greenchat {__version__}")
    parser.add_argument("--socket", metavar="PATH", help=f"the server's socket (default: ${VARIABLE})")
    subjects = parser.add_subparsers(title="subjects", required=True, metavar="SUBJECT")
    hook = subjects.add_parser("hook", help="incoming and outgoing webhooks", description="Manage webhooks.")
    actions = hook.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_in(actions)
    _add_out(actions)
    shown = actions.add_parser("list", help="list all hooks", description="List all hooks and their state.")
    shown.set_defaults(run=_list)
    for name, help in (
        ("remove", "end a hook for good"),
        ("enable", "switch an outgoing hook on again, with what it has missed"),
        ("disable", "switch an outgoing hook off; nothing is lost meanwhile"),
    ):
        change = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        change.add_argument("id", type=int, metavar="ID", help="the number from hook list")
        change.set_defaults(run=_change, action=name)
    return parser


def _add_in(actions: Any) -> None:
    add = actions.add_parser("add-in", help="make a URL that takes messages", description=ADD_IN_HELP)
    _add_bot(add, "the name under which the messages appear")
    target = add.add_mutually_exclusive_group(required=True)
    target.add_argument("--group", metavar="NAME", help="the group that gets them; the bot joins it")
    target.add_argument("--user", metavar="NAME", help="the user that gets them")
    add.set_defaults(run=_run_add_in)


def _add_out(actions: Any) -> None:
    add = actions.add_parser("add-out", help="send messages to a URL", description=ADD_OUT_HELP)
    _add_bot(add, "the user whose messages are sent: those of its groups, and those to it")
    add.add_argument(
        "--group", metavar="NAME", action="append", default=[], help="a group that it joins; may be repeated"
    )
    add.add_argument("url", metavar="URL", help="where to; https://…")
    add.set_defaults(run=_run_add_out)


def _add_bot(add: argparse.ArgumentParser, help: str) -> None:
    add.add_argument("--bot", metavar="NAME", required=True, help=f"{help}; made if there is no such user")
    add.add_argument(
        "--account", action="store_true", help="NAME may be an account that somebody can log in to"
    )


def _run_add_in(path: str, given: argparse.Namespace) -> None:
    made = ask(path, "hook add-in", bot=given.bot, group=given.group, user=given.user, account=given.account)
    print(made["path"])
    print(
        f"hook {made['id']} writes as {made['bot']!r}. Put the server's web address before this path, as in\n"
        f"https://chat.example.com/hooks/…; it is not shown again, and who has it can write.",
        file=sys.stderr,
    )


def _run_add_out(path: str, given: argparse.Namespace) -> None:
    made = ask(path, "hook add-out", bot=given.bot, url=given.url, groups=given.group, account=given.account)
    print(made["secret"])
    print(
        f"hook {made['id']} sends what {made['bot']!r} gets. The receiver checks signatures with this\n"
        "secret; it is not shown again.",
        file=sys.stderr,
    )


def _list(path: str, given: argparse.Namespace) -> None:
    rows = [("ID", "KIND", "BOT", "TARGET", "STATE")]
    for hook in ask(path, "hook list"):
        more = f" (and {hook['failing'] - 1} more conversations)" if hook["failing"] > 1 else ""
        rows.append((str(hook["id"]), hook["kind"], hook["bot"], hook["target"], hook["state"] + more))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[4]]).rstrip())


def _change(path: str, given: argparse.Namespace) -> None:
    ask(path, "hook change", id=given.id, action=given.action)
    print(f"hook {given.id}: {given.action}d")
