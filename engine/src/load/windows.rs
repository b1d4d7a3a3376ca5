//! Biases on attention within the windows of a grid, as Swin (Liu et al. 2021) has them.

/// What a token of another part of the image is pushed down by, as published models have it.
const HIDDEN: f32 = -100.0;

/// Every place of a grid, window by window.
pub(crate) fn window_order(
    [height, width]: [usize; 2],
    side: usize,
) -> impl Iterator<Item = [usize; 2]> {
    let across = width / side;
    (0..height * width).map(move |at| {
        let (window, token) = (at / (side * side), at % (side * side));
        [window / across * side + token / side, window % across * side + token % side]
    })
}

/// `[windows, T, T]`: a shift brings tokens of opposite edges together, which must not see each
/// other.
fn shift_mask(grid: [usize; 2], side: usize, shift: usize) -> Vec<f32> {
    let padded = grid.map(|size| size.next_multiple_of(side));
    let region =
        |at: usize, size: usize| usize::from(at >= size - side) + usize::from(at >= size - shift);
    let regions: Vec<[usize; 2]> = window_order(padded, side)
        .map(|[y, x]| [region(y, padded[0]), region(x, padded[1])])
        .collect();
    let mut mask = Vec::with_capacity(regions.len() * side * side);
    for window in regions.chunks_exact(side * side) {
        for query in window {
            mask.extend(window.iter().map(|key| if key == query { 0.0 } else { HIDDEN }));
        }
    }
    mask
}

/// `[windows or 1, H, T, T]`: how far apart two tokens lie, looked up in `table: [(2 S − 1)², H]`, and,
/// where windows are shifted, the mask of each.
pub(super) fn biases(
    table: &[f32],
    heads: usize,
    grid: [usize; 2],
    side: usize,
    shift: usize,
) -> Vec<f32> {
    let tokens = side * side;
    let place = |query: usize, key: usize| {
        let dy = query / side + side - 1 - key / side;
        let dx = query % side + side - 1 - key % side;
        dy * (2 * side - 1) + dx
    };
    let mask = match shift {
        0 => vec![0.0; tokens * tokens],
        _ => shift_mask(grid, side, shift),
    };
    let mut biases = Vec::with_capacity(mask.len() * heads);
    for window in mask.chunks_exact(tokens * tokens) {
        for head in 0..heads {
            biases.extend(window.iter().enumerate().map(|(at, hidden)| {
                table[place(at / tokens, at % tokens) * heads + head] + hidden
            }));
        }
    }
    biases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opposite_edges_do_not_see_each_other() {
        let mask = shift_mask([4, 4], 2, 1);
        let window = |at: usize| &mask[at * 16..(at + 1) * 16];
        assert_eq!(window(0), [0.0; 16]);
        // The left and the right edge in the upper right window.
        let row = [0.0, HIDDEN, 0.0, HIDDEN];
        assert_eq!(window(1)[..4], row);
        assert_eq!(window(3)[..4], [0.0, HIDDEN, HIDDEN, HIDDEN]);
    }

    #[test]
    fn distances_look_up_their_bias() {
        // A table of 9 distances with one head: (dy + 1) · 3 + dx + 1.
        let table: Vec<f32> = (0..9).map(|i| i as f32).collect();
        let bias = biases(&table, 1, [2, 2], 2, 0);
        assert_eq!(bias[..4], [4.0, 3.0, 1.0, 0.0]);
        assert_eq!(bias[12..], [8.0, 7.0, 5.0, 4.0]);
    }
}
