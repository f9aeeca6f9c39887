"""EmbeddingTable: what it takes, what it keeps, what it refuses; and safetensors files, good and bad."""

from __future__ import annotations

import json
import mmap
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mixed_r1_kernels import EmbeddingTable, bmas
from mixed_r1_kernels.tensor_file import find_input_embedding, map_tensor, read_header

VALUES = np.random.default_rng(0).standard_normal((12, 6)).astype(np.float32)


def test_numpy_rows_are_not_copied() -> None:
    for rows, dtype in [
        (VALUES, "float32"),
        (VALUES.astype(np.float16), "float16"),
        (VALUES.astype(ml_dtypes.bfloat16), "bfloat16"),
    ]:
        table = EmbeddingTable(rows)
        assert (table.dtype, len(table), table.dim, table.device) == (dtype, 12, 6, "cpu")
        assert np.shares_memory(table.rows, rows)
        np.testing.assert_array_equal(table.float64_rows(np.array([3, 0])), rows[[3, 0]].astype(np.float64))
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        np.testing.assert_allclose(table.inverse_norms, 1 / norms, rtol=1e-7)


def test_bfloat16_bits_need_a_name() -> None:
    bits = VALUES.astype(ml_dtypes.bfloat16).view(np.uint16)
    np.testing.assert_array_equal(EmbeddingTable(bits, dtype="bfloat16").rows, bits)
    with pytest.raises(TypeError, match="bfloat16 bits need dtype='bfloat16'"):
        EmbeddingTable(bits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_torch_rows_are_not_copied(dtype: torch.dtype) -> None:
    weight = torch.nn.Parameter(torch.from_numpy(VALUES).to(dtype))
    table = EmbeddingTable(weight)
    assert table.dtype == str(dtype).removeprefix("torch.")
    assert table.rows.__array_interface__["data"][0] == weight.data_ptr()
    np.testing.assert_array_equal(table.float64_rows(np.arange(12)), weight.detach().double().numpy())


def test_float32_rows_of_bfloat16_values_are_kept_as_bfloat16() -> None:
    narrow = VALUES.astype(ml_dtypes.bfloat16)
    table = EmbeddingTable(narrow.astype(np.float32))
    assert table.dtype == "bfloat16" and table.rows.nbytes == VALUES.nbytes // 2
    np.testing.assert_array_equal(table.rows, narrow.view(np.uint16))
    wide = narrow.astype(np.float32)
    wide[-1, -1] = np.float32(1) + np.float32(2**-20)
    assert EmbeddingTable(wide).dtype == "float32"


def test_strided_unaligned_and_foreign_rows_are_made_readable() -> None:
    unaligned = np.frombuffer(b"\x00" + VALUES.tobytes(), np.float32, offset=1).reshape(VALUES.shape)
    for rows in (
        np.asfortranarray(VALUES),
        np.repeat(VALUES, 2, axis=0)[::2],
        VALUES[::-1][::-1],
        unaligned,
        VALUES.astype(">f4"),
        torch.from_numpy(VALUES).t().contiguous().t(),
    ):
        table = EmbeddingTable(rows)
        np.testing.assert_array_equal(table.rows, VALUES)
        assert table.rows.flags.c_contiguous and table.rows.flags.aligned
        assert bmas([[1, 2]], [[2, 3]], table, impl="native").score > 0


def test_zero_and_tiny_rows_have_inverse_norm_zero() -> None:
    rows = VALUES.copy()
    rows[2] = 0
    rows[5] = 2.0**-60
    table = EmbeddingTable(rows)
    assert np.flatnonzero(table.inverse_norms == 0).tolist() == [2, 5]
    scores = bmas([[2], [5], [1, 2]], [[2], [5], [1]], table)
    np.testing.assert_allclose(scores.score, [0, 0, 0.75])


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (VALUES.astype(np.float64), TypeError, "rows must be float32, float16 or bfloat16, got float64"),
        (VALUES.astype(int), TypeError, "got int64"),
        (VALUES.tolist(), TypeError, "rows must be an ndarray or a torch tensor, got list"),
        (torch.ones(2, 2, dtype=torch.float64), TypeError, "got torch.float64"),
        (torch.ones(2, 2, device="meta"), ValueError, "rows must be on cpu or cuda, got meta"),
        (VALUES[0], ValueError, r"rows must have shape \[V, d\] .* got \[6\]"),
        (VALUES[:0], ValueError, r"got \[0, 6\]"),
        (VALUES[:, :0], ValueError, r"got \[12, 0\]"),
        (VALUES[None], ValueError, r"got \[1, 12, 6\]"),
    ],
)
def test_bad_rows_are_named(rows: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        EmbeddingTable(rows)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**61])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_row_that_cannot_be_normalised_is_named(value: float, dtype: str) -> None:
    rows = VALUES.copy()
    rows[7, 3] = rows[9, 0] = value
    with np.errstate(over="ignore"):
        rows = rows.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    with pytest.raises(
        ValueError, match=r"rows must be finite with norms below 2\*\*60, got norm .* in row 7 \(2 such\)"
    ):
        EmbeddingTable(rows)


