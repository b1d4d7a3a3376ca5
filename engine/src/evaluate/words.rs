//! Words that are written down wrongly, and how far that can be trusted.

use record::Words;

/// How often samples are drawn anew.
const DRAWS: usize = 2000;

/// What became of the words of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    words: usize,
    /// Words to change, insert or leave out in what the reference has written, and in what the model has.
    errors: [usize; 2],
}

impl Counted {
    /// What was said, and how the reference and the model have written it down.
    pub(super) fn of(said: &str, reference: &str, own: &str) -> Counted {
        let said = words(said);
        let errors = [reference, own].map(|text| strsim::generic_levenshtein(&said, &words(text)));
        Counted { words: said.len(), errors }
    }
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
pub(super) fn summed(heard: &[Counted], are_known: bool) -> Option<Words> {
    let words = heard.iter().map(|it| it.words).sum();
    if words == 0 {
        return None;
    }
    Some(Words {
        samples: heard.len(),
        words,
        are_known,
        errors: heard.iter().map(|it| it.errors[1]).sum(),
        reference_errors: heard.iter().map(|it| it.errors[0]).sum(),
        interval: interval(heard, 1),
        reference_interval: interval(heard, 0),
    })
}

/// The middle 95% of the word error rates of as many samples, drawn from these with repetition (the bootstrap of Bisani
/// and Ney 2004). Draws are the same each time, and the same for both models.
fn interval(heard: &[Counted], of: usize) -> [f64; 2] {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut drawn = || {
        // A linear congruential generator (Knuth's MMIX), of which the upper bits are taken.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        heard[((state >> 33) as usize) % heard.len()]
    };
    let mut rates: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let (words, errors) = heard.iter().fold((0, 0), |(words, errors), _| {
                let own = drawn();
                (words + own.words, errors + own.errors[of])
            });
            errors as f64 / words.max(1) as f64
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    [rates[DRAWS / 40], rates[DRAWS - 1 - DRAWS / 40]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_and_not_how_they_are_written() {
        let heard =
            Counted::of("It\u{2019}s late, Mr. Fox!", " it's late mr fox", "its late the mr");
        assert_eq!(heard, Counted { words: 4, errors: [0, 3] });
        assert_eq!(
            Counted::of("two words", "", "two more words"),
            Counted { words: 2, errors: [2, 1] }
        );
    }

    #[test]
    fn an_interval_holds_the_rate_and_is_narrow_where_samples_are_alike() {
        let alike = vec![Counted { words: 10, errors: [0, 1] }; 40];
        let found = summed(&alike, true).unwrap();
        assert_eq!((found.words, found.errors, found.reference_errors), (400, 40, 0));
        assert_eq!((found.interval, found.reference_interval), ([0.1; 2], [0.0; 2]));
        // Half of them wholly wrong: a rate of 0.5, and of 40 draws some 0.5 ± 2 · 0.5 / √40.
        let mut unlike = alike;
        for (at, heard) in unlike.iter_mut().enumerate() {
            heard.errors[1] = if at % 2 == 0 { 10 } else { 0 };
        }
        let [low, high] = summed(&unlike, true).unwrap().interval;
        assert!((0.3..0.4).contains(&low) && (0.6..0.7).contains(&high), "{low} {high}");
        assert!(summed(&[], true).is_none());
    }
}
