import pytest

from accorda.errors import Refusal
from accorda.serving.chat.history import History, recent


def told(history):
    return [(message.role[0], message.content) for message in history.messages]


@pytest.fixture
def history():
    made = History()
    made.system = "S"
    for question, answer in (("a", "1"), ("b", "2"), ("c", "3")):
        made.ask(question)
        made.answer(answer)
    return made


def test_taking_back(history):
    assert history.undo() == "c"
    assert told(history)[-1] == ("a", "2")
    history.edit("B")
    assert told(history) == [("s", "S"), ("u", "a"), ("a", "1"), ("u", "B")]
    history.ask("instead of the unanswered one")
    assert told(history)[-2:] == [("a", "1"), ("u", "instead of the unanswered one")]
    history.answer("x")
    history.reopen()
    assert told(history)[-1] == ("u", "instead of the unanswered one")
    assert history.exchanges() == [("a", "1")]
    history.reset()
    assert told(history) == [("s", "S")]
    for change in (history.undo, history.reopen, lambda: history.edit("x")):
        with pytest.raises(Refusal, match="nothing was said yet"):
            change()


def test_the_system_message_stands_in_front_or_is_gone(history):
    history.system = "T"
    assert told(history)[:2] == [("s", "T"), ("u", "a")]
    history.system = None
    assert told(history)[0] == ("u", "a")
    assert history.system is None


def test_what_is_recent_keeps_the_system_message(history):
    assert recent(history.messages, 0) == history.messages
    assert [message.content for message in recent(history.messages, 2)] == ["S", "c", "3"]


def test_a_refusal_leaves_it_as_it_was(history):
    def edited_and_refused():
        with history.unless_refused():
            history.edit("x")
            raise Refusal("no")

    before = told(history)
    with pytest.raises(Refusal):
        edited_and_refused()
    assert told(history) == before
