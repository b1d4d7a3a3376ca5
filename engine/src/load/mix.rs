//! Adaptive precision: from a plan in which all matrices have one format to one in which each has its own.

use super::{Declared, Entry, LoadPlan, Step, artefact, critical::Critical, plan};
use crate::{
    error::{Error, Result},
    quant::Format,
    weights::Artefact,
};
use record::{Bits, Mix, Precision, Quantizer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Digits of a precision plan's hash that tell it from others.
const DIGITS: usize = 12;

/// The format of each matrix of a model, as a file says it: `{"formats": {"lm_head.weight": "q8 symmetric g32"}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrecisionPlan {
    /// By the names that matrices have in a load plan; those that are tied to others have none of their own.
    pub formats: BTreeMap<String, Format>,
}

impl PrecisionPlan {
    /// What it is called in a precision: the beginning of its SHA-256.
    pub fn mix(&self) -> Mix {
        let mut hash = plan::hash(self);
        hash.truncate(DIGITS);
        Mix::Plan(hash)
    }
}

impl LoadPlan {
    /// The formats of its matrices.
    pub fn precision_plan(&self) -> PrecisionPlan {
        let own = self.entries.iter().filter(|entry| entry.is_matrix() && !entry.is_tied());
        PrecisionPlan { formats: own.map(|entry| (entry.name.clone(), entry.format)).collect() }
    }

    /// Mixes widths: as an artefact has them, or by a rule. `precision` says what else formats have.
    pub(super) fn mix_as(
        &mut self,
        mix: &Mix,
        precision: &Precision,
        artefact: Option<&Artefact>,
    ) -> Result<()> {
        match (artefact, mix) {
            (Some(artefact), _) => artefact::mix(self, artefact, (mix, precision.quantizer)),
            (None, Mix::Rule { bits, critical }) => {
                let names = Critical::of(self);
                let format = |bits: &u8| {
                    Format::of(&Precision { bits: Bits::Fixed(*bits), ..precision.clone() })
                };
                let [bits, critical] = [format(bits)?, format(critical)?];
                self.mix(precision.quantizer, |entry| {
                    Ok(if names.has(&entry.name) { critical } else { bits })
                })
            }
            (None, Mix::Plan(hash)) => Err(Error::unsupported(format!(
                "weights by the precision plan {hash} are packed before they are loaded: see harness \
                 pack-weights --plan"
            ))),
        }
    }

    /// Gives each matrix the format that `choose` names; what is tied to one has that of the other.
    pub(super) fn mix(
        &mut self,
        quantizer: Quantizer,
        mut choose: impl FnMut(&Entry) -> Result<Format>,
    ) -> Result<()> {
        for at in 0..self.entries.len() {
            let entry = &self.entries[at];
            if !entry.is_matrix() {
                continue;
            }
            let format = match entry.steps.first() {
                Some(Step::Tied { to } | Step::TiedIfEqual { to, .. }) => {
                    self.entries[self.position(to)].format
                }
                _ => choose(entry)?,
            };
            self.entries[at].store_as(format, quantizer);
        }
        Ok(())
    }
}

impl Entry {
    /// Whether it is another's matrix, or will be if the file holds the same for both.
    pub(super) fn is_tied(&self) -> bool {
        matches!(self.steps.first(), Some(Step::Tied { .. } | Step::TiedIfEqual { .. }))
    }

    /// Changes the format of a matrix.
    fn store_as(&mut self, format: Format, by: Quantizer) {
        self.format = format;
        if self.tied_to().is_some() {
            return;
        }
        self.steps.retain(|step| {
            !matches!(step, Step::Quantise { .. } | Step::TakeBlocks | Step::TakeCodes)
        });
        if matches!(format, Format::Grouped { .. }) {
            self.steps.push(Step::Quantise { by });
        }
        let size = self.size();
        match self.steps.first_mut() {
            Some(Step::TiedIfEqual { otherwise, .. }) => *otherwise = size,
            _ => self.bytes = size,
        }
    }
}

