"""The form in which other programs describe a message to Slack's incoming webhooks, as plain text.

Grafana, Alertmanager, GitLab, Uptime Kuma, Sentry and many others know it (docs/hooks.md).  Of a payload the
``text`` counts; without one, its ``attachments`` and ``blocks``; without these, the ``title`` and ``message``
of programs that send a form of their own.  Colours, images, buttons without a link and names of channels are
dropped.  Parts that are not understood are passed over: only a payload without any text is refused.

Slack's marks become plain text::

    &lt; &gt; &amp;                  < > &
    <https://a.example|the page>    the page (https://a.example)
    <!channel> <@U123> <#C1|dev>    @channel @U123 #dev
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

import msgspec

from greenchat.errors import BadRequest

FORM = "application/x-www-form-urlencoded"

ELLIPSIS = "…"

DEEPEST = 20
"""Elements of a rich text within each other that are looked into."""

_MARK = re.compile(r"<([!@#][^<>\n]+|[A-Za-z][A-Za-z0-9+.-]*:[^<>\n]+)>")

_READABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError)


def payload_of(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the payload in the body of a request: JSON, or the field ``payload`` of a form.

    Args:
        content_type: as the request says; JSON with that of a form will do, since ``curl -d`` says so.
        body: of the request.

    Raises:
        BadRequest: there is none.
    """
    try:
        if content_type.partition(";")[0].strip().lower() == FORM and not body.lstrip().startswith(b"{"):
            body = parse_qs(body.decode(), strict_parsing=True, max_num_fields=20)["payload"][0].encode()
        payload = msgspec.json.decode(body)
    except KeyError:
        raise BadRequest("the form has no field payload") from None
    except _READABLE:
        raise BadRequest("the body is no JSON, and no form with the field payload") from None
    if not isinstance(payload, dict):
        raise BadRequest("the payload is no JSON object")
    return payload


def text_of(payload: dict[str, Any], limit: int) -> str:
    """Return a payload as plain text, cut at a limit of characters with an ellipsis.

    Example::

        text_of({"attachments": [{"title": "Disk full", "text": "on <https://db1.example|db1>"}]}, 4096)
        # "Disk full\\non db1 (https://db1.example)"

    Raises:
        BadRequest: there is no text in it.
    """
    text = _marked(payload.get("text")).strip()
    if not text:
        attachments = (_attachment(item) for item in _objects(payload.get("attachments")))
        text = _joined([*attachments, *_blocks(payload.get("blocks"))])
    if not text:
        text = _joined([_marked(payload.get("title")), _marked(payload.get("message"))])
    if not text:
        raise BadRequest("text: there is none, nor attachments or blocks with any")
    return text if len(text) <= limit else text[: limit - 1] + ELLIPSIS


def _attachment(attachment: dict[str, Any]) -> str:
    title, link = _marked(attachment.get("title")), _plain(attachment.get("title_link"))
    parts = [
        _marked(attachment.get("pretext")),
        _linked(title, link) if title else "",
        _marked(attachment.get("text")),
        *map(_field, _objects(attachment.get("fields"))),
        *_blocks(attachment.get("blocks")),
    ]
    return _joined(parts) or _marked(attachment.get("fallback")).strip()


def _field(field: dict[str, Any]) -> str:
    title, value = _marked(field.get("title")), _marked(field.get("value"))
    return f"{title}: {value}" if title and value else title or value


# -- Blocks


def _blocks(blocks: Any) -> Iterator[str]:
    for block in _objects(blocks):
        show = BLOCKS.get(str(block.get("type")))
        if show is not None:
            yield show(block)


def _section(block: dict[str, Any]) -> str:
    return _joined([_object_text(block.get("text")), *map(_object_text, _objects(block.get("fields")))])


def _context(block: dict[str, Any]) -> str:
    return " ".join(filter(None, map(_object_text, _objects(block.get("elements")))))


def _actions(block: dict[str, Any]) -> str:
    buttons = ((_object_text(item.get("text")), item.get("url")) for item in _objects(block.get("elements")))
    return _joined(_linked(text, url) for text, url in buttons if text and isinstance(url, str))


def _image(block: dict[str, Any]) -> str:
    return _object_text(block.get("title")) or _plain(block.get("alt_text"))


def _rich(block: dict[str, Any]) -> str:
    return _rich_text(block, 0)


BLOCKS: dict[str, Callable[[dict[str, Any]], str]] = {
    "header": _section,
    "section": _section,
    "markdown": lambda block: _plain(block.get("text")),
    "context": _context,
    "actions": _actions,
    "image": _image,
    "rich_text": _rich,
}
"""The blocks that have text, and how each is shown."""


def _object_text(value: Any) -> str:
    """Return the text of a text object; marks count unless it is plain."""
    if not isinstance(value, dict):
        return _marked(value)
    if value.get("type") == "plain_text":
        return _unescaped(_plain(value.get("text")))
    return _marked(value.get("text"))


def _rich_text(element: dict[str, Any], depth: int) -> str:
    kind = element.get("type")
    if kind == "text":
        return _plain(element.get("text"))
    if kind == "link":
        url = _plain(element.get("url"))
        return _linked(_plain(element.get("text")) or url, url)
    if kind in _RICH:
        field, sign = _RICH[kind]
        return f"{sign}{_plain(element.get(field))}{':' if kind == 'emoji' else ''}"
    parts = (
        [_rich_text(item, depth + 1) for item in _objects(element.get("elements"))] if depth < DEEPEST else []
    )
    if kind == "rich_text_list":
        return "\n".join(f"• {part}" for part in parts)
    return ("\n" if kind == "rich_text" else "").join(parts)


_RICH = {
    "emoji": ("name", ":"),
    "user": ("user_id", "@"),
    "usergroup": ("usergroup_id", "@"),
    "channel": ("channel_id", "#"),
    "broadcast": ("range", "@"),
}
"""The leaves of a rich text: the field that is shown, and the sign before it."""


# -- Text


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _joined(parts: Iterable[str]) -> str:
    return "\n".join(part for part in (part.strip() for part in parts) if part)


def _plain(value: Any) -> str:
    """Return a text or a number as text, anything else as none."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _marked(value: Any) -> str:
    return _unescaped(_MARK.sub(_mark, _plain(value)))


def _mark(found: re.Match[str]) -> str:
    """Return what is shown for ``<target|text>``."""
    target, _, text = (part.strip() for part in found[1].partition("|"))
    if target.startswith("!"):
        name = target[1:].partition("^")[0]
        return text or f"@{name}"
    if target[:1] in ("@", "#"):
        return f"{target[0]}{text.lstrip('@#')}" if text else target
    return _linked(text or target, target)


def _linked(text: str, url: str) -> str:
    if not url or text in (url, url.removeprefix("mailto:")):
        return text
    return f"{text} ({url})"


def _unescaped(text: str) -> str:
    # The ampersand last: "&amp;lt;" is the text "&lt;".
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
