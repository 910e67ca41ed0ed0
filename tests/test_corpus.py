"""Corpora are found, downloaded, checked, or refused in one sentence; from a server of our own."""

import contextlib
import hashlib
import http.server
import io
import re
import threading
import zipfile

import pytest

from experiments.shell import corpus, run

TEXT = "To be, or not to be:\nthat is the question.\n"
OTHER = "Whether 'tis nobler in the mind to suffer\n"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def zipped(**members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(f"folder/{name}.raw", text)
    return data.getvalue()


class Answer(http.server.BaseHTTPRequestHandler):
    """Plays its server's answers (status, body, bytes of it that are sent) one after the other."""

    def do_GET(self):
        self.server.asked.append(self.path)
        answers = self.server.answers
        status, body, sent = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent])

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(*answers):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.answers, server.asked = [(*a, None)[:3] for a in answers], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """Publishes "play" (a file) and "plays" (two of an archive) at a server's address."""
    monkeypatch.setattr(corpus, "PAUSE", 0.0)

    def at(*servers):
        hosts = [f"http://127.0.0.1:{s if isinstance(s, int) else s.server_port}" for s in servers]
        one = corpus.Published(tuple(f"{h}/play" for h in hosts), {"play.txt": sha256(TEXT)})
        two = corpus.Published(
            tuple(f"{h}/plays.zip" for h in hosts),
            {"play.txt": sha256(TEXT), "other.txt": sha256(OTHER)},
            ("folder/play.raw", "folder/other.raw"),
        )
        monkeypatch.setattr(corpus, "PUBLISHED", {"play": one, "plays": two})
        return tmp_path / "cache"

    return at


@pytest.fixture
def closed():
    """A port at which nobody listens."""
    with serving((200, b"")) as server:
        port = server.server_port
    return port


def test_a_text_is_downloaded_once_and_kept(publish):
    with serving((200, TEXT.encode())) as server:
        cache = publish(server)
        first = corpus.read("play", cache=cache)
        again = corpus.read("play", cache=cache)
        assert server.asked == ["/play"]
    assert first == again == corpus.Corpus("play", TEXT, sha256(TEXT))
    assert corpus.read("play", cache=cache).text == TEXT  # with the server gone


def test_an_archive_gives_its_members_in_order(publish):
    with serving((200, zipped(other=OTHER, play=TEXT, unused="?"))) as server:
        cache = publish(server)
        assert corpus.read("plays", cache=cache).text == TEXT + OTHER
    assert {path.name for path in cache.iterdir()} == {"play.txt", "other.txt"}


def test_what_is_damaged_in_the_cache_is_fetched_anew(publish):
    with serving((200, TEXT.encode())) as server:
        cache = publish(server)
        corpus.read("play", cache=cache)
        for damage in (b"To be, or not", b"\xff\xfe"):
            (cache / "play.txt").write_bytes(damage)
            assert corpus.read("play", cache=cache).text == TEXT
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    "bad", [(503, b"busy"), (200, TEXT.encode(), 10), (200, TEXT.encode()[:-3]), (200, b"\xff")]
)
def test_a_failure_that_passes_is_tried_again(publish, bad):
    with serving(bad, bad, (200, TEXT.encode())) as server:
        assert corpus.read("play", cache=publish(server)).text == TEXT
        assert len(server.asked) == 3


def test_the_next_address_is_tried_where_the_first_has_nothing(publish):
    with serving((404, b"gone")) as gone, serving((200, TEXT.encode())) as there:
        assert corpus.read("play", cache=publish(gone, there)).text == TEXT
        assert (len(gone.asked), len(there.asked)) == (1, 1)  # what is not there does not come back


