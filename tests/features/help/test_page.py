"""The page Help."""

from __future__ import annotations

from proxy.features.help.page import WORDS
from tests.support.dashboard import Browser


async def test_words_help_the_kill_switch_and_the_keyboard(browser: Browser) -> None:
    text = await browser.text("help")
    assert "byway doctor" in text
    assert "byway report" in text
    assert "Kill switch: nothing goes direct" in text
    assert "MATCH,RELAY" in text
    assert "Skip to content" in text
    assert all(word.word in text and word.meaning in text for word in WORDS)
    assert len({word.id for word in WORDS}) == len(WORDS)
    assert (await browser.get(f"{browser.base}help?odd=1"))[0] == 400
