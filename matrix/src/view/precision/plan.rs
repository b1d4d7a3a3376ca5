//! A mix of widths as a drawing: layers down, parts across, and the bits of each matrix.

use super::{Evaluation, StoredMatrix};
use crate::view::figure;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Parts whose order is known; others stand behind them.
const PARTS: [&str; 7] = ["q", "k", "v", "o", "gate", "up", "down"];

/// The widths of one evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Whose they are.
    pub title: String,
    /// How many matrices have how many bits.
    pub summary: String,
    /// Names of the parts of a layer.
    pub parts: Vec<String>,
    /// The layers, first to last.
    pub layers: Vec<Layer>,
    /// Matrices outside the layers, with their names.
    pub others: Vec<(String, Square)>,
}

/// A layer.
#[derive(Clone, Debug, Serialize)]
pub struct Layer {
    /// Its number.
    pub number: usize,
    /// In the order of the parts; none where it has no such.
    pub squares: Vec<Option<Square>>,
}

/// A matrix.
#[derive(Clone, Debug, Serialize)]
pub struct Square {
    /// Its bits.
    pub bits: u32,
    /// How dark it is, from 1 to 5.
    pub shade: u32,
    /// Name, shape and format.
    pub tip: String,
}

impl Plan {
    /// The drawing of an evaluation whose matrices have several widths.
    pub(super) fn of(it: &Evaluation) -> Option<Plan> {
        let mut counts = BTreeMap::<u32, usize>::new();
        it.matrices.iter().for_each(|matrix| *counts.entry(matrix.bits).or_default() += 1);
        if counts.len() < 2 {
            return None;
        }
        let mut layers = BTreeMap::<usize, BTreeMap<&str, Square>>::new();
        let (mut parts, mut others) = (Vec::new(), Vec::new());
        for matrix in &it.matrices {
            match in_layer(&matrix.name) {
                Some((number, part)) => {
                    parts.push(part);
                    layers.entry(number).or_default().insert(part, square(matrix));
                }
                None => others.push((outside(&matrix.name), square(matrix))),
            }
        }
        let order = |part: &str| {
            let known = PARTS.iter().position(|known| *known == short(part));
            (known.unwrap_or(PARTS.len()), part.to_owned())
        };
        let distinct: BTreeSet<&str> = parts.into_iter().collect();
        let mut parts: Vec<&str> = distinct.into_iter().collect();
        parts.sort_by_key(|part| order(part));
        let shorts: BTreeSet<&str> = parts.iter().map(|part| short(part)).collect();
        let named = |part: &&str| match shorts.len() == parts.len() {
            true => short(part).to_owned(),
            false => (*part).to_owned(),
        };
        let layer = |(number, mut own): (usize, BTreeMap<&str, Square>)| Layer {
            number,
            squares: parts.iter().map(|part| own.remove(part)).collect(),
        };
        let counts = counts.iter().rev().map(|(bits, count)| match count {
            1 => format!("1 matrix in {bits} bits"),
            count => format!("{count} matrices in {bits} bits"),
        });
        Some(Plan {
            title: format!("{} by {}", it.name(), it.engine),
            summary: counts.collect::<Vec<_>>().join(", "),
            layers: layers.into_iter().map(layer).collect(),
            parts: parts.iter().map(named).collect(),
            others,
        })
    }
}

/// The number of the layer that a matrix is in, and which of its parts it is.
fn in_layer(name: &str) -> Option<(usize, &str)> {
    let mut start = 0;
    for piece in name.split('.') {
        let end = start + piece.len();
        if let (true, Ok(number)) = (start > 0 && end < name.len(), piece.parse()) {
            let part = &name[end + 1..];
            return Some((number, part.strip_suffix(".weight").unwrap_or(part)));
        }
        start = end + 1;
    }
    None
}

/// `self_attn.q_proj` and `attn_q` are `q`.
fn short(part: &str) -> &str {
    let last = part.rsplit('.').next().unwrap_or(part);
    let last = last.strip_suffix("_proj").unwrap_or(last);
    let of_gguf = last.strip_prefix("attn_").or(last.strip_prefix("ffn_")).unwrap_or(last);
    if of_gguf == "output" { "o" } else { of_gguf }
}

/// What a matrix outside the layers is called.
fn outside(name: &str) -> String {
    let last = name.strip_suffix(".weight").unwrap_or(name);
    match last.rsplit('.').next().unwrap_or(last) {
        "embed_tokens" | "token_embd" => "embeddings".to_owned(),
        "lm_head" | "output" => "head".to_owned(),
        _ => last.to_owned(),
    }
}

fn square(matrix: &StoredMatrix) -> Square {
    let StoredMatrix { name, shape, format, bits, bpw } = matrix;
    let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
    let (shape, bpw) = (shape.join(" × "), figure::bpw(*bpw));
    let shade = match bits {
        0..=2 => 1,
        3 => 2,
        4..=5 => 3,
        6..=8 => 4,
        _ => 5,
    };
    Square { bits: *bits, shade, tip: format!("{name}, {shape}, {format}, {bpw} bits a weight") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::precision::sample::{matrix, own};

    #[test]
    fn a_mix_is_drawn_by_layers_and_parts() {
        let mut mixed = own("adaptive", 4.2, 0.1);
        mixed.matrices = vec![
            matrix("model.embed_tokens.weight", 8),
            matrix("model.layers.0.self_attn.q_proj.weight", 8),
            matrix("model.layers.0.mlp.down_proj.weight", 4),
            matrix("model.layers.10.mlp.down_proj.weight", 2),
            matrix("model.layers.2.self_attn.o_proj.weight", 3),
            matrix("lm_head.weight", 8),
        ];
        let plan = Plan::of(&mixed).unwrap();
        assert_eq!(plan.parts, ["q", "o", "down"]);
        let numbers: Vec<usize> = plan.layers.iter().map(|layer| layer.number).collect();
        assert_eq!(numbers, [0, 2, 10]);
        let bits = |layer: &Layer| -> Vec<Option<u32>> {
            layer.squares.iter().map(|square| square.as_ref().map(|square| square.bits)).collect()
        };
        assert_eq!(bits(&plan.layers[0]), [Some(8), None, Some(4)]);
        assert_eq!(bits(&plan.layers[2]), [None, None, Some(2)]);
        let others: Vec<&str> = plan.others.iter().map(|(name, _)| &**name).collect();
        assert_eq!(others, ["embeddings", "head"]);
        assert_eq!(
            plan.summary,
            "3 matrices in 8 bits, 1 matrix in 4 bits, 1 matrix in 3 bits, 1 matrix in 2 bits"
        );
        assert!(plan.layers[0].squares[0].as_ref().unwrap().tip.contains("q4 symmetric g32"));
        mixed.matrices.truncate(2);
        assert!(Plan::of(&mixed).is_none(), "one width is no mix");
    }

    #[test]
    fn names_of_other_kinds_are_parted_as_well() {
        assert_eq!(in_layer("blk.3.attn_q.weight"), Some((3, "attn_q")));
        assert_eq!(short("attn_output"), "o");
        assert_eq!(
            in_layer("encoder.layer.1.attention.self.query.weight"),
            Some((1, "attention.self.query"))
        );
        for outside in ["lm_head.weight", "12", "12.weight", "a.12", ""] {
            assert_eq!(in_layer(outside), None, "{outside}");
        }
    }
}
