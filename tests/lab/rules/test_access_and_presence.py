"""The rules on who may read and write, and on who is there: each finds the violation that is planted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from lab.record import (
    BLOCK,
    JOIN,
    LEAVE,
    LIVE,
    PAGE,
    PASSWORD,
    PAST,
    RECALL,
    TEXT,
    UNBLOCK,
    Act,
    Arrival,
    Attempt,
    Connection,
    Past,
    Record,
    Row,
    Sent,
    of_pair,
)
from lab.rules import access, presence
from lab.rules.checker import check
from lab.rules.evidence import LEAKED, LOST, REORDERED, STUCK, WRONG, Evidence, Fault, Look, Rule, Seqs
from lab.rules.log import missing_of
from tests.lab.rules.planted import assert_found, name

ANN, BOB = 1, 2
PAIR, GROUP = of_pair(ANN, BOB), -9
LOOK = 100.0
REPLACED = "bye replaced"


class Case:
    """Ann writes to Bob and to a group that Bob joins, leaves, joins and leaves; he blocks her for a while.

    Bob changes his password; his phone rests once, and logs in again after the change.

    Attributes:
        ann, bob, phone: records of Ann's device and of Bob's two.
        rows: the table Message.
        faults, look: as in the evidence.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.faults: list[Fault] = []
        self.look = Look(LOOK)
        self.ann = Record(ANN, "", frozenset({PAIR, GROUP}), friends=frozenset({BOB}))
        self.bob = Record(BOB, "", frozenset({PAIR}), groups=frozenset({9}))
        self.phone = Record(BOB, "phone", frozenset({PAIR}), groups=frozenset({9}))
        for record in (self.ann, self.bob):
            self.log_in(record, 0.9)
        self.log_in(self.phone, 0.9, ended=62.0, reason="it rests")
        self.write()
        self.act()
        for place, before in ((GROUP, 0), (GROUP, 4), (PAIR, 0)):
            self.read(
                place, 41.0, [seq for seq in (1, 2, 3, 4) if place == PAIR or 1 < seq < (before or 9)], before
            )
        self.read(GROUP, 50.0, [], errno=8)
        told = [(1.0, BOB, "online"), (70.1, BOB, "offline"), (80.1, BOB, "online")]
        self.ann.connections[0].told = told

    def write(self) -> None:
        for number in range(1, 7):
            self.store(self.ann, GROUP, f"g{number}", 10.0 * number)
        self.store(self.ann, PAIR, "p1", 12.0)
        self.store(self.ann, PAIR, "p2", 22.0)
        self.store(self.ann, PAIR, "r2", 25.0, "2")
        self.store(self.ann, PAIR, "p3", 32.0)
        refused = self.ann.sent["p4"] = Sent("p4", PAIR, 11, "text of p4", "n1", 75.0, 1)
        refused.refusal = 10, 75.1
        for record in (self.bob, self.phone):
            for seq in (2, 3, 4, 6):
                self.arrive(record, GROUP, seq, 10.0 * seq + 0.05)
            for seq, at in ((1, 12.05), (2, 22.05), (3, 25.05), (4, 32.05)):
                self.arrive(record, PAIR, seq, at)
        self.rows[7] = self.rows[7]._replace(body="")  # recalled

    def act(self) -> None:
        for kind, at in ((JOIN, 15.0), (LEAVE, 45.0), (JOIN, 55.0), (LEAVE, 90.0)):
            self.bob.acts.append(Act(kind, 9, "n1", at, at + 0.1, 1))
        for kind, at in ((PASSWORD, 68.0), (BLOCK, 70.0), (UNBLOCK, 80.0)):
            self.bob.acts.append(Act(kind, ANN, "n1", at, at + 0.1, 1))
        self.phone.attempts.append(Attempt("n2", 64.0, 64.1, 2, False, 1.0))
        self.log_in(self.phone, 66.0, ended=68.2, reason=REPLACED, issued=1.0)
        self.phone.attempts.append(Attempt("n3", 68.4, 68.5, 1, True, 66.1))
        self.log_in(self.phone, 68.8)

    def log_in(
        self,
        record: Record,
        asked: float,
        node: str = "n2",
        ended: float = 0.0,
        reason: str = "",
        issued: float = 0.0,
    ) -> None:
        record.attempts.append(Attempt(node, asked, asked + 0.1, 0, True, issued))
        record.connections.append(Connection(node, asked + 0.1, ended, reason=reason))

    def store(self, record: Record, conversation: int, cid: str, at: float, recalls: str = "") -> Sent:
        seq = self.heads().get(conversation, 0) + 1
        kind, body = (RECALL, recalls) if recalls else (TEXT, f"text of {cid}")
        self.rows.append(Row(conversation, seq, record.user, cid, body, kind))
        sent = Sent(cid, conversation, len(record.sent) + 1, body, "n1", at, 1, kind=kind)
        record.sent[cid] = sent
        sent.acks.append((seq, at + 0.1))
        return sent

    def heads(self) -> dict[int, int]:
        return {row.conversation: row.seq for row in self.rows}

    def entry(self, conversation: int, seq: int, how: str, at: float, asked: float = 0.0) -> Arrival:
        row = next(row for row in self.rows if (row.conversation, row.seq) == (conversation, seq))
        return Arrival(conversation, seq, row.sender, row.body, how, at, row.kind, asked)

    def arrive(
        self, record: Record, conversation: int, seq: int, at: float, how: str = LIVE, asked: float = 0.0
    ) -> None:
        """Let an entry come, in the order of time."""
        link = record.connections[0]
        link.arrivals.append(self.entry(conversation, seq, how, at, asked))
        link.arrivals.sort(key=lambda arrival: arrival.at)

    def drop(self, record: Record, conversation: int, seq: int) -> Arrival:
        """Let an entry not come."""
        arrivals = record.connections[0].arrivals
        gone = next(one for one in arrivals if (one.conversation, one.seq) == (conversation, seq))
        arrivals.remove(gone)
        return gone

    def read(self, conversation: int, at: float, seqs: list[int], before: int = 0, errno: int = 0) -> None:
        """Let Bob read a history."""
        entries = tuple(self.entry(conversation, seq, PAST, at + 0.1, at) for seq in seqs)
        self.bob.connections[0].pasts.append(Past(conversation, before, at, at + 0.1, errno, entries, False))

    def evidence(self) -> Evidence:
        records = [self.ann, self.bob, self.phone]
        return Evidence(self.rows, self.heads(), records, self.faults, (), [self.look])

    def kinds(self) -> Counter[str]:
        return check(self.evidence()).kinds


