//! Names and shapes of a checkpoint without its weights, as text.
//!
//! ```text
//! bert.embeddings.word_embeddings.weight 30522 768
//! bert.encoder.layer.{0..11}.attention.self.query.weight 768 768
//! logit_scale
//! encoder.embed_tokens.weight = shared.weight
//! ```
//! A line is a name and the sizes of its axes, none for a scalar. `{0..11}` stands for each of these
//! numbers in turn. A tensor that is another one's copy names that one instead of sizes. The values
//! of all tensors are thought of as one file of f32, in the order of the lines; where they come from
//! is the business of the [`Source`] that is asked for that file.

use super::{Dtype, MAX_TENSORS, Source, TensorInfo, safetensors::MAX_NAME};
use crate::error::{Error, Result};
use std::{collections::BTreeMap, sync::Arc};

/// A list longer than this is none: that of a model with 300 layers, written out, takes 300 KB.
const MAX_BYTES: u64 = 16 << 20;

/// Reads a list; `values` names the file that the values are thought to be in.
///
/// # Errors
/// When the list cannot be read, or a line is not as described above.
pub async fn read(source: &dyn Source, file: &str, values: &str) -> Result<Vec<TensorInfo>> {
    let text = match source.size(file) {
        Some(size) if size <= MAX_BYTES => source.read(file, 0..size).await?,
        Some(size) => {
            let message = format!("{size} bytes are too many for a list of tensors");
            return Err(Error::malformed(file, message));
        }
        None => {
            return Err(Error::Read { file: file.into(), message: "there is no such file".into() });
        }
    };
    let text = std::str::from_utf8(&text)
        .map_err(|_| Error::malformed(file, "a list of tensors is UTF-8 text"))?;
    parse(text, values).map_err(|message| Error::malformed(file, message))
}

fn parse(text: &str, values: &str) -> Result<Vec<TensorInfo>, String> {
    let values: Arc<str> = values.into();
    let mut tensors: Vec<TensorInfo> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut offset = 0u64;
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: String| format!("line {}: {what}", number + 1);
        let mut words = line.split_whitespace();
        let Some(pattern) = words.next() else { continue };
        let words: Vec<&str> = words.collect();
        let mut names = Vec::new();
        expand(pattern, MAX_TENSORS - tensors.len(), &mut names).map_err(wrong)?;
        for name in names {
            let info = match words[..] {
                ["=", other] => match known.get(other) {
                    Some(&at) => tensors[at].copy_named(name.clone()),
                    None => return Err(wrong(format!("{other} is on no line before"))),
                },
                _ => {
                    let sizes: Option<Vec<u64>> = words.iter().map(|w| w.parse().ok()).collect();
                    let sizes = sizes.filter(|sizes| sizes.len() <= 8).ok_or_else(|| {
                        wrong(format!("{words:?} are neither up to 8 sizes nor \"= name\""))
                    })?;
                    let info =
                        TensorInfo::new(name.clone(), Dtype::F32, &sizes, values.clone(), offset)
                            .map_err(|what| wrong(format!("tensor {name}: {what}")))?;
                    offset = offset
                        .checked_add(info.bytes())
                        .ok_or_else(|| wrong("the tensors before this are too large".into()))?;
                    info
                }
            };
            if known.insert(name, tensors.len()).is_some() {
                return Err(wrong(format!("tensor {}: there are two of it", info.name)));
            }
            tensors.push(info);
        }
    }
    Ok(tensors)
}

/// Adds the names that a pattern stands for, at most `most`.
fn expand(pattern: &str, most: usize, names: &mut Vec<String>) -> Result<(), String> {
    if pattern.len() > MAX_NAME {
        return Err(format!("a name has up to {MAX_NAME} bytes"));
    }
    let Some((before, rest)) = pattern.split_once('{') else {
        names.push(pattern.to_owned());
        return match names.len() <= most {
            true => Ok(()),
            false => Err(format!("more than {MAX_TENSORS} tensors with those before")),
        };
    };
    let bounds = rest.split_once('}').and_then(|(numbers, after)| {
        let (first, last) = numbers.split_once("..")?;
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some((first, last, after))
    });
    let (first, last, after) =
        bounds.ok_or_else(|| format!("{pattern:?} has a brace that is not like {{0..11}}"))?;
    for number in first..=last {
        expand(&format!("{before}{number}{after}"), most, names)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_table_of_one_file() {
        let list = "a.{0..1}.w 2 3\ns\n\nb = a.1.w\n";
        let tensors = parse(list, "values").unwrap();
        let seen: Vec<_> =
            tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice(), t.offset)).collect();
        assert_eq!(
            seen,
            [("a.0.w", &[2, 3][..], 0), ("a.1.w", &[2, 3], 24), ("s", &[], 48), ("b", &[2, 3], 24)]
        );
    }

    #[test]
    fn several_braces_stand_for_all_pairs() {
        let tensors = parse("l.{0..1}.b.{3..4}.w 1", "values").unwrap();
        let names: Vec<_> = tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["l.0.b.3.w", "l.0.b.4.w", "l.1.b.3.w", "l.1.b.4.w"]);
    }

    #[test]
    fn what_is_no_list_is_refused_by_line() {
        for (list, said) in [
            ("a 2\na 2", "line 2: tensor a: there are two of it"),
            ("a 2 x", "line 1: [\"2\", \"x\"] are neither"),
            ("a 1 1 1 1 1 1 1 1 1", "neither up to 8 sizes"),
            ("a = b\nb 2", "line 1: b is on no line before"),
            ("a.{3..1} 2", "a brace that is not like {0..11}"),
            ("a.{0..", "a brace that is not like {0..11}"),
            ("a.{0..4000000000} 2", "more than 131072 tensors"),
            ("a.{0..9999}.{0..9999} 2", "more than 131072 tensors"),
            ("a 4294967296 4294967296", "more elements than can be addressed"),
            (
                "a 1152921504606846976\nb 1152921504606846976\nc 1152921504606846976\nd 1152921504606846976",
                "too large",
            ),
        ] {
            let message = parse(list, "values").unwrap_err();
            assert!(message.contains(said), "{list}: {message}");
        }
        let long = format!("{} 2", "a".repeat(600));
        assert!(parse(&long, "values").unwrap_err().contains("up to 512 bytes"));
    }
}