impl<T> Declared<T> {
    /// The same with the formats of a precision plan, which has one for each matrix and no others.
    pub(crate) fn mixed(mut self, formats: &PrecisionPlan, quantizer: Quantizer) -> Result<Self> {
        let PrecisionPlan { formats } = formats;
        self.plan.mix(quantizer, |entry| {
            formats.get(&entry.name).copied().ok_or_else(|| {
                Error::tensor(
                    &entry.name,
                    "has no format in the precision plan: is it of another model?",
                )
            })
        })?;
        let known = |name: &&String| {
            self.plan.entries.iter().any(|entry| entry.is_matrix() && entry.name == **name)
        };
        match formats.keys().find(|name| !known(name)) {
            Some(name) => {
                let message = "is in the precision plan and is no matrix of this model";
                Err(Error::tensor(name, message))
            }
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::Device,
        load::{Declaration, Slot},
        quant::Matrix,
        testing::normal,
        weights::{Checkpoint, Memory},
    };
    use pollster::block_on;

    const NAMES: [&str; 5] = [
        "embed.weight",
        "layers.0.fc.weight",
        "layers.1.fc.weight",
        "layers.1.attn.weight",
        "layers.2.fc.weight",
    ];

    fn source() -> (Memory, Checkpoint) {
        let list: String = NAMES.iter().map(|name| format!("{name} 8 64\n")).collect();
        let values: Vec<u8> =
            normal(3, NAMES.len() * 8 * 64).into_iter().flat_map(f32::to_le_bytes).collect();
        let source = Memory::new().with("list", list).with("values", values);
        let checkpoint = block_on(Checkpoint::listed(&source, "list", "values")).unwrap();
        (source, checkpoint)
    }

    /// All matrices, and a head that is tied to the first.
    fn declared(checkpoint: &Checkpoint, at: &str) -> Result<Declared<Vec<Slot<Matrix>>>> {
        let weights = Declaration::new(checkpoint, &at.parse().unwrap());
        let mut model: Vec<_> =
            NAMES.iter().map(|name| weights.matrix(name, 8, 64).unwrap()).collect();
        model.push(weights.tied("head.weight", NAMES[0], &model[0])?);
        weights.finish(model)
    }

    fn widths(plan: &LoadPlan) -> Vec<u32> {
        plan.entries.iter().map(|entry| entry.format.bits()).collect()
    }

    #[test]
    fn a_rule_gives_more_bits_to_what_is_critical_and_sums_stay_true() {
        let (source, checkpoint) = source();
        let uniform = declared(&checkpoint, "4").unwrap();
        let mixed = declared(&checkpoint, "adaptive").unwrap();
        assert_eq!(widths(mixed.plan()), [8, 8, 4, 8, 8, 8]);
        assert!(mixed.plan().bytes() > uniform.plan().bytes());
        let other = declared(&checkpoint, "adaptive plan=2+16 asymmetric g64").unwrap();
        assert_eq!(widths(other.plan()), [16, 16, 2, 16, 16, 16]);
        for declared in [mixed, other] {
            let bytes = declared.plan().bytes();
            let loaded = block_on(declared.load(&source, &Device::cpu(), &|_, _| ())).unwrap();
            assert_eq!(loaded.allocated, bytes);
            assert_eq!(loaded.model[0].id(), loaded.model[5].id(), "tied");
        }
    }

    #[test]
    fn a_plan_is_read_as_it_is_written_and_told_by_its_hash() {
        let (_, checkpoint) = source();
        let plan = declared(&checkpoint, "adaptive").unwrap().plan().precision_plan();
        assert_eq!(plan.formats.len(), NAMES.len(), "what is tied has no format of its own");
        let json = serde_json::to_string(&plan).unwrap();
        assert!(json.contains("\"layers.1.fc.weight\":\"q4 symmetric g32\""), "{json}");
        assert_eq!(serde_json::from_str::<PrecisionPlan>(&json).unwrap(), plan);
        let mut other = plan.clone();
        other.formats.insert(NAMES[2].to_owned(), "q3 symmetric g32".parse().unwrap());
        assert_ne!(other.mix(), plan.mix());
        assert_eq!(plan.mix().to_string().parse(), Ok(plan.mix()));
        let of = |at: &str, plan: &PrecisionPlan| {
            declared(&checkpoint, at).unwrap().mixed(plan, Quantizer::Rtn)
        };
        assert_eq!(widths(of("4", &other).unwrap().plan()), [8, 8, 3, 8, 8, 8]);
        other.formats.insert("lm_head.weight".to_owned(), Format::F16);
        let stranger = of("4", &other).err().unwrap().to_string();
        assert!(stranger.contains("lm_head.weight"), "{stranger}");
        other.formats.remove(NAMES[1]);
        let missing = of("4", &other).err().unwrap().to_string();
        assert!(missing.contains(NAMES[1]) && missing.contains("no format"), "{missing}");
    }

    #[test]
    fn weights_of_a_plan_are_not_mixed_while_they_are_loaded() {
        let (_, checkpoint) = source();
        let precision: Precision = "adaptive plan=0123456789ab".parse().unwrap();
        assert_eq!(precision.bits, Bits::Adaptive);
        let error = declared(&checkpoint, "adaptive plan=0123456789ab").err().unwrap().to_string();
        assert!(error.contains("0123456789ab") && error.contains("pack-weights --plan"), "{error}");
    }
}
