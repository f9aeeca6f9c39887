"""Commands of ``mixed-r1``. Each imports what it needs when it runs, so that ``--help`` answers at once.

Exit codes: 0 done; 1 ``data check`` found bad rows, ``score`` a mean below its bound, or the program failed;
2 wrong usage, settings, data or files; 130 interrupted; 143 stopped by SIGTERM after a checkpoint.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mixed_r1.cli.arguments import Embeddings, Overrides, OwnTasks, RewardFile, RewardOverrides
from mixed_r1.cli.data import add_data_commands
from mixed_r1.cli.help import add_doctor_command, add_help_command
from mixed_r1.cli.reports import add_report_command
from mixed_r1.cli.serve import add_serve_command

__all__ = ["app"]

OWN_PACKAGES = ("mixed_r1", "mixed_r1_kernels")


class _Commands(TyperGroup):
    """Prints errors of the user's making as one line; everything else keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if not _is_users(error):
                raise
            typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
            typer.echo(" ".join(str(error).split()), err=True)
            raise typer.Exit(2) from None


def _is_users(error: Exception) -> bool:
    """An error type of ours (ConfigError, DataError, ...), or a file that is not there or not allowed."""
    ours = type(error).__module__.split(".")[0] in OWN_PACKAGES
    return ours or isinstance(
        error, (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
    )


app = typer.Typer(
    cls=_Commands,
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train vision-language models with GRPO on mixed verifiable rewards.",
    epilog="Exit codes: 0 done, 1 [b]data check[/b] found bad rows, [b]score[/b] a mean below its bound, "
    "or the program failed, 2 wrong usage, settings, data or files.",
)
data = typer.Typer(no_args_is_help=True, help="Make and check data sets.")
app.add_typer(data, name="data")
add_data_commands(data)


def _version(wanted: bool) -> None:
    if wanted:
        from mixed_r1 import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    # The progress bars of other libraries would tear ours.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@app.command(epilog="Example: [cyan]mixed-r1 demo --out runs/demo[/cyan]")
def demo(
    out: Annotated[Path, typer.Option(help="Directory for data, model, run and report; must be new.")] = Path(
        "runs/demo"
    ),
    family: Annotated[str, typer.Option(help="qwen2_5_vl or internvl.")] = "qwen2_5_vl",
    seed: Annotated[int, typer.Option(help="Seed of data, model and sampling.")] = 0,
    warmup_steps: Annotated[int | None, typer.Option(help="Supervised steps before GRPO.")] = None,
    steps: Annotated[int | None, typer.Option(help="GRPO steps.")] = None,
    held_out: Annotated[
        int | None,
        typer.Option(min=1, help="Held-out rows that each evaluation answers.", show_default="2000 or 504"),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that share the work; default: one per core, at most 2."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="smollm2: pretrained SmolLM2-135M-Instruct as an InternVL, on easy-VQA images and texts; "
            "15 to 20 minutes on one idle core, 5 GB of memory, 3 GB of disk. Needs extra [b]weights[/b]."
        ),
    ] = None,
) -> None:
    """Train a small vision-language model on this machine, from nothing to a report, in minutes.

    Draws a mixed data set of real images, shows right answers to a 0.4 M-parameter model until it knows the
    tasks a little, and then trains it with GRPO from reward alone, on rows it has not seen. Prints the greedy
    reward on held-out rows before and after, task by task, and writes a page about it. Needs no GPU and no
    network.
    """
    if weights is not None:
        from mixed_r1.cli.weights import run_weights_demo

        run_weights_demo(
            weights,
            out,
            seed=seed,
            family=family,
            processes=processes,
            warmup_steps=warmup_steps,
            steps=steps,
            held_out=held_out,
        )
        return
    from mixed_r1.cli.processes import is_started, restart

    if not is_started():
        processes = processes or min(2, len(os.sched_getaffinity(0)))
        if processes > 1:
            restart(processes)
    from mixed_r1.cli.console import Console, show_summary
    from mixed_r1.demo import DemoSettings, run_demo
    from mixed_r1.ranks import Ranks
    from mixed_r1.report import build_report

    given: dict[str, Any] = {"warmup_steps": warmup_steps, "steps": steps, "held_out": held_out}
    settings = DemoSettings(family, seed, **{key: v for key, v in given.items() if v is not None})
    console = Console()
    with Ranks() as ranks:
        summary = run_demo(out, settings, console=console, ranks=ranks)
    if ranks.first:
        show_summary(console, summary)
        console.print(f"report: {build_report(out / 'run')}", markup=False, soft_wrap=True)


