from accorda.cli.terminal.scenes import Scenes, fitted


def test_long_lines_go_on_below_their_last_column():
    line = "  base      I would like to be paid back in full, and soon."
    assert fitted(line, 80) == line
    assert fitted(line, 36) == "  base      I would like to be paid\n            back in full, and soon."
    assert fitted("mask  holds  every row has a label that stands in its source", 40) == (
        "mask  holds  every row has a label that\n             stands in its source"
    )
    assert fitted("> This is about order 9834. It is urgent.", 30) == "> This is about order 9834. It\n> is urgent."
    assert fitted("no columns here but many words", 20) == "no columns here but\nmany words"


def test_in_a_pipe_every_part_is_a_line_as_it_begins(capsys):
    scenes = Scenes()
    scenes.open("1/3 supervised fine-tuning", "Short summaries.")
    scenes.tell("a block")
    assert capsys.readouterr().err == "1/3 supervised fine-tuning: Short summaries.\n"
    assert scenes.rest().endswith("a block")