def test_norms_without_the_compiled_module(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = EmbeddingTable(VALUES).inverse_norms
    monkeypatch.setattr("mixed_r1_kernels.embedding_table.missing", lambda impl: "not built")
    np.testing.assert_allclose(EmbeddingTable(VALUES).inverse_norms, compiled, rtol=1e-7)


def test_to_the_same_device_is_the_same_table() -> None:
    table = EmbeddingTable(VALUES)
    assert table.to("cpu") is table and table.to(torch.device("cpu")) is table


@pytest.mark.parametrize("device", ["meta", "somewhere", None])
def test_to_a_device_without_memory(device) -> None:
    with pytest.raises(ValueError, match=f"device must be cpu or cuda, got {device!r}"):
        EmbeddingTable(VALUES).to(device)


def write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, path)


LAYOUTS = {
    "Qwen2.5-VL": [
        "model.language_model.embed_tokens.weight",
        "visual.patch_embed.proj.weight",
        "lm_head.weight",
    ],
    "Qwen2.5-VL, older": ["model.embed_tokens.weight", "visual.blocks.0.norm1.weight", "lm_head.weight"],
    "InternVL on Qwen": [
        "model.language_model.embed_tokens.weight",
        "model.vision_tower.embeddings.position_embeddings",
    ],
    "InternVL, older": [
        "language_model.model.embed_tokens.weight",
        "vision_model.embeddings.position_embedding",
        "vision_model.embed_tokens.weight",
    ],
    "InternVL on InternLM2": ["language_model.model.tok_embeddings.weight", "language_model.output.weight"],
    "BLOOM": ["transformer.word_embeddings.weight", "transformer.word_embeddings_layernorm.weight"],
    "GPT-2": ["transformer.wte.weight", "transformer.wpe.weight"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_input_embedding_is_found_and_mapped(layout: str, dtype: torch.dtype, tmp_path: Path) -> None:
    weight = torch.from_numpy(VALUES).to(dtype)
    tensors = {name: torch.zeros(3, 3) for name in LAYOUTS[layout]} | {LAYOUTS[layout][0]: weight}
    write(tmp_path / "model.safetensors", tensors)
    for path in (tmp_path, tmp_path / "model.safetensors", str(tmp_path)):
        table = EmbeddingTable.from_pretrained(path)
        assert table.dtype == str(dtype).removeprefix("torch.")
        np.testing.assert_array_equal(table.float64_rows(np.arange(12)), weight.double().numpy())
        assert isinstance(table.rows, np.memmap) or isinstance(table.rows.base, np.memmap)
        assert not table.rows.flags.writeable


def test_a_sharded_checkpoint(tmp_path: Path) -> None:
    write(tmp_path / "model-00001-of-00002.safetensors", {"lm_head.weight": torch.zeros(2, 2)})
    write(
        tmp_path / "model-00002-of-00002.safetensors", {"model.embed_tokens.weight": torch.from_numpy(VALUES)}
    )
    index = tmp_path / "model.safetensors.index.json"
    files = {
        "lm_head.weight": "model-00001-of-00002.safetensors",
        "model.embed_tokens.weight": "model-00002-of-00002.safetensors",
    }
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    for path in (tmp_path, index):
        np.testing.assert_array_equal(EmbeddingTable.from_pretrained(path).rows, VALUES)
    assert EmbeddingTable.from_pretrained(tmp_path, "lm_head.weight").dim == 2
    for shard in ("../model-00001-of-00002.safetensors", "/etc/passwd", 7, ""):
        index.write_text(json.dumps({"weight_map": {"model.embed_tokens.weight": shard}}))
        with pytest.raises(ValueError, match="must map tensor names to files beside it"):
            EmbeddingTable.from_pretrained(tmp_path)
    for text in ("{", "[]", "{}", '{"weight_map": []}', "[" * 100_000):
        index.write_text(text)
        with pytest.raises(ValueError, match="must map tensor names"):
            EmbeddingTable.from_pretrained(tmp_path)


def test_several_or_no_candidates_are_listed(tmp_path: Path) -> None:
    two = {"a.embed_tokens.weight": torch.from_numpy(VALUES), "b.wte.weight": torch.zeros(2, 2)}
    write(tmp_path / "model.safetensors", two)
    with pytest.raises(ValueError, match="name must be given .*'a.embed_tokens.weight', 'b.wte.weight'"):
        EmbeddingTable.from_pretrained(tmp_path)
    assert len(EmbeddingTable.from_pretrained(tmp_path, "b.wte.weight")) == 2
    with pytest.raises(ValueError, match="name must be a tensor of .* got 'c'"):
        EmbeddingTable.from_pretrained(tmp_path, "c")
    with pytest.raises(ValueError, match="name must be given .*'my_embedder'"):
        find_input_embedding(["my_embedder", "lm_head.weight"])


def test_paths_that_hold_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must be a local safetensors file"):
        EmbeddingTable.from_pretrained("Qwen/Qwen2.5-VL-7B-Instruct")
    with pytest.raises(ValueError, match="path must hold model.safetensors"):
        EmbeddingTable.from_pretrained(tmp_path)
    write(tmp_path / "model.safetensors", {"embed_tokens.weight": torch.zeros(2, 2, dtype=torch.float64)})
    with pytest.raises(ValueError, match="must be F32, F16 or BF16, got F64"):
        EmbeddingTable.from_pretrained(tmp_path)
    write(tmp_path / "model.safetensors", {"embed_tokens.weight": torch.zeros(0, 2)})
    with pytest.raises(ValueError, match="must not be empty"):
        EmbeddingTable.from_pretrained(tmp_path)


def raw_file(path: Path, header: bytes, data: bytes = b"", length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def test_data_at_an_odd_offset_is_copied(tmp_path: Path) -> None:
    data = VALUES.tobytes()
    for padding in range(4):
        entry = {"dtype": "F32", "shape": [12, 6], "data_offsets": [0, len(data)]}
        header = json.dumps({"embed_tokens.weight": entry}).encode() + b" " * padding
        table = EmbeddingTable.from_pretrained(raw_file(tmp_path / f"{padding}.safetensors", header, data))
        np.testing.assert_array_equal(table.rows, VALUES)
        assert table.rows.flags.aligned


ENTRY = '"embed_tokens.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}'
BAD_HEADERS = [
    b"",
    b"{",
    b"[]",
    b"\xff\xfe{}",
    b"[" * 200_000,
    f"{{{ENTRY}, {ENTRY}}}".encode(),
    ENTRY.replace("16]", "17]").join("{}").encode(),
    ENTRY.replace("[0, 16]", "[16, 0]").join("{}").encode(),
    ENTRY.replace("[0, 16]", "[0, 99999999999999999999]").join("{}").encode(),
    ENTRY.replace("[0, 16]", "[-16, 0]").join("{}").encode(),
    ENTRY.replace("[0, 16]", "[0.0, 16]").join("{}").encode(),
    ENTRY.replace("[2, 2]", "[true, 4]").join("{}").encode(),
    ENTRY.replace("[2, 2]", "[4611686018427387904, 4]").join("{}").encode(),
    ENTRY.replace("[2, 2]", "null").join("{}").encode(),
    ENTRY.replace('"F32"', "3").join("{}").encode(),
    b'{"embed_tokens.weight": 3}',
]


@pytest.mark.parametrize("case", range(len(BAD_HEADERS)))
def test_bad_headers_are_refused(case: int, tmp_path: Path) -> None:
    header = BAD_HEADERS[case]
    with pytest.raises(ValueError, match="must be a safetensors file|must start with a header length"):
        read_header(raw_file(tmp_path / "bad.safetensors", header, bytes(16)))


@pytest.mark.parametrize("length", [0, 1, 10_000, 2**63, 2**64 - 1])
def test_bad_header_lengths_are_refused(length: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="header length"):
        read_header(raw_file(tmp_path / "bad.safetensors", ENTRY.join("{}").encode(), bytes(16), length))
    (tmp_path / "short.safetensors").write_bytes(b"\x02")
    with pytest.raises(ValueError, match="header length"):
        read_header(tmp_path / "short.safetensors")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_files_are_refused_or_read_within_bounds(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    header = bytearray(struct.pack("<Q", len(ENTRY) + 2) + ENTRY.join("{}").encode() + bytes(range(16)))
    for _ in range(data.draw(st.integers(1, 4))):
        header[data.draw(st.integers(0, len(header) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    path.write_bytes(bytes(header[: data.draw(st.integers(0, len(header)))]))
    try:
        tensors = read_header(path)
        for name in tensors:
            assert map_tensor(path, name)[0].nbytes <= len(header)
    except ValueError as error:
        assert "must" in str(error)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2**14, 2**9])
def test_a_table_of_2_33_elements(dim: int) -> None:
    """16 GiB of virtual memory, of which only the written pages and one page of zeros exist."""
    num_rows = 2**33 // dim
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    try:
        memory = mmap.mmap(-1, 2**34, flags)
    except OSError as error:
        pytest.skip(f"no virtual memory of that size: {error}")
    rows = np.frombuffer(memory, np.uint16).reshape(num_rows, dim)
    values = np.random.default_rng(0).standard_normal((6, dim)).astype(ml_dtypes.bfloat16)
    rows[:3], rows[-3:] = values[:3].view(np.uint16), values[3:].view(np.uint16)
    table, small = EmbeddingTable(rows, dtype="bfloat16"), EmbeddingTable(values)
    assert np.flatnonzero(table.inverse_norms).tolist() == [0, 1, 2, *range(num_rows - 3, num_rows)]
    np.testing.assert_array_equal(table.inverse_norms[-3:], small.inverse_norms[3:])
    completion, reference = [num_rows - 1, 0, num_rows - 3], [num_rows - 2, 2, num_rows - 1]
    found = bmas([completion], [reference], table, impl="native")
    np.testing.assert_array_equal(
        np.stack(found), np.stack(bmas([[5, 0, 3]], [[4, 2, 5]], small, impl="native"))
    )
