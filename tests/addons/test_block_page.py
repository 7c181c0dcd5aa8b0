from __future__ import annotations

from tests.addons.shipped import shipped

HEAD = "HTTP/1.1 200 OK\nServer: warning\n"


def test_a_page_with_all_words_is_the_block_page() -> None:
    addon = shipped("block_page", {"words": ["by order", "Server: warning"], "page": "kaztel"})
    assert addon.classify(HEAD, "закрыт by order № 5".encode()) == "kaztel"
    assert addon.classify(HEAD, b"in order") is None
    assert addon.classify("HTTP/1.1 200 OK\n", b"by order") is None


def test_a_page_of_the_sites_own_is_never_one() -> None:
    addon = shipped("block_page", {"words": ["blocked"], "own": ["an article on censorship"]})
    assert addon.classify(HEAD, b"an article on censorship: what is blocked") is False


def test_without_words_it_knows_nothing() -> None:
    assert shipped("block_page").classify(HEAD, b"\xff\xfe anything") is None
