"""The demo in a headless Chromium: load, search, change the language, plan, bad input, keyboard, phone."""

import os
import shutil

import pytest

from hub_cards.space.engine import DemoEngine

pytest.importorskip("gradio", reason="gradio is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def address(settings, monkeypatch):
    from hub_cards.space.page import CSS, build_page

    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    blocks = build_page(DemoEngine(settings))
    _, local, _ = blocks.launch(css=CSS, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield local
    blocks.close()


@pytest.fixture
def errors():
    return []


@pytest.fixture
def page(browser, address, errors):
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(120_000)
    page.goto(address)
    box(page, "query").wait_for()
    yield page
    if folder := os.environ.get("OPTICAL_SCREENSHOTS"):
        page.screenshot(path=os.path.join(folder, f"{os.environ['PYTEST_CURRENT_TEST'].split('::')[1].split(' ')[0]}.png"))
    page.close()
    assert errors == []


def box(page, name):
    return page.locator(f"#{name} textarea, #{name} input").first


def test_a_query_and_the_enter_key_find_documents_with_the_tokens_that_met(page):
    box(page, "query").fill("the cat sat on the mat")
    box(page, "query").press("Enter")
    first = page.locator(".optical-result").first
    first.wait_for()
    assert "🐈" in first.inner_text()
    assert "cat" in first.locator("mark").all_inner_texts()
    assert "cat → cat" in " ".join(first.inner_text().split())


def test_an_example_fills_the_query_and_searches(page):
    page.get_by_text("paka alikaa").first.click()
    page.locator(".optical-result").first.wait_for()
    assert box(page, "query").input_value() == "paka alikaa"


def test_another_language_changes_direction_label_and_examples(page):
    box(page, "query").fill("cat")
    box(page, "query").press("Enter")
    page.locator(".optical-result").first.wait_for()
    page.locator("#language input").click()
    page.get_by_role("option", name="Arabic").click()
    page.get_by_text("Query in Arabic").wait_for()
    assert box(page, "query").evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert page.get_by_text("mbwa").first.is_visible()
    assert box(page, "query").input_value() == ""
    page.wait_for_function("document.querySelectorAll('.optical-result').length === 0")


def test_a_pair_has_two_plans_whose_cells_answer_to_the_keyboard(page):
    page.get_by_role("tab", name="Plan").click()
    box(page, "sentence").fill("the cat sat")
    box(page, "translation").fill("paka alikaa")
    box(page, "translation").press("Enter")
    page.locator(".optical-plan").nth(1).wait_for()
    cell = page.locator("td[data-pair]").first
    cell.focus()
    assert "of its mass, cost" in cell.evaluate("e => getComputedStyle(e, '::after').content")


def test_an_empty_query_gets_a_note(page):
    box(page, "query").fill("   ")
    page.locator("#search").click()
    page.get_by_text("Type a query first.").wait_for()


def test_ten_thousand_characters_are_answered(page):
    box(page, "query").fill("cat " * 2500)
    page.locator("#search").click()
    page.get_by_text("A long query").wait_for()
    assert page.locator(".optical-result").count() == 3


def test_a_student_that_is_not_there_gets_a_sentence(page):
    page.get_by_text("Another student").click()
    box(page, "other").fill("./nowhere")
    box(page, "query").fill("cat")
    box(page, "query").press("Enter")
    page.get_by_text("there is no such folder").wait_for()


def test_a_phone_shows_it_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 390, "height": 844})
    box(page, "query").fill("cat sat")
    box(page, "query").press("Enter")
    page.locator(".optical-result").first.wait_for()
    page.get_by_role("tab", name="Plan").click()
    box(page, "sentence").fill("the cat sat on the mat and the dog barked in English")
    box(page, "translation").fill("paka alikaa juu ya mkeka na mbwa alibweka")
    box(page, "translation").press("Enter")
    page.locator(".optical-plan").nth(1).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
