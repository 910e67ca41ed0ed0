"""Finding texts: embedded in every Python installation, in files, or downloaded and checked.

A text is decoded as UTF-8 and its lines end in "\\n", whatever system wrote it. Those with a public
address are known by their SHA-256 (of the text so decoded), wherever they were found.
"""

import hashlib
import http.client
import io
import pathlib
import re
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from typing import NamedTuple

from experiments.shell import run, storage

ATTEMPTS = 3  # downloads of one address
PAUSE = 2.0  # seconds before the second attempt; each further pause is twice as long
PATIENCE = 30.0  # seconds without a byte after which an attempt is given up
LONGEST = 1 << 26  # bytes that a download may have
SOURCE_CHARACTERS = 1_000_000  # of the standard library: about as many as Shakespeare has


class Corpus(NamedTuple):
    """A text, what it is called, and the SHA-256 of its UTF-8 form."""

    name: str
    text: str
    sha256: str


class Published(NamedTuple):
    """A text with public `addresses`, tried in turn: of itself, or of an archive of its files.

    `files` are its parts in order, by the name under which they are kept, with the SHA-256 of each;
    `members` are their names within a ZIP archive (none: the address is that of the one file).
    """

    addresses: tuple[str, ...]
    files: Mapping[str, str]
    members: tuple[str, ...] = ()


PUBLISHED = {
    # Karpathy 2015, "The unreasonable effectiveness of recurrent neural networks"
    "shakespeare": Published(
        (
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
            "input.txt",
        ),
        {
            "tinyshakespeare.txt": (
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
            )
        },
    ),
    # WikiText-2 raw (Merity et al. 2016): its validation text, then its test text
    "wiki": Published(
        (
            "https://huggingface.co/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip",
            "https://wikitext.smerity.com/wikitext-2-raw-v1.zip",
        ),
        {
            "wikitext2-raw-valid.txt": (
                "4cd0f6876d07a413aa911261ff6d363c72d757d47f0fdd6015702014c89cb9c7"
            ),
            "wikitext2-raw-test.txt": (
                "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08"
            ),
        },
        ("wikitext-2-raw/wiki.valid.raw", "wikitext-2-raw/wiki.test.raw"),
    ),
}


def documentation() -> str:
    """English prose of this Python's language reference (`pydoc_data.topics`).

    Topics quote each other: of equal paragraphs only the first is kept, so that none stands in
    two parts of a split.
    """
    from pydoc_data import topics

    texts = [topics.topics[name].strip("\n") for name in sorted(topics.topics)]
    paragraphs = [paragraph for text in texts for paragraph in re.split(r"\n{2,}", text)]
    return "\n\n".join(dict.fromkeys(paragraphs))


def source() -> str:
    """Source code: the first modules of this Python's standard library, in alphabetical order."""
    parts, length = [], 0
    for path in sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py")):
        if length < SOURCE_CHARACTERS:
            parts.append(decode(path.read_bytes(), str(path)))
            length += len(parts[-1])
    return "".join(parts)


EMBEDDED: Mapping[str, Callable[[], str]] = {"documentation": documentation, "source": source}


def read(name: str, folder: str = "", cache: pathlib.Path | None = None) -> Corpus:
    """The corpus called `name`, or in the file of that path.

    A published text is looked up in `folder` ('' for none), then in `cache` (by default the
    user's), and downloaded into that. Raises run.Refused, in a sentence, for what cannot be had.
    """
    if name in EMBEDDED:
        text = EMBEDDED[name]()
    elif name in PUBLISHED:
        text = _published(name, folder, cache or default_cache())
    else:
        text = _file(name, folder)
    symbols = len(set(text))
    if symbols < 2:
        raise run.Refused(f"--corpus={name} must have at least 2 different characters: {symbols}")
    # A file that is moved remains the same corpus.
    label = name if name in EMBEDDED or name in PUBLISHED else pathlib.Path(name).name
    return Corpus(label, text, _sum(text))


def default_cache() -> pathlib.Path:
    """Where downloaded texts are kept."""
    return run.default_cache().parent / "corpora"


