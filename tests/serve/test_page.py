"""The page in a real browser, before a real server: a text, an image, a chat, hostile texts."""

from __future__ import annotations

import base64
import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, each, make_bert, toy_rows, write_csv
from serve.served import Client, serving
from serve.test_app import Model
from serve.test_process import started
from tiny import words_of
from tiny.image_classification import square

from ftlight.__main__ import main
from ftlight.report import clean, numbers, shades
from ftlight.serve import page
from ftlight.serve.access import Access
from ftlight.serve.app import Served
from ftlight.serve.batches import Queue
from ftlight.serve.bodies import Inputs
from ftlight.serve.limits import Limits
from ftlight.utils.printable import UNSEEN

pages = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "pages.py")))
HOSTILE = (
    *(
        "</script><script>alert(1)</script>",
        '"><img src=http://nowhere.invalid/a onerror=alert(2)>',
    ),
    *("{{7*7}} ${7*7}", "javascript:alert(3)", "\u202egood\u2066 \u200bbad\x07"),
)
LABELS = ("<img src=x onerror=alert(4)>", "</title>\u202e{{7*7}}")
COLUMN = "<b onclick=alert(5)>text"
SCRIPTS = [file.path for file in page.files() if file.path.endswith(".js")]
READY = "!document.getElementById('choice').hidden"
ANSWERED = (
    "!document.getElementById('h-answer').hidden && !document.getElementById('state').innerText"
)


