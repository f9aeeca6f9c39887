import pytest

from mixed_r1.config import ConfigError
from mixed_r1.data.filters import FILTERS, Row, open_filter
from mixed_r1.schema import Sample


def reason(settings, sizes=((100, 80),), **fields):
    defaults = {"id": "x", "task": "math", "question": "How many?", "answer": "1", "source": "s"}
    rule = open_filter(settings)
    row = Row(Sample(**{**defaults, **fields}), list(sizes))
    return rule.reason(row) if rule.applies(row.sample) else None


CASES = [
    ({"name": "answer_length", "max_chars": 3}, {"answer": "123"}, None),
    ({"name": "answer_length", "max_chars": 3}, {"answer": "1234"}, "4 characters, not 1 to 3"),
    ({"name": "answer_length", "max_chars": 3}, {"task": "chart", "answer": ["12", "12345"]}, "5 characters"),
    ({"name": "answer_length", "max_chars": 3}, {"task": "grounding", "answer": [1, 2, 30, 40]}, None),
    ({"name": "answer_length", "max_chars": 3, "tasks": ["chart"]}, {"answer": "1234"}, None),
    ({"name": "answer_length", "max_chars": 3, "sources": ["t"]}, {"answer": "1234"}, None),
    *(
        ({"name": "answer_form"}, {"answer": text}, None)
        for text in ("3", "-1,234.5", "3/4", "12%", ".5", "+7")
    ),
    *(
        ({"name": "answer_form"}, {"answer": text}, "must be a number")
        for text in ("three", "3 cats", "1,23", "%", "-", "1e5x")
    ),
    ({"name": "answer_form", "form": "word"}, {"answer": "cat"}, None),
    ({"name": "answer_form", "form": "word"}, {"answer": "a cat"}, "must be a word, got 'a cat'"),
    ({"name": "boxes"}, {"task": "grounding", "answer": [0, 0, 50, 80], "image_size": (100, 80)}, None),
    ({"name": "boxes"}, {"task": "grounding", "answer": [0, 0, 51, 80]}, "box covers 0.510 of the image"),
    (
        {"name": "boxes", "max_boxes": 1},
        {"task": "grounding", "answer": [[0, 0, 5, 5], [5, 5, 9, 9]]},
        "2 boxes",
    ),
    ({"name": "boxes"}, {"task": "grounding", "answer": [[0, 0, 5, 5], [0, 0, 5, 5]]}, "boxes must differ"),
    ({"name": "boxes", "min_side": 4}, {"task": "grounding", "answer": [0, 0, 30, 3]}, "box of 30 x 3"),
    ({"name": "boxes"}, {"answer": "7"}, None),
    ({"name": "question_length", "max_chars": 5}, {}, "9 characters, must be 3 to 5"),
    ({"name": "image_count", "min_images": 2}, {}, "1 images, must be 2 to 8"),
    ({"name": "image_size", "min_side": 81}, {}, "100 x 80, sides must be 81 to 8192"),
    ({"name": "image_size", "max_aspect": 1.2}, {}, "100 x 80, aspect ratio must be at most 1.2"),
    ({"name": "image_size"}, {}, None),
]


@pytest.mark.parametrize(("settings", "fields", "expected"), CASES)
def test_filter(settings, fields, expected):
    found = reason(settings, **fields)
    assert found is None if expected is None else found is not None and found.startswith(expected)


def choice(*options, answer="A"):
    return reason({"name": "options"}, task="multiple_choice", options=options, answer=answer)


def test_options():
    assert choice("red", "blue") is None
    assert choice("red") == "1 options, must be at least 2"
    assert choice("red", " RED ") == "options must differ"
    assert choice("red", "blue", "All of the above") == "option C must not point at the others"
    assert reason({"name": "options"}) is None


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How many people are sitting at the table in the picture?", None),
        ("Combien de personnes sont assises autour de la table sur la photo ?", "fr"),
        ("Wie viele Menschen sitzen auf dem Bild an dem Tisch?", "de"),
        ("\u56fe\u7247\u4e2d\u6709\u591a\u5c11\u4eba\u5750\u5728\u684c\u5b50\u65c1\u8fb9\uff1f", "zh"),
        ("Quoi ?", None),
    ],
)
def test_language(question, expected):
    found = reason({"name": "language"}, question=question)
    assert found is None if expected is None else found.startswith(f"{expected} (")
    assert reason({"name": "language", "allow": ["en", "fr", "de", "zh"]}, question=question) is None


def test_every_filter_has_settings_that_are_checked():
    for name in FILTERS:
        assert open_filter({"name": name}).name == name
        with pytest.raises(ConfigError, match="key must be a known setting, got 'sizze'"):
            open_filter({"name": name, "sizze": 1})
    with pytest.raises(ConfigError, match="filter name must be one of"):
        open_filter({})
