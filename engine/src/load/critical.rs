//! Which matrices a model is thought to depend on most, told by their names alone.
//!
//! What stands outside all blocks (embeddings, heads, what joins two towers), attention, and the first and the
//! last block of each tower: errors of the first reach all others, and nothing makes up for those of the last.
//! It is a rule of thumb that takes no data; `harness quantize` measures instead.

use super::LoadPlan;
use std::collections::BTreeMap;

/// The names of these matrices.
pub(super) struct Critical {
    /// First and last block of each stack of them.
    ends: BTreeMap<String, [u32; 2]>,
}

impl Critical {
    pub(super) fn of(plan: &LoadPlan) -> Critical {
        let mut ends: BTreeMap<String, [u32; 2]> = BTreeMap::new();
        let matrices = plan.entries.iter().filter(|entry| entry.is_matrix());
        for (stack, number) in matrices.filter_map(|entry| block(&entry.name)) {
            let [first, last] = ends.entry(stack.to_owned()).or_insert([number; 2]);
            (*first, *last) = ((*first).min(number), (*last).max(number));
        }
        Critical { ends }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        let lower = name.to_lowercase();
        lower.contains("attn")
            || lower.contains("attention")
            || block(name).is_none_or(|(stack, number)| self.ends[stack].contains(&number))
    }
}

/// The stack of blocks that a tensor belongs to, and its number there: the first number between dots.
fn block(name: &str) -> Option<(&str, u32)> {
    let mut end = 0;
    for part in name.split('.') {
        if let Ok(number) = part.parse() {
            return Some((&name[..end], number));
        }
        end += part.len() + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        load::Declaration,
        weights::{Checkpoint, Memory},
    };
    use record::{Bits, Precision};

    fn plan(names: &[&str]) -> LoadPlan {
        let list: String = names.iter().map(|name| format!("{name} 4 32\n")).collect();
        let source = Memory::new().with("list", list);
        let checkpoint = pollster::block_on(Checkpoint::listed(&source, "list", "values")).unwrap();
        let weights = Declaration::new(&checkpoint, &Precision::of(Bits::Fixed(4)));
        names.iter().for_each(|name| drop(weights.matrix(name, 4, 32).unwrap()));
        weights.finish(()).unwrap().plan().clone()
    }

    #[test]
    fn ends_of_each_tower_attention_and_what_has_no_block_are_critical() {
        let names = [
            "shared.weight",
            "encoder.block.0.mlp.weight",
            "encoder.block.1.mlp.weight",
            "encoder.block.1.SelfAttention.q.weight",
            "encoder.block.10.mlp.weight",
            "decoder.layers.3.fc1.weight",
            "decoder.layers.4.fc1.0.weight",
            "decoder.layers.4.self_attn.q_proj.weight",
            "decoder.layers.5.fc1.weight",
            "lm_head.weight",
        ];
        let critical = Critical::of(&plan(&names));
        let others: Vec<_> = names.iter().filter(|name| !critical.has(name)).collect();
        assert_eq!(others, [&"encoder.block.1.mlp.weight", &"decoder.layers.4.fc1.0.weight"]);
    }
}
