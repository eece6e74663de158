"""The words of replies: complete, within their segments, safe to splice, and right about times."""

import json
import re
from datetime import UTC, datetime, time
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from permits.gsm import is_gsm7, segments
from permits.regimes import Hours, Purpose, Regime
from permits.replies import Lang, Reason, Script, Texts

LANGS: tuple[Lang, ...] = get_args(Lang)
SCRIPTS: tuple[Script, ...] = get_args(Script)
REASONS: tuple[Reason, ...] = get_args(Reason)
WITH_TAIL: set[Reason] = {"quota", "abuse_document", "blocked", "hours", "zone", "nothing_to_cancel"}
SPEAK_OF_THE_CODE: set[Reason] = {"quota", "blocked", "hours", "zone"}

TAIL = "1111"
PERMIT = "7KQWX3M9PA"
HOUR_MS = 3_600_000

# The longest a policy may give: names of 32 letters, and the zone of the seed's code 1.
LONGEST_NAME: dict[Lang, str] = {
    "az": "gündəlik tələbat, dərman və bank",
    "ru": "продукты, лекарства, банк, почта",
    "en": "food and daily needs, bank, post",
}
ZONE: dict[Lang, str] = {
    "az": "rayon və şəhər daxilində",
    "ru": "в пределах района и города",
    "en": "within the district and city",
}

NIGHT = Hours(start=time(21), until=time(6))
SHOPPING = Hours(start=time(9), until=time(18, 30))

# Segments at the longest values. English has no letter outside GSM-7, so its native script is its plain one.
APPROVAL_LIMITS: dict[tuple[Lang, Script], int] = {
    ("az", "plain"): 1,
    ("az", "native"): 2,
    ("ru", "plain"): 1,
    ("ru", "native"): 3,
    ("en", "plain"): 1,
    ("en", "native"): 1,
}
NOTICE_LIMITS: dict[tuple[Lang, Script], int] = {
    (lang, script): 1 if script == "plain" or lang == "en" else 2 for lang in LANGS for script in SCRIPTS
}
REFUSAL_LIMITS: dict[tuple[Lang, Script], dict[Reason, int]] = {
    (lang, script): dict.fromkeys(REASONS, 1 if script == "plain" or lang == "en" else 2)
    for lang in LANGS
    for script in SCRIPTS
}


def utc_ms(day: int, hour: int, minute: int, second: int = 0) -> int:
    return int(datetime(2020, 11, day, hour, minute, second, tzinfo=UTC).timestamp() * 1000)


LATE_EVENING = utc_ms(23, 18, 30)  # 22:30 in Baku


def approval(
    script: Script,
    lang: Lang,
    *,
    name: str | None = None,
    zone: str | None = None,
    from_ms: int = LATE_EVENING,
    until_ms: int | None = LATE_EVENING + 3 * HOUR_MS,
) -> str:
    name = LONGEST_NAME[lang] if name is None else name
    a, b, c = Texts(script).approval(lang, 2, name, zone, from_ms, until_ms)
    return a + TAIL + b + PERMIT + c


def refusal(script: Script, lang: Lang, reason: Reason, purpose: int | None = 2) -> str:
    texts = Texts(script, hours={2: SHOPPING, 77: SHOPPING}, curfew=NIGHT)
    before, after = texts.refusal(lang, reason, purpose)
    return before + TAIL + after if after else before


def notices(script: Script, lang: Lang) -> list[str]:
    texts = Texts(script)
    return [texts.cancelled(lang, PERMIT), texts.extended(lang, PERMIT, LATE_EVENING), by_sms(texts, lang)]


def by_sms(texts: Texts, lang: Lang) -> str:
    before, after = texts.cancelled_by_sms(lang)
    return before + TAIL + after


def every_text() -> list[str]:
    approvals = [
        approval(script, lang, zone=ZONE[lang], until_ms=until_ms)
        for script in SCRIPTS
        for lang in LANGS
        for until_ms in (LATE_EVENING + 3 * HOUR_MS, None)
    ]
    refusals = [
        refusal(script, lang, reason, purpose)
        for script in SCRIPTS
        for lang in LANGS
        for reason in REASONS
        for purpose in (2, None)
    ]
    told = [text for script in SCRIPTS for lang in LANGS for text in notices(script, lang)]
    return approvals + refusals + told


