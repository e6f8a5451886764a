"""The page as a person has it, in a real browser. Nothing here depends on time."""

import re
from collections.abc import Iterator

import pytest

from charlm.serving.server import Server
from tests.support.browser import Browser, browsing
from tests.support.serving import ask, complete, serving

pytestmark = pytest.mark.slow
SCREEN, PHONE = (1280, 900), (390, 844)
TABS = {
    "characters": ["Write", "Score", "What comes next", "Compare", "Look inside", "Training"],
    "gaps": ["Score", "Compare", "Fill gaps", "Training"],
    "classifier": ["Label", "Training"],
    "labels": ["Write", "Score", "What comes next", "Compare", "Label", "Look inside", "Training"],
    "translator": ["Translate", "Training"],
    "tagger": ["Training"],
}
# What each view shows once it has been answered.
ANSWERED = {
    "write": ".empty",
    "score": ".figures b",
    "next": ".tree [role=treeitem]",
    "compare": ".parts td",
    "gaps": ".bars li",
    "labels": ".bars li",
    "pairs": ".alignment td",
    "inside": ".strip span",
    "training": ".chart path",
}
VIEWS = [
    ("characters", "write", {}),
    ("words", "score", {"text": "A pear, a pair"}),
    ("characters", "next", {"prefix": "A p"}),
    ("pieces", "compare", {"a": "A pear", "b": "A pair"}),
    ("gaps", "gaps", {"text": "A p[?]r"}),
    ("labels", "labels", {"text": "Adamou"}),
    ("translator", "pairs", {"source": "1", "beam": 1, "n_best": 1}),
    ("labels", "inside", {"text": "A (pear)"}),
    ("tagger", "training", {}),
]


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    """One browser for all of it."""
    with browsing() as found:
        yield found


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """The same, which has nothing to complain of in the end."""
    window.resize(*SCREEN)
    window.log()
    yield window
    assert window.log() == []


def test_the_page_offers_what_the_model_can(browser: Browser, server: Server) -> None:
    """Other tabs for other models; the model is in the address."""
    browser.open(server.url)
    chooser = browser.one("#model")
    browser.until(chooser.is_enabled, "the models")
    assert browser.texts("#model option") == [
        one["id"] for one in ask(server, "/v1/models").json["data"]
    ]
    for model, tabs in TABS.items():
        browser.choose("Model", model)
        browser.until(lambda tabs=tabs: browser.texts("[role=tab]") == tabs, f"tabs of {model}")
        assert f"model={model}" in browser.driver.current_url


def test_samples_are_written_as_they_are_drawn(browser: Browser, server: Server) -> None:
    """Side by side and token after token; the texts are those of the same seed anywhere."""
    browser.open(server.url, view="write", model="characters", seed=4, n=2)
    browser.type("Begin with", "A pear ")
    browser.run(
        """window.lengths = [];
        new MutationObserver(() => {
          const found = document.querySelectorAll(".sample:first-child .t");
          window.lengths.push(found.length);
        }).observe(document.querySelector(".samples"), {childList: true, subtree: true});"""
    )
    browser.press("button.main", "Write")
    browser.until(lambda: len(browser.all(".actions")) == 2, "two samples")
    body = {"model": "characters", "prompt": "A pear ", "n": 2, "seed": 4, "max_tokens": 300}
    expected = [choice["text"] for choice in complete(server, **body)["choices"]]
    script = "return [...arguments[0].querySelectorAll('.t:not(.end)')].map(one => one.textContent)"
    for article, text in zip(browser.all(".sample"), expected, strict=True):
        assert "".join(browser.run(script, article)) == text
        assert re.search(r"[0-9]+ tokens · [0-9.]+ bits per character", article.text)
    assert len(set(browser.run("return window.lengths"))) > 2, "all of it came at once"
    assert browser.all(".t.s7, .t.s6, .t.s5, .t.s4, .t.s3")
    browser.until(lambda: "opie" in browser.text(), "copied or not")
    assert "prompt=A+pear" in browser.driver.current_url


def test_a_copy_is_marked(browser: Browser, server: Server) -> None:
    """Where a sample has it, and in the card of its tokens."""
    browser.open(server.url, view="write", model="characters", temperature=0, n=1, max_tokens=30)
    # What a model this small draws has no long copies: short ones are asked for instead.
    browser.run(
        """const fetched = window.fetch;
        window.fetch = (url, how) => String(url).endsWith("/copied")
          ? fetched(url, {...how, body: JSON.stringify({...JSON.parse(how.body), least: 2})})
          : fetched(url, how);"""
    )
    browser.press("button.main", "Write")
    told = browser.one(".about .copied").text
    text = browser.run("return document.querySelector('.sample .heat').innerText")
    asked = {"model": "characters", "texts": text.removesuffix("<EOS>"), "least": 2}
    copies = ask(server, "/v1/copied", asked).json["results"][0]["copies"]
    assert told == f"{len(copies)} copied span{'s' * (len(copies) > 1)}"
    browser.hover(browser.one(".t .copied"))
    assert "stand in the training text" in browser.one("#card").text


