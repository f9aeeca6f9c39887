"""The token embedding table that BMAS reads: raw rows and their inverse norms."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import numpy as np

from mixed_r1_kernels._arrays import require_dense, to_numpy
from mixed_r1_kernels._impl import missing, native, thread_count
from mixed_r1_kernels.tensor_file import find_input_embedding, map_tensor, tensor_locations

__all__ = ["MAX_NORM", "MIN_NORM", "EmbeddingTable"]

# float32 holds every partial sum of a dot product of two rows between these norms without overflow or loss to
# denormals.
MIN_NORM = 2.0**-40  # a row below is a zero-norm row: its similarity to every row is 0
MAX_NORM = 2.0**60
_DTYPES = ("float32", "float16", "bfloat16")
_FILE_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_CHUNK_ELEMENTS = 1 << 22


class EmbeddingTable:
    """``rows`` [V, d] as they are, without a copy where that is possible, with ``inverse_norms`` [V] float32
    = 1 / |row|.

    ``rows`` is an ndarray (float32, float16, or the bfloat16 of ml_dtypes), bfloat16 bits as uint16 with
    ``dtype="bfloat16"``, or a torch tensor. A float32 table whose values are all bfloat16 values is kept as
    bfloat16: equal results, half the memory, a faster kernel. The table shares the caller's memory: rows must
    not change while it is in use.

    Attributes:
        rows: [V, d], contiguous; on the CPU an ndarray (bfloat16 as uint16 bits), on a GPU a torch tensor.
        dtype: "float32", "float16" or "bfloat16".
        device: "cpu", or a torch device such as "cuda:0".
        inverse_norms: [V] float32 beside ``rows``; 0 for a zero-norm row (norm below 2**-40).

    Raises:
        TypeError: ``rows`` is of another type or dtype, masked, or not dense.
        ValueError: ``rows`` is not [V, d] with V, d >= 1, or a row is not finite or has a norm of 2**60 or
            more; the row is named.
    """

    def __init__(self, rows: Any, *, dtype: str | None = None) -> None:
        torch = sys.modules.get("torch")
        self.device = "cpu"
        if torch is not None and isinstance(rows, torch.Tensor):
            rows, dtype = self._take_tensor(rows.detach(), dtype)
        elif isinstance(rows, np.ndarray):
            rows, dtype = _take_array(rows, dtype)
        else:
            raise TypeError(f"rows must be an ndarray or a torch tensor, got {type(rows).__name__}")
        if rows.ndim != 2 or min(rows.shape) < 1 or rows.shape[0] >= 2**31:
            raise ValueError(
                f"rows must have shape [V, d] with 1 <= V < 2**31 and d >= 1, got {list(rows.shape)}"
            )
        self.rows: Any = rows
        self.dtype: str = dtype
        if self.device == "cpu":
            self._narrow()
        self.inverse_norms: Any = self._inverse_norms()

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], name: str | None = None) -> EmbeddingTable:
        """The input embedding of a local safetensors checkpoint, memory-mapped: processes on one machine
        share its pages.

        ``path`` is a directory as ``save_pretrained`` or the hub writes it, a ``.safetensors`` file, or a
        sharded ``.index.json``. ``name`` is the tensor; by default the one input embedding found by its name.

        Raises:
            FileNotFoundError: ``path`` or a shard does not exist.
            ValueError: a malformed file, no or several candidates (listed), or rows that a table cannot hold.
        """
        locations = tensor_locations(path)
        if name is None:
            name = find_input_embedding(list(locations))
        if name not in locations:
            raise ValueError(f"name must be a tensor of {os.fspath(path)!r}, got {name!r}")
        rows, file_dtype = map_tensor(locations[name], name)
        return cls(rows, dtype=_FILE_DTYPES[file_dtype])

    def without(self, ids: Any) -> EmbeddingTable:
        """This table with the rows ``ids`` (integers [n]) as zero-norm rows: similar to no row, nor to
        themselves. Memory is shared.

        Raises:
            IndexError: an id outside the table.
        """
        other = object.__new__(EmbeddingTable)
        other.rows, other.dtype, other.device = self.rows, self.dtype, self.device
        norms = self.inverse_norms
        other.inverse_norms = norms.copy() if self.device == "cpu" else norms.clone()
        other.inverse_norms[ids] = 0.0
        return other

    def has_direction(self, ids: np.ndarray) -> np.ndarray:
        """[n] bool on the CPU: whether rows ``ids`` [n] are no zero-norm rows."""
        found = self.inverse_norms[ids] > 0
        return found if self.device == "cpu" else found.cpu().numpy()

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def dim(self) -> int:
        """Elements of a row."""
        return int(self.rows.shape[1])

    def __repr__(self) -> str:
        return f"EmbeddingTable({len(self)} x {self.dim}, {self.dtype}, {self.device})"

    def to(self, device: Any) -> EmbeddingTable:
        """This table on ``device`` ("cpu" or a torch device); itself where it already is there.

        Raises:
            ValueError: neither a CPU nor a GPU.
        """
        if str(device) == self.device:
            return self
        import torch

        try:
            target = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"device must be cpu or cuda, got {device!r}") from error
        if target.type not in ("cpu", "cuda"):
            raise ValueError(f"device must be cpu or cuda, got {device!r}")
        moved = object.__new__(EmbeddingTable)
        moved.dtype = self.dtype
        if target.type == "cpu":
            moved.device = "cpu"
            moved.rows = _tensor_bits(self.rows.cpu())
            moved.inverse_norms = self.inverse_norms.cpu().numpy()
            return moved
        rows, inverse_norms = self.tensors()
        moved.rows = rows.to(target)
        moved.device = str(moved.rows.device)
        moved.inverse_norms = inverse_norms.to(target)
        return moved

    def tensors(self) -> tuple[Any, Any]:
        """``rows`` and ``inverse_norms`` as torch tensors that share their memory: for reading only."""
        if self.device != "cpu":
            return self.rows, self.inverse_norms
        import torch

        with warnings.catch_warnings():  # torch warns of memory it may not write: it is only read
            warnings.simplefilter("ignore", UserWarning)
            if self.dtype != "bfloat16":
                return torch.from_numpy(self.rows), torch.from_numpy(self.inverse_norms)
            bits = torch.from_numpy(self.rows.view(np.int16))
        return bits.view(torch.bfloat16), torch.from_numpy(self.inverse_norms)

    def native_rows(self) -> np.ndarray:
        """``rows`` as the compiled module takes them: float32, or uint16 bits of the 16-bit floats. CPU
        tables only."""
        return self.rows if self.dtype == "float32" else self.rows.view(np.uint16)

    def float64_rows(self, ids: np.ndarray) -> np.ndarray:
        """Rows ``ids`` [n] as float64 [n, d] on the CPU, exactly."""
        if self.device != "cpu":
            import torch

            return self.rows[torch.as_tensor(ids, device=self.rows.device)].double().cpu().numpy()
        return _widened(self.rows[ids], self.dtype).astype(np.float64)

    def _take_tensor(self, rows: Any, dtype: str | None) -> tuple[Any, str]:
        name = str(rows.dtype).removeprefix("torch.")
        if name not in _DTYPES or dtype not in (None, name):
            raise TypeError(
                f"rows must be a float32, float16 or bfloat16 tensor, got {rows.dtype}, dtype={dtype!r}"
            )
        require_dense("rows", rows)
        rows = rows.resolve_neg().contiguous()
        if rows.device.type == "cpu":
            return _tensor_bits(rows), name
        self.device = str(rows.device)
        return rows, name

    def _narrow(self) -> None:
        if self.dtype != "float32":
            return
        bits = self.rows.view(np.uint32)
        step = max(1, _CHUNK_ELEMENTS // self.dim)
        # The last chunk is as likely as any to hold a value that needs float32, so most tables are decided by
        # the first.
        if all(not (bits[i : i + step] & 0xFFFF).any() for i in range(0, len(self), step)):
            narrow = np.empty(bits.shape, np.uint16)
            for i in range(0, len(self), step):
                narrow[i : i + step] = bits[i : i + step] >> 16
            self.rows = narrow
            self.dtype = "bfloat16"

    def _inverse_norms(self) -> Any:
        if self.device == "cpu" and missing("native") is None:
            norms = native().row_norms(self.native_rows(), self.dtype, thread_count(None))
        else:
            step = max(1, _CHUNK_ELEMENTS // self.dim)
            norms = np.concatenate(
                [self._norms(i, min(i + step, len(self))) for i in range(0, len(self), step)]
            )
        bad = np.flatnonzero(~(norms < MAX_NORM))
        if bad.size:
            row, norm = int(bad[0]), float(norms[bad[0]])
            raise ValueError(
                f"rows must be finite with norms below 2**60, got norm {norm} in row {row} ({bad.size} such)"
            )
        with np.errstate(divide="ignore"):
            inverse = np.where(norms < MIN_NORM, 0.0, 1.0 / norms).astype(np.float32)
        if self.device == "cpu":
            return inverse
        import torch

        return torch.from_numpy(inverse).to(self.device)

    def _norms(self, begin: int, end: int) -> np.ndarray:
        if self.device != "cpu":
            return self.rows[begin:end].double().square().sum(1).sqrt().cpu().numpy()
        rows = _widened(self.rows[begin:end], self.dtype).astype(np.float64)
        return np.sqrt(np.einsum("vd,vd->v", rows, rows))


def _take_array(rows: np.ndarray, dtype: str | None) -> tuple[np.ndarray, str]:
    rows = to_numpy("rows", rows)
    name = rows.dtype.name
    if name == "uint16" and dtype == "bfloat16":
        name = "bfloat16"
    if name not in _DTYPES or dtype not in (None, name):
        hint = "; bfloat16 bits need dtype='bfloat16'" if name == "uint16" else ""
        raise TypeError(f"rows must be float32, float16 or bfloat16, got {rows.dtype}, dtype={dtype!r}{hint}")
    if name == "bfloat16":
        rows = rows.view(np.uint16)
    native_order = rows.dtype.newbyteorder("=")
    return np.require(rows, native_order, ["C_CONTIGUOUS", "ALIGNED"]), name


def _tensor_bits(rows: Any) -> np.ndarray:
    """A CPU tensor's memory as an ndarray; bfloat16 as uint16 bits."""
    import torch

    if rows.dtype == torch.bfloat16:
        return to_numpy("rows", rows.view(torch.int16)).view(np.uint16)
    return to_numpy("rows", rows)


def _widened(rows: np.ndarray, dtype: str) -> np.ndarray:
    """bfloat16 bits as the float32 values they are; other rows as they are."""
    return (rows.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else rows
