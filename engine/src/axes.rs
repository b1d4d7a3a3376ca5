//! What a cell asks for on its axes: sizes of a decoder in place of its case's own, of the prompt, of
//! the text and of the batch; and threads, and how kernels are chosen.

use crate::{
    case::{Case, Expected},
    error::{Error, Result},
    published::{Config, Inputs},
};
use record::{Axis, Backend, Cell, Class, TuningMode, UnknownName};
use std::collections::BTreeMap;

/// Gives a case the sizes that a cell asks for. What is expected of other prompts goes; that of other
/// batches is repeated as they are.
///
/// # Errors
/// When the cell asks for a size that its class does not have, or for more than there is room for.
pub(crate) fn apply(cell: &Cell, case: &mut Case) -> Result<()> {
    let class = case.published.class;
    let size = |axis: Axis| match cell.axis(axis) {
        None => Ok(None),
        Some(_) if !class.varies_in(axis) => {
            Err(Error::input(axis.name(), format!("is no axis of the class {class}")))
        }
        Some(text) => match text.parse::<usize>() {
            Ok(size @ 1..) => Ok(Some(size)),
            _ => Err(Error::input(axis.name(), format!("{text} is not a size"))),
        },
    };
    if let Some(tokens) = size(Axis::PromptTokens)? {
        prompts(&mut case.inputs, tokens)?;
        case.expected = Expected::default();
    }
    if let Some(batch) = size(Axis::Batch)? {
        let (rows, _) = shape(&case.inputs, prompt_input(class))?;
        case.inputs = repeated(&case.inputs, rows, batch);
        case.expected = again(&case.expected, rows, batch);
    }
    case.new_tokens = size(Axis::NewTokens)?;
    if let Some(new) = case.new_tokens {
        let (_, prompt) = shape(&case.inputs, prompt_input(class))?;
        let wanted = prompt.saturating_add(new);
        // A cache that drops old tokens has room for any text.
        if cell.precision.window.is_none()
            && let Some(positions) = positions(class, &case.published.config)?
            && wanted > positions
        {
            return Err(Error::unsupported(format!(
                "the model has {positions} positions, and prompt and text are to take {wanted}"
            )));
        }
    }
    Ok(())
}

/// The threads that a cell asks for.
///
/// # Errors
/// When that is no number.
pub(crate) fn threads(cell: &Cell) -> Result<Option<usize>> {
    let Some(text) = cell.axis(Axis::Threads) else { return Ok(None) };
    match text.parse() {
        Ok(threads @ 1..) => Ok(Some(threads)),
        _ => Err(Error::input(Axis::Threads.name(), format!("{text} is not a number of threads"))),
    }
}

/// How the kernels of a cell are chosen.
///
/// # Errors
/// When that is no way to choose any, or where there are none.
pub(crate) fn tuning(cell: &Cell) -> Result<TuningMode> {
    let Some(text) = cell.axis(Axis::Tuning) else { return Ok(TuningMode::Off) };
    let name = Axis::Tuning.name();
    let mode = text.parse().map_err(|error: UnknownName| Error::input(name, error.to_string()))?;
    match (mode, cell.backend) {
        (TuningMode::Off, _) | (_, Backend::Webgpu | Backend::Native) => Ok(mode),
        (_, other) => Err(Error::input(name, format!("{other} has no kernels to choose from"))),
    }
}

/// The input that a text begins with.
fn prompt_input(class: Class) -> &'static str {
    match class {
        Class::T5 | Class::Whisper => "decoder_input_ids",
        _ => "input_ids",
    }
}

/// Most tokens of a text, its prompt included, where that is bounded.
fn positions(class: Class, config: &Config) -> Result<Option<usize>> {
    let size = |config: &Config, field: &str| config.get(field).map(|_| config.size(field));
    match class {
        Class::Whisper => size(config, "max_target_positions"),
        Class::Llava | Class::LlavaNext => {
            size(&config.part("text_config")?, "max_position_embeddings")
        }
        _ => size(config, "max_position_embeddings"),
    }
    .transpose()
}

/// Rows and columns of some ids.
fn shape(inputs: &Inputs, name: &str) -> Result<(usize, usize)> {
    match inputs.ints.get(name).map(|(shape, _)| &shape[..]) {
        Some(&[rows, tokens]) if rows > 0 && tokens > 0 => Ok((rows, tokens)),
        Some(shape) => Err(Error::input(name, format!("has shape {shape:?}, not [batch, tokens]"))),
        None => Err(Error::input(name, "is missing")),
    }
}

