//! Text from the frames of a connectionist temporal classification (Graves et al. 2006).

use crate::stats::argmax;

/// The most likely tokens of `logits: [T, V]`, without repetitions and without the `blank` that
/// separates true ones.
///
/// With `Wav2Vec2ForCTC` the blank is `pad_token_id`, as in the tokenizer that decodes its output.
pub fn greedy(logits: &[f32], vocabulary: usize, blank: u32) -> Vec<u32> {
    let mut tokens = Vec::new();
    let mut last = None;
    for frame in logits.chunks_exact(vocabulary) {
        let token = argmax(frame) as u32;
        if Some(token) != last && token != blank {
            tokens.push(token);
        }
        last = Some(token);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_collapse_unless_a_blank_is_between() {
        let frames = [0, 3, 3, 0, 3, 1, 2, 2, 0, 0, 2];
        let logits: Vec<f32> = frames
            .iter()
            .flat_map(|&best| (0..4).map(move |token| if token == best { 2.0 } else { -1.0 }))
            .collect();
        assert_eq!(greedy(&logits, 4, 0), [3, 3, 1, 2, 2]);
        assert_eq!(greedy(&logits, 4, 2), [0, 3, 0, 3, 1, 0]);
        assert_eq!(greedy(&[], 4, 0), [0; 0]);
    }
}
