"""A stream: when an entry is sent, held back, left in the log or dropped."""

from __future__ import annotations

from greenchat.model.conversations import of_group
from greenchat.model.records import Span
from greenchat.protocol.messages import PresencePush, TypingPush
from greenchat.protocol.wire import Shared, SharedPush
from greenchat.service.device.receipts import Receipts
from greenchat.service.device.states import CATCHING_UP, CAUGHT_UP, CHECKING, HOLDING, LIVE, PAGING
from greenchat.service.device.stream import PAGE_MESSAGES, Stream
from tests.service.device.support import Cursors, live, own, wire

PAIR, OTHER_PAIR = 1, 2
GROUP_ID = 7
GROUP = of_group(GROUP_ID)


class Connection:
    """A connection that notes the seqs of the entries that it is sent, and the kinds of the pushes."""

    def __init__(self) -> None:
        self.sent: list[int | str] = []
        self.room = True
        self.catching_up: list[Stream] = []

    def send(self, frame: bytes) -> None:
        self.sent.append(int(frame.split()[1]))

    def send_entry(self, conversation: int, seq: int, entry: Shared) -> None:
        self.sent.append(seq)

    def has_room(self, entry: Shared) -> bool:
        return self.room

    def notify(self, push: Shared) -> None:
        assert isinstance(push, SharedPush)
        self.sent.append(type(push.push).__name__)

    def catch_up_soon(self, stream: Stream) -> None:
        self.catching_up.append(stream)


def logging_in(*, paced: bool = False, echoed: int = 0) -> tuple[Stream, Connection]:
    """Return the stream of a login that is being answered."""
    connection = Connection()
    receipts = Receipts(Cursors(), 1, "")
    return Stream(connection, wire(paced=paced), connection.send, receipts, echoed), connection


def logged_in(*backlog: Span, paced: bool = False, echoed: int = 0) -> tuple[Stream, Connection]:
    """Return the stream of a device that lacked some entries when it logged in."""
    stream, connection = logging_in(paced=paced, echoed=echoed)
    stream.note_joined({GROUP_ID: 0})
    stream.login_read(backlog, {GROUP_ID: 0})
    stream.login_answered()
    return stream, connection


def deliver(stream: Stream, conversation: int, *seqs: int) -> None:
    for seq in seqs:
        stream.deliver(conversation, seq, live(conversation, seq))


# -- Live


def test_entries_of_a_conversation_without_a_backlog_are_sent_as_they_come() -> None:
    stream, connection = logged_in()
    deliver(stream, PAIR, 7, 8)
    assert connection.sent == [7, 8]
    assert stream.state(PAIR) is LIVE


def test_an_entry_that_came_from_the_connection_is_not_sent_back() -> None:
    stream, connection = logged_in(Span(OTHER_PAIR, 3, 4))
    stream.deliver_own(own(PAIR, 7))
    stream.count_page(OTHER_PAIR, 4)
    stream.deliver_own(own(OTHER_PAIR, 5))
    assert connection.sent == []
    assert stream.state(OTHER_PAIR) is LIVE


def test_an_own_entry_ahead_of_a_backlog_comes_with_its_pages() -> None:
    stream, _ = logged_in(Span(PAIR, 3, 4))
    stream.deliver_own(own(PAIR, 5))
    assert stream.plan() == [Span(PAIR, 3, 5)]


def test_an_own_entry_of_the_echoed_conversation_is_sent_back() -> None:
    stream, connection = logged_in(paced=True, echoed=PAIR)
    stream.deliver_own(own(PAIR, 7))
    stream.deliver_own(own(OTHER_PAIR, 1))
    assert connection.sent == [7]


def test_an_entry_for_which_a_paced_connection_has_no_room_stays_in_the_log() -> None:
    stream, connection = logged_in(paced=True)
    connection.room = False
    deliver(stream, PAIR, 7)
    connection.room = True
    deliver(stream, PAIR, 8)
    assert connection.sent == []
    assert stream.plan(PAIR) == [Span(PAIR, 6, 8)]
    stream.count_page(PAIR, 8)
    connection.room = False
    deliver(stream, PAIR, 8)
    assert stream.state(PAIR) is CAUGHT_UP
    connection.room = True
    deliver(stream, PAIR, 9)
    assert connection.sent == [9]


# -- Holding back


def test_entries_and_pushes_during_a_login_follow_its_answer_in_order() -> None:
    stream, connection = logging_in()
    assert (stream.is_holding, stream.state(PAIR)) == (True, HOLDING)
    deliver(stream, PAIR, 7)
    stream.notify(SharedPush(TypingPush(id=1)))
    stream.notify(SharedPush(PresencePush(id=1, state="online")))
    stream.drop_pushes(PresencePush)
    stream.deliver_own(own(PAIR, 8))
    deliver(stream, OTHER_PAIR, 1)
    assert connection.sent == []
    stream.login_answered()
    assert connection.sent == [7, "TypingPush", 1]
    assert (stream.is_holding, stream.state(PAIR)) == (False, LIVE)


