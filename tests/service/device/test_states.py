"""The table of states and events, in the code, in its docstring and in the diagram."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greenchat.service.device import states
from greenchat.service.device.states import TABLE, Action, Event, State

DIAGRAM = Path(__file__).parents[3] / "docs" / "architecture" / "device-stream.md"

Transition = tuple[State, Event, State]

TRANSITIONS = {(before, event, after) for event, row in TABLE.items() for before, after in row.states.items()}


def grid() -> dict[str, list[str]]:
    """Return the rows of the docstring's last grid, cut at the columns of its rules, by their first cell."""
    assert states.__doc__ is not None
    lines = states.__doc__[states.__doc__.index("Transitions") :].splitlines()
    rules = [number for number, line in enumerate(lines) if re.fullmatch(r"=+( +=+){7}", line)]
    columns = [match.start() for match in re.finditer("=+", lines[rules[0]])]
    ends: list[int | None] = [*columns[1:], None]
    cut = [
        [line[start:end].strip() for start, end in zip(columns, ends, strict=True)]
        for line in lines[rules[0] + 1 : rules[-1]]
        if not line.startswith("=")
    ]
    return {cells[0]: cells[1:] for cells in cut}


def test_the_docstring_has_the_transitions_of_the_code() -> None:
    rows = grid()
    header = [State[name] for name in rows.pop("event")[1:]]
    assert list(rows) == [event.name for event in Event]
    shown: set[Transition] = set()
    for name, (action, *cells) in rows.items():
        assert TABLE[Event[name]].action is Action(action)
        for before, cell in zip(header, cells, strict=True):
            if cell:
                shown.add((before, Event[name], before if cell == "=" else State[cell]))
    assert shown == TRANSITIONS


def test_the_diagram_has_all_transitions_that_change_the_state() -> None:
    drawn: set[Transition] = set()
    for before, after, names in re.findall(r"^ +([A-Z_]+) --> ([A-Z_]+): (.+)$", DIAGRAM.read_text(), re.M):
        drawn |= {(State[before], Event[name.strip()], State[after]) for name in names.split(",")}
    assert drawn == {transition for transition in TRANSITIONS if transition[0] is not transition[2]}


@pytest.mark.parametrize("state", State)
def test_every_state_is_reached_from_the_first_and_left_again(state: State) -> None:
    reached = {State.HOLDING}
    while more := {after for before, _, after in TRANSITIONS if before in reached} - reached:
        reached |= more
    assert state in reached
    assert {after for before, _, after in TRANSITIONS if before is state} - {state}


def test_only_entries_that_are_next_are_sent_live() -> None:
    assert [event for event, row in TABLE.items() if row.action is Action.SEND] == [Event.NEXT]
    assert State.PAGING not in TABLE[Event.NEXT].states


def test_a_backlog_is_dropped_for_a_missing_membership_alone() -> None:
    owing = {State.PAGING, State.CATCHING_UP, State.CHECKING}
    ends = {event for before, event, after in TRANSITIONS if before in owing and after not in owing}
    assert ends == {Event.NEXT, Event.EMPTIED, Event.NO_MEMBER}
