//! A limit on memory, which adaptive widths keep: they become smaller, matrix by matrix, until all weights fit.
//!
//! No data says here what a matrix can do without. The harm of a width is taken to be the share of a matrix's
//! squares that rounding loses at it, times the matrix's weights, and a few times that where a model is thought to
//! depend on a matrix most (`critical.rs`); the knapsack does the rest. `harness quantize` measures instead.

use super::{Choice, Declared, Harm, LoadPlan, PrecisionPlan, critical::Critical, within};
use crate::{
    error::{Error, Result},
    quant::Format,
};
use record::{Bits, MemoryLimit, Mix, Precision};

/// How much more a loss counts in a matrix that is critical. A bit more or less is a factor of four, so these keep one more.
const CRITICAL: f64 = 4.0;

/// What rounding to nearest loses of the squares of weights with a normal distribution, in groups of 32.
fn lost(bits: u32) -> f64 {
    match bits {
        2 => 0.1,
        3 => 0.026,
        4 => 0.0065,
        8 => 0.000_03,
        _ => 0.0,
    }
}

impl<T> Declared<T> {
    /// The same, its weights within what `limit` leaves beside `cache` bytes of a key-value cache.
    ///
    /// # Errors
    /// When the precision fixes all widths and they take more, or even the smallest widths do.
    pub(crate) fn within(
        mut self,
        limit: MemoryLimit,
        cache: u64,
        precision: &Precision,
    ) -> Result<Self> {
        let all = self.plan.bytes() + cache;
        if all <= limit.bytes {
            return Ok(self);
        }
        let is_fixed = precision.bits != Bits::Adaptive
            || self.artefact.is_some()
            || matches!(precision.mix(), Some(Mix::Plan(_)));
        if is_fixed {
            let advice = match self.artefact {
                Some(_) => "its weights are packed in fixed widths: pack it in fewer bits",
                None => "fewer --bits, or --bits adaptive, which takes what there is",
            };
            return Err(refused(limit, all, cache, advice));
        }
        let room = limit.bytes.saturating_sub(cache);
        let plan = self.plan.smaller(room, precision).map_err(|smallest| {
            refused(limit, smallest + cache, cache, "a smaller model, or fewer tokens")
        })?;
        self = self.mixed(&plan, precision.quantizer)?;
        Ok(self)
    }
}

impl LoadPlan {
    /// Formats by which all weights take at most `room` bytes, each matrix at most as wide as it is here. An error
    /// says how many bytes the smallest take.
    pub(crate) fn smaller(&self, room: u64, precision: &Precision) -> Result<PrecisionPlan, u64> {
        let critical = Critical::of(self);
        let own: Vec<_> =
            self.entries.iter().filter(|entry| entry.is_matrix() && !entry.is_tied()).collect();
        let formats: Vec<Format> = Mix::WIDTHS
            .iter()
            .filter_map(|bits| {
                let bits = Bits::Fixed(*bits);
                Format::of(&Precision { bits, plan: None, ..precision.clone() }).ok()
            })
            .collect();
        let harm = |entry: &&super::Entry| {
            let weight = if critical.has(&entry.name) { CRITICAL } else { 1.0 };
            let own = std::iter::once(&entry.format);
            let narrower = formats.iter().filter(|format| format.bits() < entry.format.bits());
            let choice = |format: &Format| {
                let mut stored = (*entry).clone();
                stored.format = *format;
                let harm = lost(format.bits()) * weight * entry.weights() as f64;
                Choice { format: *format, bytes: stored.size(), harm }
            };
            let choices = own.chain(narrower).map(choice).collect();
            Harm { name: entry.name.clone(), weights: entry.weights(), choices }
        };
        let harms: Vec<Harm> = own.iter().map(harm).collect();
        let beside = self.bytes() - own.iter().map(|entry| entry.bytes).sum::<u64>();
        let Some(room) = room.checked_sub(beside) else {
            let least = within(&harms, 0).err().unwrap_or(0);
            return Err(least + beside);
        };
        within(&harms, room).map_err(|least| least + beside)
    }
}