def test_a_held_entry_that_a_page_of_the_answer_has_is_dropped() -> None:
    stream, connection = logging_in()
    deliver(stream, PAIR, 4, 5)
    stream.login_read([Span(PAIR, 2, 4)], {})
    stream.count_page(PAIR, 4)
    stream.login_answered()
    assert connection.sent == [5]


def test_a_held_entry_from_before_the_joining_is_dropped() -> None:
    stream, connection = logging_in()
    deliver(stream, GROUP, 4, 5)
    stream.note_joined({GROUP_ID: 4})
    stream.login_answered()
    assert connection.sent == [5]


def test_a_held_entry_of_a_group_that_nobody_knows_the_user_in_is_dropped() -> None:
    stream, connection = logging_in()
    deliver(stream, GROUP, 4)
    stream.login_answered()
    assert connection.sent == []


def test_an_entry_that_the_log_is_known_to_have_during_a_login_is_not_forgotten() -> None:
    """The login had read the log before; the entry was handed out to nobody."""
    stream, connection = logging_in()
    stream.send_upto(PAIR, 0, 2)
    stream.login_read([Span(PAIR, 0, 1)], {})
    assert stream.plan() == [Span(PAIR, 0, 2)]
    stream.login_answered()
    deliver(stream, PAIR, 3)
    assert connection.sent == []
    assert stream.plan() == [Span(PAIR, 0, 3)]


# -- Paging


def test_live_entries_wait_behind_pages_and_are_sent_again_once_those_are() -> None:
    stream, connection = logged_in(Span(PAIR, 2, 4))
    assert stream.paging() == [PAIR]
    deliver(stream, PAIR, 5)
    deliver(stream, OTHER_PAIR, 1)
    assert stream.plan() == [Span(PAIR, 2, 5)]
    stream.count_page(PAIR, 4)
    assert stream.plan() == [Span(PAIR, 4, 5)]
    stream.count_page(PAIR, 5)
    assert stream.paging() == []
    deliver(stream, PAIR, 5, 6, 7)
    assert connection.sent == [1, 6, 7]


def test_a_gap_is_filled_from_the_log_without_a_sync() -> None:
    stream, connection = logged_in(Span(PAIR, 1, 2))
    stream.count_page(PAIR, 2)
    deliver(stream, PAIR, 4)
    assert connection.sent == []
    assert connection.catching_up == [stream]
    assert (stream.plan(), stream.plan(PAIR)) == ([], [Span(PAIR, 2, 4)])


def test_the_log_may_go_on_while_the_client_pages_through_it() -> None:
    stream, connection = logged_in(Span(PAIR, 5, 7))
    stream.send_upto(PAIR, 5, 9)
    stream.send_upto(PAIR, 5, 8)
    assert stream.plan() == [Span(PAIR, 5, 9)]
    assert connection.catching_up == []


def test_a_page_is_planned_over_conversations_up_to_200_entries() -> None:
    stream, _ = logged_in(Span(PAIR, 0, 150), Span(OTHER_PAIR, 10, 90), Span(3, 0, 1))
    assert stream.plan() == [Span(PAIR, 0, 150), Span(OTHER_PAIR, 10, 90)]
    assert PAGE_MESSAGES == 200


def test_a_wire_without_sync_has_its_backlog_sent() -> None:
    stream, connection = logged_in(Span(PAIR, 0, 1), Span(OTHER_PAIR, 0, 2), paced=True)
    stream.send_all()
    assert stream.paging() == []
    assert connection.catching_up == [stream]
    assert stream.plan(OTHER_PAIR) == [Span(OTHER_PAIR, 0, 2)]


# -- Catching up


def test_a_page_counts_only_if_nothing_has_changed_since_it_was_planned() -> None:
    stream, _ = logged_in(Span(PAIR, 0, 3), Span(GROUP, 0, 3))
    pair, group = stream.plan()
    assert stream.stands(pair, None)
    assert not stream.stands(pair, PAIR)
    stream.count_page(PAIR, 1)
    stream.left(GROUP_ID)
    assert not stream.stands(pair, None)
    assert not stream.stands(group, None)


def test_a_lookup_adds_to_what_was_heard_meanwhile() -> None:
    stream, _ = logged_in()
    stream.send_after(PAIR, 5)
    stream.look_up(PAIR)
    deliver(stream, PAIR, 7)
    stream.count_page(PAIR, 6, head=5)  # both were read before
    assert stream.plan(PAIR) == [Span(PAIR, 6, 7)]