@pytest.mark.parametrize(("lang", "script"), APPROVAL_LIMITS)
@pytest.mark.parametrize("until_ms", [LATE_EVENING + 3 * HOUR_MS, None])
def test_the_longest_approval_keeps_its_segments(lang: Lang, script: Script, until_ms: int | None) -> None:
    text = approval(script, lang, zone=ZONE[lang], until_ms=until_ms)
    assert len(LONGEST_NAME[lang]) == 32
    assert segments(text) <= APPROVAL_LIMITS[lang, script], f"{len(text)} characters: {text}"


@pytest.mark.parametrize(("lang", "script"), REFUSAL_LIMITS)
@pytest.mark.parametrize("reason", REASONS)
def test_every_refusal_keeps_its_segments(lang: Lang, script: Script, reason: Reason) -> None:
    text = refusal(script, lang, reason)
    assert segments(text) <= REFUSAL_LIMITS[lang, script][reason], f"{len(text)} characters: {text}"


@pytest.mark.parametrize(("lang", "script"), NOTICE_LIMITS)
def test_every_notice_keeps_its_segments(lang: Lang, script: Script) -> None:
    for text in notices(script, lang):
        assert segments(text) <= NOTICE_LIMITS[lang, script], f"{len(text)} characters: {text}"


def test_plain_script_and_english_are_gsm7_throughout() -> None:
    for lang in LANGS:
        for script in SCRIPTS:
            texts = [approval(script, lang, zone=ZONE[lang]), *(refusal(script, lang, r) for r in REASONS)]
            texts += notices(script, lang)
            assert all(map(is_gsm7, texts)) == (script == "plain" or lang == "en")


def test_no_text_needs_an_escape_in_json() -> None:
    for text in every_text():
        assert json.dumps(text, ensure_ascii=False) == f'"{text}"'
        assert text.isprintable()


def test_every_text_is_finished_wording() -> None:
    for text in every_text():
        assert not re.search(r"[{}?]|\s\s|\s(?!\.\.\.)[.,:]|^\s|\s$", text), text


@given(name=st.text(st.characters()), zone=st.text(st.characters()) | st.none(), script=st.sampled_from(SCRIPTS))
@example(name='"a" \\ \n \ud800 “', zone="＂", script="plain")
@example(name='"a" \\ \n \ud800 “', zone='"', script="native")
def test_awkward_names_from_the_policy_are_spliced_safely(name: str, zone: str | None, script: Script) -> None:
    text = approval(script, "az", name=name, zone=zone)
    assert json.loads(f'"{text}"') == text
    assert text.encode().decode() == text


def test_braces_in_a_name_are_no_placeholders() -> None:
    text = approval("native", "en", name="{tail} {permit} {x}")
    assert "({tail} {permit} {x})" in text
    assert text.count(TAIL) == text.count(PERMIT) == 1


def test_approvals_read_as_meant() -> None:
    from_ms, until_ms = utc_ms(23, 10, 5), utc_ms(23, 13, 5)
    assert approval("plain", "az", name="ərzaq, dərman, bank", from_ms=from_ms, until_ms=until_ms) == (
        "Cixisa icaze: 2 (erzaq, derman, bank), sened ...1111, 23.11 14:05-17:05. Kod 7KQWX3M9PA"
    )
    assert approval("native", "az", name="həkim", zone=ZONE["az"], from_ms=from_ms, until_ms=until_ms) == (
        "Çıxışa icazə: 2 (həkim), sənəd …1111, 23.11 14:05-17:05, rayon və şəhər daxilində. Kod 7KQWX3M9PA"
    )
    assert approval("plain", "ru", name="похороны", from_ms=from_ms, until_ms=None) == (
        "Vykhod razreshen: kod 2 (pokhorony), dokument ...1111, 23.11 14:05, bez ogranicheniy. Propusk 7KQWX3M9PA"
    )
    assert approval("plain", "en", name="food", from_ms=from_ms, until_ms=until_ms) == (
        "You may leave home: code 2 (food), document ...1111, 23.11 14:05-17:05. Permit 7KQWX3M9PA"
    )


