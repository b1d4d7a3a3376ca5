//! Scales and minimums of all groups, moved together by what comes out of the model in the end.
//!
//! A calibration chooses codes matrix by matrix, by outputs of that matrix. Here the quantised model reads the text
//! again, a few sequences a step, and the divergence of its logits from those of the model as it is goes back
//! through all ops (`device/tape.rs`) to the lines of all groups: a scale and a minimum each, codes as they are.
//! Steps are Adam's (Kingma and Ba 2015), and become smaller along a cosine. A line moves by shares of its own
//! scale, so that one rate does for all.

use super::{
    Heard, Windows,
    learner::{floats, product},
    logits::loss,
};
use crate::{
    device::{Device, MatrixId, Products, ProductsBack, Tape},
    error::Result,
    gemm::{self, Grid},
    load::Loaded,
    models::{Model, Rows},
    quant::{CHUNK, Format, Matrix, code_range},
    tensor::Tensor,
    threads,
};
use half::f16;
use pollster::block_on;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    f32::consts::PI,
    rc::Rc,
};

/// How long lines are moved.
#[derive(Clone, Copy, Debug)]
pub struct Refinement {
    /// Steps there are.
    pub steps: usize,
    /// Share of its scale that a line moves by in the first of them.
    pub rate: f32,
    /// Sequences that are read in each.
    pub sequences: usize,
}

/// Adam's memory of a gradient and of its square.
const MEMORY: [f32; 2] = [0.9, 0.999];
/// Far below any gradient that counts: the divergence is a mean over thousands of tokens.
const TINY: f32 = 1e-12;
/// Rows of a matrix whose gradients are there at once.
const ROWS: usize = 2048;

/// Moves the lines of `made`, matrices of the model `loaded` by the names of their entries. The divergence before
/// each step, on the sequences of that step.
pub(super) fn refine(
    loaded: &Loaded<Box<dyn Model>>,
    made: &mut BTreeMap<String, Vec<Matrix>>,
    text: &Windows,
    how: Refinement,
    heard: &Heard,
) -> Result<Vec<f64>> {
    let decoder = loaded.model.decoder().expect("models that write are decoders");
    let refiner = Rc::new(Refiner::new(loaded, made));
    let parts: Vec<Windows> = text.parts(how.sequences).collect();
    let mut divergences = Vec::new();
    for step in 0..how.steps {
        let part = &parts[step % parts.len()];
        let pass = |device: &Device| -> Result<Tensor> {
            let ids = part.inputs().ids(decoder.prompt_input(), decoder.vocabulary())?;
            let state = decoder.begin(device, part.inputs(), ids.tokens)?;
            let rows = Rows { last: false, mask: None };
            decoder.prefill(device, &state, part.inputs(), &ids.upload(device), rows)
        };
        refiner.is_whole.set(true);
        let device = Device::with_products(Rc::<Refiner>::clone(&refiner));
        let whole = block_on(device.take(vec![pass(&device)?]))?.remove(0);
        refiner.is_whole.set(false);
        let tape = Rc::new(Tape::through(Rc::<Refiner>::clone(&refiner)));
        let device = Device::with_tape(&tape);
        let logits = pass(&device)?;
        let (divergence, gradient) = loss(whole, logits.f32s(), decoder.vocabulary());
        divergences.push(divergence);
        tape.back(&logits, gradient);
        let rate = how.rate * 0.5 * (1.0 + (PI * step as f32 / how.steps as f32).cos());
        refiner.advance(step, rate);
        heard(step as u64 + 1);
    }
    refiner.put(loaded, made);
    Ok(divergences)
}

/// A matrix whose lines move: a weight is `d · (1 + a) · (code − c) + m + d · (c + L · b)`, with the scale `d` and the
/// minimum `m` that the calibration left. In the symmetric scheme `c` is the code of zero and `L` is 0; in the
/// other, `c` is the middle of all codes, so that `a` does not move the whole group, and `L` how far the ends are.
struct Moving {
    group: usize,
    c: f32,
    l: f32,
    /// Padded rows.
    codes: Vec<i8>,
    first: Vec<[f32; 2]>,
    /// The `a` and the `b` of each group.
    moved: Vec<[f32; 2]>,
    gradients: Vec<[f32; 2]>,
    /// Adam's means of gradients, and of their squares.
    means: Vec<[[f32; 2]; 2]>,
    /// Padded rows of what all this stands for.
    weights: Vec<f32>,
}

/// A matrix of the model.
struct Known {
    matrix: Matrix,
    moving: Option<Moving>,
}