@pytest.fixture
def case() -> Case:
    return Case()


def test_what_keeps_every_promise_is_found_right(case: Case) -> None:
    assert check(case.evidence()).violations == []


# -- Memberships


def an_entry_of_before_the_joining_comes(case: Case) -> None:
    case.arrive(case.bob, GROUP, 1, 19.0)


def an_entry_of_after_the_leaving_comes(case: Case) -> None:
    case.arrive(case.bob, GROUP, 5, 50.05)


def an_entry_of_the_membership_comes_long_after_the_leaving(case: Case) -> None:
    case.drop(case.bob, GROUP, 4)
    case.arrive(case.bob, GROUP, 4, 46.0)


def an_entry_of_an_earlier_membership_is_pending(case: Case) -> None:
    case.drop(case.bob, GROUP, 4)
    case.arrive(case.bob, GROUP, 4, 57.0, PAGE, 56.0)


def a_page_after_the_leaving_holds_an_entry(case: Case) -> None:
    case.drop(case.bob, GROUP, 4)
    case.arrive(case.bob, GROUP, 4, 47.0, PAGE, 46.0)


def one_of_a_membership_is_skipped(case: Case) -> None:
    case.drop(case.bob, GROUP, 3)


def the_first_after_the_joining_is_skipped(case: Case) -> None:
    case.drop(case.bob, GROUP, 2)


def a_stranger_writes(case: Case) -> None:
    case.store(case.bob, GROUP, "b1", 95.0)


# -- Blocks


def a_blocked_one_writes(case: Case) -> None:
    del case.ann.sent["p4"]
    case.store(case.ann, PAIR, "p4", 75.0)


def one_is_refused_who_is_not_blocked(case: Case) -> None:
    case.ann.sent["p4"].at = 82.0
    case.ann.sent["p4"].refusal = 10, 82.1


