"""Messages in Slack's form, as programs send them, become plain text."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenchat.errors import BadRequest
from greenchat.protocol.slack import payload_of, text_of

LIMIT = 4096
FORM = "application/x-www-form-urlencoded"

# -- Payloads in the form of each program (the values are ours)

GRAFANA = {
    "channel": "",
    "username": "Grafana",
    "attachments": [
        {
            "title": "[FIRING:1] Disk nearly full db1 (ops)",
            "title_link": "https://grafana.example/alerting/list",
            "fallback": "[FIRING:1] Disk nearly full db1 (ops)",
            "text": "**Firing**\n\nValue: A=93.1 &gt; 90\nLabels:\n - alertname = Disk nearly full\n",
            "fields": None,
            "footer": "Grafana v12.1.0",
            "footer_icon": "https://grafana.com/static/assets/img/fav32.png",
            "color": "#D63232",
            "ts": 1796000000,
            "mrkdwn_in": ["pretext"],
        }
    ],
}
GRAFANA_TEXT = """\
[FIRING:1] Disk nearly full db1 (ops) (https://grafana.example/alerting/list)
**Firing**

Value: A=93.1 > 90
Labels:
 - alertname = Disk nearly full"""

GRAFANA_WEBHOOK = {
    "receiver": "greenchat",
    "status": "firing",
    "alerts": [{"status": "firing", "labels": {"alertname": "Disk nearly full"}, "values": {"A": 93.1}}],
    "version": "1",
    "title": "[FIRING:1] Disk nearly full",
    "state": "alerting",
    "message": "**Firing**\n\nValue: A=93.1",
}

ALERTMANAGER = {
    "channel": "#ops",
    "username": "Alertmanager",
    "attachments": [
        {
            "title": "[FIRING:2] InstanceDown (node critical)",
            "title_link": "http://alertmanager.example:9093/#/alerts?receiver=greenchat",
            "pretext": "",
            "text": "",
            "fallback": "[FIRING:2] InstanceDown | http://alertmanager.example:9093/#/alerts?receiver=greenchat",
            "callback_id": "",
            "fields": [
                {"title": "Severity", "value": "critical", "short": True},
                {"title": "Instances", "value": "db1 &amp; db2", "short": False},
            ],
            "actions": [{"type": "button", "text": "Runbook", "url": "https://wiki.example/down"}],
            "color": "danger",
            "mrkdwn_in": ["fallback", "pretext", "text"],
        }
    ],
}
ALERTMANAGER_TEXT = """\
[FIRING:2] InstanceDown (node critical) (http://alertmanager.example:9093/#/alerts?receiver=greenchat)
Severity: critical
Instances: db1 & db2"""

GITLAB = {
    "channel": "#dev",
    "username": "GitLab",
    "text": "Ann Lee (ann) pushed to branch <https://gitlab.example/tea/pot/-/commits/main|main> of"
    " <https://gitlab.example/tea/pot|Tea / Pot>"
    " (<https://gitlab.example/tea/pot/-/compare/a...b|Compare changes>)",
    "attachments": [
        {
            "text": "<https://gitlab.example/tea/pot/-/commit/b|b1c2d3e4>: Warm the pot - Ann Lee",
            "color": "#345",
        }
    ],
    "fallback": "Ann Lee (ann) pushed to branch main of Tea / Pot",
}
GITLAB_TEXT = (
    "Ann Lee (ann) pushed to branch main (https://gitlab.example/tea/pot/-/commits/main) of"
    " Tea / Pot (https://gitlab.example/tea/pot)"
    " (Compare changes (https://gitlab.example/tea/pot/-/compare/a...b))"
)

GITLAB_PIPELINE = {
    "username": "GitLab",
    "text": "",
    "attachments": [
        {
            "fallback": "Tea / Pot: Pipeline #7 of branch main by Ann Lee (ann) has failed in 01:02",
            "color": "danger",
            "author_name": "Ann Lee (ann)",
            "title": "Pipeline #7 has failed in 01:02",
            "title_link": "https://gitlab.example/tea/pot/-/pipelines/7",
            "fields": [
                {
                    "title": "Branch",
                    "value": "<https://gitlab.example/tea/pot/-/commits/main|main>",
                    "short": True,
                },
                {
                    "title": "Commit",
                    "value": "<https://gitlab.example/tea/pot/-/commit/b|Warm the pot>",
                    "short": True,
                },
            ],
            "footer": "Tea / Pot",
            "ts": 1796000000,
        }
    ],
}
GITLAB_PIPELINE_TEXT = """\
Pipeline #7 has failed in 01:02 (https://gitlab.example/tea/pot/-/pipelines/7)
Branch: main (https://gitlab.example/tea/pot/-/commits/main)
Commit: Warm the pot (https://gitlab.example/tea/pot/-/commit/b)"""

UPTIME_KUMA_BLOCKS = [
    {"type": "header", "text": {"type": "plain_text", "text": "Uptime Kuma Alert"}},
    {
        "type": "section",
        "fields": [
            {"type": "mrkdwn", "text": "*Message*\n[shop] [🔴 Down] timeout of 48000ms"},
            {"type": "mrkdwn", "text": "*Time (UTC)*\n2026-12-01 11:00:00"},
        ],
    },
    {
        "type": "actions",
        "elements": [
            {
                "type": "button",
                "text": {"type": "plain_text", "text": "Visit Uptime Kuma"},
                "value": "Uptime-Kuma",
                "url": "https://status.example/dashboard/3",
            },
            {"type": "button", "text": {"type": "plain_text", "text": "without a link"}, "value": "x"},
        ],
    },
]
UPTIME_KUMA = {
    "text": "Uptime Kuma Alert\n[shop] [🔴 Down] timeout of 48000ms <!channel>",
    "username": "Uptime Kuma",
    "icon_emoji": ":bear:",
    "attachments": [{"color": "#e01e5a", "blocks": UPTIME_KUMA_BLOCKS}],
}
UPTIME_KUMA_TEXT = "Uptime Kuma Alert\n[shop] [🔴 Down] timeout of 48000ms @channel"
UPTIME_KUMA_BLOCKS_TEXT = """\
Uptime Kuma Alert
*Message*
[shop] [🔴 Down] timeout of 48000ms
*Time (UTC)*
2026-12-01 11:00:00
Visit Uptime Kuma (https://status.example/dashboard/3)"""

SENTRY = {
    "attachments": [
        {
            "fallback": "[tea/pot] KeyError: 'lid'",
            "title": "KeyError: 'lid'",
            "title_link": "https://sentry.example/organizations/tea/issues/5/?referrer=slack",
            "color": "#f43f20",
            "fields": [
                {"title": "Culprit", "value": "pot.views in pour", "short": False},
                {"title": "Project", "value": "tea/pot", "short": True},
                {
                    "title": "Triggered By",
                    "value": "<https://sentry.example/rules/1/ | Any new issue>",
                    "short": False,
                },
            ],
        }
    ],
    "username": "Sentry",
}
SENTRY_TEXT = """\
KeyError: 'lid' (https://sentry.example/organizations/tea/issues/5/?referrer=slack)
Culprit: pot.views in pour
Project: tea/pot
Triggered By: Any new issue (https://sentry.example/rules/1/)"""

SENTRY_WEBHOOK = {
    "id": "134343",
    "project": "pot",
    "message": "KeyError: 'lid'",
    "culprit": "pot.views in pour",
    "level": "error",
}

PROGRAMS: dict[str, tuple[dict[str, Any], str]] = {
    "grafana": (GRAFANA, GRAFANA_TEXT),
    "grafana webhook": (GRAFANA_WEBHOOK, "[FIRING:1] Disk nearly full\n**Firing**\n\nValue: A=93.1"),
    "alertmanager": (ALERTMANAGER, ALERTMANAGER_TEXT),
    "gitlab push": (GITLAB, GITLAB_TEXT),
    "gitlab pipeline": (GITLAB_PIPELINE, GITLAB_PIPELINE_TEXT),
    "uptime kuma": (UPTIME_KUMA, UPTIME_KUMA_TEXT),
    "uptime kuma, blocks alone": ({"attachments": [{"blocks": UPTIME_KUMA_BLOCKS}]}, UPTIME_KUMA_BLOCKS_TEXT),
    "sentry": (SENTRY, SENTRY_TEXT),
    "sentry webhook": (SENTRY_WEBHOOK, "KeyError: 'lid'"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_payload_of_a_program(program: str) -> None:
    payload, text = PROGRAMS[program]
    assert text_of(payload, LIMIT) == text


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_same_as_json_and_as_a_form(program: str) -> None:
    payload, _ = PROGRAMS[program]
    as_json = json.dumps(payload)
    assert payload_of("application/json; charset=utf-8", as_json.encode()) == payload
    assert payload_of(FORM, urlencode({"payload": as_json}).encode()) == payload
    assert payload_of(FORM, as_json.encode()) == payload  # curl -d without a header
    assert payload_of("", as_json.encode()) == payload


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("a &lt;b&gt; &amp; c", "a <b> & c"),
        ("&amp;lt;", "&lt;"),
        ("see <https://a.example/?x=1&amp;y=2|the page>", "see the page (https://a.example/?x=1&y=2)"),
        ("<https://a.example>", "https://a.example"),
        ("<https://a.example|https://a.example>", "https://a.example"),
        ("<mailto:ann@a.example|ann@a.example>", "ann@a.example"),
        (
            "<!here> <!channel|channel> <@U123> <@U123|ann> <#C1|dev> <#C1>",
            "@here channel @U123 @ann #dev #C1",
        ),
        ("<!date^1796000000^{date}|1 December> <!subteam^S1|@ops>", "1 December @ops"),
        ("a < b > c <d> <>", "a < b > c <d> <>"),  # written without escapes
        ("1 < 2", "1 < 2"),
        ("*bold* _it_ `code` :bear:", "*bold* _it_ `code` :bear:"),
    ],
)
def test_marks(marked: str, plain: str) -> None:
    assert text_of({"text": marked}, LIMIT) == plain


def test_a_text_goes_before_everything_else() -> None:
    assert (
        text_of({"text": "a", "attachments": [{"text": "b"}], "blocks": [{"type": "header"}]}, LIMIT) == "a"
    )


def test_attachments_come_in_the_order_of_their_parts() -> None:
    attachment = {
        "fallback": "f",
        "fields": [{"title": "A", "value": 1}, {"title": "B"}, {"value": "c"}, {}, "no object"],
        "text": "text",
        "title": "title",
        "pretext": "pretext",
    }
    assert text_of({"attachments": [attachment]}, LIMIT) == "pretext\ntitle\ntext\nA: 1\nB\nc"
    assert text_of({"attachments": [{"fallback": "f"}, {"text": "t", "fallback": "g"}]}, LIMIT) == "f\nt"


def test_blocks() -> None:
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "Tea &amp; <b>"}},
        {"type": "divider"},
        {"type": "section", "text": {"type": "mrkdwn", "text": "<https://a.example|hot>"}},
        {
            "type": "context",
            "elements": [{"type": "image", "alt_text": "x"}, {"type": "mrkdwn", "text": "by ann"}],
        },
        {"type": "image", "image_url": "https://a.example/x.png", "alt_text": "a pot"},
        {"type": "markdown", "text": "# raw"},
        {"type": "unheard of", "text": {"type": "mrkdwn", "text": "?"}},
    ]
    assert text_of({"blocks": blocks}, LIMIT) == "Tea & <b>\nhot (https://a.example)\nby ann\na pot\n# raw"


def test_a_rich_text() -> None:
    line = [
        {"type": "text", "text": "hi "},
        {"type": "user", "user_id": "U1"},
        {"type": "text", "text": " "},
        {"type": "emoji", "name": "tea"},
        {"type": "link", "url": "https://a.example", "text": "here"},
        {"type": "broadcast", "range": "here"},
    ]
    items = [
        {"type": "rich_text_section", "elements": [{"type": "text", "text": name}]} for name in ("one", "two")
    ]
    block = {
        "type": "rich_text",
        "elements": [
            {"type": "rich_text_section", "elements": line},
            {"type": "rich_text_list", "style": "bullet", "elements": items},
        ],
    }
    expected = "hi @U1 :tea:here (https://a.example)@here\n• one\n• two"
    assert text_of({"blocks": [block]}, LIMIT) == expected


def test_a_rich_text_within_itself_is_cut_short() -> None:
    element: dict[str, Any] = {"type": "text", "text": "deep"}
    for _ in range(100):
        element = {"type": "rich_text_section", "elements": [element]}
    with pytest.raises(BadRequest):
        text_of({"blocks": [{"type": "rich_text", "elements": [element]}]}, LIMIT)


@pytest.mark.parametrize(("length", "kept"), [(4095, 4095), (4096, 4096), (4097, 4095), (99_999, 4095)])
def test_a_long_text_is_cut_with_an_ellipsis(length: int, kept: int) -> None:
    text = text_of({"text": "🦀" * length}, LIMIT)
    assert text == "🦀" * kept + ("…" if length > LIMIT else "")
    assert len(text) <= LIMIT


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"text": ""},
        {"text": " \n "},
        {"text": None, "attachments": None, "blocks": None},
        {"text": {"type": "mrkdwn"}, "attachments": {"text": "a"}, "blocks": "b"},
        {"attachments": [], "blocks": [{"type": "divider"}]},
        {"attachments": [{"color": "good"}, 7, None, []]},
        {"text": True},
    ],
)
def test_a_payload_without_a_text_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="text"):
        text_of(payload, LIMIT)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b""),
        ("application/json", b"[]"),
        ("application/json", b'"text"'),
        ("application/json", b"{"),
        ("application/json", b'{"text":"\xff"}'),
        ("application/json", b'{"text":"\\ud800"}'),
        ("application/json", b'{"a":' * 5000 + b"1" + b"}" * 5000),
        (FORM, b""),
        (FORM, b"a=b"),
        (FORM, b"payload="),
        (FORM, b"payload=%FF"),
        (FORM, b"payload=[1]"),
        (FORM, b"&".join(b"a=1" for _ in range(1000)) + b"&payload={}"),
        ("text/plain", b"hello"),
    ],
)
def test_a_body_without_a_payload_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        payload_of(content_type, body)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["text", "type", "elements", "fields", "title", "value", "blocks"]), inner
        )
    ),
    max_leaves=30,
)


@given(st.dictionaries(st.sampled_from(["text", "attachments", "blocks", "title", "message"]), ANYTHING))
def test_any_payload_is_a_text_or_refused(payload: dict[str, Any]) -> None:
    try:
        text = text_of(payload, 50)
    except BadRequest:
        return
    assert 1 <= len(text) <= 50
    assert text.strip()
