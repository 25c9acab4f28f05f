"""From bytes to clean text."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.adapters.document_text import Unreadable, clean_text, decode, join_wrapped

KOREAN = "대한민국의 수도는 서울입니다. 서울은 한강이 흐르는 큰 도시이고 많은 사람이 살고 있습니다."
JAPANESE = "東京は日本の首都です。世界でも有数の大都市であり、多くの人が住んでいます。"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (KOREAN, "utf-8"),
        (KOREAN, "utf-8-sig"),
        (KOREAN, "utf-16"),
        (KOREAN, "utf-32"),
        (KOREAN, "cp949"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
    ],
)
def test_text_is_read_in_its_encoding(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_utf_16_is_known_by_its_mark_in_both_orders() -> None:
    assert decode(b"\xff\xfeh\x00i\x00") == decode(b"\xfe\xff\x00h\x00i") == "hi"


def test_html_says_what_it_is_written_in() -> None:
    page = "<meta charset='iso-8859-2'><p>Zażółć"
    assert decode(page.encode("iso-8859-2"), is_html=True) == page


def test_an_unknown_declared_charset_does_no_harm() -> None:
    page = "<meta charset='no-such-thing'><p>" + KOREAN
    assert KOREAN in decode(page.encode("cp949"), is_html=True)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"MZ\x90\x00" * 9])
def test_binary_data_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable, match="binary"):
        decode(data)


def test_line_ends_become_one_and_hidden_characters_go() -> None:
    assert clean_text("a\r\nb\rc\u2028d\te\x00\x1b[1m\u202ef\u200b\ufeffg") == "a\nb\nc\nd\te[1mfg"


@given(st.binary(max_size=500))
def test_any_bytes_give_clean_text_or_a_reason(data: bytes) -> None:
    with suppress(Unreadable):
        text = clean_text(decode(data))
        text.encode()
        assert not set(text) & {"\r", "\0", "\x1b", "\u202e"}


def test_wrapped_lines_join_as_their_script_asks() -> None:
    assert join_wrapped(["one ", "  two", "", "three"]) == "one two three"
    assert join_wrapped(["日本語の", "文章"]) == "日本語の文章"
    assert join_wrapped(["대한", "민국"]) == "대한 민국"
    assert join_wrapped(["", " "]) == ""
