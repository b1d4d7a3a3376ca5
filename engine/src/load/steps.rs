//! What is done to numbers between a file and the device.

use super::{Entry, Step, windows};

/// The numbers of an entry, from those of its sources.
pub(super) fn apply(entry: &Entry, sources: Vec<Vec<f32>>) -> Vec<f32> {
    let mut sources = sources.into_iter();
    let mut values = sources.next().expect("an entry has a source");
    for step in &entry.steps {
        let mut next = || sources.next().expect("a step has its sources");
        match step {
            Step::FoldNorm { eps } => fold_norm(&mut values, &next(), &next(), *eps),
            Step::FoldNormBias { eps } => {
                let mut parts = vec![std::mem::take(&mut values)];
                parts.extend(sources.by_ref());
                values = fold_norm_bias(&parts, *eps);
            }
            Step::Stack => {
                let more: Vec<Vec<f32>> = sources.by_ref().collect();
                // To the byte: what is allocated is what the plan said.
                values.reserve_exact(more.iter().map(Vec::len).sum());
                values.extend(more.into_iter().flatten());
            }
            Step::NormWeight => norm_weight(&mut values, &next()),
            Step::ChannelsLast { channels } => {
                let row = entry.sources[0].row_len();
                values = channels_last(&values, *channels, row / channels);
            }
            Step::Transpose => {
                let [rows, columns] = entry.rows_columns();
                let at = |at: usize| values[at % columns * rows + at / columns];
                values = (0..rows * columns).map(at).collect();
            }
            Step::Scale { by } => values.iter_mut().for_each(|value| *value *= by),
            Step::SpreadOverWindows { grid, side, shift } => {
                let heads = entry.sources[0].row_len();
                values = windows::biases(&values, heads, *grid, *side, *shift);
            }
            Step::Quantise { .. }
            | Step::TakeBlocks
            | Step::TakeCodes
            | Step::Tied { .. }
            | Step::TiedIfEqual { .. } => {}
        }
    }
    values
}

/// Factor of each row of a kernel before a batch norm.
fn norm_scales<'a>(
    gain: &'a [f32],
    variance: &'a [f32],
    eps: f32,
) -> impl Iterator<Item = f32> + 'a {
    gain.iter().zip(variance).map(move |(gain, variance)| gain / (variance + eps).sqrt())
}

fn fold_norm(values: &mut [f32], gain: &[f32], variance: &[f32], eps: f32) {
    let row = values.len() / gain.len();
    for (row, scale) in values.chunks_exact_mut(row).zip(norm_scales(gain, variance, eps)) {
        row.iter_mut().for_each(|weight| *weight *= scale);
    }
}

fn fold_norm_bias(parts: &[Vec<f32>], eps: f32) -> Vec<f32> {
    let (bias, norm) = parts.split_at(parts.len() - 4);
    let [gain, offset, mean, variance] = norm else { panic!("four vectors are a norm") };
    let rows = norm_scales(gain, variance, eps).zip(offset).zip(mean).enumerate();
    let bias = |at: usize| bias.first().map_or(0.0, |bias| bias[at]);
    rows.map(|(at, ((scale, offset), mean))| (bias(at) - mean) * scale + offset).collect()
}

fn norm_weight(directions: &mut [f32], lengths: &[f32]) {
    let kernel = lengths.len();
    let mut squares = vec![0.0f64; kernel];
    for row in directions.chunks_exact(kernel) {
        squares.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(x * x));
    }
    for row in directions.chunks_exact_mut(kernel) {
        for ((x, length), square) in row.iter_mut().zip(lengths).zip(&squares) {
            *x *= length / square.sqrt() as f32;
        }
    }
}

fn channels_last(values: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let mut turned = vec![0.0; values.len()];
    let row = channels * pixels;
    for (from, to) in values.chunks_exact(row).zip(turned.chunks_exact_mut(row)) {
        for (at, value) in to.iter_mut().enumerate() {
            *value = from[at % channels * pixels + at / channels];
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rows of a kernel and their norm, by hand.
    #[test]
    fn a_norm_is_folded_into_kernel_and_bias() {
        let (gain, offset) = (vec![2.0, 3.0], vec![0.5, -0.5]);
        let (mean, variance) = (vec![1.0, 2.0], vec![3.0, 8.0]);
        let mut kernel = vec![1.0, 2.0, 3.0, 4.0];
        fold_norm(&mut kernel, &gain, &variance, 1.0);
        assert_eq!(kernel, [1.0, 2.0, 3.0, 4.0]);
        let norm = [gain, offset, mean, variance];
        assert_eq!(fold_norm_bias(&norm, 1.0), [-0.5, -2.5]);
        let with_bias = [&[vec![10.0, 20.0]][..], &norm].concat();
        assert_eq!(fold_norm_bias(&with_bias, 1.0), [9.5, 17.5]);
    }

    #[test]
    fn directions_take_their_lengths() {
        let mut values = vec![3.0, 1.0, 4.0, 0.0];
        norm_weight(&mut values, &[10.0, 2.0]);
        assert_eq!(values, [6.0, 2.0, 8.0, 0.0]);
    }

    #[test]
    fn channels_come_last() {
        let turned = channels_last(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3);
        assert_eq!(turned, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