/// Takes over the products of the model as it is, and of the one that is refined.
struct Refiner {
    known: RefCell<BTreeMap<MatrixId, Known>>,
    /// Whether this pass is one of the model as it is.
    is_whole: Cell<bool>,
}

impl std::fmt::Debug for Refiner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refiner").field("is_whole", &self.is_whole).finish_non_exhaustive()
    }
}

impl Refiner {
    fn new(loaded: &Loaded<Box<dyn Model>>, made: &BTreeMap<String, Vec<Matrix>>) -> Refiner {
        let mut known = BTreeMap::new();
        for (name, matrices) in loaded.matrices() {
            for (at, matrix) in matrices.into_iter().enumerate() {
                let made = made.get(name).map(|made| &made[at]);
                let made = made.filter(|made| matches!(made.format, Format::Grouped { .. }));
                let moving = made.map(Moving::of);
                known.insert(matrix.id(), Known { matrix, moving });
            }
        }
        Refiner { known: RefCell::new(known), is_whole: Cell::new(true) }
    }

    /// Moves all lines against their gradients.
    fn advance(&self, step: usize, rate: f32) {
        for known in self.known.borrow_mut().values_mut() {
            let Known { matrix, moving: Some(moving) } = known else { continue };
            moving.step(step, rate);
            moving.dequantise(matrix);
        }
    }

    /// Puts the lines into the matrices that they are of.
    fn put(&self, loaded: &Loaded<Box<dyn Model>>, made: &mut BTreeMap<String, Vec<Matrix>>) {
        let known = self.known.borrow();
        for (name, matrices) in loaded.matrices() {
            for (at, matrix) in matrices.iter().enumerate() {
                let Known { moving: Some(moving), .. } = &known[&matrix.id()] else { continue };
                let made = &mut made.get_mut(name).expect("it moves because it was made")[at];
                *made = made.with_lines(&moving.lines());
            }
        }
    }
}

impl Moving {
    fn of(made: &Matrix) -> Moving {
        let Format::Grouped { group, asymmetric, bits } = made.format else {
            unreachable!("grouped")
        };
        let [low, high] = code_range(bits.into());
        let view = made.view();
        let (width, groups) = (made.chunks() * CHUNK, made.groups());
        let mut codes = vec![0; made.rows * width];
        for (row, codes) in codes.chunks_exact_mut(width).enumerate() {
            view.unpack_row(row, codes);
        }
        let lines = (0..made.rows).flat_map(|row| (0..groups).map(move |group| (row, group)));
        let first: Vec<[f32; 2]> = lines.map(|(row, group)| view.line(row, group)).collect();
        let mut moving = Moving {
            group: group.into(),
            c: if asymmetric { (low + high) / 2.0 } else { made.format.zero() },
            l: if asymmetric { (high - low) / 2.0 } else { 0.0 },
            codes,
            moved: vec![[0.0; 2]; first.len()],
            gradients: vec![[0.0; 2]; first.len()],
            means: vec![[[0.0; 2]; 2]; first.len()],
            weights: vec![0.0; made.rows * width],
            first,
        };
        moving.dequantise(made);
        moving
    }

    /// Scale and minimum of a group as they are now.
    fn line(&self, at: usize) -> [f32; 2] {
        let ([d, m], [a, b]) = (self.first[at], self.moved[at]);
        [d * (1.0 + a), m + d * (self.l * b - self.c * a)]
    }

    /// The lines as they will be stored.
    fn lines(&self) -> Vec<[f16; 2]> {
        (0..self.first.len()).map(|at| self.line(at).map(f16::from_f32)).collect()
    }

    /// Writes the weights anew, of a matrix that has the shape of `like`.
    fn dequantise(&mut self, like: &Matrix) {
        let (width, columns) = (like.chunks() * CHUNK, like.columns);
        let groups = width.div_ceil(self.group);
        let mut weights = std::mem::take(&mut self.weights);
        threads::rows(&mut weights, width, 2 * width, |first, rows| {
            for (row, weights) in (first..).zip(rows.chunks_exact_mut(width)) {
                let codes = &self.codes[row * width..(row + 1) * width];
                let parts = weights.chunks_mut(self.group).zip(codes.chunks(self.group));
                for (at, (weights, codes)) in parts.enumerate() {
                    let [d, m] = self.line(row * groups + at);
                    for (weight, code) in weights.iter_mut().zip(codes) {
                        *weight = d * f32::from(*code) + m;
                    }
                }
                weights[columns..].fill(0.0);
            }
        });
        self.weights = weights;
    }

