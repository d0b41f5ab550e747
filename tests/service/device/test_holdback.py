"""What is held back during a login: in order, and without what the answer makes needless."""

from __future__ import annotations

from greenchat.protocol.messages import PresencePush, TypingPush
from greenchat.protocol.wire import NOBODY, SharedEntry, SharedPush
from greenchat.service.device.holdback import NO_SEQ, Holdback
from tests.service.device.support import live, own


def held() -> Holdback:
    """Return entries of two conversations with a push between them."""
    holdback = Holdback()
    holdback.hold(1, 5, live(1, 5))
    holdback.hold_push(SharedPush(PresencePush(id=1, state="online")))
    holdback.hold(2, 1, live(2, 1))
    holdback.hold(1, 6, live(1, 6))
    return holdback


def released(holdback: Holdback) -> list[tuple[int, int]]:
    """Return the conversations and seqs of what is released."""
    return [(conversation, seq) for conversation, seq, _ in holdback.release()]


def test_everything_is_released_once_in_the_order_of_its_coming() -> None:
    holdback = held()
    assert released(holdback) == [(1, 5), (0, NO_SEQ), (2, 1), (1, 6)]
    assert released(holdback) == []


def test_a_conversation_is_taken_out_and_the_rest_stays() -> None:
    holdback = held()
    assert holdback.take_out(1) == [5, 6]
    assert holdback.take_out(1) == []
    assert released(holdback) == [(0, NO_SEQ), (2, 1)]


def test_pushes_of_a_kind_are_dropped_and_no_others() -> None:
    holdback = held()
    holdback.drop_pushes(TypingPush)
    assert len(released(holdback)) == 4
    holdback = held()
    holdback.drop_pushes(PresencePush)
    assert released(holdback) == [(1, 5), (2, 1), (1, 6)]


def test_a_text_is_not_released_once_its_recall_has_come() -> None:
    holdback = Holdback()
    for seq, kind, body in ((5, "text", "oops"), (6, "text", "hi"), (7, "recall", "5")):
        holdback.hold(1, seq, SharedEntry(own(1, seq)._replace(kind=kind, body=body), NOBODY))
    messages = [message for _, _, message in holdback.release()]
    assert [message.entry.body for message in messages if isinstance(message, SharedEntry)] == ["", "hi", "5"]
