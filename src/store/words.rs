//! The words of a text: the one way of cutting and folding them, for search, following, `similar`, learnings and
//! ranking.
//!
//! A word is a run of letters and digits of whatever script, without case, without accents, and in one normal form, so
//! that `Café`, `CAFE` and a decomposed `cafe` with a combining accent are one word. Scripts that put no space between
//! words (Han, kana, Hangul, Thai, Lao, Khmer, Burmese) are cut at every character: what is asked for is then a phrase of
//! characters, which finds it wherever it stands in a run, and ends no Latin word beside it late.
//!
//! The embedded store's full text holds texts as [`indexed`] writes them. Its own tokenizer takes case and accents off
//! what is ASCII, and has nothing left to do for the rest.

use std::borrow::Cow;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, Script};

/// The words of a text, in order.
pub fn words_of(text: &str) -> std::vec::IntoIter<String> {
    let mut words = Vec::new();
    each(&fold(text), |word| words.push(word.to_owned()));
    words.into_iter()
}

/// What of a text is looked for where not all of it must occur: its words, and of a run of a script without spaces each
/// pair of neighbours, joined by a space. One such character says as little as a letter.
#[must_use]
pub fn pieces_of(text: &str) -> Vec<String> {
    let folded = fold(text);
    let mut pieces = Vec::new();
    // The last character of a run, where it ended within the text, and whether it is part of a pair.
    let mut before: Option<(usize, String, bool)> = None;
    each(&folded, |word| {
        let at = word.as_ptr() as usize - folded.as_ptr() as usize;
        let solo = word.chars().next().is_some_and(stands_alone);
        let joined = before.as_ref().filter(|(end, _, _)| solo && *end == at);
        if let Some((_, first, _)) = joined {
            pieces.push(format!("{first} {word}"));
        }
        let paired = joined.is_some();
        if !paired && let Some((_, lonely, false)) = before.take() {
            pieces.push(lonely);
        }
        match solo {
            true => before = Some((at + word.len(), word.to_owned(), paired)),
            false => {
                before = None;
                pieces.push(word.to_owned());
            }
        }
    });
    if let Some((_, lonely, false)) = before {
        pieces.push(lonely);
    }
    pieces
}

/// Whether a word of [`words_of`] is a character of a script without spaces.
#[must_use]
pub fn is_unspaced(word: &str) -> bool {
    word.chars().next().is_some_and(stands_alone)
}

/// A text as full text is told it: as it stands where it is ASCII, else its words.
#[must_use]
pub fn indexed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    each(&fold(text), |word| {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    });
    Cow::Owned(out)
}

/// Lower case, compatible forms made one, accents taken off.
fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        };
    }
    let lower = text.to_lowercase();
    let apart = DecomposingNormalizerBorrowed::new_nfkd().normalize(&lower);
    let bare: String = apart.chars().filter(|c| !is_accent(*c)).collect();
    // What the decomposition brought forth can be a capital: ™ is TM.
    let whole = ComposingNormalizerBorrowed::new_nfc().normalize(&bare).to_lowercase();
    Cow::Owned(whole)
}

/// Marks that are put on letters and may be left out when typing: those of Latin, Greek and Cyrillic, Hebrew points and
/// Arabic vowels. The marks of other scripts are vowels or change the consonant, and belong to the word.
fn is_accent(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036F}' | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}'
        | '\u{FE20}'..='\u{FE2F}' | '\u{0591}'..='\u{05C7}' | '\u{0610}'..='\u{061A}' | '\u{064B}'..='\u{065F}'
        | '\u{0670}')
}

/// Whether a character is a word by itself, since its script does not tell where words end.
fn stands_alone(c: char) -> bool {
    !c.is_ascii()
        && matches!(
            CodePointMapData::<Script>::new().get(c),
            Script::Han
                | Script::Hiragana
                | Script::Katakana
                | Script::Bopomofo
                | Script::Hangul
                | Script::Thai
                | Script::Lao
                | Script::Khmer
                | Script::Myanmar
        )
        // The mark of a long vowel belongs to both kana.
        || c == '\u{30FC}'
}

