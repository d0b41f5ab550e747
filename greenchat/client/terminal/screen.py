"""Where the terminal reads and prints: a prompt below the messages, or plain lines for scripts."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import DummyHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.utils import is_dumb_terminal

from greenchat.client.terminal.text import printable

Complete = Callable[[str], list[str]]


class Interrupted(Exception):
    """Raised by ``command`` after ``interrupt``: there is no login any more to give commands in."""


class Screen(Protocol):
    """The terminal's means to read; ``ask`` and ``command`` raise EOFError when the input ends."""

    def ask(self, question: str, hidden: bool = False) -> str:
        """Ask a question and return the answer."""

    def command(self, complete: Complete) -> str:
        """Return the next command."""

    def interrupt(self) -> None:
        """Have ``command`` raise Interrupted, now or when it is called; from any thread."""

    def reset(self) -> None:
        """Forget an interrupt that nobody saw."""


def show(text: str) -> None:
    """Print a text: the one way out, and what comes from others is made harmless here."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    print("\n".join(printable(text, columns)), flush=True)


class _Shown(logging.Handler):
    """Show what the library logs: it quotes the server, and has no other harmless way to the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        show(f"({record.getMessage()})")


@contextlib.contextmanager
def open_screen() -> Iterator[Screen]:
    """Open the prompt in a terminal; plain lines where input or output is none, or a dumb one."""
    log, shown = logging.getLogger("greenchat"), _Shown(logging.WARNING)
    log.addHandler(shown)
    try:
        if sys.stdin.isatty() and sys.stdout.isatty() and not is_dumb_terminal():
            with patch_stdout():
                yield PromptScreen()
        else:
            yield PlainScreen()
    finally:
        log.removeHandler(shown)


@contextlib.contextmanager
def _unseen(terminal: int) -> Iterator[None]:
    """Show nothing of what is typed at a terminal; do nothing where it is none."""
    if not os.isatty(terminal):
        yield
        return
    before = termios.tcgetattr(terminal)
    blind = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(terminal, termios.TCSADRAIN, blind)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


class PlainScreen:
    """Lines in, lines out."""

    def __init__(self) -> None:
        self._tail = b""
        self._stop, self._stopper = os.pipe()
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of few letters shows all the same

    def ask(self, question: str, hidden: bool = False) -> str:
        """Print the question as a line, and read one; a hidden answer shows nowhere."""
        with _unseen(sys.stdin.fileno()) if hidden else contextlib.nullcontext():
            show(question)
            return self._line([])

    def command(self, complete: Complete) -> str:
        """Read a command.  A backslash at the end of a line takes the next one too; two there are one."""
        command = ""
        while True:
            line = self._line([self._stop])
            body = line.rstrip("\\")
            backslashes = len(line) - len(body)
            command += body + "\\" * (backslashes // 2)
            if backslashes % 2 == 0:
                return command
            command += "\n"

    def interrupt(self) -> None:
        """Wake the read."""
        os.write(self._stopper, b"!")

    def reset(self) -> None:
        """Empty the pipe."""
        if select.select([self._stop], [], [], 0)[0]:
            os.read(self._stop, 1)

    def _line(self, stops: list[int]) -> str:
        stdin = sys.stdin.fileno()
        while b"\n" not in self._tail:
            ready = select.select([stdin, *stops], [], [])[0]
            if self._stop in ready:
                os.read(self._stop, 1)
                raise Interrupted
            data = os.read(stdin, 65_536)
            if not data and not self._tail:
                raise EOFError
            self._tail += data or b"\n"  # the last line may lack its end
        line, _, self._tail = self._tail.partition(b"\n")
        return line.decode(errors="replace").rstrip("\r")


class PromptScreen:
    """A line being typed, with history and completion; messages appear above it."""

    def __init__(self) -> None:
        self._questions: PromptSession[str] = PromptSession(history=DummyHistory())
        self._commands: PromptSession[str] = PromptSession(
            history=InMemoryHistory(), multiline=True, key_bindings=_keys()
        )
        self._stopped = threading.Event()

    def ask(self, question: str, hidden: bool = False) -> str:
        """Ask; a hidden answer shows as stars, and none is kept in the history."""
        while True:
            try:
                return self._questions.prompt(question + " ", is_password=hidden)
            except KeyboardInterrupt:
                continue

    def command(self, complete: Complete) -> str:
        """Read a command; Ctrl-C clears it, Ctrl-D ends the input."""
        while True:
            try:
                return self._commands.prompt(
                    "> ", completer=_LineCompleter(complete), complete_while_typing=False, pre_run=self._check
                )
            except KeyboardInterrupt:
                continue

    def interrupt(self) -> None:
        """End the prompt."""
        self._stopped.set()
        loop = self._commands.app.loop
        if loop:
            with contextlib.suppress(RuntimeError):  # the prompt has just ended; the next one checks
                loop.call_soon_threadsafe(self._check)

    def reset(self) -> None:
        """Forget the interrupt."""
        self._stopped.clear()

    def _check(self) -> None:
        app = self._commands.app
        if self._stopped.is_set() and app.is_running and not app.is_done:
            self._stopped.clear()
            app.exit(exception=Interrupted())


def _keys() -> KeyBindings:
    """Return the keys of the prompt: Enter ends a command, and Alt-Enter a line of it."""
    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=has_focus(DEFAULT_BUFFER))
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


class _LineCompleter(Completer):
    def __init__(self, complete: Complete) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        typed = document.text_before_cursor
        for line in self._complete(typed):
            yield Completion(line, start_position=-len(typed))