def decode(data: bytes, where: str) -> str:
    """The text of `data`, each line ending in one "\\n"."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise run.Refused(
            f"{where} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _file(name, folder) -> str:
    for path in (pathlib.Path(name), pathlib.Path(folder) / name):
        if path.is_file():
            return decode(path.read_bytes(), str(path))
    known = ", ".join([*EMBEDDED, *PUBLISHED])
    raise run.Refused(f"--corpus={name} is neither a file nor one of {known}")


def _published(name, folder, cache) -> str:
    known = PUBLISHED[name]
    if folder:
        if not pathlib.Path(folder).is_dir():
            raise run.Refused(f"--corpus_dir={folder} is not a folder")
        texts = _stored(known, pathlib.Path(folder))
        if texts is not None:
            for (file, expected), text in zip(known.files.items(), texts, strict=True):
                if _sum(text) != expected:
                    raise run.Refused(
                        f"{pathlib.Path(folder) / file} is not the text of --corpus={name} (its "
                        f"SHA-256 starts with {_sum(text)[:8]}, not {expected[:8]}): replace it, "
                        f"or give it as a file of your own by --corpus=PATH"
                    )
            return "".join(texts)
    try:
        texts = _stored(known, cache)
    except run.Refused:  # damaged: it is fetched anew
        texts = None
    if texts is None or [_sum(text) for text in texts] != list(known.files.values()):
        texts = _download(name, known)
        run.require_writable(cache, f"the cache {cache}")
        for file, text in zip(known.files, texts, strict=True):
            storage.write_bytes(cache / file, text.encode())
    return "".join(texts)


def _stored(known, folder) -> list[str] | None:
    """The texts of a folder's files, None unless all are there."""
    paths = [folder / file for file in known.files]
    if not all(path.is_file() for path in paths):
        return None
    return [decode(path.read_bytes(), str(path)) for path in paths]


def _download(name, known) -> list[str]:
    problems = []
    for address in known.addresses:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            print(f"downloading {address}", file=sys.stderr)
            try:
                return _checked(known, _fetch(address))
            except _Unusable as error:
                problem = f"{address}: {error}"
                if error.final:
                    break
        problems.append(problem)
    files = " and ".join(known.files)
    raise run.Refused(
        f"--corpus={name} cannot be downloaded ({'; '.join(problems)}): put {files} into a folder "
        f"and name it by --corpus_dir, or take --corpus={next(iter(EMBEDDED))}, which needs no file"
    )


class _Unusable(Exception):
    """What came of a download; `final` if trying again is no use."""

    def __init__(self, sentence: str, final: bool = False):
        super().__init__(sentence)
        self.final = final


def _fetch(address) -> bytes:
    request = urllib.request.Request(address, headers={"User-Agent": "organisms"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            data = answer.read(LONGEST + 1)
            left = answer.length  # of the announced length; read(n) does not complain itself
    except urllib.error.HTTPError as error:
        raise _Unusable(f"the server answers {error.code}", error.code < 500) from error
    except urllib.error.URLError as error:
        raise _Unusable(f"no connection, {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Unusable(f"the connection broke, {error or type(error).__name__}") from error
    if len(data) > LONGEST:
        raise _Unusable(f"more than {LONGEST} bytes", True)
    if left:
        raise _Unusable(f"truncated, {left} bytes are missing after {len(data)}")
    return data


def _checked(known, data) -> list[str]:
    try:
        if known.members:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                parts = [archive.read(member) for member in known.members]
        else:
            parts = [data]
        texts = [decode(part, file) for part, file in zip(parts, known.files, strict=True)]
    except (zipfile.BadZipFile, KeyError, run.Refused) as error:
        raise _Unusable(f"damaged, {error}") from error
    for (file, expected), text in zip(known.files.items(), texts, strict=True):
        if _sum(text) != expected:
            raise _Unusable(
                f"{file} came with {len(text.encode())} bytes and SHA-256 {_sum(text)[:8]}…, not "
                f"{expected[:8]}…: truncated or changed"
            )
    return texts
