"""The documents say what is so: settings, links, frames, sessions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from msgspec import Struct

from greenchat.client.terminal.commands import COMMANDS
from greenchat.config import Settings, load
from greenchat.errors import MalformedFrame
from greenchat.protocol import messages as m
from greenchat.protocol.native import NATIVE
from lab import ROOT
from tests.pages import blocks, lines, page

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/client.md",
    "docs/protocol.md",
    "docs/rest.md",
    "docs/authorisation.md",
    "docs/architecture/README.md",
    "docs/deployment.md",
    "docs/metrics.md",
    "docs/performance.md",
    "docs/adr/README.md",
    "lab/README.md",
]

RECORDS = sorted(f"docs/adr/{path.name}" for path in (ROOT / "docs/adr").glob("0*.md"))
"""The decision records; their README lists them."""

PARSER = Path(sys.prefix) / "tests/diagrams/parse.mjs"
"""Parses Mermaid; ``scripts/test`` puts it into the virtual environment."""

ARCHITECTURE = sorted(f"docs/architecture/{path.name}" for path in (ROOT / "docs/architecture").glob("*.md"))
"""The pages on the architecture; their README leads to each."""

NOT_UNDERSTOOD = {3, 4}
"""Errnos of the answers to frames that no request can be made of."""


# -- Settings


def uncommented() -> str:
    """Return the file with every setting switched on."""
    return re.sub(r"^#(?=\w+ = )", "", page("conf/greenchat.toml"), flags=re.M)


def test_every_setting_stands_in_the_file_with_its_default() -> None:
    written = tomllib.loads(uncommented())
    defaults = {item.name: item.default for item in fields(Settings)}
    assert {name: (type(value), value) for name, value in written.items()} == {
        name: (type(value), value) for name, value in defaults.items()
    }


def test_the_file_as_it_is_changes_nothing_and_uncommented_it_is_accepted(tmp_path: Path) -> None:
    assert tomllib.loads(page("conf/greenchat.toml")) == {}
    config = tmp_path / "greenchat.toml"
    config.write_text(uncommented(), encoding="utf-8")
    assert load(["--config", str(config)], {}) == load([], {})


def test_every_setting_has_its_reason_above_it() -> None:
    before = re.findall(r"^(.*)\n#\w+ = ", page("conf/greenchat.toml"), re.M)
    assert len(before) == len(fields(Settings))
    assert [line for line in before if not line.startswith("# ")] == []


def test_the_readme_names_only_options_that_exist() -> None:
    server = {"--config", "--help", *("--" + item.name.replace("_", "-") for item in fields(Settings))}
    cluster = {"--check", "--keep"}
    assert set(re.findall(r"--[a-z][a-z-]*", page("README.md"))) <= server | cluster


@pytest.mark.parametrize("name", [*PAGES, "conf/supervisord.conf", "conf/greenchat@.service"])
def test_the_pages_name_only_variables_that_exist(name: str) -> None:
    variables = {"GREENCHAT_CONFIG", *(f"GREENCHAT_{item.name.upper()}" for item in fields(Settings))}
    assert set(re.findall(r"GREENCHAT_[A-Z_]+", page(name))) <= variables


# -- Links


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as the usual renderers make them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.M)
    }


@pytest.mark.parametrize("name", sorted({*PAGES, *RECORDS, *ARCHITECTURE}))
def test_links_lead_somewhere(name: str) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page(name)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        if not file.is_file() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            dead.append(target)
    assert dead == []


def test_the_readme_leads_to_every_page() -> None:
    targets = set(re.findall(r"\]\(([^)\s]+)\)", page("README.md")))
    assert {*PAGES, "conf/greenchat.toml"} - {"README.md"} <= targets


def test_the_page_on_the_architecture_leads_to_each_of_its_pages() -> None:
    targets = set(re.findall(r"\]\(([^)#\s]+)\)", page("docs/architecture/README.md")))
    assert {Path(name).name for name in ARCHITECTURE} - {"README.md"} <= targets


@pytest.mark.skipif(
    not PARSER.exists() and os.environ.get("CI") != "true", reason="no Mermaid: scripts/test installs it"
)
def test_every_diagram_parses() -> None:
    done = subprocess.run(
        ["node", PARSER, *ARCHITECTURE], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    diagrams = sum(page(name).count("```mermaid\n") for name in ARCHITECTURE)
    assert done.stdout == f"{diagrams} diagrams\n"


def test_every_decision_is_in_the_list_under_its_title() -> None:
    listed = re.findall(r"^\| \[(\d+)\]\((.*?)\) \| (.*) \|$", page("docs/adr/README.md"), re.M)
    titles = [re.match(r"# (\d+)\. (.*)", page(name)) for name in RECORDS]
    assert listed == [
        (title[1], Path(name).name, title[2]) for name, title in zip(RECORDS, titles, strict=True) if title
    ]


@pytest.mark.parametrize("name", RECORDS)
def test_a_decision_has_its_reasons_its_figures_and_its_price(name: str) -> None:
    headings = re.findall(r"^## (.*)$", page(name), re.M)
    assert headings == ["Problem", "Decision", "Measurement", "Price"]
    assert re.search(r"^Status: (accepted|replaced by \[\d+\])", page(name), re.M)


# -- Frames


def example_frames() -> list[tuple[bool, str, int]]:
    """Return the frames of the protocol page: who sends it, its text, the errno of the next answer."""
    found = []
    for block in blocks(page("docs/protocol.md")):
        frames = list(lines(block, "C: ", "S: "))
        for place, (sent, text) in enumerate(frames):
            answers = [json.loads(later) for from_client, later in frames[place + 1 :] if not from_client]
            found.append((sent, text, answers[0].get("errno", 0) if answers else 0))
    return found


def every_struct(kind: type[Struct]) -> Iterator[type[Struct]]:
    for below in kind.__subclasses__():
        yield below
        yield from every_struct(below)


def fields_of_answers() -> dict[int, set[str]]:
    """Return the fields that a frame from the server may have, by msgid."""
    known: dict[int, set[str]] = {}
    others: list[type[Struct]] = [m.HeartbeatReply, m.StoredAck]
    for kind in [*every_struct(m.Reply), *every_struct(m.Push), *others]:
        if isinstance(kind.__struct_config__.tag, int):
            known.setdefault(m.msgid_of(kind), {"msgid"}).update(kind.__struct_encode_fields__)
    return known


def test_the_requests_on_the_protocol_page_are_requests() -> None:
    for sent, text, errno in example_frames():
        if sent and errno in NOT_UNDERSTOOD:
            with pytest.raises(MalformedFrame):
                NATIVE.request(text.encode())
        elif sent:
            request = NATIVE.request(text.encode())
            assert set(json.loads(text)) <= {"msgid", *request.__struct_encode_fields__}


def test_the_answers_on_the_protocol_page_have_fields_that_the_server_sends() -> None:
    known = fields_of_answers()
    for sent, text, _ in example_frames():
        if not sent:
            frame = json.loads(text)
            assert set(frame) <= known[frame["msgid"]], text


def test_the_protocol_page_shows_every_message() -> None:
    shown = {json.loads(text)["msgid"] for _, text, _ in example_frames() if text.startswith("{")}
    assert set(m.MsgId) <= shown


def test_the_terminal_sessions_use_commands_that_exist() -> None:
    sessions = [block for block in blocks(page("README.md")) if "Welcome, " in block]
    typed = [set(re.findall(r"^> (\w+)", session, re.M)) for session in sessions]
    assert len(typed) == 2
    assert set.union(*typed) <= set(COMMANDS)


def test_the_tests_that_the_security_page_names_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page("SECURITY.md"))
    assert len(named) > 30
    for file, test in named:
        assert f"def {test}(" in page(file) if test else page(file), (file, test)