def test_the_page_is_for_all_and_what_it_asks_needs_a_token() -> None:
    with serving({"tickets": Model().served()}, Access("secret")) as client:
        strangers = client._replace(token="")
        kinds = {"/": "text/html", "/page.css": "text/css"}
        for path, kind in (*kinds.items(), *((path, "text/javascript") for path in SCRIPTS)):
            reply = strangers.ask(path=path)
            assert reply.status == 200
            assert reply.headers["content-type"].startswith(kind)
            policy = reply.headers["content-security-policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
            assert "unsafe" not in policy
            assert "tickets" not in reply.body
        assert strangers.ask(path="/v1/models").status == 401
        model = client.ask(path="/v1/models").body["data"][0]
        assert (model["id"], model["inputs"]["columns"]) == ("tickets", ["message"])
        assert client.ask({"message": "a"}, "/").status == 405


def test_the_page_loads_nothing_and_has_no_script_of_its_own() -> None:
    with serving({"tickets": Model().served()}) as client:
        html = client.ask(path="/").body
        assert re.findall(r'(?:src|href)="([^"]*)"', html) == ["data:,", "page.css", "page.js"]
        script = '<script type="module" src="page.js"></script>'
        assert re.findall(r"<script.*", html) == [script]
        assert not re.findall(r"<style|\son\w+=|\sstyle=", html)
        imported = {"/page.js"}
        for path in SCRIPTS:
            script = client.ask(path=path).body
            assert not re.findall(
                r"innerHTML|outerHTML|insertAdjacent|document\.write|eval", script
            )
            assert not re.findall(r"Storage|cookie", script)
            own = re.findall(r'^import .* from "\.(/\w+\.js)";$', script, re.MULTILINE)
            assert len(own) == len(re.findall(r"\bimport\b", script))
            imported.update(own)
        assert imported == set(SCRIPTS)
        assert "--paper" in client.ask(path="/page.css").body  # the look of all pages
        assert client.ask(path="/", headers={"host": "evil.example"}).status == 403


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Tiny runs of texts, whose labels and columns are hostile, of images, and of chats."""
    folder = tmp_path_factory.mktemp("page")
    rows = [(text, LABELS[i % 2]) for i, (text, _) in enumerate(toy_rows(40))]
    data = write_csv(folder / "rows.csv", rows, (COLUMN, "label"))
    texts = ["--model", "TextClassification", "--model.backbone", str(make_bert(folder / "bert"))]
    texts += ["--data.train", data, "--data.text", COLUMN, "--data.label", "label"]
    few = "--trainer.max_steps 3 --trainer.accelerator cpu --trainer.report false --test false"
    made = []
    for name, words in (
        ("<u>texts", texts),
        ("photos", words_of("image_classification", folder)),
        ("bot", [*words_of("causal_lm", folder), "--data.max_length", "512"]),
    ):
        made.append(str(folder / name))
        assert main(["fit", *words[words[0] == "fit" :], *few.split(), "--run", made[-1]]) == 0
    return made


@pytest.fixture
def browser() -> Iterator[Any]:
    made = pages.Browser(pages.find())
    try:
        yield made
    finally:
        made.close()


def by_id(name: str, rest: str) -> str:
    return f"document.getElementById({json.dumps(name)}).{rest}"


def fill(browser: Any, field: str, text: str, modifiers: int = 0) -> None:
    """Types a text into a field, and Enter behind it."""
    browser.value(by_id(field, "focus()"))
    browser.ask("Input.insertText", text=text)
    key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "modifiers": modifiers}
    browser.ask("Input.dispatchKeyEvent", type="keyDown", text="\r", **key)
    browser.ask("Input.dispatchKeyEvent", type="keyUp", **key)


def choose(browser: Any, run: str) -> None:
    browser.value(by_id("run", f"value = {json.dumps(run)}"))
    browser.value(by_id("run", "dispatchEvent(new Event('change'))"))


def visit(browser: Any, client: Client) -> None:
    """Opens the page, and gives it a wrong token, then the right one."""
    browser.visit(f"http://{client.host}:{client.port}/", 360)
    browser.wait(by_id("entry", "hidden === false"))
    fill(browser, "token", "wrong")
    browser.wait(by_id("fault", "hidden === false"))
    assert "a token is needed" in browser.value(by_id("fault", "innerText"))
    fill(browser, "token", client.token)
    browser.wait(READY)
    assert browser.value(by_id("entry", "hidden"))
    assert browser.value("location.search + location.hash + document.cookie") == ""
    assert browser.value("localStorage.length + sessionStorage.length") == 0


def ask_hostile(browser: Any, client: Client) -> None:
    """Asks hostile texts, which are shown as texts."""
    assert browser.value("document.title") == "<u>texts"
    assert browser.value("document.querySelector('#fields label').innerText") == COLUMN
    for text in HOSTILE:
        browser.value(by_id("h-answer", "hidden = true"))
        browser.value(by_id("field-0", "value = ''"))
        fill(browser, "field-0", text, modifiers=2)
        browser.wait(ANSWERED)
        body = {"rows": [{COLUMN: text}], "model": "<u>texts", "explain": True}
        answer = client.ask(body).body["answers"][0]
        rows = "document.querySelectorAll('#more tr')"
        shown = browser.value(f"[...{rows}].map(row => row.innerText.split('\\t'))")
        best = sorted(answer["probabilities"].items(), key=lambda pair: -pair[1])
        assert [row[0] for row in shown] == [clean.clean(label) for label, _ in best]
        assert [row[-1] for row in shown] == [numbers.short(p) for _, p in best]
        said = browser.value(by_id("headline", "innerText"))
        assert said.startswith(clean.clean(answer["prediction"]))
        expected = shades.shaded(shades_of(answer["why"][0])).texts[0].pieces
        marks = "document.querySelectorAll('#why .shaded mark')"
        found = browser.value(f"[...{marks}].map(mark => [mark.textContent, mark.className])")
        wanted = [[clean.clean(p.text), p.shade] for p in expected if p.shade]
        assert found == wanted
        whole = browser.value("document.querySelector('#why .shaded').textContent")
        assert whole == clean.clean(text)
        assert not UNSEEN.search(browser.value("document.body.innerText"))
    assert browser.value("document.querySelectorAll('img, script, u, b[onclick]').length") == 1


def shades_of(why: dict[str, Any]) -> Any:
    """An explanation as the report draws it."""
    from ftlight.explain.explanation import Check, Explanation, Side, Word

    sides = [Side(s["name"], s["text"], [Word(**w) for w in s["words"]]) for s in why["sides"]]
    check = why["check"] and Check(**{k: v for k, v in why["check"].items() if k != "holds"})
    return Explanation(why["answer"], why["score"], why["unit"], sides, check=check)


def ask_photo(browser: Any, folder: Path) -> None:
    """Chooses an image, which is answered at once; a file that is none says so."""
    choose(browser, "photos")
    (folder / 'a"><img src=x>.jpg').write_bytes(square(1)[1])
    (folder / "none.jpg").write_text("no image")
    for file, shown in (('a"><img src=x>.jpg', ANSWERED), ("none.jpg", "!fault.hidden")):
        found = browser.ask("Runtime.evaluate", expression="document.getElementById('file')")
        place = found["result"]["objectId"]
        browser.ask("DOM.setFileInputFiles", files=[str(folder / file)], objectId=place)
        browser.wait(shown.replace("fault.", by_id("fault", "")))
        if shown is ANSWERED:
            assert browser.value("document.querySelectorAll('#more tr').length") == 3
            assert browser.value("document.querySelectorAll('#why svg image').length") == 1
            assert browser.value("document.querySelectorAll('#why svg rect').length") > 1
            assert browser.value(by_id("photo", "naturalWidth")) > 0
    assert "image" in browser.value(by_id("fault", "innerText"))


def talk(browser: Any, client: Client) -> None:
    """Says two messages; the second reply knows the first."""
    choose(browser, "bot")
    messages: list[dict[str, str]] = []
    for text in ("where is my parcel", HOSTILE[1]):
        fill(browser, "message", text)
        browser.wait(f"{by_id('stop', 'hidden')} && {by_id('message', 'value')} === ''")
        messages.append({"role": "user", "content": text})
        asked = {"model": "bot", "messages": messages}
        reply = client.ask(asked, "/v1/chat/completions").body["choices"][0]["message"]["content"]
        turns = "[...document.querySelectorAll('#said div')].slice(-2)"
        shown = browser.value(f"{turns}.map(d => [...d.children].map(c => c.textContent))")
        assert [turn[:2] for turn in shown] == [["You", text], ["bot", reply]]
        messages.append({"role": "assistant", "content": reply})
    requests = [e["params"]["request"] for e in browser.events if "request" in e["params"]]
    bodies = [r["postData"] for r in requests if r["url"].endswith("/v1/chat/completions")]
    assert [json.loads(body)["messages"] for body in bodies] == [messages[:1], messages[:3]]
    browser.value(by_id("anew", "click()"))
    assert browser.value(by_id("said", "innerText")) == ""


TEXTS = ["🙂 a small parcel", "it is in 🙂 the house"]
PARCEL = {"type": "<b>THING", "text": "parcel", "start": 10, "end": 16, "score": 0.9}
ANSWERS: dict[str, tuple[Inputs, dict[str, Any], str, list[str]]] = {
    "entities": (
        Inputs(["text"], []),
        {"prediction": [PARCEL], "score": 0.9},
        "1 entity",
        ["🙂 a small [parcel<b>THING]", "parcel <b>THING p .90"],
    ),
    "answers": (
        Inputs(["question", "context"], []),
        {"prediction": "the house", "score": 0.8, "start": 11, "end": 20, "no_answer": 0.1},
        "the house p .80",
        ["it is in 🙂 [the house]", "No answer in the text: p .10"],
    ),
    "nowhere": (
        Inputs(["question", "context"], []),
        {"prediction": "", "score": 0.9, "start": None, "end": None, "no_answer": 0.9},
        "no answer",
        ["No answer in the text: p .90"],
    ),
    "films": (
        Inputs(["history"], [], embeds=True),
        {"prediction": "a", "score": 0.5, "items": [{"text": "<i>a", "score": 0.5, "id": "7"}]},
        "1 item",
        ["<i>a .50, 7"],
    ),
    "stars": (Inputs(["a", "b", "c"], []), {"prediction": -3.25, "score": -3.25}, "−3.25", []),
    "masks": (Inputs(["a"], []), {"prediction": ["b", "c"], "score": 0.5}, "b, c p .50", []),
    "summary": (Inputs(["a"], []), {"prediction": "</p>b", "score": 0.5}, "</p>b p .50", []),
    "unread": (Inputs(["a"], []), {"prediction": None, "error": "no <i>"}, "no <i>", []),
}


def fixed(inputs: Inputs, answer: dict[str, Any]) -> Served:
    """A run that always answers the same."""
    return Served(inputs, Queue(lambda asked: [[answer] for _ in asked], most=64, waiting=9))


@pytest.mark.processes
@pytest.mark.skipif(pages.find() is None, reason="there is no chromium")
def test_answers_of_every_task_are_shown(browser: Any) -> None:
    with serving({n: fixed(inputs, said) for n, (inputs, said, *_) in ANSWERS.items()}) as client:
        browser.visit(f"http://{client.host}:{client.port}/", 1280)
        browser.wait(READY)

        def check(name: str, inputs: Inputs, headline: str, more: list[str]) -> None:
            choose(browser, name)
            areas = "[...document.querySelectorAll('#fields textarea')]"
            assert browser.value(f"{areas}.map(a => a.dataset.column)") == inputs.columns
            browser.value(f"{areas}.forEach((a, i) => a.value = {json.dumps(TEXTS)}[i] ?? '')")
            browser.value(by_id("ask", "requestSubmit()"))
            browser.wait(ANSWERED)
            said = browser.value(by_id("headline", "innerText"))
            assert " ".join(said.split()) == headline
            parts = "[...document.querySelectorAll('#more > p:not(:empty), #more li')]"
            marked = "(p => (p.querySelectorAll('mark').forEach(m => m.before('[')),"
            marked += " p.querySelectorAll('mark').forEach(m => m.after(']')), p.textContent))"
            assert browser.value(f"{parts}.map({marked})") == more
            assert browser.value("document.querySelectorAll('i, #more b').length") == 0

        each([(name, a[0], a[2], a[3]) for name, a in ANSWERS.items()], check)


def drop(browser: Any, content: bytes) -> None:
    """Drops a file on the page."""
    data = json.dumps(base64.b64encode(content).decode())
    browser.value(
        "{ const dataTransfer = new DataTransfer();"
        f" const bytes = Uint8Array.from(atob({data}), c => c.charCodeAt(0));"
        " dataTransfer.items.add(new File([bytes], 'a'));"
        " document.dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true })) }"
    )


@pytest.mark.processes
@pytest.mark.skipif(pages.find() is None, reason="there is no chromium")
def test_a_file_that_is_dropped_is_answered(browser: Any) -> None:
    """An image that the server does not take is sent again, smaller."""
    answer = {"prediction": "b", "score": 0.5}
    inputs = {"photos": Inputs(["image"], ["image"]), "texts": Inputs(["text"], [])}
    limits = Limits(body=50_000)
    served = {name: fixed(one, answer) for name, one in inputs.items()}
    with serving(served, limits=limits) as client:
        browser.visit(f"http://{client.host}:{client.port}/", 1280)
        browser.wait(READY)
        drop(browser, square(1)[1] + bytes(limits.body))
        browser.wait(ANSWERED)
        assert "sent with 1024 pixels" in browser.value(by_id("more", "innerText"))
        choose(browser, "texts")
        drop(browser, HOSTILE[0].encode())
        browser.wait(ANSWERED)
        assert browser.value(by_id("field-0", "value")) == HOSTILE[0]
        assert browser.value(by_id("more", "innerText")) == ""


@pytest.mark.run
@pytest.mark.processes
@pytest.mark.skipif(pages.find() is None, reason="there is no chromium")
def test_a_text_an_image_and_a_chat_in_a_browser(
    runs: list[str], browser: Any, tmp_path: Path
) -> None:
    with started(*runs, FTLIGHT_TOKEN="secret") as (client, _):
        visit(browser, client)
        ask_hostile(browser, client)
        ask_photo(browser, tmp_path)
        talk(browser, client)
        assert not browser.value("document.documentElement.scrollWidth > innerWidth")
        own = (f"http://{client.host}:{client.port}/", f"blob:http://{client.host}:{client.port}/")
        assert [url for url in browser.addresses() if not url.startswith(own)] == []
        assert browser.dialogs() == []
        same = [c for c in map(chr, range(0x110000)) if UNSEEN.match(c) and c not in "\u200c\u200d"]
        same = [c for c in same if not 0xD800 <= ord(c) < 0xE000]
        written = f"import('/text.js').then(text => {json.dumps(same)}.map(text.clean))"
        shown = browser.value(written)
        assert shown == [clean.clean(c) for c in same]
