"""Named tensors in a file, in the safetensors format.

The format is a JSON header and raw bytes: nothing in it can be executed. It is read and
written here with torch alone, so that a machine with only torch and pyarrow can train and
score; the tests compare these files with those of the safetensors library.
"""

import ctypes
import json
import struct
from pathlib import Path

import torch
from torch import Tensor

from reinduce.trace.files import atomic_write

DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def save_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    """Write tensors and metadata to a file, atomically.

    Args:
        path: the file to write.
        tensors: name → tensor of float32, float64 or int64, on any device.
        metadata: name → text.

    Returns:
        The path.
    """
    header: dict = {"__metadata__": dict(sorted(metadata.items()))}
    blocks, offset = [], 0
    for name, tensor in sorted(tensors.items()):
        block = tensor.detach().cpu().contiguous()
        size = block.numel() * block.element_size()
        header[name] = {
            "dtype": NAMES[block.dtype],
            "shape": list(block.shape),
            "data_offsets": [offset, offset + size],
        }
        blocks.append((block, size))
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as aside, open(aside, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for block, size in blocks:
            file.write(ctypes.string_at(block.data_ptr(), size) if size else b"")
    return Path(path)


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata from a file.

    Args:
        path: the file.

    Returns:
        Name → tensor, and name → text.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is truncated or not in this format.
    """
    content = bytearray(Path(path).read_bytes())
    try:
        (length,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8 : 8 + length])
        metadata = header.pop("__metadata__", {})
        tensors = {}
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            if 8 + length + end > len(content):
                raise ValueError("truncated")
            dtype = DTYPES[entry["dtype"]]
            count = (end - start) // dtype.itemsize
            flat = (
                torch.frombuffer(content, dtype=dtype, count=count, offset=8 + length + start)
                if count
                else torch.empty(0, dtype=dtype)
            )
            tensors[name] = flat.view(entry["shape"])
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error}); delete it and make it again") from None
    return tensors, metadata