/// Whether a character goes on with the word before it whatever its script.
fn is_mark(c: char) -> bool {
    !c.is_ascii()
        && matches!(
            CodePointMapData::<GeneralCategory>::new().get(c),
            GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark | GeneralCategory::EnclosingMark
        )
}

/// Hands over the words of a folded text.
fn each<'t>(folded: &'t str, mut word: impl FnMut(&'t str)) {
    let mut start: Option<(usize, bool)> = None;
    for (at, c) in folded.char_indices() {
        let letter = c.is_alphanumeric();
        let alone = letter && !is_mark(c) && stands_alone(c);
        match start {
            Some((from, was_alone)) => {
                let goes_on = is_mark(c) || (letter && !alone && !was_alone);
                if !goes_on {
                    word(&folded[from..at]);
                    start = letter.then_some((at, alone));
                }
            }
            None if letter && !is_mark(c) => start = Some((at, alone)),
            None => {}
        }
    }
    if let Some((from, _)) = start {
        word(&folded[from..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        words_of(text).collect()
    }

    #[test]
    fn accents_case_and_normal_forms_do_not_tell_words_apart() {
        for spelling in ["café", "Café", "CAFÉ", "cafe\u{301}", "cafe", "ＣＡＦＥ", "ﬁ café"] {
            assert_eq!(words(spelling).last().map(String::as_str), Some("cafe"), "{spelling}");
        }
        assert_eq!(words("İstanbul ISTANBUL istanbul"), ["istanbul"; 3]);
        assert_eq!(words("naïveté détectée"), ["naivete", "detectee"]);
        assert_eq!(
            words("Tiếng Việt"),
            words("tieng viet"),
            "several accents on one letter"
        );
        assert_eq!(words("ОШИБКА Ёлка"), words("ошибка елка"));
        assert_eq!(words("ΣΦΆΛΜΑ"), words("σφαλμα"));
    }

    #[test]
    fn scripts_without_spaces_are_cut_at_every_character_and_at_other_scripts() {
        assert_eq!(words("数据库"), ["数", "据", "库"]);
        assert_eq!(
            words("重跑gen-itgc后完成"),
            ["重", "跑", "gen", "itgc", "后", "完", "成"]
        );
        assert_eq!(words("ファイルが").len(), 5);
        assert_eq!(
            words("データ"),
            ["デ", "ー", "タ"],
            "a voiced kana is one character in every form"
        );
        assert_eq!(words("テ\u{3099}ータ"), words("データ"));
        assert_eq!(words("연결이 끊김"), ["연", "결", "이", "끊", "김"]);
        assert_eq!(words("เชื่อมต่อ").len(), words("เชื่อมต่อ").len());
        assert!(words("เชื่อม").len() > 2);
        assert_eq!(words("कनेक्शन विफल").len(), 2, "marks belong to the word");
    }

    #[test]
    fn words_end_at_every_sign() {
        assert_eq!(words("load_data os.path -9"), ["load", "data", "os", "path", "9"]);
        assert_eq!(words("  --!! "), Vec::<String>::new());
    }

    #[test]
    fn full_text_is_told_the_same_words_that_are_asked_for() {
        for text in ["Disk full: /var", "café 数据库 x", "", "é", "—"] {
            assert_eq!(words(&indexed(text)), words(text), "{text}");
        }
        assert_eq!(indexed("Disk Full"), "Disk Full");
        assert_eq!(indexed("é数b"), "e 数 b");
    }

    #[test]
    fn a_run_without_spaces_is_looked_for_in_pairs() {
        assert_eq!(pieces_of("连接失败"), ["连 接", "接 失", "失 败"]);
        assert_eq!(pieces_of("x 库 数据y"), ["x", "库", "数 据", "y"]);
        assert_eq!(pieces_of("库"), ["库"]);
        assert_eq!(pieces_of("a b"), ["a", "b"]);
    }
}
