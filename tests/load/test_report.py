"""The page of penstock-load's report in a real browser, light, dark, on a phone and on paper.

Needs LOAD_SAMPLE (build/load-sample) and Chromium; skipped, with the reason, where there is none. PENSTOCK_SHOTS=FOLDER keeps the pictures."""

import json
import os
import pathlib
import subprocess

import pytest

import browser

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLE = os.environ.get("LOAD_SAMPLE", str(ROOT / "build" / "load-sample"))
SHOTS = os.environ.get("PENSTOCK_SHOTS")
KINDS = ("good", "spoilt", "single", "long", "empty")
LOOKS = {
    "light": dict(width=1280, height=900),
    "dark": dict(width=1280, height=900, dark=True),
    "phone": dict(width=360, height=740, phone=True),
    "phone-dark": dict(width=360, height=740, phone=True, dark=True),
}
PLOTS = {"good": 3 + 7, "spoilt": 3 + 7, "single": 2 + 1, "long": 3 + 2, "empty": 0}

# Each canvas: is anything painted, and in how many colours.
CANVASES = """[...document.querySelectorAll(".uplot canvas")].map((canvas) => {
    const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    const painted = pixels.filter((p) => p >>> 24);
    return [painted.length, new Set(painted).size];
})"""

# WCAG's contrast of every text that is seen against the first ground behind it.
CONTRASTS = """(() => {
    const channel = (x) => (x /= 255) <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const parsed = (text) => text.match(/[\\d.]+/g).map(Number);
    const ground = (e) => { for (; e; e = e.parentElement) { const c = parsed(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3]) return c; } return [255, 255, 255]; };
    const poor = [];
    for (const e of document.querySelectorAll("body *")) {
        if (!e.getClientRects().length || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
            continue;
        const [a, b] = [light(parsed(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5)
            poor.push(e.tagName + "." + e.className + ": " + e.textContent.slice(0, 40));
    }
    return poor;
})()"""


@pytest.fixture(scope="session")
def page():
    program = browser.find()
    if not program:
        pytest.skip("no Chromium here (Debian's package is chromium): the report's page was not opened")
    opened = browser.Browser(program)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    made = {}
    for kind in KINDS:
        made[kind] = tmp_path_factory.mktemp(kind)
        subprocess.run([SAMPLE, str(made[kind]), kind], check=True)
    return made


def show(page, folders, kind, look):
    page.open("file://" + str(folders[kind] / "report.html"), **LOOKS[look])


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", KINDS)
def test_page_is_whole(page, folders, kind, look):
    show(page, folders, kind, look)
    assert page.complaints() == []
    canvases = page.evaluate(CANVASES)
    assert len(canvases) == PLOTS[kind]
    for painted, colours in canvases:
        assert painted > 500 and colours > 3
    width = LOOKS[look]["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing makes the page scroll sideways"
    assert page.evaluate(CONTRASTS) == []
    if SHOTS:
        page.screenshot(os.path.join(SHOTS, "report-%s-%s.png" % (kind, look)))


def test_plots_say_what_they_show(page, folders):
    show(page, folders, "good", "light")
    labels = page.evaluate('[...document.querySelectorAll("[role=img]")].map((e) => e.getAttribute("aria-label"))')
    assert len(labels) == PLOTS["good"]
    assert labels[0].startswith("Latency in ms against number of consumers. 1 poller: mean 101, p99 200; ")
    assert "Textbook for 5 pollers: 1,000" in labels[0]
    assert "5 consumers, mixed: p50 0.60" in labels[1]


def test_words_and_tables_come_from_the_data(page, folders):
    show(page, folders, "good", "light")
    data = json.loads((folders["good"] / "report.json").read_text())
    text = page.evaluate("document.body.innerText")
    for sentence in data["headline"]:
        assert sentence in text
    cards = page.evaluate('[...document.querySelectorAll(".card b")].map((e) => e.textContent)')
    assert cards == ["504 ms", "0.60 ms"]
    rows = page.evaluate('[...document.querySelectorAll("#tables table")].map((t) => t.tBodies[0].rows.length)')
    assert rows == [15, 15, 8, 7, 7]
    plain = page.evaluate('document.querySelector("#text pre").textContent')
    assert plain == (folders["good"] / "report.txt").read_text()


def test_text_from_outside_stays_text(page, folders):
    show(page, folders, "spoilt", "light")
    warnings = page.evaluate('[...document.querySelectorAll(".warning[role]")].map((e) => e.textContent)')
    assert "WRONG: polled: 3 missing, 0 doubled, 1 out of order, 0 damaged." in " ".join(warnings)
    assert any("</script><script>alert(1)</script>" in warning for warning in warnings)
    assert page.evaluate('document.querySelectorAll("script").length') == 3
    assert page.evaluate('document.querySelectorAll(".warning b").length') == 0


def test_what_was_left_out_has_no_row_of_zeros(page, folders):
    show(page, folders, "spoilt", "light")
    regimes = json.loads((folders["spoilt"] / "report.json").read_text())["regimes"]
    assert len(regimes) == 8 and regimes[7]["shards"] == 0
    costs = page.evaluate('[...document.querySelectorAll("#tables table")].at(-1).tBodies[0].innerText')
    assert costs.count("\n") == 6 and "left out" not in costs


def test_no_label_of_time_stands_twice(page, folders):
    """Three seconds on a wide axis: there is room for parts of a second, whose labels would be the same."""
    script = page.call("Page.addScriptToEvaluateOnNewDocument", source="""
        window.painted = [];
        const paint = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, ...more) { window.painted.push(text); return paint.call(this, text, ...more); };""")
    show(page, folders, "single", "light")
    page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
    assert [text for text in page.evaluate("window.painted") if text.endswith(" s")] == ["1 s", "2 s", "3 s"]


def test_scheme_changes_while_it_is_open(page, folders):
    show(page, folders, "good", "light")
    shot = '[...document.querySelectorAll(".uplot canvas")].map((c) => c.toDataURL().length + c.toDataURL().slice(-200)).join()'
    light = page.evaluate(shot)
    page.call("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
    assert page.evaluate(shot) != light
    assert page.complaints() == []


def test_turning_the_phone_fits_the_plots(page, folders):
    show(page, folders, "good", "phone")
    page.call("Emulation.setDeviceMetricsOverride", width=740, height=360, deviceScaleFactor=2, mobile=True)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
    widths = page.evaluate('[...document.querySelectorAll(".plot")].map((p) => [p.clientWidth, p.querySelector(".u-wrap").clientWidth])')
    assert all(abs(box - plot) <= 1 for box, plot in widths) and widths[0][0] > 600


def test_prints_light_whatever_the_scheme(page, folders, tmp_path):
    show(page, folders, "good", "dark")
    page.pdf(str(tmp_path / "report.pdf"))
    assert (tmp_path / "report.pdf").stat().st_size > 20000
    assert page.evaluate('document.documentElement.classList.contains("paper")') is False
    page.evaluate('dispatchEvent(new Event("beforeprint")); 1')
    assert page.evaluate('getComputedStyle(document.body).backgroundColor') == "rgb(255, 255, 255)"
    page.evaluate('dispatchEvent(new Event("afterprint")); 1')
    assert page.evaluate('getComputedStyle(document.body).backgroundColor') != "rgb(255, 255, 255)"
    assert page.complaints() == []
