"""What a reader sees and does on the page, in Debian's Chromium."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reports.output.glossary import TERMS
from tests.reports.output.planted_page import FINDINGS, METHODS, planted_page, score

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install -e .[dev]")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core: pip install -e .[dev]")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's Chromium: apt-get install chromium")

WIDTHS = (360, 1280, 2560)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(planted_page(), encoding="utf-8")
    return file.as_uri()


class Visit:
    """The page in a tab, with what the browser complained about and asked the network for."""

    def __init__(self, browser: Any, address: str, width: int = 1280, **settings: Any) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, **settings)
        self.page.set_default_timeout(10_000)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def drawn(self) -> Any:
        """Return the page once the five charts outside of folds are drawn."""
        self.page.locator(".plot svg").nth(4).wait_for()
        return self.page

    def methods_in_figure(self) -> list[str]:
        """Return the names on the vertical axis of the first chart, from top to bottom."""
        texts = (
            self.page.locator(".plot")
            .first.locator(".role-axis-label text")
            .evaluate_all(
                "texts => texts.sort((a, b) => a.getBoundingClientRect().y - b.getBoundingClientRect().y)"
                ".map((text) => text.textContent)"
            )
        )
        return [text for text in texts if text in METHODS]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, at most 5 seconds."""
        for _ in range(100):
            if condition():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError("the condition does not hold after 5 seconds")

    def rows(self, table: str) -> list[list[str]]:
        """Return the texts of the visible rows of a table."""
        return self.page.locator(f"#{table} tbody").evaluate(
            "body => [...body.rows].map((row) => [...row.cells].map((cell) => cell.textContent))"
        )

    def choose(self, **choice: str) -> None:
        for name, value in choice.items():
            self.page.select_option(f"select[name={name}]", value)


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    visited = Visit(browser, address)
    yield visited
    assert visited.errors == []
    visited.page.close()


def ranked(column: str, metric: str) -> list[str]:
    return sorted(METHODS, key=lambda method: -score(column, metric, method))


def test_the_page_opens_without_an_error_and_asks_the_network_for_nothing(visit: Visit, address: str) -> None:
    visit.drawn()
    assert [request for request in visit.requests if not request.startswith("data:")] == [address]


def test_the_findings_come_first_and_lead_to_their_table_and_records(visit: Visit) -> None:
    items = visit.page.locator(".findings > ol > li")
    assert visit.page.locator("main h2").first.text_content() == "What was found"
    texts = items.evaluate_all("items => items.map((item) => item.querySelector('p').textContent)")
    assert all(finding.text in text for finding, text in zip(FINDINGS, texts, strict=True))
    visit.page.click(".findings > ol a[href='#pairs']")
    assert visit.page.locator("#pairs .fold").evaluate("fold => fold.open")
    items.first.get_by_role("button", name="2 records").click()
    shown = visit.page.locator(".note:popover-open code").all_text_contents()
    assert shown == list(FINDINGS[0].records)


def test_tables_and_figures_follow_the_choice(visit: Visit) -> None:
    visit.drawn()
    assert [row[0] for row in visit.rows("leaderboard")] == ranked("meld", "weighted_f1")
    assert visit.methods_in_figure() == ranked("meld", "weighted_f1")
    visit.choose(metric="accuracy", labels="10%")
    expected = ranked("meld@10%", "accuracy")
    assert [row[0] for row in visit.rows("leaderboard")] == expected
    visit.until(lambda: visit.methods_in_figure() == expected)
    assert visit.page.locator("#leaderboard .chosen").text_content() == "meld, 10 % of the labels, accuracy"
    assert len(visit.rows("pairs")) == 28


def test_a_budget_that_a_data_set_lacks_gives_way_to_all_labels(visit: Visit) -> None:
    visit.choose(labels="10%", dataset="mosi")
    labels = visit.page.locator("select[name=labels]")
    assert labels.input_value() == "all"
    offered = labels.evaluate("select => [...select.options].filter((o) => !o.disabled).map((o) => o.value)")
    assert offered == ["5", "all"]
    assert [row[0] for row in visit.rows("leaderboard")] == ranked("mosi", "weighted_f1")


def test_a_shared_link_restores_the_choice(visit: Visit, browser: Any) -> None:
    visit.choose(dataset="mosi", labels="5", metric="macro_f1")
    other = Visit(browser, visit.page.url)
    assert [row[0] for row in other.rows("leaderboard")] == ranked("mosi@5", "macro_f1")
    other.drawn()
    other.until(lambda: other.methods_in_figure() == ranked("mosi@5", "macro_f1"))
    assert other.errors == []
    other.page.close()


