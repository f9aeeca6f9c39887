"""docs/extending.md, taken at its word: its code goes where the page says, and runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from mixed_r1.data.loaders import load_samples
from tests import forked
from tests.train.runs import lines

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
CODE = {
    re.match(r"# (\S+)\n", block)[1]: block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
}
SETTINGS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]


def run(program: str, *paths: Path, cwd: Path) -> str:
    """What ``program`` prints, in a process whose modules are looked up in ``paths`` first."""
    begin = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n"
    done = subprocess.run([sys.executable, "-c", begin + program], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(*arguments: object, cwd: Path) -> None:
    log = cwd / "log.txt"
    assert forked.run(forked.command, [*map(str, arguments)], cwd, log=log) == 0, log.read_text()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of both packages that a test may change."""
    path = tmp_path_factory.mktemp("package")
    for source in (ROOT / "mixed_r1", ROOT / "kernels" / "mixed_r1_kernels"):
        shutil.copytree(source, path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    return path


def insert(file: Path, after: str, line: str) -> None:
    """``line`` behind the one line of ``file`` that begins with ``after``."""
    text = file.read_text()
    (found,) = re.findall(rf"^{re.escape(after)}.*$", text, flags=re.MULTILINE)
    file.write_text(text.replace(found, f"{found}\n{line}", 1))


def test_a_reward_is_ten_lines_and_no_file_of_the_package(start: Path, tmp_path: Path) -> None:
    assert len(CODE["my_rewards.py"].splitlines()) + len(SETTINGS[0]["reward"]) <= 10
    (tmp_path / "my_rewards.py").write_text(CODE["my_rewards.py"])
    values = {"model": str(start / "model"), "data": str(start / "data" / "train.jsonl"), "out": "run"}
    small = {"steps": 1, "prompts_per_step": 2, "completions_per_prompt": 2, "max_new_tokens": 8}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({**values, **small, **SETTINGS[0]}))
    command("train", "settings.yaml", cwd=tmp_path)
    (record,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert 0 < record["reward/column/brevity"] <= 1


def test_a_task_is_a_class_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "my_tasks.py").write_text(CODE["my_tasks.py"])
    (tmp_path / "reward.yaml").write_text(yaml.safe_dump(SETTINGS[1]["reward"]))
    rows = [
        {"task": "counting", "answer": 7, "completion": f"<answer>{text}</answer>"}
        for text in ("7", "8", "x")
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command("score", "answers.jsonl", "--config", "reward.yaml", "--out", "scored.jsonl", cwd=tmp_path)
    scored = lines(tmp_path / "scored.jsonl")
    assert [row["reward_counting"] for row in scored] == [1.0, 0.5, 0.0]
    assert [row["total"] for row in scored] == pytest.approx([1.0, 0.55, 0.1])  # the form is <answer> alone


def test_a_task_in_the_package_is_one_file_and_one_line(package: Path, tmp_path: Path) -> None:
    (package / "mixed_r1/tasks/caption_boxes.py").write_text(CODE["mixed_r1/tasks/caption_boxes.py"])
    table = package / "mixed_r1/tasks/__init__.py"
    insert(table, "from mixed_r1.tasks.base", "from mixed_r1.tasks.caption_boxes import CaptionBoxes")
    insert(table, "    OpenEnded(),", "    CaptionBoxes(),")
    program = """
import mixed_r1
assert mixed_r1.__file__.startswith(sys.path[0])
from mixed_r1.report.wording import title
from mixed_r1.rewards import MixedReward, RewardConfig
row = {"id": "1", "task": "caption_boxes", "question": "?", "answer": [0, 0, 10, 10]}
batch = MixedReward(config=RewardConfig(format="none"))(["[0, 0, 10, 5]"], [row])
print(batch.column("caption_boxes")[0], title("caption_boxes"))
"""
    assert run(program, package, cwd=tmp_path) == "0.5 Boxes of a caption\n"


# ruff: noqa: E501 (a program in a text)
LLAVA = """
from pathlib import Path
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from mixed_r1.data import save_samples
from mixed_r1.models import load_adapter
from mixed_r1.models.packing import PackItem, pack_groups
from mixed_r1.models.policy import completion_logprobs
from mixed_r1.models.tiny import train_tokenizer
from mixed_r1.schema import Sample
from mixed_r1.train import TrainConfig, train

torch.manual_seed(0)
pictures = [Image.effect_noise((40, 30), 90).convert("RGB") for _ in range(4)]
rows = [Sample(id=str(i), task="open_ended", question="What?", images=(p,), answer="noise") for i, p in enumerate(pictures)]
rows.append(Sample(id="text", task="math", question="1 + 1?", answer="2"))
tokenizer = train_tokenizer("qwen2_5_vl", ["What is shown? noise"], vocab_size=400)
tokenizer.chat_template = tokenizer.chat_template.replace("<|vision_start|><|image_pad|><|vision_end|>", "<|image_pad|>")
shared = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
config = AutoConfig.for_model(
    "llava",
    text_config={"model_type": "qwen2", **shared, "num_key_value_heads": 2, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id},
    vision_config={"model_type": "clip_vision_model", **shared, "image_size": 32, "patch_size": 8, "projection_dim": 32},
    image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
)
model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
model.generation_config.eos_token_id = tokenizer.eos_token_id
size = {"height": 32, "width": 32}
processor = CLIPImageProcessorPil(size=size, crop_size=size)
for part in (model, tokenizer, processor):
    part.save_pretrained("model")

adapter = load_adapter("model", dtype="float32")
prompt = adapter.encode(rows[0])
completions = tuple(torch.tensor(tokenizer(text)["input_ids"]) for text in ("noise", "a picture of it"))
packs = pack_groups([PackItem(prompt, completions, (0, 1))], adapter, max_tokens=4096)
ours = torch.cat([completion_logprobs(adapter, pack)[0] for pack in packs]).detach()
stock = AutoModelForImageTextToText.from_pretrained("model").eval()
expected = []
for tokens in completions:
    ids = torch.cat([prompt.input_ids, tokens])[None]
    logits = stock(input_ids=ids, **prompt.pixel_inputs).logits[0, len(prompt) - 1 : -1].detach()
    logits[:, list(adapter.banned_tokens)] = -torch.inf
    expected.append(logits.log_softmax(-1)[torch.arange(len(tokens)), tokens])
print("log-probs", len(ours), float((ours - torch.cat(expected)).abs().max()) < 1e-5)
save_samples(rows, "rows.jsonl")
train(TrainConfig(model=Path("model"), data=Path("rows.jsonl"), out=Path("run"), steps=1, prompts_per_step=4, completions_per_prompt=2, max_new_tokens=6, freeze=()))
print("checkpoints", *sorted(p.name for p in Path("run/checkpoints").iterdir()))
"""


def test_a_model_family_is_one_file_and_one_line(package: Path, tmp_path: Path) -> None:
    """Log-probs of a packed group are those of the stock model, and it trains."""
    (package / "mixed_r1/models/llava.py").write_text(CODE["mixed_r1/models/llava.py"])
    table = package / "mixed_r1/models/load.py"
    insert(table, "from mixed_r1.models.internvl", "from mixed_r1.models.llava import LlavaAdapter")
    insert(table, '    "internvl": InternVLAdapter,', '    "llava": LlavaAdapter,')
    printed = run(LLAVA, package, cwd=tmp_path)
    number, equal = re.search(r"^log-probs (\d+) (\w+)$", printed, flags=re.MULTILINE).groups()
    assert int(number) > 4 and equal == "True"
    assert "checkpoints latest step-000001" in printed


def test_a_source_of_rows(tmp_path: Path) -> None:
    (tmp_path / "my_sources.py").write_text(CODE["my_sources.py"])
    for i, label in enumerate(["cat", "dog"] * 6):
        file = tmp_path / "pictures" / label / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 48), 50 + 10 * i).convert("RGB").save(file)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(SETTINGS[2]))
    command("data", "build", "recipe.yaml", "--out", "set", cwd=tmp_path)
    rows = [row for split in ("train", "test") for row in load_samples(tmp_path / "set" / split)]
    assert len(rows) == 12 and {row.gold_text for row in rows} == {"A. cat", "B. dog"}


