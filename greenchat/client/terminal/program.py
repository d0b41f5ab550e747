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

from greenchat.client.client import Client
from greenchat.client.connector import CONNECT_TIMEOUT
from greenchat.client.dial import connect
from greenchat.client.plain import WrongProtocol
from greenchat.client.pushes import ConnectionEvent, LoginInfo, Push
from greenchat.client.terminal.commands import Over, Talk, completions, execute, show_friends, show_groups
from greenchat.client.terminal.names import is_id, unquoted, written
from greenchat.client.terminal.roster import Roster
from greenchat.client.terminal.screen import Interrupted, Screen, open_screen, show
from greenchat.client.terminal.text import describe, harmless, sentence
from greenchat.client.tls import UntrustedCertificate
from greenchat.errors import AlreadyOnline, BadCredentials, GreenchatError

TROUBLE = (GreenchatError, TimeoutError)
HINTS = {
    UntrustedCertificate: "--tls-ca FILE names another authority",
    WrongProtocol: "for one with TLS add --tls",
}
MENU = ("1. login", "2. register", "3. quit")


class Terminal:
    """The conversation with the person at the terminal.

    Args:
        connect: makes a client of the server.
        device: what the server is to call this device.
        screen: where to read.

    Attributes:
        failed: True if something that was asked for was not done.
    """

    def __init__(self, connect: Callable[[], Client], device: str, screen: Screen) -> None:
        self._connect = connect
        self._device = device
        self._screen = screen
        self.failed = False

    def run(self) -> None:
        """Show the menu until it is quit; EOFError is raised where the input ends."""
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
                self._complain("Choose 1, 2 or 3.")
                continue
            try:
                stay = choice()
            except TROUBLE as error:
                self._complain(sentence(error))

    def _complain(self, text: str) -> None:
        self.failed = True
        show(text)

    def _register(self) -> bool:
        typed, password = self._screen.ask("name:").strip(), self._screen.ask("password:", hidden=True)
        name = unquoted(typed)
        with self._connect() as client:
            userid = client.register(name, password)
        show(f"You are registered; your id is {userid}. Log in now.")
        if is_id(name):
            show(_digits(name))
        return True

    def _login(self) -> bool:
        """Log in and talk; False to end the program."""
        typed, password = self._screen.ask("id or name:").strip(), self._screen.ask("password:", hidden=True)
        user = int(typed) if is_id(typed) else unquoted(typed)
        with self._connect() as client:
            try:
                login = client.login(user, password, device=self._device)
            except BadCredentials:
                if is_id(typed):
                    show(_digits(typed))
                raise
            except AlreadyOnline as error:
                show(sentence(error))
                if self._screen.ask("Log in here, and out there? (y/n)").strip().lower() not in ("y", "yes"):
                    return True
                login = client.login(user, password, device=self._device, force=True)
            return self._talk(client, login)

    def _talk(self, client: Client, login: LoginInfo) -> bool:
        """Show what comes and do what is said, until either ends; False to end the program."""
        talk = Talk(client, Roster(login), show)
        show(f"Welcome, {written(login.name)}! Your id is {login.id}. Try help.")
        show_friends(talk)
        show_groups(talk)
        self._screen.reset()
        for push in client.pushes(timeout=0):
            self._push(push, talk)
        pusher = threading.Thread(
            target=self._show_pushes, args=(talk,), name="greenchat-screen", daemon=True
        )
        pusher.start()
        try:
            while True:
                self._execute(self._screen.command(lambda text: completions(text, talk.roster)), talk)
        except Over as over:
            return not over.quit
        except Interrupted:
            return True
        finally:
            client.close()
            pusher.join()

    def _execute(self, line: str, talk: Talk) -> None:
        try:
            if line.strip():
                execute(line, talk)
        except TROUBLE as error:
            self._complain(sentence(error))
        except KeyboardInterrupt:
            self._complain("Given up; it may still be done.")

    def _show_pushes(self, talk: Talk) -> None:
        for push in talk.client.pushes():
            self._push(push, talk)

    def _push(self, push: Push, talk: Talk) -> None:
        talk.roster.hear(push)
        line = describe(push, talk.roster)
        if line:
            show(line)
        if isinstance(push, ConnectionEvent) and push.kind == "ended":
            self.failed = True
            self._screen.interrupt()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; try --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the terminal client.

    Returns:
        The exit status: 0, or 1 if the server cannot be reached or, where the commands come from a pipe or a
        file, if one of them was not done.
    """
    parser = _Parser(prog="greenchat.client", description="Chat in a terminal.")
    parser.add_argument("host", metavar="HOST", help="where the server is")
    parser.add_argument("port", metavar="PORT", type=_port, help="its port")
    parser.add_argument(
        "--device", metavar="NAME", default="", help="a name of this device, to be online on several"
    )
    parser.add_argument("--tls", action="store_true", help="encrypt, and check the server's certificate")
    parser.add_argument(
        "--tls-ca", metavar="FILE", help="whom to trust (PEM) instead of the system's authorities"
    )
    options = parser.parse_args(arguments)
    tls = _context(parser, options.tls, options.tls_ca)
    try:
        connect(options.host, options.port, CONNECT_TIMEOUT, tls).close()
    except (OSError, UnicodeError) as error:  # the latter for what can be no name of a host
        reason = harmless(_reason(error))
        parser.exit(1, f"{parser.prog}: cannot reach {options.host}:{options.port}: {reason}\n")
    return _run(partial(Client, options.host, options.port, tls=tls), options.device)


def _run(client: Callable[[], Client], device: str) -> int:
    """Talk until the end, and return the exit status."""
    try:
        with open_screen() as screen:
            terminal = Terminal(client, device, screen)
            with contextlib.suppress(EOFError):
                terminal.run()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone: say nothing more, not at the exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return int(terminal.failed and not sys.stdin.isatty())


def _context(parser: argparse.ArgumentParser, wanted: bool, ca: str | None) -> ssl.SSLContext | None:
    """Say whom to trust; None for no TLS."""
    if not wanted:
        return parser.error("--tls-ca is of use with --tls only") if ca else None
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        parser.error(f"--tls-ca: {ca}: there is no certificate in PEM in it")
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