def test_an_entry_that_is_next_ends_a_catching_up_that_has_found_nothing_yet() -> None:
    stream, connection = logged_in()
    stream.send_after(PAIR, 5)
    assert stream.next_to_catch_up() == PAIR
    deliver(stream, PAIR, 6)
    assert connection.sent == [6]
    assert stream.next_to_catch_up() is None


def test_a_greenlet_is_asked_for_once() -> None:
    stream, connection = logged_in()
    for conversation in (PAIR, OTHER_PAIR, PAIR):
        stream.send_after(conversation, 5)
    assert connection.catching_up == [stream]


def test_a_stream_that_is_over_has_nothing_to_send() -> None:
    stream, _ = logged_in(Span(PAIR, 0, 3))
    stream.send_after(OTHER_PAIR, 5)
    stream.close()
    assert stream.is_over
    assert (stream.plan(), stream.next_to_catch_up()) == ([], None)


# -- Groups


def test_a_group_that_was_left_is_looked_up_before_more_is_sent() -> None:
    stream, connection = logged_in(Span(GROUP, 0, 3))
    stream.left(GROUP_ID)
    assert (stream.state(GROUP), connection.catching_up) == (CHECKING, [stream])
    assert (stream.plan(), stream.plan(GROUP)) == ([], [])
    stream.look_up(GROUP)
    assert stream.state(GROUP) is CATCHING_UP
    stream.drop(GROUP)
    assert stream.state(GROUP) is LIVE


def test_the_held_entries_of_a_group_that_was_left_come_from_the_log_if_at_all() -> None:
    stream, connection = logging_in()
    deliver(stream, GROUP, 8, 9)
    deliver(stream, PAIR, 1)
    stream.left(GROUP_ID)
    stream.login_answered()
    assert connection.sent == [1]
    stream.look_up(GROUP)
    assert stream.plan(GROUP) == [Span(GROUP, 7, 9)]


def test_the_held_entries_of_a_group_that_was_left_come_behind_its_backlog() -> None:
    stream, _ = logging_in()
    stream.note_joined({GROUP_ID: 0})
    deliver(stream, GROUP, 2, 3)
    stream.login_read([Span(GROUP, 0, 1)], {GROUP_ID: 0})
    stream.left(GROUP_ID)
    stream.look_up(GROUP)
    assert stream.plan(GROUP) == [Span(GROUP, 0, 3)]


def test_a_login_that_is_answered_after_the_user_has_left_shows_nothing_of_the_group() -> None:
    stream, _ = logging_in()
    stream.left(GROUP_ID)
    stream.note_joined({GROUP_ID: 0})
    stream.login_read([Span(GROUP, 0, 3)], {GROUP_ID: 0})
    assert (stream.state(GROUP), stream.plan()) == (CHECKING, [])


def test_a_backlog_that_a_login_has_read_of_an_earlier_membership_is_ignored() -> None:
    stream, _ = logging_in()
    stream.follow(GROUP_ID, 5, 5, had_all=False)
    stream.login_read([Span(GROUP, 0, 3)], {GROUP_ID: 0})
    assert stream.plan() == []
    assert stream.joined(GROUP_ID) == 5


def test_groups_that_are_paged_are_looked_up_when_word_may_have_been_lost() -> None:
    stream, _ = logged_in(Span(GROUP, 0, 3), Span(PAIR, 0, 3))
    stream.check_groups()
    assert (stream.state(GROUP), stream.state(PAIR)) == (CHECKING, PAGING)


def test_word_that_may_have_been_lost_during_a_login_has_its_groups_looked_up() -> None:
    stream, _ = logging_in()
    stream.check_groups()
    stream.note_joined({GROUP_ID: 0})
    stream.login_read([Span(GROUP, 0, 3)], {GROUP_ID: 0})
    assert stream.state(GROUP) is CHECKING


def test_a_membership_is_followed_from_its_joining_or_where_the_group_was_handed_out() -> None:
    stream, _ = logged_in()
    stream.follow(8, 3, 5, had_all=True)
    stream.follow(9, 3, 5, had_all=False)
    assert (stream.plan(-8), stream.plan(-9)) == ([Span(-8, 5, 5)], [Span(-9, 3, 5)])
    stream.follow(9, 2, 5, had_all=False)  # word of an earlier one
    assert stream.joined(9) == 3


def test_an_entry_that_was_handed_out_without_the_user_during_a_login_is_not_forgotten() -> None:
    """The login has read the joining and the log before the node heard of that joining."""
    stream, _ = logging_in()
    stream.follow(GROUP_ID, 0, 2, had_all=False)
    stream.note_joined({GROUP_ID: 0})
    stream.login_read([Span(GROUP, 0, 1)], {GROUP_ID: 0})
    assert stream.plan() == [Span(GROUP, 0, 2)]
