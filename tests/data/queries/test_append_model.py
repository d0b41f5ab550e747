"""The append path against a simple model, under random interleavings."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from greenchat.data import Inline, SqlStore
from greenchat.errors import Blocked, Busy, CidUsed, NoSuchMessage, NotAMember
from greenchat.model.records import NewEntry, Span
from tests.data.shared import NOW, Told, pair
from tests.data.test_commit import Faulty

CHATS = [pair(1, 2), pair(4, 5), pair(2, 1 << 30), -1]

messages = st.builds(
    NewEntry,
    conversation=st.sampled_from(CHATS),
    sender=st.integers(1, 2),
    cid=st.none() | st.sampled_from("abcdef"),
    kind=st.just("text"),
    body=st.sampled_from(["hi", "ho", "1", "🦀'"]),
    time=st.just(NOW),
)
recalls = st.builds(
    NewEntry,
    conversation=st.sampled_from(CHATS),
    sender=st.integers(1, 2),
    cid=st.none() | st.sampled_from("abcdef"),
    kind=st.just("recall"),
    body=st.integers(1, 6).map(str),
    time=st.just(NOW),
)
changes = st.lists(st.tuples(st.sampled_from([Blocked, NotAMember]), st.integers(1, 2)), max_size=2)
batches = st.lists(
    st.tuples(changes, st.lists(messages | recalls, max_size=12), st.sampled_from("....!")), max_size=8
)


@dataclass
class Model:
    """What the log must be."""

    logs: dict[int, list[NewEntry]] = field(default_factory=lambda: {chat: [] for chat in CHATS})
    cids: dict[tuple[int, str], tuple[NewEntry, int]] = field(default_factory=dict)
    refused: set[tuple[type[Exception], int]] = field(default_factory=set)
    """Whom the other one of the first chat has blocked, and who is not in the group."""

    def change(self, store: SqlStore, why: type[Exception], userid: int) -> None:
        """Block or unblock a user, or let them leave the group or join it."""
        is_refused = (why, userid) in self.refused
        if why is Blocked:
            (store.unblock if is_refused else store.block)(3 - userid, userid)
        elif is_refused:
            store.join_group(userid, 1, NOW)
        else:
            store.leave_group(userid, 1)
        self.refused ^= {(why, userid)}

    def refusal(self, message: NewEntry) -> type[Exception] | None:
        """Return why a user may not write that."""
        if message.conversation == CHATS[0]:
            why: type[Exception] = Blocked
            is_held_to_it = message.kind == "text"
        else:
            why, is_held_to_it = NotAMember, message.conversation == -1
        return why if is_held_to_it and (why, message.sender) in self.refused else None

    def batch(self, batch: list[NewEntry]) -> list[object]:
        """Append a batch.

        A recall can blank what was there before the batch; a cid is compared with how it was then.
        """
        before = {chat: list(log) for chat, log in self.logs.items()}
        return [self.one(message, before) for message in batch]

    def one(self, message: NewEntry, before: dict[int, list[NewEntry]]) -> object:
        log, old = self.logs[message.conversation], before[message.conversation]
        if message.cid is not None and (message.sender, message.cid) in self.cids:
            first, seq = self.cids[message.sender, message.cid]
            then = before[first.conversation][seq - 1 : seq]
            same = (first.conversation, first.kind) == (message.conversation, message.kind)
            body = then[0].body if then else first.body
            return (seq, NOW, True) if same and body in (message.body, "") else CidUsed
        if (refusal := self.refusal(message)) is not None:
            return refusal
        if message.kind == "recall":
            place = int(message.body) - 1
            if place >= len(old) or log[place].kind != "text" or not log[place].body:
                return NoSuchMessage
            log[place] = log[place]._replace(body="")
        log.append(message)
        if message.cid is not None:
            self.cids[message.sender, message.cid] = (message, len(log))
        return (len(log), NOW, False)


@given(batches)
@settings(deadline=None, max_examples=150)
def test_the_log_is_what_the_model_says(
    batches: list[tuple[list[tuple[type[Exception], int]], list[NewEntry], str]],
) -> None:
    database = Faulty()
    store, model = SqlStore(database, Inline()), Model()
    store.start()
    for userid in (1, 2):
        store.create_user(f"u{userid}", "h", NOW)
    store.create_group(1, "g", "", NOW)
    store.join_group(2, 1, NOW)
    try:
        for changed, batch, fate in batches:
            for change in changed:
                model.change(store, *change)
            told = [Told() for _ in batch]
            for message, delivery in zip(batch, told, strict=True):
                store.append(message, delivery)
            if fate == "!":
                database.fail(at_commit=True)
            store.commit_waiting()
            database.away = None
            expected = [Busy] * len(batch) if fate == "!" else model.batch(batch)
            outcomes = [delivery.outcomes for delivery in told]
            assert [[o if isinstance(o, tuple) else type(o) for o in got] for got in outcomes] == [
                [outcome] for outcome in expected
            ]
        for chat, log in model.logs.items():
            entries = store.entries([Span(chat, 0, store.head(chat))])
            assert store.head(chat) == len(log)
            assert [entry.seq for entry in entries] == list(range(1, len(log) + 1))
            assert [(e.sender, e.cid, e.kind, e.body) for e in entries] == [
                (m.sender, m.cid, m.kind, m.body) for m in log
            ]
    finally:
        store.close()