/// Makes each text of `input_ids` so many tokens long: repeated from its beginning, or cut off.
fn prompts(inputs: &mut Inputs, tokens: usize) -> Result<()> {
    let (rows, columns) = shape(inputs, "input_ids")?;
    let mask = inputs.mask("attention_mask", rows, columns)?;
    let (_, ids) = &inputs.ints["input_ids"];
    let mut values = Vec::new();
    for row in 0..rows {
        let keep = |at: &usize| mask.as_ref().is_none_or(|mask| mask[*at] > 0.5);
        let own: Vec<i64> =
            (row * columns..(row + 1) * columns).filter(keep).map(|at| ids[at]).collect();
        if own.is_empty() {
            return Err(Error::input("input_ids", format!("row {row} is padding alone")));
        }
        values.extend(own.iter().cycle().take(tokens));
    }
    inputs.ints.insert("input_ids".to_owned(), (vec![rows, tokens], values));
    inputs.ints.remove("attention_mask");
    Ok(())
}

/// So many sequences: those that are there, over and over.
fn repeated(inputs: &Inputs, rows: usize, wanted: usize) -> Inputs {
    fn all<T: Clone>(
        tensors: &BTreeMap<String, (Vec<usize>, Vec<T>)>,
        rows: usize,
        wanted: usize,
    ) -> BTreeMap<String, (Vec<usize>, Vec<T>)> {
        let again = |(name, tensor): (&String, &(Vec<usize>, Vec<T>))| {
            let tensor = match tensor.0.first() == Some(&rows) {
                true => cycled(tensor, rows, wanted),
                false => tensor.clone(),
            };
            (name.clone(), tensor)
        };
        tensors.iter().map(again).collect()
    }
    Inputs { ints: all(&inputs.ints, rows, wanted), floats: all(&inputs.floats, rows, wanted) }
}

/// What is expected of sequences that come over and over; outputs that have no row for each go.
fn again(expected: &Expected, rows: usize, wanted: usize) -> Expected {
    let outputs = expected.outputs.iter().filter(|(_, (shape, _))| shape.first() == Some(&rows));
    let count = if expected.generated.is_empty() { 0 } else { wanted };
    Expected {
        reference: expected.reference,
        outputs: outputs
            .map(|(name, output)| (name.clone(), cycled(output, rows, wanted)))
            .collect(),
        generated: expected.generated.iter().cycle().take(count).cloned().collect(),
    }
}

/// The rows of a tensor over and over.
fn cycled<T: Clone>(
    (shape, values): &(Vec<usize>, Vec<T>),
    rows: usize,
    wanted: usize,
) -> (Vec<usize>, Vec<T>) {
    let len = values.len() / rows;
    let row = |row: usize| &values[row % rows * len..(row % rows + 1) * len];
    ([&[wanted], &shape[1..]].concat(), (0..wanted).flat_map(row).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> Inputs {
        let mut inputs = Inputs::default();
        inputs.ints.insert("input_ids".to_owned(), (vec![2, 3], vec![1, 2, 3, 9, 4, 5]));
        inputs.ints.insert("attention_mask".to_owned(), (vec![2, 3], vec![1, 1, 1, 0, 1, 1]));
        inputs
    }

    #[test]
    fn prompts_are_repeated_and_cut_without_their_padding() {
        let mut inputs = inputs();
        prompts(&mut inputs, 5).unwrap();
        assert_eq!(inputs.ints["input_ids"], (vec![2, 5], vec![1, 2, 3, 1, 2, 4, 5, 4, 5, 4]));
        assert!(!inputs.ints.contains_key("attention_mask"));
        prompts(&mut inputs, 1).unwrap();
        assert_eq!(inputs.ints["input_ids"], (vec![2, 1], vec![1, 4]));
    }

    #[test]
    fn batches_are_rows_over_and_over_and_so_is_what_is_expected() {
        let three = repeated(&inputs(), 2, 3);
        assert_eq!(three.ints["input_ids"].1, [1, 2, 3, 9, 4, 5, 1, 2, 3]);
        assert_eq!(three.ints["attention_mask"].0, [3, 3]);
        let mut expected = Expected::default();
        expected.outputs.insert("logits".to_owned(), (vec![2, 1], vec![0.5, 0.25]));
        expected.outputs.insert("features".to_owned(), (vec![7, 1], vec![0.0; 7]));
        expected.generated = vec![vec![1, 2, 3, 7], vec![9, 4, 5, 8]];
        let three = again(&expected, 2, 3);
        assert_eq!(three.outputs.len(), 1);
        assert_eq!(three.outputs["logits"], (vec![3, 1], vec![0.5, 0.25, 0.5]));
        assert_eq!(three.generated[2], expected.generated[0]);
        assert_eq!(again(&expected, 2, 1).generated.len(), 1);
    }
}