def test_a_kernel_is_one_folder_and_one_export_line(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference and the Triton kernel (in Triton's interpreter) give what NumPy counts."""
    import numpy as np

    pytest.importorskip("triton")
    for name in ("reference", "api", "triton_kernel"):
        path = f"kernels/mixed_r1_kernels/distinct_pairs/{name}.py"
        file = package / path.removeprefix("kernels/")
        file.parent.mkdir(exist_ok=True)
        file.write_text(CODE[path])
    (package / "mixed_r1_kernels/distinct_pairs/__init__.py").touch()
    export = re.search(r"`(from mixed_r1_kernels.distinct_pairs.api import \w+)`", TEXT)[1]
    with (package / "mixed_r1_kernels/__init__.py").open("a") as file:
        file.write(export + "\n")
    texts = [np.random.default_rng(n).integers(0, 5, n).tolist() for n in (0, 1, 2, 3, 8, 64, 65, 66, 131)]
    program = f"""
import mixed_r1_kernels
for impl in ("reference", "triton"):
    print(mixed_r1_kernels.distinct_pairs({texts!r}, impl=impl).tolist())
    assert mixed_r1_kernels.distinct_pairs([], impl=impl).shape == (0,)
try:
    mixed_r1_kernels.distinct_pairs([], impl="native")
except mixed_r1_kernels.ImplUnavailable as error:
    print(error)
"""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    *values, refused = run(program, package, cwd=tmp_path).splitlines()
    oracle = [
        len(np.unique(np.stack([t[:-1], t[1:]]), axis=1).T) / (len(t) - 1) if len(t) > 1 else 1.0
        for t in texts
    ]
    assert [json.loads(line) for line in values] == [oracle, oracle]
    assert refused == "impl must be one of ('reference', 'triton') for distinct_pairs, got 'native'"


def test_the_files_that_the_page_names_exist() -> None:
    named = re.findall(r"`((?:csrc|kernels|tests|benchmarks|examples|mixed_r1)/[\w/.]+\.\w+)`", TEXT)
    made = {path for path in CODE if path in named}
    assert len(named) > 10
    assert [path for path in named if path not in made and not (ROOT / path).is_file()] == []
