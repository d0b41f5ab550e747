"""The checker finds each kind of violation: one is planted in evidence that is otherwise perfect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from lab.record import LIVE, PAGE, Arrival, Connection, Record, Row, Sent, of_pair
from lab.rules import log
from lab.rules.checker import check, latencies
from lab.rules.evidence import DOUBLED, LOST, REORDERED, REPLACED, WRONG, Evidence, Rule
from lab.rules.log import missing_of
from tests.lab.rules.planted import assert_found, name

ANN, BOB = 1, 2
PAIR = of_pair(ANN, BOB)
GROUP = -7

LATER = 100.0
"""Seconds after which a skipped entry comes."""


class Case:
    """Ann writes to Bob and to a group, Bob answers once; both have a second look after a reconnect.

    Attributes:
        ann, phone, bob: records of Ann's two devices and of Bob's.
        rows, heads: the tables.
    """

    def __init__(self) -> None:
        self.ann = Record(ANN, "", frozenset({PAIR, GROUP}))
        self.phone = Record(ANN, "phone", frozenset({PAIR, GROUP}))
        self.bob = Record(BOB, "", frozenset({PAIR, GROUP}))
        self.rows: list[Row] = []
        self.heads: dict[int, int] = {}
        for number in range(1, 5):
            self.store(self.ann, PAIR, f"a{number}")
        self.store(self.bob, PAIR, "b1")
        self.store(self.phone, GROUP, "p1")
        for number in range(5, 7):
            self.store(self.ann, GROUP, f"a{number}")
        for record in (self.ann, self.phone, self.bob):
            record.connections = [Connection("n1", 1.0, 2.0), Connection("n2", 3.0)]
        self.arrive(self.bob, 0, PAIR, 1, 2, 3)
        self.arrive(self.bob, 0, GROUP, 1)
        self.arrive(self.bob, 1, PAIR, 2, 3, how=PAGE)  # not marked as received
        self.arrive(self.bob, 1, PAIR, 4)
        self.arrive(self.bob, 1, GROUP, 2, 3)
        self.arrive(self.ann, 0, GROUP, 1)
        self.arrive(self.ann, 1, PAIR, 5)
        self.arrive(self.phone, 0, PAIR, 1, 2, 3, 4, 5)
        self.arrive(self.phone, 1, GROUP, 2, 3)

    def store(self, record: Record, conversation: int, cid: str) -> None:
        seq = self.heads[conversation] = self.heads.get(conversation, 0) + 1
        row = Row(conversation, seq, record.user, cid, f"text of {cid}")
        self.rows.append(row)
        number = len(record.sent) + 1
        sent = record.sent[cid] = Sent(cid, conversation, number, row.body, "n1", 10.0 + seq, 1)
        sent.acks.append((seq, sent.at))

    def arrive(self, record: Record, connection: int, conversation: int, *seqs: int, how: str = LIVE) -> None:
        rows = {(row.conversation, row.seq): row for row in self.rows}
        for seq in seqs:
            row = rows[conversation, seq]
            arrival = Arrival(conversation, seq, row.sender, row.body, how, 10.5 + seq)
            record.connections[connection].arrivals.append(arrival)

    def change(self, place: int, **fields: Any) -> None:
        """Change a row that was stored."""
        self.rows[place] = self.rows[place]._replace(**fields)

    def evidence(self) -> Evidence:
        return Evidence(self.rows, self.heads, [self.ann, self.phone, self.bob])

    def kinds(self) -> Counter[str]:
        return check(self.evidence()).kinds


@pytest.fixture
def case() -> Case:
    return Case()


def test_what_keeps_every_promise_is_counted_and_found_right(case: Case) -> None:
    verdict = check(case.evidence())
    assert verdict.violations == []
    assert (verdict.sent, verdict.acknowledged, verdict.stored) == (8, 8, 8)
    assert (verdict.delivered, verdict.removed, verdict.reconnects) == (16, 2, 3)
    assert str(verdict).endswith("0 lost, 0 doubled, 0 reordered, 0 leaked, 0 stuck, 0 wrong")


def test_an_entry_counts_as_got_on_another_connection_of_the_device_too(case: Case) -> None:
    """Of two logins at once both bring entries for a while; the receipts of one move the cursor of both."""
    first, second = case.bob.connections
    moved = [arrival for arrival in first.arrivals if arrival[:2] == (PAIR, 2)]
    first.arrivals = [arrival for arrival in first.arrivals if arrival not in moved]
    second.arrivals = moved + [arrival for arrival in second.arrivals if arrival.how == LIVE]
    assert list(log.none_is_skipped(case.evidence())) == []


def an_acknowledged_message_is_not_stored(case: Case) -> None:
    case.rows.pop()
    case.heads[GROUP] -= 1


def a_row_in_the_middle_is_gone(case: Case) -> None:
    case.rows.pop(1)


def the_counter_ran_ahead_of_the_rows(case: Case) -> None:
    case.heads[PAIR] += 1


def a_message_was_never_acknowledged(case: Case) -> None:
    case.ann.sent["a6"].acks.clear()


def a_live_message_never_arrived(case: Case) -> None:
    case.bob.connections[1].arrivals.pop()


def the_other_device_of_the_sender_did_not_hear_of_it(case: Case) -> None:
    case.phone.connections[1].arrivals.pop()


def a_conversation_never_arrived(case: Case) -> None:
    case.ann.connections[0].arrivals.clear()


def what_arrived_is_not_in_the_log(case: Case) -> None:
    stray = Arrival(PAIR, 6, ANN, "text of a9", LIVE, 20.0)
    case.ann.connections[1].arrivals.append(stray)


def a_message_is_stored_twice(case: Case) -> None:
    row = case.rows[-1]
    case.rows.append(row._replace(seq=row.seq + 1))
    case.heads[GROUP] += 1
    for record, connection in ((case.bob, 1), (case.phone, 1)):
        case.arrive(record, connection, GROUP, row.seq + 1)


def a_live_message_repeats_one_of_the_page(case: Case) -> None:
    case.arrive(case.bob, 1, PAIR, 4)


def a_seq_comes_again_on_the_connection(case: Case) -> None:
    case.arrive(case.bob, 1, PAIR, 2)


def two_of_a_sender_changed_places(case: Case) -> None:
    first, second = case.rows[0], case.rows[1]
    for one, other in ((0, second), (1, first)):
        case.change(one, cid=other.cid, body=other.body)
        case.ann.sent[other.cid].acks = [(one + 1, 1.0)]
    for record in (case.phone, case.bob):
        for link in record.connections:
            link.arrivals = [
                arrival._replace(body=case.rows[arrival.seq - 1].body)
                if arrival.conversation == PAIR
                else arrival
                for arrival in link.arrivals
            ]


def two_arrive_in_the_wrong_order(case: Case) -> None:
    arrivals = case.bob.connections[0].arrivals
    arrivals[1], arrivals[2] = arrivals[2], arrivals[1]


def one_is_skipped_and_comes_at_the_next_login(case: Case) -> None:
    link, later = case.bob.connections
    link.arrivals = [arrival for arrival in link.arrivals if arrival[:2] != (PAIR, 2)]
    later.arrivals = [arrival._replace(at=arrival.at + LATER) for arrival in later.arrivals]


def the_first_of_a_device_is_skipped_and_comes_later(case: Case) -> None:
    first = case.phone.connections[0].arrivals.pop(0)
    case.phone.connections[1].arrivals.append(first._replace(at=first.at + LATER))


def the_ack_said_another_seq(case: Case) -> None:
    case.ann.sent["a1"].acks = [(2, 1.0)]


def a_second_ack_said_another_seq(case: Case) -> None:
    case.ann.sent["a1"].acks.append((9, 2.0))


def a_text_was_changed_on_its_way_into_the_log(case: Case) -> None:
    case.change(5, body="text of p2")
    for record in (case.ann, case.bob):
        link = record.connections[0]
        link.arrivals[-1] = link.arrivals[-1]._replace(body="text of p2")


def a_text_was_changed_on_its_way_out(case: Case) -> None:
    link = case.bob.connections[0]
    link.arrivals[0] = link.arrivals[0]._replace(body="text of a2")


def the_sender_is_said_to_be_another(case: Case) -> None:
    link = case.bob.connections[0]
    link.arrivals[0] = link.arrivals[0]._replace(sender=BOB)


def nobody_sent_what_is_stored(case: Case) -> None:
    del case.phone.sent["p1"]
    case.arrive(case.phone, 0, GROUP, 1)  # which is then no message of its own


def somebody_got_a_message_of_others(case: Case) -> None:
    case.bob.conversations = frozenset({PAIR})


def an_answer_was_odd(case: Case) -> None:
    case.bob.oddities.append("a1 got errno 8")


def a_living_connection_counts_as_logged_out(case: Case) -> None:
    case.bob.connections[-1].unreceived.append(14.0)


def a_connection_that_counts_as_logged_out_is_not_replaced(case: Case) -> None:
    case.bob.connections[0].unreceived.append(1.9)


def a_replaced_connection_goes_on(case: Case) -> None:
    case.bob.connections[0].reason = REPLACED
    case.bob.connections[0].unreceived.append(case.bob.connections[0].ended - 11.0)


PLANTED: list[tuple[str, Rule, Callable[[Case], None]]] = [
    (LOST, log.acknowledged_is_stored, an_acknowledged_message_is_not_stored),
    (LOST, log.seqs_have_no_gap, a_row_in_the_middle_is_gone),
    (LOST, log.seqs_have_no_gap, the_counter_ran_ahead_of_the_rows),
    (LOST, log.all_is_acknowledged, a_message_was_never_acknowledged),
    (LOST, log.everybody_has_everything, a_live_message_never_arrived),
    (LOST, log.everybody_has_everything, the_other_device_of_the_sender_did_not_hear_of_it),
    (LOST, log.everybody_has_everything, a_conversation_never_arrived),
    (LOST, log.arrivals_are_rows, what_arrived_is_not_in_the_log),
    (DOUBLED, log.all_is_stored_once, a_message_is_stored_twice),
    (DOUBLED, log.connections_bring_each_seq_once_and_in_order, a_live_message_repeats_one_of_the_page),
    (DOUBLED, log.connections_bring_each_seq_once_and_in_order, a_seq_comes_again_on_the_connection),
    (REORDERED, log.senders_keep_their_order, two_of_a_sender_changed_places),
    (REORDERED, log.connections_bring_each_seq_once_and_in_order, two_arrive_in_the_wrong_order),
    (REORDERED, log.none_is_skipped, one_is_skipped_and_comes_at_the_next_login),
    (REORDERED, log.none_is_skipped, the_first_of_a_device_is_skipped_and_comes_later),
    (WRONG, log.acknowledged_is_stored, the_ack_said_another_seq),
    (WRONG, log.acknowledged_is_stored, a_second_ack_said_another_seq),
    (WRONG, log.acknowledged_is_stored, a_text_was_changed_on_its_way_into_the_log),
    (WRONG, log.arrivals_are_rows, a_text_was_changed_on_its_way_out),
    (WRONG, log.arrivals_are_rows, the_sender_is_said_to_be_another),
    (WRONG, log.arrivals_are_rows, somebody_got_a_message_of_others),
    (WRONG, log.nothing_comes_from_nowhere, nobody_sent_what_is_stored),
    (WRONG, log.answers_are_sane, an_answer_was_odd),
    (WRONG, log.answers_are_sane, a_living_connection_counts_as_logged_out),
    (WRONG, log.answers_are_sane, a_connection_that_counts_as_logged_out_is_not_replaced),
    (WRONG, log.answers_are_sane, a_replaced_connection_goes_on),
]


@pytest.mark.parametrize(("kind", "rule", "plant"), PLANTED, ids=name)
def test_a_planted_violation_is_found_and_named(
    kind: str, rule: Rule, plant: Callable[[Case], None], case: Case
) -> None:
    plant(case)
    assert_found(kind, rule, case.evidence())


def test_every_rule_has_found_something() -> None:
    assert {rule for _, rule, _ in PLANTED} == {*log.RULES}


# -- What is no violation


def test_a_refused_message_may_be_overtaken_by_what_was_under_way_behind_it(case: Case) -> None:
    two_of_a_sender_changed_places(case)
    case.ann.sent["a1"].refused = 1
    assert case.kinds() == {}


def test_but_what_was_not_refused_may_not(case: Case) -> None:
    two_of_a_sender_changed_places(case)
    case.ann.sent["a2"].refused = 1
    assert case.kinds() == {REORDERED: 1}


def test_a_message_of_ones_own_may_be_offered_again(case: Case) -> None:
    case.ann.connections[1].arrivals.clear()
    case.arrive(case.ann, 1, PAIR, 3, 4, 5, how=PAGE)
    assert case.kinds() == {}


def test_a_message_may_be_acknowledged_again_with_its_seq(case: Case) -> None:
    case.ann.sent["a1"].acks.append((1, 2.0))
    assert case.kinds() == {}


def test_without_acknowledgement_a_message_may_be_stored_all_the_same(case: Case) -> None:
    case.ann.sent["a6"].acks.clear()
    assert case.kinds() == {LOST: 1}  # never acknowledged, and nothing else


def test_a_connection_that_is_replaced_counts_as_logged_out_just_before_its_end(case: Case) -> None:
    link = case.bob.connections[0]
    link.reason = REPLACED
    link.unreceived.append(link.ended - 0.1)
    assert case.kinds() == {}


# -- Beside the verdict


def test_what_is_missing_is_told_by_device(case: Case) -> None:
    assert missing_of(case.evidence()) == []
    a_live_message_never_arrived(case)
    assert missing_of(case.evidence()) == [(case.bob, {(GROUP, 3)})]


def test_latency_is_that_of_live_arrivals_from_another_node(case: Case) -> None:
    across = latencies(case.evidence().records)
    assert across == [0.5] * 6  # on the second connections, which lead to n2; a page does not count
    assert latencies(case.evidence().records, [(0.0, 12.5), (13.5, 99.0)]) == [0.5] * 4
    assert latencies(case.evidence().records, across=False) == [0.5] * 10


def test_latency_of_what_was_sent_before_the_receiver_was_there_does_not_count(case: Case) -> None:
    for link in (case.bob.connections[1], case.phone.connections[1], case.ann.connections[1]):
        link.began = 99.0
    assert latencies(case.evidence().records) == []