def a_member_is_refused(case: Case) -> None:
    refused = case.bob.sent["b1"] = Sent("b1", GROUP, 1, "text of b1", "n2", 35.0, 1)
    refused.refusal = 8, 35.1


def a_recall_is_refused(case: Case) -> None:
    refused = case.ann.sent["r3"] = Sent("r3", PAIR, 12, "4", "n1", 33.0, 1, kind=RECALL)
    refused.refusal = 14, 33.1


def a_stored_message_is_refused_when_it_is_sent_again(case: Case) -> None:
    case.ann.sent["p3"].acks.clear()
    case.ann.sent["p3"].refusal = 10, 71.0


# -- Histories


def a_stranger_reads(case: Case) -> None:
    case.bob.connections[0].pasts.pop()
    case.read(GROUP, 50.0, [5])


def a_member_may_not_read(case: Case) -> None:
    case.read(GROUP, 42.0, [], errno=8)


def one_of_the_two_may_not_read(case: Case) -> None:
    case.read(PAIR, 42.0, [], errno=8)


def a_history_has_a_hole(case: Case) -> None:
    case.read(GROUP, 42.0, [2, 4])


def a_history_lacks_the_newest(case: Case) -> None:
    case.read(PAIR, 42.0, [1, 2, 3])


def a_history_of_before_does_not_reach_it(case: Case) -> None:
    case.read(GROUP, 42.0, [2], before=4)


# -- Recalls


def with_text(arrival: Arrival) -> Arrival:
    return arrival._replace(body="text of p2")


def a_history_shows_what_was_recalled(case: Case) -> None:
    case.read(PAIR, 42.0, [1, 2, 3, 4])
    page = case.bob.connections[0].pasts.pop()
    entries = page.arrivals[0], with_text(page.arrivals[1]), *page.arrivals[2:]
    case.bob.connections[0].pasts.append(page._replace(arrivals=entries))


def a_page_shows_what_was_recalled(case: Case) -> None:
    link = case.phone.connections[1]
    link.arrivals.append(with_text(case.entry(PAIR, 2, PAGE, 67.0, 66.0)))


def what_was_recalled_comes_live(case: Case) -> None:
    link = case.phone.connections[1]
    link.arrivals.append(with_text(case.entry(PAIR, 2, LIVE, 67.0)))


def the_text_comes_after_its_recall(case: Case) -> None:
    case.drop(case.bob, PAIR, 2)
    links = case.bob.connections
    links[0].arrivals.insert(5, with_text(case.entry(PAIR, 2, LIVE, 25.2)))


# -- People


def a_device_was_told_wrongly(case: Case) -> None:
    case.ann.connections[0].told.append((90.0, BOB, "offline"))


def a_device_was_never_told(case: Case) -> None:
    case.ann.connections[0].told.clear()


def a_blocked_one_sees_the_blocker(case: Case) -> None:
    case.bob.acts[-1].asked, case.bob.acts[-1].settled = 300.0, 300.1


def the_database_has_somebody_elsewhere(case: Case) -> None:
    case.look = Look(LOOK, [(BOB, "2 is online at n1, and in truth at []")])


def somebody_hangs(case: Case) -> None:
    case.look = Look(LOOK, (), ["2 is in between"])


def somebody_is_kept_out(case: Case) -> None:
    case.phone.attempts[1] = case.phone.attempts[1]._replace(asked=73.0, answered=73.1)
    del case.phone.attempts[2:]
    del case.phone.connections[1:]


def both_of_two_logins_at_once_end(case: Case) -> None:
    for node in ("n1", "n3"):
        case.log_in(case.ann, 95.0, node, 95.3, REPLACED)
    case.log_in(case.ann, 96.0, "n2")
    case.ann.connections[0].ended = 95.2
    case.ann.connections[-1].told = [(96.1, BOB, "online")]


def one_is_replaced_by_nobody(case: Case) -> None:
    case.ann.connections[0].ended, case.ann.connections[0].reason = 95.0, REPLACED
    case.log_in(case.ann, 96.0, "n2")
    case.ann.connections[-1].told = [(96.1, BOB, "online")]


def a_connection_outlives_the_next(case: Case) -> None:
    case.phone.connections[0].ended = 0.0


