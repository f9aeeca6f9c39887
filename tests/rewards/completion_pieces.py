"""Pieces that completions in tests are put together from: the words, numbers and marks the readers know."""

NUMBERS = [
    "0", "1", "7", "42", "100", "-3", "+5", "3.5", ".5", "5.", "1e3", "1e-400", "1e400", "1,234", "12,34",
    "1,234,567.8", "2015", "0.1", "105", "\u22125", "\uff14\uff12", "4\xb2", "nan", "inf", "-Infinity",
    "1_000", "20%", "$5", "\u20ac 5", "5k", "5 M", "3 billion", "1e999", "00012", "--1", "1.2.3", "9" * 60,
    "1" * 330, "2015.0", "2015.5", "$2015", "42 percent", "1e-7",
]  # fmt: skip
WORDS = [
    "yes", "no", "true", "False", "correct", "incorrect", "not", "isn't", "never", "nobody", "no-one",
    "the", "answer", "is", "option", "choice", "or", "and", "because", "A", "B", "C", "D", "I", "a", "b",
    "(B)", "B.", "b)", "[b]", "cat", "dog", "red", "Stra\xdfe", "STRASSE", "caf\xe9", "cafe\u0301",
    "\ufb01sh", "\u24b7", "\uac00", "\u1100\u1161", "e\u0323\u0301", "e\u0301\u0323", "\u0345\u0301",
    "\u6c34", "\U0001f600", "*", "**", "`", "'", '"', "\u2019", "-", "_", "except", "nor", "neither", "both",
    "either", "\u2014", "=", "$", "isn\u2019t", "A dog", "a dog",
]  # fmt: skip
BRACKETS = [
    "[", "]", "(", ")", "{", "}", ",", ", ", ":", ";", " ", "\n", "\t", '"', "\\", "\\{", "\\}", ".", "/",
    "%",
]  # fmt: skip
TAGS = [
    "<think>", "</think>", "<answer>", "</answer>", "<answer", "</", "<", ">", "\\boxed{", "}",
    "<|box_start|>", "<box>", "</box>", '{"bbox_2d": ', "[1, 2, 3, 4]", "(1,2),(3,4)", "[5,5,9,9]", "true",
    "null",
]  # fmt: skip
MATH = [
    "\\frac", "\\dfrac", "{1}", "{2}", "{3}", "\\sqrt", "\\sqrt[3]", "{8}", "\\pi", "\u03c0", "^", "^2",
    "^{1/2}", "^{-1}", "+", "-", "*", "/", "\\cdot", "\\times", "**", "=", "x", "\\in", "\\cup", "\\infty",
    "\\left", "\\right", "^\\circ", "\\%", "sqrt(2)", "\\,", "$", "2\\frac{1}{3}", "12", "(1,2)", "[0,1)",
    "\\{1,2\\}", "1{,}000", "\\text", "8", "50", "pi",
]  # fmt: skip
SHAPES = [
    "<think>x</think><answer>{}</answer>",
    "<think>\u00e9</think>\n<answer> {} </answer> ",
    "{}",
    "<answer>{}</answer>",
    "so \\boxed{{{}}}",
    "<think>{0}</think><answer>{0}</answer>",
    "<answer>{}",
    "<think>a<answer>{}</answer></think>",
    "<think>a</think><answer><think>{}</answer>",
    "<think>x</think><answer>$\\boxed{{{}}}$</answer>",
]