def test_a_text_is_scored_as_it_is_typed(browser: Browser, server: Server) -> None:
    """Each token shaded; its figures where a pointer or the keys are."""
    browser.open(server.url, view="score", model="characters")
    browser.type("Text", "A <b>pear</b>")
    browser.until(lambda: len(browser.all(".t")) == 14, "13 tokens and the end")
    assert not browser.driver.find_elements("css selector", ".heat b")
    told = ask(server, "/v1/score", {"texts": "A <b>pear</b>", "per_token": True}).json
    tokens = told["results"][0]["per_token"]
    browser.hover(browser.all(".t")[5])
    card = browser.one("#card")
    browser.until(lambda: browser.all("#card .bars li"), "alternatives")
    assert f"{tokens[5]['surprisal_bits']:.2f} bits" in card.text
    assert f"rank\n{tokens[5]['rank']}" in card.text
    assert browser.one("#card .own .name").text == "p"
    browser.run("document.querySelector('.t').focus()")
    browser.keys("\ue014", "\ue014")  # the arrow to the right
    assert f"{tokens[2]['surprisal_bits']:.2f} bits" in card.text
    browser.keys("\ue00c")  # Escape
    assert not browser.all("#card")
    browser.choose("Colour each token by", "its rank among all tokens")
    browser.until(lambda: browser.all(".t.r0"), "bands of ranks")
    assert "colour=rank" in browser.until(
        lambda: "colour" in browser.driver.current_url and browser.driver.current_url, "address"
    )


def test_a_tree_opens_and_can_be_shared(browser: Browser, server: Server) -> None:
    """A path is as likely as its tokens together; its address shows it again."""
    browser.open(server.url, view="next", model="characters", prefix="A p")
    browser.press(".tree .row")
    browser.until(lambda: len(browser.all(".tree [role=group] > li")) == 5, "branches")
    first = ask(server, "/v1/next", {"prefix": "A p"}).json["results"][0]
    after = ask(server, "/v1/next", {"prefix": "A p" + first["text"]}).json["results"][0]
    whole = browser.texts(".tree [role=group] .whole")[0]
    assert whole == f"{100 * first['probability'] * after['probability']:.1f} %"
    browser.keys("\ue014", "\ue014")  # into the branch, and open it
    browser.until(lambda: len(browser.all(".tree [role=group] [role=group] > li")) == 5, "more")
    address = browser.until(
        lambda: "open=0%2C0.0" in browser.driver.current_url and browser.driver.current_url,
        "the open branches in the address",
    )
    browser.driver.get("about:blank")
    browser.driver.get(address)
    browser.until(lambda: len(browser.all(".tree [role=group] [role=group] > li")) == 5, "again")
    browser.press(".bars button")
    browser.until(
        lambda: browser.field("Text so far").get_attribute("value") == "A p" + first["text"],
        "the token in the text",
    )


@pytest.mark.parametrize(("model", "view", "state"), VIEWS)
def test_a_view_is_answered_and_fits(
    browser: Browser, server: Server, model: str, view: str, state: dict[str, str]
) -> None:
    """On a phone, too: nothing is wider than it. All that takes input has a name."""
    browser.resize(*PHONE)
    browser.open(server.url, view=view, model=model, **state)
    browser.one(ANSWERED[view])
    assert not browser.all(".error")
    assert browser.run("return document.documentElement.scrollWidth") <= PHONE[0]
    nameless = """return [...document.querySelectorAll("input, select, textarea, button")].filter(
      (one) => !(one.labels?.length || one.textContent.trim() || one.ariaLabel)).length"""
    assert browser.run(nameless) == 0
    doubled = """const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
      return ids.length - new Set(ids).size"""
    assert browser.run(doubled) == 0


def test_what_is_compared_differs_where_it_does(browser: Browser, server: Server) -> None:
    """pear against pair."""
    texts = ["A pear salad", "A pair salad"]
    browser.open(server.url, view="compare", model="characters", a=texts[0], b=texts[1])
    rows = browser.until(lambda: browser.texts(".parts tbody tr"), "parts")
    found = ask(server, "/v1/score", {"texts": texts}).json["results"]
    more = found[0]["total_log_prob_nats"] > found[1]["total_log_prob_nats"]
    assert browser.one(".verdict b").text == ("The first text" if more else "The second text")
    assert rows[1].startswith("pear against pair")
    assert rows[0].endswith("0.00")


def test_going_back_goes_to_the_view_before(browser: Browser, server: Server) -> None:
    """With what stood there: samples too, which nobody could draw again."""
    browser.open(server.url, view="write", model="characters", n=1)
    browser.press("button.main", "Write")
    browser.press("button", "Look closer")
    browser.one(".score .t")
    sample = browser.run("return document.querySelector('.sample .heat').textContent")
    assert sample.startswith(browser.field("Text").get_attribute("value"))
    browser.driver.back()
    browser.one(".write .sample")
    assert "view=write" in browser.driver.current_url
    browser.driver.forward()
    browser.one(".score .t")


def test_a_server_that_stops_is_told_of(window: Browser) -> None:
    """In a sentence, which goes once it is there again."""
    with serving("characters") as own:
        window.open(own.url, view="score", model="characters", text="A pear")
        window.one(".score .t")
        port = own.url.rpartition(":")[2]
    window.type("Text", "A pair")
    assert "charlm serve" in window.one(".error", "does not answer").text
    with serving("characters", port=int(port)):
        window.field("Text").send_keys(" salad")
        window.until(lambda: not window.all(".error"), "no error")


def test_a_server_with_a_key_is_asked_with_it(window: Browser) -> None:
    """Once per tab."""
    with serving("characters", key="pears") as own:
        window.open(own.url, view="score", model="characters", text="A pear")
        window.type("Key of this server", "pears")
        window.press("button", "Go on")
        window.until(lambda: len(window.all(".t")) == 7, "an answer")
        window.run("sessionStorage.clear()")