def a_session_outlives_the_password(case: Case) -> None:
    case.phone.connections[1].ended = 0.0
    del case.phone.connections[2], case.phone.attempts[-2:]


def an_old_token_is_taken(case: Case) -> None:
    case.phone.attempts[-1] = case.phone.attempts[-1]._replace(issued=66.1)


PLANTED: list[tuple[str, Rule, Callable[[Case], None]]] = [
    (LEAKED, access.nobody_gets_an_entry_outside_a_membership, an_entry_of_before_the_joining_comes),
    (LEAKED, access.nobody_gets_an_entry_outside_a_membership, an_entry_of_after_the_leaving_comes),
    (
        LEAKED,
        access.nobody_gets_an_entry_outside_a_membership,
        an_entry_of_the_membership_comes_long_after_the_leaving,
    ),
    (
        LEAKED,
        access.nobody_gets_an_entry_outside_a_membership,
        an_entry_of_an_earlier_membership_is_pending,
    ),
    (LEAKED, access.nobody_gets_an_entry_outside_a_membership, a_page_after_the_leaving_holds_an_entry),
    (REORDERED, access.none_is_missing_inside_a_membership, one_of_a_membership_is_skipped),
    (REORDERED, access.none_is_missing_inside_a_membership, the_first_after_the_joining_is_skipped),
    (LEAKED, access.nobody_writes_outside_a_membership, a_stranger_writes),
    (LEAKED, access.nobody_writes_to_a_blocker, a_blocked_one_writes),
    (WRONG, access.refusals_have_a_reason, one_is_refused_who_is_not_blocked),
    (WRONG, access.refusals_have_a_reason, a_member_is_refused),
    (WRONG, access.refusals_have_a_reason, a_recall_is_refused),
    (
        WRONG,
        access.what_is_refused_is_not_stored,
        a_stored_message_is_refused_when_it_is_sent_again,
    ),
    (LEAKED, access.strangers_read_no_history, a_stranger_reads),
    (WRONG, access.strangers_read_no_history, a_member_may_not_read),
    (WRONG, access.strangers_read_no_history, one_of_the_two_may_not_read),
    (LOST, access.histories_are_whole, a_history_has_a_hole),
    (LOST, access.histories_are_whole, a_history_lacks_the_newest),
    (LOST, access.histories_are_whole, a_history_of_before_does_not_reach_it),
    (LEAKED, access.no_page_shows_what_was_recalled, a_history_shows_what_was_recalled),
    (LEAKED, access.no_page_shows_what_was_recalled, a_page_shows_what_was_recalled),
    (LEAKED, access.no_push_brings_what_was_recalled, what_was_recalled_comes_live),
    (LEAKED, access.nothing_follows_its_recall, the_text_comes_after_its_recall),
    (STUCK, presence.presence_is_right, a_device_was_told_wrongly),
    (STUCK, presence.presence_is_right, a_device_was_never_told),
    (STUCK, presence.presence_is_right, a_blocked_one_sees_the_blocker),
    (STUCK, presence.tables_are_right, the_database_has_somebody_elsewhere),
    (STUCK, presence.nobody_hangs, somebody_hangs),
    (STUCK, presence.nobody_is_kept_out, somebody_is_kept_out),
    (WRONG, presence.of_logins_at_once_one_lives, both_of_two_logins_at_once_end),
    (WRONG, presence.of_logins_at_once_one_lives, one_is_replaced_by_nobody),
    (STUCK, presence.what_is_replaced_ends, a_connection_outlives_the_next),
    (STUCK, presence.what_is_replaced_ends, a_session_outlives_the_password),
    (LEAKED, presence.old_tokens_are_refused, an_old_token_is_taken),
]


@pytest.mark.parametrize(("kind", "rule", "plant"), PLANTED, ids=name)
def test_a_planted_violation_is_found_and_named(
    kind: str, rule: Rule, plant: Callable[[Case], None], case: Case
) -> None:
    plant(case)
    assert_found(kind, rule, case.evidence())


def test_every_rule_has_found_something() -> None:
    assert {rule for _, rule, _ in PLANTED} == {*access.RULES, *presence.RULES}


# -- What is no violation


def test_a_push_under_way_may_come_after_the_leaving(case: Case) -> None:
    case.drop(case.bob, GROUP, 4)
    case.arrive(case.bob, GROUP, 4, 45.55)
    assert case.kinds() == {}