@app.command(epilog="Example: [cyan]mixed-r1 train grpo.yaml steps=200 out=runs/b lr=5e-7[/cyan]")
def train(
    config: Annotated[Path, typer.Argument(help="YAML file of settings; keys are those of TrainConfig.")],
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint in [b]out[/b].")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the run would do and need; writes nothing.")
    ] = False,
    ranks: Annotated[int, typer.Option(min=1, help="Processes that --dry-run plans for.")] = 1,
) -> None:
    """Train with GRPO as a settings file says, with [b]key=value[/b] overrides.

    Writes the resolved settings, metrics, evaluations, completions, checkpoints and report.html to
    [b]out[/b]. SIGTERM ends the step under way, writes a checkpoint and exits with 143; Ctrl-C writes none.
    """
    from mixed_r1.train_config import settings_of_run

    settings = settings_of_run(config, overrides or ())
    if dry_run:
        from mixed_r1.plan import first_step, plan

        for line in [*plan(settings, ranks=ranks).lines(), *first_step(settings, ranks=ranks).lines()]:
            typer.echo(line)
        return
    from mixed_r1.cli.console import Console, show_summary
    from mixed_r1.report import build_report
    from mixed_r1.train import train as run_training

    console = Console()
    first = int(os.environ.get("RANK", "0")) == 0  # of several processes the first one reports
    try:
        summary = run_training(settings, resume=resume, console=console)
    except (KeyboardInterrupt, SystemExit):
        if first:
            typer.echo(f"stopped; --resume goes on from the newest checkpoint in {settings.out}", err=True)
        raise
    if not first:
        return
    show_summary(console, summary)
    console.print(f"report: {build_report(settings.out)}", markup=False, soft_wrap=True)


@app.command(
    name="eval",
    epilog="Example: [cyan]mixed-r1 eval RUN/checkpoints/latest test.jsonl --config RUN/config.yaml[/cyan]",
)
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model directory, such as RUN/checkpoints/latest.")],
    samples: Annotated[Path, typer.Argument(help="Rows to answer: JSONL or Parquet.")],
    overrides: Overrides = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings to start from, such as RUN/config.yaml.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write means by task and column (.jsonl), or every answer (.parquet).")
    ] = None,
) -> None:
    """Answer rows greedily and by sampling, and print each task's mean reward with its standard error.

    Settings are those of training: [b]eval_samples[/b] rows at most, [b]eval_completions[/b] sampled
    answers a row, [b]max_new_tokens[/b], [b]temperature[/b], [b]seed[/b], [b]reward[/b] and so on.
    """
    from mixed_r1.cli.console import Console
    from mixed_r1.cli.evaluation import run_evaluation
    from mixed_r1.models import check_model

    check_model(model)
    run_evaluation(model, samples, config=config, overrides=overrides or [], out=out, console=Console())


@app.command(epilog="Example: [cyan]mixed-r1 score answers.jsonl --data test.jsonl --embeddings MODEL[/cyan]")
def score(
    completions: Annotated[
        Path,
        typer.Argument(
            help='JSONL of {"id", "completion"} or of sample fields with "completion"; or Parquet of '
            "completions or answers: a run's, or [b]eval --out[/b]'s."
        ),
    ],
    overrides: RewardOverrides = None,
    samples: Annotated[
        Path | None, typer.Option("--data", help="Rows that the ids name: JSONL or Parquet.")
    ] = None,
    embeddings: Embeddings = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Rows that open_ended.preset=robust is calibrated on, as in training.",
            show_default="those of --data",
        ),
    ] = None,
    config: RewardFile = None,
    out: Annotated[
        Path | None, typer.Option(help="Write every reward and reason: .jsonl or .parquet.")
    ] = None,
    min_mean: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[TASK=]NUMBER", help="Exit with 1 where the mean reward is below; may be repeated."
        ),
    ] = None,
    explain: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Say why the completions of this sample score so; may be repeated."),
    ] = None,
) -> None:
    """Score completions with Mixed-Reward and print rewards and reasons by task.

    Settings are those of RewardConfig, such as [b]box_frame=norm1000[/b] or [b]format=answer[/b].
    """
    from mixed_r1.cli.console import Console
    from mixed_r1.cli.score import run_score

    problems = run_score(
        completions,
        samples=samples,
        embeddings=embeddings,
        calibration=calibration,
        config=config,
        overrides=overrides or [],
        out=out,
        min_mean=min_mean or [],
        explained=explain or [],
        console=Console(file=sys.stdout),
        progress=Console(),
    )
    for problem in problems:
        typer.echo(problem, err=True)
    raise typer.Exit(1 if problems else 0)


