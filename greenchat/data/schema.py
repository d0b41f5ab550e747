"""The tables: the original's five by their names, and those that a cluster needs besides.

Text is compared exactly (SQLite's BINARY; see ``EXACT``), ids are positive 32-bit integers, and
instants are the strings of the wire (`protocol.instants`), which sort as they count.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    Column,
    Computed,
    Connection,
    Index,
    Insert,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    insert,
    text,
)

VERSION = 3
"""The schema's version, kept as the setting ``schema_version`` (see ``migrations``)."""

OLDEST = 1
"""The oldest version that there are migrations from."""

EXACT: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4 /*M!100600 COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */",
}
"""Code points and nothing else, blanks at the end too (utf8mb4_bin would pad them: "a" equal to "a ").

MariaDB and MySQL have a collation for it, each of its own name.  MariaDB runs the comments that begin
with /*M!, and of the others none of a MySQL of today (https://mariadb.com/kb/en/comment-syntax/).
"""

Instant = CHAR(24)

metadata = MetaData()


def _id(name: str, *, key: bool = True) -> Column[int]:
    return Column(name, Integer, primary_key=key, autoincrement=False, nullable=False)


def _seq(name: str, *, key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, autoincrement=False, nullable=False)


User = Table(
    "User",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(50), nullable=False, unique=True),
    Column("password", String(200), nullable=False),
    Column("state", String(7), nullable=False, default="offline"),
    Column("node", String(100)),
    Column("created", Instant, nullable=False),
    Column("last_seen", Instant),
    **EXACT,
)

Friend = Table(
    "Friend",
    metadata,
    _id("userid"),
    _id("friendid"),
    Column("created", Instant, nullable=False),
    Index("Friend_friendid", "friendid"),
    **EXACT,
)

Block = Table(
    "Block",
    metadata,
    _id("userid"),
    _id("blockedid"),
    Index("Block_blockedid", "blockedid"),
    **EXACT,
)

AllGroup = Table(
    "AllGroup",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("groupname", String(50), nullable=False, unique=True),
    Column("groupdesc", String(200), nullable=False),
    # Its members, counted here because a login shows the size of each of the user's groups.
    Column("size", Integer, nullable=False),
    Column("created", Instant, nullable=False),
    **EXACT,
)

GroupUser = Table(
    "GroupUser",
    metadata,
    _id("groupid"),
    _id("userid"),
    Column("grouprole", String(7), nullable=False),
    _seq("joined_seq"),
    Column("joined", Instant, nullable=False),
    Index("GroupUser_userid", "userid"),
    **EXACT,
)

Conversation = Table(
    "Conversation",
    metadata,
    _seq("id", key=True),
    _seq("last_seq"),
    # The higher user of a pair (the lower is found by a range of ids).  Of group g it is
    # 2**32 - g, above 2**31 and so nobody's id.
    Column("higher", BigInteger, Computed("id & 4294967295", persisted=True)),
    Index("Conversation_higher", "higher"),
    **EXACT,
)

# With rowids on SQLite: without them, measured twice the CPU a row, because bodies fill the
# pages of the key.
Message = Table(
    "Message",
    metadata,
    _seq("conversation", key=True),
    _seq("seq", key=True),
    _id("sender", key=False),
    Column("cid", String(36)),
    Column("kind", String(6), nullable=False),
    Column("body", Text, nullable=False),
    Column("created", Instant, nullable=False),
    # 1 for a message that was recalled; its body is empty.
    Column("recalled", SmallInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("sender", "cid", name="Message_sender_cid"),
    **EXACT,
)

Device = Table(
    "Device",
    metadata,
    _id("userid"),
    Column("device", String(36), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("node", String(100)),
    Column("incarnation", BigInteger),
    Column("last_login", Instant, nullable=False),
    **EXACT,
)

Setting = Table(
    "Setting",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("value", String(500), nullable=False),
    **EXACT,
)

Cursor = Table(
    "Cursor",
    metadata,
    _id("userid"),
    Column("device", String(36), primary_key=True),
    _seq("conversation", key=True),
    _seq("delivered_seq"),
    **EXACT,
)

ReadMark = Table(
    "ReadMark",
    metadata,
    _id("userid"),
    _seq("conversation", key=True),
    _seq("read_seq"),
    **EXACT,
)

# An incoming or an outgoing hook.
Hook = Table(
    "Hook",
    metadata,
    Column("id", Integer, primary_key=True),
    # SHA-256, as hexadecimal digits, of the random code; of an incoming hook it is that in the URL.
    Column("code", CHAR(64), nullable=False, unique=True),
    # The bot: it writes what comes in, and its device is sent what goes out.
    _id("userid", key=False),
    # Of an incoming hook: where its messages go; 0 for an outgoing one.
    _seq("conversation"),
    # Of an outgoing hook; empty for an incoming one.
    Column("url", String(2000), nullable=False),
    Column("secret", String(100), nullable=False),
    # The reason for which an outgoing hook was switched off; empty while it is on.
    Column("ended", String(200), nullable=False),
    Column("created", Instant, nullable=False),
    **EXACT,
)

# A conversation of an outgoing hook whose next entry could not be delivered; there is no row once it was.
HookFailure = Table(
    "HookFailure",
    metadata,
    _id("hookid"),
    _seq("conversation", key=True),
    Column("since", Instant, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_try", Instant, nullable=False),
    Column("reason", String(200), nullable=False),
    **EXACT,
)


def insert_row(db: Connection, statement: Insert, row: dict[str, Any]) -> int:
    """Insert a row and return the id that the database gave it."""
    key = db.execute(statement, row).inserted_primary_key
    assert key is not None
    given: int = key[0]
    return given


def insert_new(table: Table) -> Insert:
    """Return an INSERT that does nothing if the row is there."""
    return insert(table).prefix_with("OR IGNORE", dialect="sqlite").prefix_with("IGNORE", dialect="mysql")
