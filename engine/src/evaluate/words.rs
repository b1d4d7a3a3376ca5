//! Words that are written down wrongly.

use crate::answers::{Counted, interval, total};
use record::Words;

/// What was said in one sample, and how the reference and the model have written it down: words to change, insert or
/// leave out.
pub(super) fn counted(said: &str, reference: &str, own: &str) -> Counted<2> {
    let said = words(said);
    let errors = [reference, own].map(|text| strsim::generic_levenshtein(&said, &words(text)));
    Counted { all: said.len(), of: errors }
}

/// Words in lower case, as word error rates count them: without punctuation.
fn words(text: &str) -> Vec<String> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '\'';
    let text = text.to_lowercase().replace('\u{2019}', "'");
    text.split(|letter| !is_word(letter))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The figures of all samples; none where nothing is said.
pub(super) fn summed(heard: &[Counted<2>], are_known: bool) -> Option<Words> {
    let (words, [reference_errors, errors]) = total(heard);
    if words == 0 {
        return None;
    }
    Some(Words {
        samples: heard.len(),
        words,
        are_known,
        errors,
        reference_errors,
        interval: interval(heard, 1),
        reference_interval: interval(heard, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_and_not_how_they_are_written() {
        let heard = counted("It\u{2019}s late, Mr. Fox!", " it's late mr fox", "its late the mr");
        assert_eq!(heard, Counted { all: 4, of: [0, 3] });
        assert_eq!(counted("two words", "", "two more words"), Counted { all: 2, of: [2, 1] });
    }

    #[test]
    fn an_interval_holds_the_rate_and_is_narrow_where_samples_are_alike() {
        let alike = vec![Counted { all: 10, of: [0, 1] }; 40];
        let found = summed(&alike, true).unwrap();
        assert_eq!((found.words, found.errors, found.reference_errors), (400, 40, 0));
        assert_eq!((found.interval, found.reference_interval), ([0.1; 2], [0.0; 2]));
        // Half of them wholly wrong: a rate of 0.5, and of 40 draws some 0.5 ± 2 · 0.5 / √40.
        let mut unlike = alike;
        for (at, heard) in unlike.iter_mut().enumerate() {
            heard.of[1] = if at % 2 == 0 { 10 } else { 0 };
        }
        let [low, high] = summed(&unlike, true).unwrap().interval;
        assert!((0.3..0.4).contains(&low) && (0.6..0.7).contains(&high), "{low} {high}");
        assert!(summed(&[], true).is_none());
    }
}