fn refused(limit: MemoryLimit, needed: u64, cache: u64, advice: &str) -> Error {
    let needed = MemoryLimit { bytes: needed };
    let of_which = match cache {
        0 => String::new(),
        _ => format!(", {} of it key-value cache", MemoryLimit { bytes: cache }),
    };
    Error::unsupported(format!(
        "--memory-limit {limit}: weights and cache take {needed}{of_which}, which is the smallest limit that would \
         do; or {advice}"
    ))
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{
        device::Device,
        load::{Declaration, Slot},
        quant::{Matrix, MatrixBuilder, RoundToNearest},
        testing::normal,
        weights::{Checkpoint, Memory},
    };
    use pollster::block_on;

    const LAYERS: usize = 12;

    fn declared(precision: &Precision) -> Declared<Vec<Slot<Matrix>>> {
        let names = || {
            let layers = (0..LAYERS).flat_map(|at| {
                [(format!("layers.{at}.attn.weight"), 64), (format!("layers.{at}.fc.weight"), 256)]
            });
            [("embed.weight".to_owned(), 512)].into_iter().chain(layers)
        };
        let list: String = names().map(|(name, rows)| format!("{name} {rows} 128\n")).collect();
        let source = Memory::new().with("list", list + "norm.weight 128\n");
        let checkpoint = block_on(Checkpoint::listed(&source, "list", "values")).unwrap();
        let weights = Declaration::new(&checkpoint, precision);
        weights.vector("norm.weight", 128).unwrap();
        let mut model: Vec<_> =
            names().map(|(name, rows)| weights.matrix(&name, rows, 128).unwrap()).collect();
        model.push(weights.tied("head.weight", "embed.weight", &model[0]).unwrap());
        weights.finish(model).unwrap()
    }

    fn limited(bytes: u64, cache: u64, at: &str) -> Result<LoadPlan> {
        let precision: Precision = at.parse().unwrap();
        let declared = declared(&precision).within(MemoryLimit { bytes }, cache, &precision);
        Ok(declared?.plan)
    }

    #[test]
    fn adaptive_widths_come_within_a_hundredth_below_the_limit() {
        let whole = limited(u64::MAX, 0, "adaptive").unwrap();
        assert_eq!(limited(whole.bytes(), 0, "adaptive").unwrap(), whole, "nothing is lowered");
        let least = declared(&"2".parse().unwrap()).plan.bytes();
        for share in [1.0, 1.1, 1.3, 1.6] {
            let bytes = (least as f64 * share) as u64;
            let plan = limited(bytes + 500, 500, "adaptive").unwrap();
            assert!(plan.bytes() <= bytes && plan.bytes() * 100 >= bytes * 99, "{share}");
            let narrower = |(a, b): (&super::super::Entry, &super::super::Entry)| {
                a.format.bits() <= b.format.bits()
            };
            assert!(plan.entries.iter().zip(&whole.entries).all(narrower));
        }
    }

    #[test]
    fn what_is_critical_keeps_a_bit_more() {
        let bytes = |bits: &str| declared(&bits.parse().unwrap()).plan.bytes();
        let plan = limited(bytes("3").midpoint(bytes("4")), 0, "adaptive").unwrap();
        let bits = |name: &str| plan.entries[plan.position(name)].format.bits();
        assert!(bits("layers.5.attn.weight") > bits("layers.5.fc.weight"));
    }

    #[test]
    fn what_cannot_be_met_is_refused_with_the_smallest_size() {
        let fixed = declared(&"4".parse().unwrap()).plan.bytes();
        let error = limited(fixed + 99, 100, "4").unwrap_err().to_string();
        let size = MemoryLimit { bytes: fixed + 100 }.to_string();
        assert!(error.contains(&size) && error.contains("0.0001MB of it key-value"), "{error}");
        assert!(limited(fixed + 100, 100, "4").is_ok());
        let least = declared(&"2".parse().unwrap()).plan.bytes();
        for bytes in [1, least - 1] {
            let error = limited(bytes, 0, "adaptive").unwrap_err().to_string();
            let size = MemoryLimit { bytes: least }.to_string();
            assert!(error.contains(&size) && error.contains("a smaller model"), "{error}");
        }
    }

    /// The figures that the rule goes by are those of the quantiser.
    #[test]
    fn rounding_loses_what_the_rule_says() {
        let values = normal(5, 256 * 256);
        for bits in [2, 3, 4, 8] {
            let format = Format::Grouped { bits, asymmetric: false, group: 32 };
            let device = Device::cpu();
            let mut builder = MatrixBuilder::new(&device, "w", 256, 256, format);
            builder.push_f32(&values, &RoundToNearest).unwrap();
            let matrix = builder.finish();
            let (mut row, mut error) = (vec![0.0; 256], 0.0);
            for (at, exact) in values.chunks_exact(256).enumerate() {
                matrix.dequantise_row(at, &mut row);
                error += row.iter().zip(exact).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            }
            let share = error / values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            let said = lost(u32::from(bits));
            assert!((share / said - 1.0).abs() < 0.3, "{bits} bits: {share}, not {said}");
        }
    }
}