def test_a_link_with_a_choice_that_does_not_exist_shows_the_default(browser: Any, address: str) -> None:
    visit = Visit(browser, f"{address}?dataset=nowhere&labels=10%25&metric=%00")
    assert [row[0] for row in visit.rows("leaderboard")] == ranked("meld@10%", "weighted_f1")
    assert visit.errors == []
    visit.page.close()


def test_rows_are_filtered_and_sorted_and_stay_so_with_another_choice(visit: Visit) -> None:
    visit.page.click("#pairs .fold > summary")
    visit.page.fill("#pairs input", "raw_ Con")
    assert visit.page.locator("#pairs .filter [role=status]").text_content() == "4 of 28 rows"
    heading = visit.page.locator("#pairs thead th").nth(2)
    for order in ("descending", "ascending"):
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == order
        for metric in ("weighted_f1", "accuracy"):
            visit.choose(metric=metric)
            gaps = {n: score("meld", metric, "raw_features") - score("meld", metric, n) for n in METHODS if "Con" in n}
            assert [row[1] for row in visit.rows("pairs")] == sorted(
                gaps, key=gaps.__getitem__, reverse=order == "descending"
            )


def test_the_keyboard_alone_reaches_folds_and_explanations(visit: Visit) -> None:
    page = visit.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    note = page.locator(".note:popover-open")
    explanation = next(term.text for term in TERMS if term.name == "weighted F1")
    assert explanation in (note.text_content() or "")
    page.keyboard.press("Escape")
    assert note.count() == 0
    assert page.evaluate("document.activeElement.textContent") == "weighted F1"
    page.locator("#pairs .fold > summary").press("Enter")
    sync_api.expect(page.locator("#pairs table")).to_be_visible()


def test_a_long_table_is_folded_and_says_what_is_in_it(visit: Visit) -> None:
    summary = visit.page.locator("#pairs .fold > summary")
    assert (summary.text_content() or "").startswith("28 rows: first, second, first − second")
    assert not visit.page.locator("#pairs table").is_visible()
    assert visit.page.locator("#leaderboard table").is_visible()


def test_many_figures_are_folded_and_drawn_when_they_are_opened(visit: Visit) -> None:
    page = visit.drawn()
    assert page.locator(".plot svg").count() == 5
    page.get_by_text("1 more figure: history-3").click()
    page.locator(".plot svg").nth(5).wait_for()
    widths = page.locator(".plot svg").evaluate_all("charts => charts.map((chart) => chart.clientWidth)")
    assert widths[5] == widths[4]


def test_a_control_of_a_figure_changes_it(visit: Visit) -> None:
    page = visit.drawn()
    figure = page.locator("figure", has_text="Trials 0.")
    mark = figure.locator(".mark-symbol path").first
    before = mark.get_attribute("d")
    figure.get_by_label("200").check()
    visit.until(lambda: mark.get_attribute("d") != before)


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(browser: Any, address: str, width: int) -> None:
    visit = Visit(browser, address, width)
    page = visit.drawn()
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    page.click(".findings .term")
    box = page.locator(".note:popover-open").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert visit.errors == []
    page.close()


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 360)])
def test_axe_finds_nothing_serious(browser: Any, address: str, theme: str, width: int) -> None:
    visit = Visit(browser, address, width, color_scheme=theme, bypass_csp=True)  # axe is a script of the test
    page = visit.drawn()
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    violations = axe.Axe().run(page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in ("serious", "critical")]
    assert serious == []
    page.close()


def test_the_button_changes_the_theme_of_page_and_charts(visit: Visit) -> None:
    page = visit.drawn()
    label = page.locator(".plot .role-axis-label text").first
    before = label.evaluate("text => getComputedStyle(text).fill")
    page.click("#theme")
    assert page.locator("#theme").text_content() == "Light theme"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
    assert label.evaluate("text => getComputedStyle(text).fill") == "rgb(230, 233, 238)" != before


def test_paper_is_white_and_shows_folded_tables_without_controls(browser: Any, address: str) -> None:
    visit = Visit(browser, address, color_scheme="dark")
    page = visit.drawn()
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    rows = page.locator("#pairs tbody tr")
    assert rows.count() == 28
    assert all(rows.nth(place).is_visible() for place in (0, 27))
    for control in ("#choice", "#theme", "nav", "#pairs summary", "#pairs input"):
        assert not page.locator(control).first.is_visible(), control
    assert page.locator("#pairs .chosen").is_visible()
    page.close()


def test_without_a_script_findings_and_tables_of_the_default_choice_are_there(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.get_by_text(FINDINGS[0].text).is_visible()
    assert page.locator("#leaderboard tbody th").all_text_contents() == ranked("meld", "weighted_f1")
    assert not page.locator("#choice").is_visible()
    assert page.get_by_role("link", name="SVG").first.get_attribute("href") == "methods.svg"
    page.locator("#pairs .fold > summary").click()
    assert page.locator("#pairs tbody tr").count() == 28
    context.close()