    /// Adds to the gradients of some rows' lines from those of their weights, which are padded rows.
    fn add(&mut self, first_row: usize, width: usize, gradients: &[f32]) {
        let Moving { group, c, l, codes, first, gradients: sums, .. } = self;
        let (group, groups, rows) = (*group, width.div_ceil(*group), gradients.len() / width);
        let sums = &mut sums[first_row * groups..][..rows * groups];
        threads::rows(sums, groups, 4 * width, |from, sums| {
            for (at, sums) in (from..).zip(sums.chunks_exact_mut(groups)) {
                let row = first_row + at;
                let codes = codes[row * width..][..width].chunks(group);
                let gradients = gradients[at * width..][..width].chunks(group);
                let lines = &first[row * groups..][..groups];
                let parts = codes.zip(gradients).zip(lines);
                for (sums, ((codes, gradients), [d, _])) in sums.iter_mut().zip(parts) {
                    let [mut along, mut all] = [0.0; 2];
                    for (code, gradient) in codes.iter().zip(gradients) {
                        along += gradient * (f32::from(*code) - *c);
                        all += gradient;
                    }
                    sums[0] += d * along;
                    sums[1] += d * *l * all;
                }
            }
        });
    }

    /// A step of Adam, from gradients that are none afterwards.
    fn step(&mut self, step: usize, rate: f32) {
        let [fast, slow] = MEMORY.map(|memory| 1.0 - memory.powi(step as i32 + 1));
        let each = self.moved.iter_mut().zip(&mut self.gradients).zip(&mut self.means);
        for ((moved, gradient), [mean, square]) in each {
            for which in 0..2 {
                let g = std::mem::take(&mut gradient[which]);
                mean[which] += (1.0 - MEMORY[0]) * (g - mean[which]);
                square[which] += (1.0 - MEMORY[1]) * (g * g - square[which]);
                let size = (square[which] / slow).sqrt() + TINY;
                moved[which] -= rate * mean[which] / fast / size;
            }
        }
    }
}

impl Products for Refiner {
    fn multiply(&self, x: &[f32], id: MatrixId) -> Vec<f32> {
        let known = &self.known.borrow()[&id];
        product(x, known.weights(self.is_whole.get()), known.width())
    }

    fn rows(&self, ids: &[u32], id: MatrixId) -> Vec<f32> {
        let known = &self.known.borrow()[&id];
        let (weights, width) = (known.weights(self.is_whole.get()), known.width());
        let row = |id: &u32| &weights[*id as usize * width..][..known.matrix.columns];
        ids.iter().flat_map(row).copied().collect()
    }
}

impl ProductsBack for Refiner {
    fn multiply_back(&self, x: &[f32], id: MatrixId, gradient: &[f32]) -> Vec<f32> {
        let mut known = self.known.borrow_mut();
        let known = known.get_mut(&id).expect("all matrices of the model are known");
        let (width, rows) = (known.width(), known.matrix.rows);
        let y = Grid::of(gradient, rows);
        let dx = gemm::product(y, Grid::of(known.weights(false), width));
        let Some(moving) = &mut known.moving else { return dx };
        // Gradients of all weights of a large matrix would take as much as it does.
        for first in (0..rows).step_by(ROWS) {
            let count = ROWS.min(rows - first);
            let y = y.part(0..y.rows(), first..first + count).transposed();
            moving.add(first, width, &gemm::product(y, Grid::of(x, width)));
        }
        dx
    }

    fn rows_back(&self, ids: &[u32], id: MatrixId, gradient: &[f32]) {
        let mut known = self.known.borrow_mut();
        let known = known.get_mut(&id).expect("all matrices of the model are known");
        let (width, columns) = (known.width(), known.matrix.columns);
        let Some(moving) = &mut known.moving else { return };
        let mut padded = vec![0.0; width];
        for (id, gradient) in ids.iter().zip(gradient.chunks_exact(columns)) {
            padded[..columns].copy_from_slice(gradient);
            moving.add(*id as usize, width, &padded);
        }
    }
}

impl Known {
    /// Numbers of a padded row.
    fn width(&self) -> usize {
        self.matrix.chunks() * CHUNK
    }

    /// Padded rows, of the model as it is or as it is refined.
    fn weights(&self, is_whole: bool) -> &[f32] {
        match &self.moving {
            Some(moving) if !is_whole => &moving.weights,
            _ => floats(&self.matrix),
        }
    }
}

#[cfg(test)]
mod tests;
