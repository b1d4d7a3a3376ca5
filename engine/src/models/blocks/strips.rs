//! A spectrogram as a square image: stretched in time, and cut into strips that lie below one another.

/// `[side, side]` from `[frames, mels]`: `strips` of time below one another, mel bins downwards.
pub(super) fn fold(spectrogram: &[f32], mels: usize, side: usize, strips: usize) -> Vec<f32> {
    let room = side * strips;
    let bins = transpose(&stretch(spectrogram, mels, room), mels);
    let bins = stretch(&bins, room, side / strips);
    let mut image = Vec::with_capacity(side * side);
    for strip in 0..strips {
        for bin in bins.chunks_exact(room) {
            image.extend_from_slice(&bin[strip * side..(strip + 1) * side]);
        }
    }
    image
}

/// `[columns, rows]` from `[rows, columns]`.
fn transpose(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    (0..values.len()).map(|at| values[at % rows * columns + at / rows]).collect()
}

/// `[count, columns]` from `[rows, columns]` by cubic interpolation with the ends kept in place:
/// torch's `bicubic` with `align_corners` (Keys 1981 with a = −0.75), along one axis.
fn stretch(values: &[f32], columns: usize, count: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    if rows == count {
        return values.to_vec();
    }
    const A: f32 = -0.75;
    let near = |t: f32| ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0;
    let far = |t: f32| ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A;
    let step = (rows - 1) as f32 / (count - 1).max(1) as f32;
    let mut stretched = Vec::with_capacity(count * columns);
    for at in 0..count {
        let position = step * at as f32;
        let first = (position as usize).min(rows - 1);
        let t = (position - first as f32).clamp(0.0, 1.0);
        let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
        let row = |offset: usize| (first + offset).saturating_sub(1).min(rows - 1);
        for c in 0..columns {
            let taken = weights.iter().enumerate();
            stretched.push(taken.map(|(i, w)| w * values[row(i) * columns + c]).sum());
        }
    }
    stretched
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.nn.functional.interpolate(…, mode="bicubic", align_corners=True)` of 4 to 7.
    #[test]
    fn stretching_equals_torch() {
        let got = stretch(&[1.0, 3.0, -2.0, 0.5], 1, 7);
        let want = [1.0, 2.46875, 3.0, 0.453125, -2.0, -1.21875, 0.5];
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{got} for {want}");
        }
        assert_eq!(stretch(&[5.0, 6.0], 2, 3), [5.0, 6.0, 5.0, 6.0, 5.0, 6.0]);
    }

    #[test]
    fn strips_of_time_are_stacked() {
        // Eight frames of two bins: two strips of four frames, each with its bins downwards.
        let spectrogram: Vec<f32> = (0..8).flat_map(|t| [t as f32, 10.0 + t as f32]).collect();
        let rows = [[0.0, 1.0, 2.0, 3.0], [10.0, 11.0, 12.0, 13.0]];
        let lower = rows.map(|row| row.map(|x| x + 4.0));
        assert_eq!(fold(&spectrogram, 2, 4, 2), [rows, lower].concat().concat());
    }
}
