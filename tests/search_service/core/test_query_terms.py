"""Query terms: what a question looks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_service.core.query_terms import MAX_QUERY_TERMS, query_terms
from search_service.core.terms import index_terms


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("What is the capital of France?", ["capit", "franc"]),
        ("How does continuous batching work?", ["continu", "batch"]),
        ("Can I use another model?", ["model"]),
        ("to be or not", ["not"]),
        ("who are you", ["who", "are", "you"]),
        ("서울", ["서울"]),
        ("서울에서", ["서울"]),
        ("서울에서는", ["서울"]),
        ("대한민국의 수도는 어디인가요?", ["대한", "한민", "민국", "수도"]),
        ("GPU를 어떻게 설정하나요?", ["gpu", "설정"]),
        ("설치하려면 무엇이 필요합니까", ["설치", "필요"]),
        ("물은 차갑다", ["물", "물은", "차갑", "갑다"]),
        ("종이", ["종", "종이"]),
        ("무엇인가요", ["무엇", "엇인", "인가", "가요"]),
        ("東京は日本の首都ですか", ["東京", "日本", "首都"]),
        ("どうやって設定を変更しますか？", ["設定", "変更"]),
        ("水の色は何ですか", ["水", "色"]),
        ("幾何学とは", ["幾何", "何学"]),
        ("食べる", ["食べ", "べる"]),
        ("北京的首都是什么", ["北京", "首都"]),
        ("法國的首都在哪裡？", ["法國", "首都", "都在"]),
        ("的", ["的"]),
        ("", []),
        ('"" NOT* ^ \x00 ( :', ["not"]),
    ],
)
def test_function_words_and_particles_fall_away(query: str, expected: list[str]) -> None:
    assert list(query_terms(query)) == expected


@given(st.text(max_size=300))
def test_any_query_looks_only_for_terms_that_an_index_of_it_would_hold(query: str) -> None:
    wanted = query_terms(query)
    assert len(wanted) == len(set(wanted)) <= MAX_QUERY_TERMS
    assert set(wanted) <= set(index_terms(query))


@given(st.text(alphabet="서울에는가이라 東京のはです的是什么ab ", min_size=1, max_size=30))
def test_a_query_with_a_word_has_a_term(query: str) -> None:
    assert bool(query_terms(query)) == bool(query.strip())
