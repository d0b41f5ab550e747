"""The program: a menu to log in or register, then commands and messages."""

from __future__ import annotations

import argparse
import contextlib
import os
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from greenchat.client import Client, ConnectionEvent, LoginInfo, Push
from greenchat.client.core.connections import CONNECT_TIMEOUT
from greenchat.client.core.greeting import WrongProtocol
from greenchat.client.dial import connect
from greenchat.client.terminal.commands import (
    CommandContext,
    LoginEnded,
    completions,
    execute,
    show_friends,
    show_groups,
)
from greenchat.client.terminal.names import is_id, quote, unquote
from greenchat.client.terminal.roster import Roster
from greenchat.client.terminal.screen import Interrupted, Screen, open_screen, show
from greenchat.client.terminal.text import describe, error_sentence, escape_controls
from greenchat.client.tls import UntrustedCertificate
from greenchat.errors import AlreadyOnline, BadCredentials, GreenchatError

FAILURES = (GreenchatError, TimeoutError)
HINTS = {
    UntrustedCertificate: "--tls-ca FILE names another authority",
    WrongProtocol: "for one with TLS add --tls",
}
MENU = ("1. login", "2. register", "3. quit")


class Terminal:
    """Run the menu and the commands.

    Args:
        new_client: returns a client of the server.
        device: name of this device for the server.
        screen: reads the input.

    Attributes:
        failed: True if a command has failed.
    """

    def __init__(self, new_client: Callable[[], Client], device: str, screen: Screen) -> None:
        self._new_client = new_client
        self._device = device
        self._screen = screen
        self.failed = False

    def run(self) -> None:
        """Show the menu until the user quits.

        Raises:
            EOFError: the input has ended.
        """
        choices: dict[str, Callable[[], bool]] = {
            "1": self._login,
            "login": self._login,
            "2": self._register,
            "register": self._register,
            "3": _leave,
            "quit": _leave,
        }
        stay = True
        while stay:
            for line in MENU:
                show(line)
            choice = choices.get(self._screen.ask("choice:").strip().lower())
            if choice is None:
                self._show_error("Choose 1, 2 or 3.")
                continue
            try:
                stay = choice()
            except FAILURES as error:
                self._show_error(error_sentence(error))

    def _show_error(self, text: str) -> None:
        self.failed = True
        show(text)

    def _register(self) -> bool:
        typed, password = self._screen.ask("name:").strip(), self._screen.ask("password:", hidden=True)
        name = unquote(typed)
        with self._new_client() as client:
            userid = client.register(name, password)
        show(f"You are registered; your id is {userid}. Log in now.")
        if is_id(name):
            show(_digits(name))
        return True

    def _login(self) -> bool:
        """Log in and run commands; return False to end the program."""
        typed, password = self._screen.ask("id or name:").strip(), self._screen.ask("password:", hidden=True)
        user = int(typed) if is_id(typed) else unquote(typed)
        with self._new_client() as client:
            try:
                login = client.login(user, password, device=self._device)
            except BadCredentials:
                if is_id(typed):
                    show(_digits(typed))
                raise
            except AlreadyOnline as error:
                show(error_sentence(error))
                if self._screen.ask("Log in here, and out there? (y/n)").strip().lower() not in ("y", "yes"):
                    return True
                login = client.login(user, password, device=self._device, force=True)
            return self._run_commands(client, login)

    def _run_commands(self, client: Client, login: LoginInfo) -> bool:
        """Show pushes and execute commands until the login ends; return False to end the program."""
        context = CommandContext(client, Roster(login), show)
        show(f"Welcome, {quote(login.name)}! Your id is {login.id}. Try help.")
        show_friends(context)
        show_groups(context)
        self._screen.reset()
        for push in client.pushes(timeout=0):
            self._show_push(push, context)
        pusher = threading.Thread(
            target=self._show_pushes, args=(context,), name="greenchat-screen", daemon=True
        )
        pusher.start()
        try:
            while True:
                self._execute(self._screen.command(lambda text: completions(text, context.roster)), context)
        except LoginEnded as ended:
            return not ended.quit
        except Interrupted:
            return True
        finally:
            client.close()
            pusher.join()

    def _execute(self, line: str, context: CommandContext) -> None:
        try:
            if line.strip():
                execute(line, context)
        except FAILURES as error:
            self._show_error(error_sentence(error))
        except KeyboardInterrupt:
            self._show_error("Cancelled; the server may still do it.")

    def _show_pushes(self, context: CommandContext) -> None:
        for push in context.client.pushes():
            self._show_push(push, context)

    def _show_push(self, push: Push, context: CommandContext) -> None:
        context.roster.update(push)
        line = describe(push, context.roster)
        if line:
            show(line)
        if isinstance(push, ConnectionEvent) and push.kind == "ended":
            self.failed = True
            self._screen.interrupt()


class _TerminalParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; try --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the terminal client.

    Returns:
        The exit status: 0; 1 if the server cannot be reached, or if a command from a pipe or file has failed;
        130 after Ctrl-C.
    """
    parser = _TerminalParser(prog="greenchat.client", description="Chat in a terminal.")
    parser.add_argument("host", metavar="HOST", help="host name or address of the server")
    parser.add_argument("port", metavar="PORT", type=_port, help="port of the server")
    parser.add_argument(
        "--device", metavar="NAME", default="", help="name of this device; each device is online by itself"
    )
    parser.add_argument("--tls", action="store_true", help="encrypt, and check the server's certificate")
    parser.add_argument("--tls-ca", metavar="FILE", help="authority to trust (PEM) in place of the system's")
    options = parser.parse_args(arguments)
    tls = _context(parser, options.tls, options.tls_ca)
    try:
        connect(options.host, options.port, CONNECT_TIMEOUT, tls).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: the host name cannot be encoded
        reason = escape_controls(_reason(error))
        parser.exit(1, f"{parser.prog}: cannot reach {options.host}:{options.port}: {reason}\n")
    return _run(partial(Client, options.host, options.port, tls=tls), options.device)


def _run(client: Callable[[], Client], device: str) -> int:
    """Run the program, and return the exit status."""
    try:
        with open_screen() as screen:
            terminal = Terminal(client, device, screen)
            with contextlib.suppress(EOFError):
                terminal.run()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the output is a closed pipe: print no error at the exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return int(terminal.failed and not sys.stdin.isatty())


def _context(parser: argparse.ArgumentParser, wanted: bool, ca: str | None) -> ssl.SSLContext | None:
    """Return the context of a connection with TLS; None without TLS."""
    if not wanted:
        return parser.error("--tls-ca needs --tls") if ca else None
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        parser.error(f"--tls-ca: {ca}: the file has no certificate in PEM form")
    except OSError as error:
        parser.error(f"--tls-ca: {ca}: {error.strerror}")


def _reason(error: OSError | UnicodeError) -> str:
    text = (getattr(error, "strerror", None) or "").lower() or str(error)
    for kind, hint in HINTS.items():
        if isinstance(error, kind):
            return f"{text} ({hint})"
    return text


def _port(text: str) -> int:
    if not (is_id(text) and 0 < int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"not a number from 1 to 65535: {text!r}")
    return int(text)


def _digits(name: str) -> str:
    return f'Digits alone are an id; the name is written in quotes: "{name}".'


def _leave() -> bool:
    return False
