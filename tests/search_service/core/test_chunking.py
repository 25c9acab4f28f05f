"""Chunking."""

from hypothesis import given
from hypothesis import strategies as st

from search_service.core.chunking import (
    MAX_TOKENS,
    MIN_TOKENS,
    TARGET_TOKENS,
    Block,
    Chunk,
    Heading,
    Paragraph,
    chunk_blocks,
    estimated_tokens,
)


def chunks(*blocks: Block) -> list[Chunk]:
    return list(chunk_blocks(blocks))


def test_a_chunk_carries_the_trail_of_its_headings() -> None:
    assert chunks(
        Paragraph("before"),
        Heading(1, "Guide"),
        Heading(2, "Install"),
        Paragraph("one"),
        Heading(3, "Linux"),
        Paragraph("two"),
        Heading(2, "Use"),
        Paragraph("three"),
    ) == [
        Chunk("", "before"),
        Chunk("Guide > Install", "one"),
        Chunk("Guide > Install > Linux", "two"),
        Chunk("Guide > Use", "three"),
    ]


def test_a_heading_without_text_begins_a_section_and_is_no_text() -> None:
    assert chunks(Heading(1, " ")) == chunks(Heading(1, "")) == []
    assert chunks(Heading(1, "Guide"), Paragraph("one"), Heading(2, ""), Paragraph("two")) == [
        Chunk("Guide", "one"),
        Chunk("Guide", "two"),
    ]


def test_paragraphs_are_gathered_to_the_target() -> None:
    paragraph = Paragraph("word " * 80)  # 100 tokens
    sizes = [estimated_tokens(chunk.text) for chunk in chunks(*[paragraph] * 7)]
    assert len(sizes) == 4
    assert all(TARGET_TOKENS - 10 <= size <= MAX_TOKENS for size in sizes[:-1])


def test_a_short_end_joins_the_chunk_before_it() -> None:
    found = chunks(Paragraph("word " * 180), Paragraph("The end."))
    assert len(found) == 1
    assert found[0].text.endswith("\nThe end.")


def test_a_huge_paragraph_is_cut_at_sentences() -> None:
    sentence = "This sentence has exactly eight words in it."
    found = chunks(Paragraph(" ".join([sentence] * 400)))
    assert len(found) > 10
    for chunk in found:
        assert set(chunk.text.split(". ")) <= {sentence, sentence[:-1]}


def test_a_huge_text_without_any_space_is_cut_too() -> None:
    found = chunks(Paragraph("漢" * 5_000))
    assert all(estimated_tokens(chunk.text) <= MAX_TOKENS for chunk in found)
    assert sum(chunk.text.count("漢") for chunk in found) == 5_000


def test_long_code_is_cut_at_lines_and_keeps_their_indentation() -> None:
    code = "\n".join(f"    value_{n} = compute({n})" for n in range(200))
    found = chunks(Paragraph(code))
    assert len(found) > 1
    assert "\n".join(chunk.text for chunk in found) == code


def test_a_document_of_headings_alone_is_found_by_them() -> None:
    assert chunks(Heading(1, "Plans"), Heading(2, "Next year")) == [Chunk("", "Plans > Next year")]


def test_tokens_are_estimated_by_script() -> None:
    assert estimated_tokens("abcd" * 10) == 10
    assert estimated_tokens("서울特別") == 4
    assert estimated_tokens("") == 0


_blocks = st.one_of(
    st.builds(Heading, st.integers(1, 6), st.text(min_size=1, max_size=20)),
    st.builds(Paragraph, st.text(max_size=3_000)),
    st.builds(lambda text, times: Paragraph(text * times), st.text(min_size=1, max_size=9), st.integers(1, 900)),
)


@given(st.lists(_blocks, max_size=8))
def test_no_text_is_lost_and_no_chunk_is_empty_or_much_too_long(blocks: list[Block]) -> None:
    found = list(chunk_blocks(blocks))
    paragraphs = "".join("".join(block.text.split()) for block in blocks if isinstance(block, Paragraph))
    if paragraphs:
        assert "".join("".join(chunk.text.split()) for chunk in found) == paragraphs
    for chunk in found:
        assert chunk.text.strip()
        if paragraphs:
            assert estimated_tokens(chunk.text) <= MAX_TOKENS + MIN_TOKENS + 40
