"""The page in a real headless Chromium, over a server and runs of its own, used as a reader would.

Nothing is asked of any other server, and no page is wider than a telephone's screen.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.test_web import ROOT, Client, until

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and chromedriver (apt: chromium-driver)"
)

SYMBOLS = ["rel-1x4", "tan-1x4", "tan-2x4"]
RUN = {
    "symbols": ",".join(SYMBOLS),
    "datasets": "moons,xor",
    "trials": 3,
    "epochs": 20,
    "record_every": 10,
    "samples": 40,
    "tests": 100,
}
SHOWN = """
return [...document.querySelectorAll(arguments[0])].find((e) => e.checkVisibility());
"""
VARIETY = """
return [...document.querySelectorAll(arguments[0])].map((canvas) => canvas.clientHeight < 20 ? 0
  : new Set(canvas.getContext("2d").getImageData(0, 0, canvas.width, 40).data).size);
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of its own over an empty folder: (address, client)."""
    out = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-m", "experiments.web", "--port=0", f"--out={out}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        address = re.match(r"http://localhost:(\d+) ", process.stdout.readline())
        yield address[0].strip(), Client(int(address[1]))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.fixture(scope="module")
def order(server):
    """The job that trains the run which the tests look at; chromium starts beside it."""
    code, told = server[1].post("/api/jobs", {"study": "elements_lab", "flags": RUN})
    assert code == 201, told
    return told["job"]


@pytest.fixture(scope="module")
def driver(order, tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_window_size(1280, 900)
    driver.get("about:blank")
    driver.get_log("performance")  # what the browser's own first page asked for
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def run(server, order, driver):
    """The name of a finished run of three elements."""
    found = until(lambda: _ended(server[1], order), 120)
    assert found["state"] == "done", found["log"]
    return found["runs"][-1]


def _ended(client, job):
    found = client.get(f"/api/jobs/{job}")
    return found if found["state"] not in ("queued", "running") else None


class Page:
    """What a reader does and sees."""

    def __init__(self, driver, address):
        self.driver, self.address = driver, address

    def open(self, path):
        self.driver.get("about:blank")
        self.driver.get(f"{self.address}/{path}")
        self.one("main h1, main .error")
        return self

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def one(self, css, seconds=20):
        """The first element that is shown; waits for it."""
        return until(lambda: self.run(SHOWN, css), seconds)

    def text(self, css="main"):
        """The text of an element that other requests may be replacing."""
        return self.run(f"return document.querySelector({css!r})?.innerText ?? ''")

    def says(self, *words, css="main", seconds=20):
        until(lambda: all(word in self.text(css) for word in words), seconds)

    def choose(self, css, value):
        from selenium.webdriver.support.ui import Select

        Select(self.one(css)).select_by_value(value)

    def type(self, css, text):
        box = self.one(css)
        box.clear()
        box.send_keys(text)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def drawn(self, css, count, seconds=30):
        """Waits until there are so many canvases and all show something."""
        varieties = lambda: self.run(VARIETY, css)
        until(lambda: len(found := varieties()) == count and min(found) > 10, seconds)


@pytest.fixture
def page(driver, server):
    page = Page(driver, server[0])
    yield page
    logs = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert [entry["message"] for entry in logs if " 4" not in entry["message"]] == []
    asked = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"].endswith("BeSent")
            and "request" in m["params"]]  # fmt: skip
    assert [url for url in urls if url.startswith("http") and not url.startswith(server[0])] == []


def test_an_empty_folder_says_what_to_type(page):
    page.open("#/table")
    if page.all(".empty"):  # before the first chunk of the run is stored
        page.says("No runs yet", "make table", "lab")


def test_a_click_on_a_cell_shows_that_element(page, run, server):
    from selenium.webdriver import ActionChains

    page.open(f"#/table?run={run}")
    cell = page.one("[data-arm='tan-2x4']")
    cells = server[1].get(f"/api/runs/{run}/table")["panels"][0]["cells"]
    assert len(page.all(".periodic td a")) == len(cells) == 3
    told = next(c for c in cells if c["arm"] == "tan-2x4")
    low, high = (f"{100 * told[name]:.1f}" for name in ("low", "high"))
    assert cell.text.startswith(f"{100 * told['value']:.1f}")
    ActionChains(page.driver).move_to_element(cell).perform()
    page.says("tan-2x4", "held-out accuracy", f"[{low}, {high}]", "3 trials", css="#tip")
    cell.click()
    estimate = f"{100 * told['value']:.1f} % [{low}, {high}]"
    page.says("tan-2x4", "tanh", "Decision boundaries", "Results", estimate, "Neighbours")
    assert "#/element/tan-2x4" in page.driver.current_url
    page.drawn(".tile canvas", 2)
    until(lambda: len(page.all(".chart .main-svg")) >= 2)


def test_the_trial_of_the_boundaries_can_be_chosen(page, run):
    page.open(f"#/element/tan-2x4?run={run}")
    page.drawn(".tile canvas", 2)
    look = lambda: page.run("return document.querySelector('.tile canvas').toDataURL()")
    mean = look()
    page.one("button[aria-label='Next trial']").click()
    page.drawn(".tile canvas", 2)
    until(lambda: look() != mean)
    assert "trial=0" in page.driver.current_url


def test_the_table_is_coloured_by_any_metric_and_dataset(page, run, server):
    page.open(f"#/table?run={run}")
    page.choose("#metric", "train_loss")
    page.choose("#dataset", "xor")
    asked = {"metric": "train_loss", "dataset": "xor"}
    cells = server[1].get(f"/api/runs/{run}/table", **asked)["panels"][0]["cells"]
    expected = {c["arm"]: f"{c['value']:.3g}"[:4] for c in cells}
    shown = lambda: {a.get_attribute("data-arm"): a.text[:4] for a in page.all(".periodic td a")}
    until(lambda: shown() == expected)
    colours = {a.value_of_css_property("background-color") for a in page.all(".periodic td a")}
    assert len(colours) == 3


def test_the_table_is_used_by_keyboard(page, run):
    from selenium.webdriver.common.keys import Keys

    page.open(f"#/table?run={run}")
    page.one("[data-arm='tan-1x4']")
    page.run("document.querySelector('[data-arm=\"tan-1x4\"]').focus()")
    page.says("tan-1x4", css="#tip")
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    active = page.driver.switch_to.active_element
    assert active.get_attribute("data-arm") == "tan-2x4"
    active.send_keys(Keys.ENTER)
    page.says("tan-2x4", "Decision boundaries")


def test_elements_are_compared(page, run, server):
    page.open(f"#/table?run={run}")
    page.one("[data-arm='tan-1x4']")
    page.one("#pick").click()
    for arm in ("tan-1x4", "tan-2x4"):
        page.one(f"[data-arm='{arm}']").click()
        page.says(arm, css=".tray")
        page.one(f"[data-arm='{arm}'].picked")
    page.one(".tray a.button").click()
    page.one("#pairs")
    page.type("#add", "rel-1x4")
    page.one(".chips button[type=submit]").click()
    until(lambda: len(page.all("#pairs tbody tr")) == 3)
    found = server[1].get(f"/api/runs/{run}/compare", arm=["tan-1x4", "tan-2x4", "rel-1x4"])
    for pair in found["pairs"]:
        page.says(f"{pair['first']} − {pair['second']}", css="#pairs")
    page.drawn(".tile canvas", 6)
    until(lambda: len(page.all(".chart .main-svg")) >= 4)
    page.type("#add", "sin-9x9")
    page.one(".chips button[type=submit]").click()
    page.says("is not in this run", css=".chips")


def test_experiments_are_searched_and_their_rows_filtered(page, run):
    page.open("#/experiments")
    page.one(f"[data-run='{run}']")
    page.type("#search", "nothing like it")
    page.says("No run holds")
    page.type("#search", "moons finished")
    page.one(f"[data-run='{run}'] a").click()
    page.says("Findings", "Held-out accuracy", "Figures", "Settings and versions")
    until(lambda: page.run("return [...document.images].every((i) => i.naturalWidth > 0)"))
    assert len(page.all(".figures img")) >= 2
    page.says("of 18", css="#count")
    page.type("#rows-search", "xor")
    page.says("of 9", css="#count")
    page.choose("select[aria-label=Column]", "trial")
    page.type("input[aria-label=Value]", "1")
    page.one("form.row button[type=submit]").click()
    page.says("of 3", css="#count")
    assert "where=trial%3D1" in page.one("a[download$='.csv'][href*=results]").get_attribute("href")


def test_a_lab_run_ends_and_appears_among_the_experiments(page, run):
    page.open("#/lab")
    page.choose("select[name=dataset]", "circles")
    page.choose("select[name=activation]", "sine")
    page.one("button[aria-label='One layer less']").click()
    for width in page.all(".layers input"):
        width.clear()
        width.send_keys("4")
    page.type("input[name=epochs]", "99999")
    page.one("#train").click()
    page.says("epochs takes 1 to 5,000 here, got 99999")
    page.type("input[name=epochs]", "30")
    page.type("input[name=trials]", "2")
    page.says("sin-2x4", css=".lab output.symbol")
    page.one("#train").click()
    page.one("#outcome .job")
    page.one(".film canvas", seconds=120)
    page.says("Stored as any run")
    until(lambda: page.text(".epoch") not in ("", "epoch 0"))  # it plays
    page.drawn(".film canvas", 1)
    until(lambda: len(page.all("#outcome .chart .main-svg")) >= 2)
    name = page.one("#outcome p a").text
    page.open("#/experiments")
    page.one(f"[data-run='{name}'] a").click()
    page.says("Findings", "finished · 2 networks")


def test_a_study_is_started_followed_and_cancelled(page, run, server):
    page.open("#/lab")
    page.choose("#study", "elements_phase2")
    page.one("#study-form summary").click()
    page.type("#study-form input[name=epochs]", "5000")
    page.type("#study-form input[name=datasets]", "xor,nowhere")
    page.one("#study-form button[type=submit]").click()
    page.says("unknown datasets 'nowhere'")
    page.type("#study-form input[name=datasets]", "xor")
    page.type("#study-form input[name=trials]", "60")
    page.one("#study-form button[type=submit]").click()
    page.says("at work", css="#nav")
    page.open("#/experiments")
    page.one(".job.running progress", seconds=60)
    page.says("of 9,600 networks stored")
    page.one(".job.running .cancel").click()
    page.one(".job.cancelled", seconds=40)
    until(lambda: server[1].get("/api/jobs")[0]["state"] == "cancelled")
    states = [r["status"] for r in server[1].get("/api/runs") if r["study"] == "elements_phase2"]
    assert states == ["interrupted"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_fit_a_telephone_in_light_and_dark(page, run, theme):
    emulate = page.driver.execute_cdp_cmd
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    scheme = [{"name": "prefers-color-scheme", "value": theme}]
    emulate("Emulation.setDeviceMetricsOverride", size)
    emulate("Emulation.setEmulatedMedia", {"features": scheme})
    try:
        paths = ["#/table", "#/element/tan-2x4", "#/experiments", f"#/experiments/{run}", "#/lab"]
        paths += ["#/compare?arm=tan-1x4&arm=tan-2x4"]
        for path in paths:
            page.open(path + ("" if "?" in path else "?") + f"&run={run}")
            time.sleep(0.5)
            assert page.run("return document.documentElement.scrollWidth") <= 390, path
            assert page.run("return document.documentElement.dataset.theme") == theme
    finally:
        emulate("Emulation.clearDeviceMetricsOverride", {})
        emulate("Emulation.setEmulatedMedia", {"features": []})


def test_what_is_not_there_is_said_in_a_sentence(page, run):
    page.open("#/element/xyz-3x8").says("xyz", css=".error")
    page.open("#/nowhere").says("There is no page")
    page.open("#/experiments/nothing-1").says("there is no run 'nothing-1'")
    page.open("#/element/elu-7x3").says("No stored run has trained elu-7x3", "Train it in the lab")


def test_the_documents_of_the_api_are_shown(page):
    page.driver.get(f"{page.address}/docs")
    page.one(".swagger-ui .opblock")
    page.says("/api/runs/{run}/boundaries", css="#docs")
