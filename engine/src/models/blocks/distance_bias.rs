//! Biases on the scores of attention by how far a key lies from its query, as T5 learns them for
//! buckets of distances.

use crate::{
    device::Device,
    error::{Error, Result},
    load::{Declaration, Slot},
    models::Config,
    tensor::Tensor,
};

/// Most elements of a table of biases, which grows with the square of the length.
const MAX_BIAS: usize = 1 << 25;

/// Addends on scores by the distance of a key from a query, `[buckets, H]`.
pub struct DistanceBias {
    values: Slot<Vec<f32>>,
    heads: usize,
    buckets: Buckets,
}

impl DistanceBias {
    /// The biases of the stack whose tensors are under `root`, which is `encoder` or `decoder`.
    pub fn declare(
        config: &Config,
        weights: &Declaration<'_>,
        root: &str,
        heads: usize,
    ) -> Result<DistanceBias> {
        let count = config.size_or("relative_attention_num_buckets", Some(32))?;
        let farthest = config.size_or("relative_attention_max_distance", Some(128))?;
        let buckets = Buckets { count, farthest, both_ways: root == "encoder" };
        if buckets.exact() == 0 || farthest <= buckets.exact() {
            let message = format!("{farthest} is too near for {count} buckets");
            return Err(Error::config("relative_attention_max_distance", message));
        }
        let name = format!("{root}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
        Ok(DistanceBias { values: weights.values(&name, &[count, heads])?, heads, buckets })
    }

    /// `[1, H, length, length]` for [`Attention::bias`].
    pub fn table(&self, device: &Device, length: usize, input: &str) -> Result<Tensor> {
        let count = self.heads.saturating_mul(length).saturating_mul(length);
        if count > MAX_BIAS {
            let message = format!("{length} tokens need {count} biases, {MAX_BIAS} are supported");
            return Err(Error::input(input, message));
        }
        let mut table = Vec::with_capacity(count);
        for head in 0..self.heads {
            for query in 0..length {
                let bucket = |key| self.buckets.of(key as i64 - query as i64);
                table.extend((0..length).map(|key| self.values[bucket(key) * self.heads + head]));
            }
        }
        Ok(device.upload(&[1, self.heads, length, length], table))
    }
}

/// How distances are put into buckets: near ones into their own, far ones by their logarithm.
#[derive(Clone, Copy)]
struct Buckets {
    count: usize,
    /// From here on all distances share the last bucket.
    farthest: usize,
    /// Whether keys behind the query have buckets of their own.
    both_ways: bool,
}

impl Buckets {
    /// Buckets of one direction.
    fn side(self) -> usize {
        if self.both_ways { self.count / 2 } else { self.count }
    }

    /// Distances that have a bucket of their own.
    fn exact(self) -> usize {
        self.side() / 2
    }

    /// `T5Attention._relative_position_bucket` in transformers, rounded where it rounds.
    fn of(self, distance: i64) -> usize {
        let behind = if self.both_ways && distance > 0 { self.side() } else { 0 };
        let far = match self.both_ways {
            true => distance.unsigned_abs() as usize,
            false => (-distance).max(0) as usize,
        };
        let exact = self.exact();
        if far < exact {
            return behind + far;
        }
        let whole = (self.farthest as f64 / exact as f64).ln() as f32;
        let share = f64::from(far as f32 / exact as f32).ln() as f32 / whole;
        let bucket = exact + (share * (self.side() - exact) as f32) as usize;
        behind + bucket.min(self.side() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `T5Attention._relative_position_bucket` of transformers 5.23.
    #[test]
    fn distances_fall_into_the_buckets_of_transformers() {
        let distances = [-200, -128, -127, -33, -16, -15, -8, -7, -1, 0, 1, 7, 8, 16, 33, 200];
        let both = Buckets { count: 32, farthest: 128, both_ways: true };
        let expected = [15, 15, 15, 12, 10, 9, 8, 7, 1, 0, 17, 23, 24, 26, 28, 31];
        assert_eq!(distances.map(|distance| both.of(distance)), expected);
        let back = Buckets { both_ways: false, ..both };
        let expected = [31, 31, 31, 21, 16, 15, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(distances.map(|distance| back.of(distance)), expected);
    }
}
