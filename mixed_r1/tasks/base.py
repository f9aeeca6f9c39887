"""What a task is: how its answers are checked, shown and scored. One subclass a task."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

from mixed_r1_kernels.verify import VerifySettings

__all__ = ["Scores", "ScorerName", "Task", "checked_text"]

# Who scores the answers of a task; see mixed_r1.rewards.scorers.
ScorerName: TypeAlias = Literal["text", "boxes", "embedding", "math_verify", "task"]
Scores: TypeAlias = Sequence[float | None]


class Task:
    """One kind of question, and everything about it that depends on the kind.

    A subclass sets the names and, where text answers of any form are not enough, ``checked``. It says who
    scores:

    - ``scorer = "task"`` (default): its own ``score``, in Python. Nothing else has to be written.
    - ``scorer = "text"``: the compiled reader that ``reader`` names, one of the ``verify`` op's.
    - ``scorer = "boxes"``: boxes are read out of the answer and matched with those of the row.
    - ``scorer = "embedding"``: BMAS against the row's answer; it needs an embedding table.

    The answer is found by the ``format`` setting in every case, and a completion without one never reaches
    ``score``.
    """

    name: ClassVar[str]  # what a row's ``task`` says
    column: ClassVar[str] = ""  # of the RewardBatch; "": the task's name
    title: ClassVar[str] = ""  # for pages; "": the name in plain words
    scorer: ClassVar[ScorerName] = "task"
    reader: ClassVar[str] = "open_ended"  # of the verify op; this one takes the answer's text as it is
    needs_options: ClassVar[bool] = False
    closed: ClassVar[bool] = False  # the answer is one of a short list, so a guess is often right

    def checked(self, answer: Any, options: tuple[str, ...] | None) -> Any:
        """The answer in the one form that a Sample holds; it must be a JSON value or tuples of them.

        Raises:
            ValueError: ``answer`` is none of this task; the message reads "answer must ..., got ...".
        """
        return checked_text(self.name, answer)

    def hint(self, question: str) -> str:
        """What the question tells about how to read its answers, or ""; ``settings`` gets it."""
        return ""

    def settings(self, config: Any, hint: str) -> VerifySettings:
        """The ``verify`` op's settings for a row with ``hint``; ``config`` is the row's RewardConfig."""
        found: VerifySettings = config.verify_settings()
        return found

    def written(self, answer: Any) -> str:
        """The checked answer as a model would write it between the answer tags."""
        return str(answer)

    def shown(self, answer: Any, options: tuple[str, ...] | None = None) -> str:
        """The checked answer as a person reads it on a page."""
        return self.written(answer)

    def score(self, answers: Sequence[str], samples: Sequence[Any]) -> Scores | Awaitable[Scores]:
        """Where ``scorer`` is "task": a value for each answer, 1 right and 0 wrong, against its row.

        ``answers`` are the texts that were found, white space stripped; ``samples`` the Sample of each. None
        says that the row cannot be judged: it is masked. An ``async def`` will do.
        """
        raise NotImplementedError(f"task {self.name!r} must define score(answers, samples), or name a scorer")

    def why(self, answer: str, sample: Any) -> str:
        """Where ``scorer`` is "task": why ``score`` gave ``answer`` what it gave, in a sentence for
        ``mixed-r1 score --explain``; "" for nothing.
        """
        return ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not isinstance(getattr(cls, "name", None), str) or not cls.name:
            raise TypeError(f"{cls.__name__}.name must be a text, got {getattr(cls, 'name', None)!r}")
        if "name" in cls.__dict__:  # a name of its own, so not the column and title of the class it extends
            cls.column = cls.__dict__.get("column") or cls.name
            cls.title = cls.__dict__.get("title") or plain_words(cls.name)


def plain_words(name: str) -> str:
    """``bar_counting`` -> ``Bar counting``."""
    return name.replace("_", " ").replace("-", " ").strip().capitalize() or name


def checked_text(task: str, answer: Any) -> str:
    """A text with more than white space in it. Raises ValueError for anything else."""
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError(f"answer must be a non-empty text for task {task}, got {answer!r}")
    return answer
