"""Images with labels: scikit-learn's digits, or MNIST test images in IDX files."""

import gzip
import hashlib
import math
import pathlib
import zlib
from typing import NamedTuple

import numpy as np

from experiments.shell import run

CLASSES = 10
# Names of the files, without or with `.gz`: as published, and as they are often kept.
FILES = {
    "images": ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"),
    "labels": ("t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"),
}
DIMENSIONS = {"images": 3, "labels": 1}
UNSIGNED_BYTES = 8  # the third byte of the files' magic number


class Data(NamedTuple):
    """`pixels [N, I]` in float32 of mean 0 and deviation 1 over all, `labels [N]`, and the SHA-256
    of both."""

    name: str
    pixels: np.ndarray
    labels: np.ndarray
    sha256: str


def digits() -> Data:
    """The 1,797 digits of 8 × 8 pixels that come with scikit-learn (Alpaydin & Kaynak 1998)."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise run.Refused(
            f"the digits need scikit-learn, which is not installed: {error}"
        ) from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    return _data("digits", pixels, labels)


def mnist(folder: str) -> Data:
    """The MNIST test images in `folder`, as IDX files, compressed by gzip or not.

    Raises run.Refused, in a sentence, for files that are missing or not what they should be.
    """
    images, labels = (_idx(pathlib.Path(folder), part) for part in FILES)
    if len(images) != len(labels):
        raise run.Refused(
            f"--mnist={folder} must hold as many images as labels, got {len(images)} and "
            f"{len(labels)}"
        )
    if labels.size and labels.max() >= CLASSES:
        raise run.Refused(f"--mnist={folder} must have labels of 0 to 9, got {labels.max()}")
    if not images.size or np.ptp(images) == 0:
        raise run.Refused(f"--mnist={folder} must hold images, got {images.shape} all alike")
    return _data("mnist", images.reshape(len(images), -1), labels)


def _data(name, pixels, labels) -> Data:
    pixels = pixels.astype(np.float64)
    pixels = ((pixels - pixels.mean()) / pixels.std()).astype(np.float32)
    labels = labels.astype(np.int32)
    total = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    return Data(name, pixels, labels, total)


def _idx(folder, part) -> np.ndarray:
    if not folder.is_dir():
        raise run.Refused(f"--mnist={folder} is not a folder")
    names = [name + end for name in FILES[part] for end in ("", ".gz")]
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise run.Refused(f"--mnist={folder} has no {part}: it must hold {names[0]} or {names[1]}")
    path = found[0]
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise run.Refused(f"{path} is not a whole gzip file: {error}") from error
    except OSError as error:
        raise run.Refused(f"{path} cannot be read: {error.strerror}") from error
    many = DIMENSIONS[part]
    expected = bytes((0, 0, UNSIGNED_BYTES, many))
    if data[:4] != expected:
        raise run.Refused(
            f"{path} is no IDX file of {part}: it must start with {expected.hex()}, and starts "
            f"with {data[:4].hex() or 'nothing'}"
        )
    start = 4 + 4 * many
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(many)]
    held = max(len(data) - start, 0)
    if len(data) < start or held != math.prod(shape):
        raise run.Refused(
            f"{path} is truncated or too long: it announces {' × '.join(map(str, shape))} bytes, "
            f"and holds {held}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
