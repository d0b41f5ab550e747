"""The view OfflineMessage: undelivered entries, as the pushes in which they would be delivered."""

from __future__ import annotations

from greenchat.model.records import DELETED


def create_view(*, create: str, integer: str, true: str) -> str:
    """Return the statement that creates it, in words that differ from one database to another.

    Names are quoted as standard SQL does it; MySQL must be in the mode ANSI_QUOTES.

    Args:
        create: how it begins, before the word VIEW.
        integer: the type that a text is cast to.
        true: an expression for JSON's ``true``.
    """
    recalled = "(m.recalled <> 0 OR m.body = '')"  # older servers only blank the body
    name = f"COALESCE(u.name, '{DELETED}')"
    return f"""
{create} VIEW "OfflineMessage" (userid, message) AS
SELECT seat.userid, CASE
    WHEN m.kind = 'recall' AND m.conversation > 0 THEN JSON_OBJECT('msgid', 17,
        'id', m.sender, 'target', CAST(m.body AS {integer}), 'seq', m.seq, 'time', m.created,
        'peerid', m.sender)
    WHEN m.kind = 'recall' THEN JSON_OBJECT('msgid', 17,
        'id', m.sender, 'target', CAST(m.body AS {integer}), 'seq', m.seq, 'time', m.created,
        'groupid', -m.conversation)
    WHEN {recalled} AND m.conversation > 0 THEN JSON_OBJECT('msgid', 6, 'id', m.sender, 'name', {name},
        'toid', seat.userid, 'seq', m.seq, 'time', m.created, 'recalled', {true})
    WHEN {recalled} THEN JSON_OBJECT('msgid', 10, 'id', m.sender, 'name', {name},
        'groupid', -m.conversation, 'seq', m.seq, 'time', m.created, 'recalled', {true})
    WHEN m.conversation > 0 THEN JSON_OBJECT('msgid', 6, 'id', m.sender, 'name', {name},
        'toid', seat.userid, 'msg', m.body, 'seq', m.seq, 'time', m.created)
    ELSE JSON_OBJECT('msgid', 10, 'id', m.sender, 'name', {name},
        'groupid', -m.conversation, 'msg', m.body, 'seq', m.seq, 'time', m.created)
    END
FROM (
    SELECT id >> 32 AS userid, id AS conversation, 0 AS joined_seq FROM "Conversation" WHERE id > 0
    UNION ALL SELECT higher, id, 0 FROM "Conversation" WHERE id > 0 AND higher <> id >> 32
    UNION ALL SELECT userid, -groupid, joined_seq FROM "GroupUser"
) AS seat
JOIN "Message" AS m ON m.conversation = seat.conversation AND m.seq > seat.joined_seq
    AND m.sender <> seat.userid
LEFT JOIN "User" AS u ON u.id = m.sender
WHERE m.seq > COALESCE((SELECT MAX(k.delivered_seq) FROM "Cursor" AS k
    WHERE k.userid = seat.userid AND k.conversation = seat.conversation), 0)
ORDER BY seat.userid, m.conversation, m.seq
"""