def test_while_redis_is_away_it_may_take_longer(case: Case) -> None:
    case.drop(case.bob, GROUP, 4)
    case.arrive(case.bob, GROUP, 4, 46.0)
    assert case.kinds() == {LEAKED: 1}
    case.faults = [Fault("Redis is killed", 40.0, 44.0)]
    assert case.kinds() == {}


def test_a_node_that_was_slow_meanwhile_may_take_longer(case: Case) -> None:
    case.drop(case.bob, GROUP, 4)
    case.arrive(case.bob, GROUP, 4, 46.0)
    case.bob.connections[0].echoes.append((45.0, 0.6))
    assert case.kinds() == {}


def test_what_is_not_sure_to_be_before_the_joining_may_come(case: Case) -> None:
    case.bob.acts[0].asked = 9.0
    case.arrive(case.bob, GROUP, 1, 10.05)
    assert case.kinds() == {}


def test_in_a_leaving_that_is_not_settled_either_is_right(case: Case) -> None:
    case.bob.acts[1].settled = 54.0
    case.arrive(case.bob, GROUP, 5, 50.05)
    case.store(case.bob, GROUP, "b1", 57.0)
    assert case.kinds()[LEAKED] == 0


def test_what_is_refused_may_be_stored_later(case: Case) -> None:
    a_stored_message_is_refused_when_it_is_sent_again(case)
    case.ann.sent["p3"].refusal = 10, 32.04  # before anybody had it
    assert list(access.what_is_refused_is_not_stored(case.evidence())) == []


def test_who_is_leaving_may_get_some_entries_and_not_those_before_them(case: Case) -> None:
    case.drop(case.phone, GROUP, 3)
    assert case.kinds()[REORDERED] == 1
    case.bob.acts[1].asked = 35.0  # and 4 comes at 40
    assert case.kinds()[REORDERED] == 0


def test_who_is_in_a_group_at_the_end_has_all_of_it(case: Case) -> None:
    case.bob.acts.pop(3)
    assert missing_of(case.evidence()) == []
    case.drop(case.bob, GROUP, 6)
    assert missing_of(case.evidence()) == [(case.bob, {(GROUP, 6)})]


def test_who_is_offline_is_told_to_be(case: Case) -> None:
    for record in (case.bob, case.phone):
        record.connections[-1].ended = 90.0
    assert case.kinds() == {STUCK: 1}
    case.ann.connections[0].told.append((90.1, BOB, "offline"))
    assert case.kinds() == {}


def test_who_went_less_than_ten_seconds_ago_may_be_told_late(case: Case) -> None:
    for record in (case.bob, case.phone):
        record.connections[-1].ended = 90.1
    assert case.kinds() == {}
    for record in (case.bob, case.phone):
        record.connections[-1].ended = 89.0
    assert case.kinds() == {STUCK: 1}
    case.faults = [Fault("n2 is killed", 88.0, 92.0)]
    assert case.kinds() == {}


def test_the_database_may_be_late_for_ten_seconds(case: Case) -> None:
    the_database_has_somebody_elsewhere(case)
    case.phone.attempts.append(Attempt("n3", 95.0, 95.1, 13, True, 66.1))
    assert case.kinds() == {}


def test_after_a_fault_a_device_may_count_as_online_for_a_while(case: Case) -> None:
    somebody_is_kept_out(case)
    case.faults = [Fault("n2 is stopped", 70.0, 72.0)]
    assert case.kinds() == {}


def test_of_two_logins_at_once_one_may_be_replaced(case: Case) -> None:
    both_of_two_logins_at_once_end(case)
    case.ann.connections[-2].ended, case.ann.connections[-2].reason = 95.9, "the server closed"
    assert case.kinds() == {}


def test_seqs_are_bounded_by_the_times_of_their_messages() -> None:
    seqs = Seqs([(1, 10.0, 10.5), (2, 9.0, 11.0), (3, 20.0, float("inf"))])
    assert [seqs.surely_by(time) for time in (10.5, 10.6, 30.0)] == [0, 1, 2]
    assert [seqs.surely_after(time) for time in (0.0, 9.5, 15.0, 20.0)] == [1, 1, 3, float("inf")]
