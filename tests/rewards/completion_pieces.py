"""Pieces that completions in tests are put together from: the words, numbers and marks the readers know."""

NUMBERS = [
    "0", "1", "7", "42", "100", "-3", "+5", "3.5", ".5", "5.", "1e3", "1e-400", "1e400", "1,234", "12,34",
    "1,234,567.8", "2015", "0.1", "105", "\u22125", "\uff14\uff12", "4\xb2", "nan", "inf", "-Infinity",
    "1_000", "20%", "$5", "\u20ac 5", "5k", "5 M", "3 billion", "1e999", "00012", "--1", "1.2.3", "9" * 60,
    "1" * 330, "2015.0", "2015.5", "$2015", "42 percent", "1e-7",
    "5 years", "42 dogs", "12 cm", "3\u4e07", "42\u4e2a", "2015\u5e74", "45-54", "45 to 54", "3:1",
    "from 2 to 3",
    "5 million people", "12 zorks", "37\xb0C", "42m", "\xbd", "1{,}200", "25\\%", "7/2", "42\u200b",
    "18\u201324", "1 1/2",
]  # fmt: skip
WORDS = [
    "yes", "no", "true", "False", "correct", "incorrect", "not", "isn't", "never", "nobody", "no-one",
    "the", "answer", "is", "option", "choice", "or", "and", "because", "A", "B", "C", "D", "I", "a", "b",
    "(B)", "B.", "b)", "[b]", "cat", "dog", "red", "Stra\xdfe", "STRASSE", "caf\xe9", "cafe\u0301",
    "\ufb01sh", "\u24b7", "\uac00", "\u1100\u1161", "e\u0323\u0301", "e\u0301\u0323", "\u0345\u0301",
    "\u6c34", "\U0001f600", "*", "**", "`", "'", '"', "\u2019", "-", "_", "except", "nor", "neither", "both",
    "either", "\u2014", "=", "$", "isn\u2019t", "A dog", "a dog",
    "yep", "nope", "\u662f", "\u5426", "\u4e0d\u662f", "The correct answer is", "So the answer is",
    "Final answer:", "it", "it's",
    "looks like", "Point C", "angle", "wrong", "incorrect", "rule out", "\u7b54\u6848\u662fB", "\u9009",
    "\u3002", "doubt", "there",
    "\n", "**Answer:**", "```", "\u201c", "\u201d", "vitamin", "instead of", "January", "Jan", "and",
    "Paris, France", "=",
]  # fmt: skip
BRACKETS = [
    "[", "]", "(", ")", "{", "}", ",", ", ", ":", ";", " ", "\n", "\t", '"', "\\", "\\{", "\\}", ".", "/",
    "%",
]  # fmt: skip
TAGS = [
    "<think>", "</think>", "<answer>", "</answer>", "<answer", "</", "<", ">", "\\boxed{", "}",
    "<|box_start|>", "<box>", "</box>", '{"bbox_2d": ', "[1, 2, 3, 4]", "(1,2),(3,4)", "[5,5,9,9]", "true",
    "null", "<box>", "</box>", "x1=1", "y1: 2", "x2 = 3", "y2=4", '"x1": 1', '"y1": 2', '"x2": 3',
    '"y2": 4', "to", "(1, 2) to (3, 4)",
    '"1 2 3 4"', "'5'", "[[1,2],[3,4]]", "\uff3b", "[1]", "(0.9)", "<|im_end|>", "</s>", "\\fbox{",
]  # fmt: skip
MATH = [
    "\\frac", "\\dfrac", "{1}", "{2}", "{3}", "\\sqrt", "\\sqrt[3]", "{8}", "\\pi", "\u03c0", "^", "^2",
    "^{1/2}", "^{-1}", "+", "-", "*", "/", "\\cdot", "\\times", "**", "=", "x", "\\in", "\\cup", "\\infty",
    "\\left", "\\right", "^\\circ", "\\%", "sqrt(2)", "\\,", "$", "\\cfrac", "\\overline{3}", "0.", "\\pm",
    "\\le", "<", ">=", "y", "i",
    "\\theta", "_1", "\\approx", "\\text{ cm}", "\\text{or}", " or ", " and ", ":", " m", " cm^2", "\\,000",
    "\\quad", "{,}", "\\fbox{7}",
    "\\boxed{", "}", "f(x)=", "(p,q)=", "\\mathrm{", "\\displaystyle", "\xb2", "\xd7", "\u2264",
    "2\\frac12", "\\sqrt23", "e", "28 + 29", "=57",
    "2\\frac{1}{3}", "12", "(1,2)", "[0,1)",
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
    "<think>I use <answer> tags</think><answer>{}</answer>",
    "a</think><answer>{}</answer><|im_end|>",
    "<think>\\boxed{{1}}</think> so \\boxed{{{}}}",
]
