"""Input and output: a prompt below the messages in a terminal, plain lines for scripts."""

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

from greenchat.client.terminal.text import safe_lines

Complete = Callable[[str], list[str]]


class Interrupted(Exception):
    """Raised by ``command`` after ``interrupt``: the login has ended."""


class Screen(Protocol):
    """Read answers and commands; both methods raise EOFError when the input ends."""

    def ask(self, question: str, hidden: bool = False) -> str:
        """Show a question and return the answer; a hidden one is not shown."""

    def command(self, complete: Complete) -> str:
        """Return the next command line; ``complete`` returns the completions of its beginning."""

    def interrupt(self) -> None:
        """Make ``command`` raise Interrupted, now or at its next call; any thread may call this."""

    def reset(self) -> None:
        """Forget an interrupt that ``command`` has not raised."""


def show(text: str) -> None:
    """Print a text, with control characters escaped.  Everything that is printed passes here."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    print("\n".join(safe_lines(text, columns)), flush=True)


class _ScreenHandler(logging.Handler):
    """Show the library's log by ``show``, because it quotes the server."""

    def emit(self, record: logging.LogRecord) -> None:
        show(f"({record.getMessage()})")


@contextlib.contextmanager
def open_screen() -> Iterator[Screen]:
    """Open a prompt; plain lines if input or output is no terminal, or a dumb one."""
    log, handler = logging.getLogger("greenchat"), _ScreenHandler(logging.WARNING)
    log.addHandler(handler)
    try:
        if sys.stdin.isatty() and sys.stdout.isatty() and not is_dumb_terminal():
            with patch_stdout():
                yield PromptScreen()
        else:
            yield PlainScreen()
    finally:
        log.removeHandler(handler)


@contextlib.contextmanager
def _without_echo(terminal: int) -> Iterator[None]:
    """Switch the echo of a terminal off; do nothing if the descriptor is none."""
    if not os.isatty(terminal):
        yield
        return
    before = termios.tcgetattr(terminal)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(terminal, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


class PlainScreen(Screen):
    """Read and print plain lines."""

    def __init__(self) -> None:
        self._rest = b""
        self._stop, self._stopper = os.pipe()
        if hasattr(sys.stdout, "reconfigure"):
            # The encoding of the output may lack a character.
            sys.stdout.reconfigure(errors="backslashreplace")

    def ask(self, question: str, hidden: bool = False) -> str:
        """Print the question as a line, and read the answer as one; a hidden answer is not echoed."""
        with _without_echo(sys.stdin.fileno()) if hidden else contextlib.nullcontext():
            show(question)
            return self._line([])

    def command(self, complete: Complete) -> str:
        """Read a command line.  A backslash at its end continues it on the next line; two stand for one."""
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
        """Wake the thread that reads."""
        os.write(self._stopper, b"!")

    def reset(self) -> None:
        """Empty the pipe."""
        if select.select([self._stop], [], [], 0)[0]:
            os.read(self._stop, 1)

    def _line(self, stops: list[int]) -> str:
        stdin = sys.stdin.fileno()
        while b"\n" not in self._rest:
            ready = select.select([stdin, *stops], [], [])[0]
            if self._stop in ready:
                os.read(self._stop, 1)
                raise Interrupted
            data = os.read(stdin, 65_536)
            if not data and not self._rest:
                raise EOFError
            self._rest += data or b"\n"  # the last line may have no newline
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace").rstrip("\r")


class PromptScreen(Screen):
    """Read with a prompt, history and completion; messages are printed above it."""

    def __init__(self) -> None:
        self._questions: PromptSession[str] = PromptSession(history=DummyHistory())
        self._commands: PromptSession[str] = PromptSession(
            history=InMemoryHistory(), multiline=True, key_bindings=_keys()
        )
        self._stopped = threading.Event()

    def ask(self, question: str, hidden: bool = False) -> str:
        """Ask; a hidden answer is shown as asterisks, and no answer is kept in the history."""
        while True:
            try:
                return self._questions.prompt(question + " ", is_password=hidden)
            except KeyboardInterrupt:
                continue

    def command(self, complete: Complete) -> str:
        """Read a command line; Ctrl-C clears it, Ctrl-D ends the input."""
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
            with contextlib.suppress(RuntimeError):  # the prompt has just ended; pre_run checks the next one
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
    """Return the key bindings: Enter ends the command, Alt-Enter begins a new line."""
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
