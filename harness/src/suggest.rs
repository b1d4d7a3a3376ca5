//! What a name that is not known was probably meant to be.

use record::UnknownName;
use std::str::FromStr;

/// How alike two names must be, from 0 to 1: clap asks the same of its own suggestions.
const ALIKE: f64 = 0.7;

/// Reads a name of a list, for the command line.
pub fn name<T: FromStr<Err = UnknownName>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: UnknownName| {
        let hint = did_you_mean(&error.name, error.known.iter().copied());
        format!("{error}{hint}")
    })
}

/// `; did you mean "bert"?`, or nothing where no known name is like it.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let likeness = |known: &'a str| (strsim::jaro(name, known), known);
    let closest = known.into_iter().map(likeness).max_by(|(a, _), (b, _)| a.total_cmp(b));
    match closest {
        Some((likeness, known)) if likeness > ALIKE => format!("; did you mean {known:?}?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Browser;

    #[test]
    fn the_closest_name_is_meant_if_any_is_close() {
        let known = ["bert", "llama", "llava"];
        assert_eq!(did_you_mean("brt", known), "; did you mean \"bert\"?");
        assert_eq!(did_you_mean("lama", known), "; did you mean \"llama\"?");
        assert_eq!(did_you_mean("gpt2", known), "");
        assert_eq!(name("chrome"), Ok(Browser::Chrome));
        let error = name::<Browser>("chorme").unwrap_err();
        assert!(error.contains("known: chrome firefox") && error.ends_with("mean \"chrome\"?"));
    }
}