@data.command(epilog="Example: [cyan]mixed-r1 data mini --out data/mini[/cyan]")
def mini(
    out: Annotated[Path, typer.Option(help="Directory for train, validation and test.jsonl and images/.")],
    size: Annotated[int, typer.Option(min=20, help="Rows of all splits together.")] = 5000,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal bytes.")] = 0,
    image_size: Annotated[int, typer.Option(help="Side of the images in pixels, a multiple of 3.")] = 48,
) -> None:
    """Build the embedded data set: real digits, photos and tables turned into rows of every task.

    The material ships in PyPI packages (extra [b]mini[/b]); the splits share no image, table or expression.
    """
    from mixed_r1.data.mini import build_mini

    if image_size < 12 or image_size % 3:
        raise typer.BadParameter(
            f"must be a multiple of 3, at least 12, got {image_size}", param_hint="--image-size"
        )
    for split, path in build_mini(out, seed=seed, size=size, image_size=image_size).items():
        typer.echo(f"{split:<12}{sum(1 for _ in path.open('rb')):>7,} rows  {path}")


@data.command(epilog="Example: [cyan]mixed-r1 data check data/mini/train.jsonl[/cyan]")
def check(
    path: Annotated[
        Path, typer.Argument(help="Rows: a file, stem, folder or glob; or the YAML settings of a run.")
    ],
    overrides: Overrides = None,
    limit: Annotated[int, typer.Option(min=1, help="Problems to print.")] = 50,
    config: Annotated[Path | None, typer.Option(help="YAML file of reward settings.")] = None,
    task: OwnTasks = None,
) -> None:
    """Check every row and image, and list each problem as file, line, field, rule and what mends it.

    Rows that training would mask are problems too; settings are those of its [b]reward[/b], such as
    [b]math=math_verify[/b]. Given the settings of a run, its rows are checked with its columns, its model's
    tokenizer and limits, and its validation rows with them. Exits with 1 where there is a problem.
    """
    from mixed_r1.cli.checking import check_rows

    problems = check_rows(path, config, overrides or [], task or [])
    for problem in problems[:limit]:
        typer.echo(str(problem))
    if len(problems) > limit:
        typer.echo(f"and {len(problems) - limit:,} more")
    typer.echo(f"{len(problems):,} problems" if problems else "no problems", err=True)
    raise typer.Exit(1 if problems else 0)


@data.command(epilog="Example: [cyan]mixed-r1 data look rows.csv task=short_answer --out look.html[/cyan]")
def look(
    path: Annotated[
        Path, typer.Argument(help="Rows: a file, stem, folder or glob; or the YAML settings of a run.")
    ],
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("look.html"),
    rows: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 24,
    seed: Annotated[int, typer.Option(help="Decides which rows.")] = 0,
    config: Annotated[Path | None, typer.Option(help="YAML file of reward settings.")] = None,
    embeddings: Annotated[
        Path | None, typer.Option(help="Model directory for BMAS, to score open_ended rows.")
    ] = None,
    task: OwnTasks = None,
) -> None:
    """Write a page of rows as a run sees them: images with boxes, prompt, gold, and what the gold earns.

    Settings are those of its [b]reward[/b]. Given the settings of a run, its rows are read with its columns
    and scored as it scores.
    """
    from mixed_r1.cli.checking import look_at_rows

    look_at_rows(
        path,
        out,
        rows=rows,
        seed=seed,
        config=config,
        embeddings=embeddings,
        overrides=overrides or [],
        tasks=task or [],
    )


@data.command(epilog="Example: [cyan]mixed-r1 data convert rows.csv rows.parquet task=short_answer[/cyan]")
def convert(
    path: Annotated[
        Path, typer.Argument(help="Rows: a file, stem, folder or glob; or YAML of a source (kind, columns).")
    ],
    out: Annotated[Path, typer.Argument(help="File to write: .jsonl or .parquet.")],
    overrides: Overrides = None,
    task: OwnTasks = None,
) -> None:
    """Write rows of any layout as JSONL or Parquet of ours; rows that cannot be used are named.

    Settings are those of a source: [b]task=chart[/b], [b]columns.answer=label[/b], [b]kind=coco[/b].
    """
    from mixed_r1.cli.checking import convert_rows

    convert_rows(path, out, overrides or [], task or [])


add_serve_command(app)
add_report_command(app)
add_doctor_command(app)
add_help_command(app)