def test_a_window_across_midnight_in_baku_names_both_dates() -> None:
    assert ", 23.11 22:30 - 24.11 01:30." in approval("plain", "en")


def test_a_window_across_midnight_in_utc_alone_names_one_date() -> None:
    from_ms = utc_ms(23, 22, 30)
    text = approval("plain", "en", from_ms=from_ms, until_ms=from_ms + 3 * HOUR_MS)
    assert ", 24.11 02:30-05:30." in text


def test_seconds_are_cut_off_so_that_no_time_is_promised_that_is_not_given() -> None:
    text = approval("plain", "en", from_ms=utc_ms(23, 10, 5, 59) + 999, until_ms=utc_ms(23, 13, 5, 59) + 999)
    assert ", 23.11 14:05-17:05." in text


def test_approvals_of_one_minute_share_their_frames() -> None:
    texts = Texts()
    first = texts.approval("az", 2, "ərzaq", None, LATE_EVENING, LATE_EVENING + 3 * HOUR_MS)
    second = texts.approval("az", 2, "ərzaq", None, LATE_EVENING + 59_999, LATE_EVENING + 3 * HOUR_MS + 59_999)
    assert first is second


def test_refusals_that_do_not_name_the_code_share_their_frames() -> None:
    texts = Texts()
    assert texts.refusal("az", "unknown_code", 998) is texts.refusal("az", "unknown_code", 999)
    assert texts.refusal("az", "quota", 1) is not texts.refusal("az", "quota", 2)


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("reason", REASONS)
def test_a_refusal_shows_the_document_only_where_one_is_known(lang: Lang, reason: Reason) -> None:
    before, after = Texts("native").refusal(lang, reason, 2)
    assert bool(after) == (reason in WITH_TAIL)
    assert before.endswith(("…", "...")) == (reason in WITH_TAIL)


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("reason", REASONS)
def test_a_refusal_speaks_of_one_code_only_where_one_is_meant(lang: Lang, reason: Reason) -> None:
    under = {"az": "77 kodu üzrə", "ru": "по коду 77", "en": "under code 77"}[lang]
    assert (under in refusal("native", lang, reason, 77)) == (reason in SPEAK_OF_THE_CODE)
    assert "77" not in refusal("native", lang, reason, None)


def test_every_reply_of_a_language_is_worded_differently() -> None:
    for lang in LANGS:
        assert len({refusal("native", lang, reason) for reason in REASONS}) == len(REASONS)


def test_refusals_read_as_meant() -> None:
    assert refusal("plain", "az", "malformed", None) == (
        "Icaze verilmedi: mesaj oxunmadi. Kodu (1, 2 ve ya 3), bosluq, senedin seriya ve nomresini yazin, "
        "meselen: 2 AZE 1111111"
    )
    assert refusal("native", "az", "quota") == (
        "İcazə verilmədi, sənəd …1111: 2 kodu üzrə bugünkü icazə artıq verilib. Yeni icazə sabah mümkündür."
    )
    assert refusal("plain", "en", "quota", None) == (
        "No permit, document ...1111: today's permit has already been given. A new one is possible tomorrow."
    )
    assert refusal("plain", "ru", "quota") == (
        "Razreshenie ne vydano, dokument ...1111: segodnyashnee razreshenie po kodu 2 uzhe polucheno. "
        "Novoe vozmozhno zavtra."
    )


@pytest.mark.parametrize(
    ("lang", "reason", "words"),
    [
        (
            "az",
            "hours",
            "bu saatlarda 2 kodu üzrə icazə verilmir. İcazə verilən saatlarda (09:00-18:30) yenidən yazın.",
        ),
        (
            "ru",
            "hours",
            "в эти часы разрешения по коду 2 не выдаются. Напишите снова в разрешённые часы (09:00-18:30).",
        ),
        ("en", "hours", "not given at this hour. Please write again within the permitted hours (09:00-18:30)."),
        ("az", "regime_off", "icazə tələb olunmur, yalnız saat 21:00-06:00 arası lazımdır. SMS göndərməyə"),
        ("ru", "regime_off", "не требуется, оно нужно только с 21:00 до 06:00. Отправлять"),
        ("en", "regime_off", "No permit is needed to leave home at present, only from 21:00 to 06:00. There is"),
    ],
)
def test_a_refusal_for_the_time_of_day_says_when(lang: Lang, reason: Reason, words: str) -> None:
    assert words in refusal("native", lang, reason)


