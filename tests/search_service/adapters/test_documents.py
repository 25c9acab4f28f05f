"""Markdown, HTML and text as documents."""

import time
from contextlib import suppress
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.adapters.document_text import Unreadable
from search_service.adapters.documents import Kind, kind_of, read_document
from search_service.core.chunking import Document, Heading, Paragraph


def read(text: str, kind: Kind) -> Document:
    return read_document(text.encode(), kind)


def texts(text: str, kind: Kind) -> list[str]:
    return [block.text for block in read(text, kind).blocks]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.md", Kind.MARKDOWN),
        ("A.MARKDOWN", Kind.MARKDOWN),
        ("a.HTM", Kind.HTML),
        ("a.txt", Kind.TEXT),
        ("README", Kind.TEXT),
        ("a.py", None),
        ("a.tar.gz", None),
    ],
)
def test_the_name_tells_the_kind(name: str, kind: Kind | None) -> None:
    assert kind_of(PurePath(name)) is kind


class TestMarkdown:
    def test_marks_and_addresses_go_and_words_stay(self) -> None:
        text = "A **bold** [link](https://example.org) &amp; `code` ![a cat](cat.png)\nwrapped  \nbroken"
        assert texts(text, Kind.MARKDOWN) == ["A bold link & code a cat wrapped\nbroken"]

    def test_headings_of_both_styles_with_the_title_from_the_highest(self) -> None:
        document = read("## Before\n\nTitle\n=====\n\n# `Code` too\n\ntext\n\n#\n", Kind.MARKDOWN)
        assert document.title == "Title"
        assert document.blocks == (
            Heading(2, "Before"),
            Heading(1, "Title"),
            Heading(1, "Code too"),
            Paragraph("text"),
        )

    def test_front_matter_names_the_title_and_is_no_text(self) -> None:
        document = read("---\nlayout: page\ntitle: 'My page'\n---\n# Other\n\ntext\n", Kind.MARKDOWN)
        assert document == Document("My page", (Heading(1, "Other"), Paragraph("text")))

    def test_a_rule_at_the_start_is_no_front_matter(self) -> None:
        assert texts("---\n\ntext\n\nmore\n", Kind.MARKDOWN) == ["text", "more"]

    def test_lists_keep_their_marks(self) -> None:
        assert texts("- one\n- two\n  1. a\n  2. b\n\n3. three\n", Kind.MARKDOWN) == [
            "- one", "- two", "1. a", "2. b", "3. three",
        ]  # fmt: skip

    def test_tables_and_code_stay_readable(self) -> None:
        text = "| a | **b** |\n|---|---|\n| 1 | 2 |\n\n```python\ndef f():\n    return 1\n```\n"
        assert texts(text, Kind.MARKDOWN) == ["a | b\n1 | 2", "def f():\n    return 1"]

    def test_html_inside_is_read_as_html(self) -> None:
        assert texts("<div>one <b>two</b><script>no</script></div>\n\nthree\n", Kind.MARKDOWN) == ["one two", "three"]

    def test_korean_wrapped_lines_keep_their_space_and_japanese_gains_none(self) -> None:
        assert texts("대한\n민국\n\n日本\n語\n", Kind.MARKDOWN) == ["대한 민국", "日本語"]

    def test_crlf(self) -> None:
        document = read("# Title\r\n\r\none\r\ntwo\r\n\r\n- item\r\n", Kind.MARKDOWN)
        assert document == Document("Title", (Heading(1, "Title"), Paragraph("one two"), Paragraph("- item")))

    @given(st.text(alphabet="#*-_`|>[]()<>!&;:\\ \n\t019abc서東", max_size=200))
    def test_any_text_is_read(self, text: str) -> None:
        with suppress(Unreadable):
            assert read(text, Kind.MARKDOWN).blocks


class TestHtml:
    PAGE = """<!doctype html><html><head><title>The  page</title><style>p {}</style></head><body>
      <header>Site name</header><nav><a href=/>Home</a></nav>
      <main><article><header><h1>Main heading</h1></header>
      <p>Hello <b>wor</b>ld, 1 &lt; 2.<br>Second   line<script>evil()</script></p>
      <aside>Advertisement</aside><p hidden>secret</p><p style="display: none">secret</p>
      <p aria-hidden="true">secret</p>
      <h2>Data</h2><table><tr><th>a</th><th></th><th>b</th></tr><tr><td>1<td><td>2</table>
      <pre>  x = 1
    y = 2</pre><ol><li>one<li><p>two</p></ol><ul><li>dot</ul></article></main>
      <div>outside</div><footer>Imprint</footer></body></html>"""

    def test_the_main_text_without_what_surrounds_it(self) -> None:
        document = read(self.PAGE, Kind.HTML)
        assert document.title == "The page"
        assert document.blocks == (
            Heading(1, "Main heading"),
            Paragraph("Hello world, 1 < 2.\nSecond line"),
            Heading(2, "Data"),
            Paragraph("a |  | b"),
            Paragraph("1 |  | 2"),
            Paragraph("  x = 1\n    y = 2"),
            Paragraph("1. one"),
            Paragraph("2. two"),
            Paragraph("- dot"),
        )

    def test_without_main_the_body_is_taken_but_not_its_navigation(self) -> None:
        page = "<h1>Head</h1><div role=navigation>menu</div><div>text</div><footer>f</footer>"
        document = read(page, Kind.HTML)
        assert document == Document("Head", (Heading(1, "Head"), Paragraph("text")))

    def test_a_form_around_the_whole_page_hides_nothing(self) -> None:
        assert texts("<form><p>text</p><input value=no><button>no</button></form>", Kind.HTML) == ["text"]

    def test_layout_tables_give_their_paragraphs(self) -> None:
        assert texts("<table><tr><td><p>one</p><p>two</p></td></tr></table>", Kind.HTML) == ["one", "two"]

    def test_a_page_nested_absurdly_deep_is_refused_at_once(self) -> None:
        started = time.monotonic()
        with pytest.raises(Unreadable, match="nested too deeply"):
            read("<div>" * 200_000 + "x", Kind.HTML)
        assert time.monotonic() - started < 20

    def test_a_deep_page_within_the_limit_is_read_without_recursion(self) -> None:
        assert texts("<div>" * 4_000 + "deep", Kind.HTML) == ["deep"]

    @given(st.text(alphabet="<>/=\"' pdivtableulolsrch1&;#x09\n서", max_size=200))
    def test_any_markup_is_read(self, text: str) -> None:
        with suppress(Unreadable):
            assert read(text, Kind.HTML).blocks


class TestText:
    def test_paragraphs_and_wrapped_lines(self) -> None:
        text = (
            "Shopping\nmilk\nbread\n\n"
            "This is a long line which an editor has wrapped at\nsome column and which goes on.\n- an item\n"
        )
        assert texts(text, Kind.TEXT) == [
            "Shopping\nmilk\nbread",
            "This is a long line which an editor has wrapped at some column and which goes on.\n- an item",
        ]

    @pytest.mark.parametrize("text", ["", " \n\n\t ", "\ufeff", "\x00"])
    def test_nothing_is_no_document(self, text: str) -> None:
        with pytest.raises(Unreadable):
            read(text, Kind.TEXT)