@pytest.mark.parametrize(
    ("name", "answer", "sentence"),
    [
        ("play", (200, TEXT.encode(), 10), "truncated, 33 bytes are missing after 10"),
        ("play", (200, TEXT.encode()[:40]), "play.txt came with 40 bytes .* truncated or changed"),
        ("play", (404, b""), "the server answers 404"),
        ("plays", (200, zipped(play=TEXT, other=OTHER)[:80]), "damaged, File is not a zip file"),
        ("plays", (200, zipped(play=TEXT)), "damaged, .*no item named 'folder/other.raw'"),
        ("plays", (200, zipped(play=TEXT, other=TEXT)), "other.txt came with 43 bytes"),
    ],
)
def test_a_bad_download_is_refused_and_leaves_nothing(publish, name, answer, sentence):
    with serving(answer) as server:
        cache = publish(server)
        with pytest.raises(run.Refused, match=sentence):
            corpus.read(name, cache=cache)
        assert len(server.asked) == (1 if answer[0] == 404 else corpus.ATTEMPTS)
    assert not cache.exists() or not list(cache.iterdir())


def test_offline_it_says_what_to_do(publish, closed, capsys):
    cache = publish(closed)
    with pytest.raises(run.Refused) as refusal:
        corpus.read("plays", cache=cache)
    said = str(refusal.value)
    assert re.match(
        r"--corpus=plays cannot be downloaded \(http://127\.0\.0\.1:\d+/plays\.zip: no", said
    )
    assert "put play.txt and other.txt into a folder and name it by --corpus_dir" in said
    assert "--corpus=documentation, which needs no file" in said
    assert capsys.readouterr().err.count("downloading http") == corpus.ATTEMPTS


def test_the_folder_goes_first_and_its_line_ends_do_not_matter(publish, closed, tmp_path):
    cache = publish(closed)
    (tmp_path / "play.txt").write_bytes(TEXT.replace("\n", "\r\n").encode())
    found = corpus.read("play", str(tmp_path), cache)
    assert found == corpus.Corpus("play", TEXT, sha256(TEXT))
    (tmp_path / "play.txt").write_text(OTHER)
    with pytest.raises(
        run.Refused, match=r"play\.txt is not the text of --corpus=play .*--corpus="
    ):
        corpus.read("play", str(tmp_path), cache)
    (tmp_path / "play.txt").unlink()
    with pytest.raises(run.Refused, match="cannot be downloaded"):
        corpus.read("play", str(tmp_path), cache)
    with pytest.raises(run.Refused, match=r"--corpus_dir=.*nowhere is not a folder"):
        corpus.read("play", str(tmp_path / "nowhere"), cache)


def test_a_file_of_ones_own_is_known_by_its_content(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.txt").write_bytes("\ufeffÄpfel\r\nund Birnen\r".encode())
    first, second = (corpus.read(str(tmp_path / folder / "mine.txt")) for folder in "ab")
    assert first == second == corpus.Corpus("mine.txt", "Äpfel\nund Birnen\n", first.sha256)
    assert corpus.read("mine.txt", str(tmp_path / "a")) == first


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"aaaa", "must have at least 2 different characters: 1"),
        (b"", "must have at least 2 different characters: 0"),
        (b"abc\xe4\xf6", r"bad\.txt is not UTF-8: byte 3 is 0xe4"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, data, sentence):
    (tmp_path / "bad.txt").write_bytes(data)
    with pytest.raises(run.Refused, match=sentence):
        corpus.read(str(tmp_path / "bad.txt"))


def test_an_unknown_name_is_told_what_is_known():
    with pytest.raises(run.Refused, match="neither a file nor one of documentation, source, sha"):
        corpus.read("shakespear")


@pytest.mark.parametrize(("name", "words"), [("documentation", " the "), ("source", "def ")])
def test_what_comes_with_python_needs_no_file(name, words):
    found = corpus.read(name)
    assert len(found.text) > 300_000
    assert found.text.count(words) > 1000
    assert found == corpus.read(name)


def test_no_paragraph_of_the_documentation_comes_twice():
    paragraphs = corpus.documentation().split("\n\n")
    assert len(paragraphs) == len(set(paragraphs)) > 1000


def test_the_published_texts_are_well_declared():
    for known in corpus.PUBLISHED.values():
        assert all(address.startswith("https://") for address in known.addresses)
        assert all(re.fullmatch("[0-9a-f]{64}", sum_) for sum_ in known.files.values())
        assert len(known.members) in (0, len(known.files))
        assert known.members or len(known.files) == 1