def test_without_hours_of_its_own_a_code_names_none() -> None:
    for lang in LANGS:
        for reason in ("hours", "regime_off"):
            assert ":00" not in "".join(Texts().refusal(lang, reason, 2))
            assert ":00" not in "".join(Texts(hours={1: SHOPPING}).refusal(lang, reason, 2))


def test_a_regime_gives_its_codes_and_hours_to_its_texts() -> None:
    purposes = (Purpose(code=4, names={}), Purpose(code=5, names={}, hours=SHOPPING))
    regime = Regime("night", datetime(2020, 9, 28, tzinfo=UTC), purposes=purposes, curfew=NIGHT)
    texts = Texts.of(regime, "native")
    assert "(4 or 5), a space" in texts.refusal("en", "malformed", None)[0]
    assert "(09:00-18:30)" in texts.refusal("en", "hours", 5)[1]
    assert "from 21:00 to 06:00" in texts.refusal("en", "regime_off", None)[0]


def test_a_regime_past_its_end_speaks_of_no_curfew() -> None:
    purposes = (Purpose(code=4, names={}),)
    regime = Regime(
        "night",
        datetime(2020, 9, 28, tzinfo=UTC),
        until=datetime(2020, 12, 1, tzinfo=UTC),
        curfew=NIGHT,
        purposes=purposes,
    )
    assert "at present. There" in Texts.of(regime, "native").refusal("en", "regime_off", None)[0]


def test_a_regime_that_is_off_says_so() -> None:
    regime = Regime("off", datetime(2020, 5, 18, tzinfo=UTC), off=True)
    assert "at present. There" in Texts.of(regime, "plain").refusal("en", "regime_off", None)[0]


def test_notices_read_as_meant() -> None:
    assert notices("native", "az") == [
        "7KQWX3M9PA kodlu icazə ləğv edilib və artıq qüvvədə deyil. Evdə qalın, sualınız varsa, polisə müraciət edin.",
        "7KQWX3M9PA kodlu icazənin müddəti uzadılıb: 23.11 22:30 tarixinədək qüvvədədir.",
        "İcazə ləğv edildi, sənəd …1111: artıq qüvvədə deyil. Evdən çıxmaq üçün yeni icazə lazımdır.",
    ]
    assert notices("plain", "ru") == [
        "Propusk 7KQWX3M9PA otmenen i bolshe ne deystvuet. Ostavaytes doma, s voprosami obratites v politsiyu.",
        "Propusk 7KQWX3M9PA prodlen: deystvuet do 23.11 22:30.",
        "Razreshenie otmeneno, dokument ...1111: ono bolshe ne deystvuet. Chtoby vyyti iz doma, nuzhno novoe.",
    ]
    assert notices("plain", "en") == [
        "Permit 7KQWX3M9PA has been cancelled and is no longer valid. Stay at home; with questions turn to the police.",
        "Permit 7KQWX3M9PA has been extended: it is valid until 23.11 22:30.",
        "The permit has been cancelled, document ...1111: it is no longer valid. To leave home you need a new one.",
    ]


@pytest.mark.parametrize(
    ("codes", "offer", "example"),
    [
        ((1, 2, 3), "(1, 2 or 3)", "2 AZE 1111111"),
        ((1, 2), "(1 or 2)", "2 AZE 1111111"),
        ((1,), "(1)", "1 AZE 1111111"),
    ],
)
def test_only_codes_in_force_are_offered(codes: tuple[int, ...], offer: str, example: str) -> None:
    for reason in ("malformed", "unknown_code"):
        before, _ = Texts(codes=codes).refusal("en", reason, None)
        assert offer in before
        assert before.endswith(example)


def test_texts_without_any_code_to_offer_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one purpose code"):
        Texts(codes=())
