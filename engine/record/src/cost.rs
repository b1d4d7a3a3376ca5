//! What a pass has to compute and to move.

use serde::{Deserialize, Serialize};
use std::{
    iter::Sum,
    ops::{Add, AddAssign},
};

/// What a pass takes at least, or a part of one, whatever the kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Arithmetic of the ops' definitions: a product and its sum are two operations, a function such as
    /// `exp` is one. What a kernel does besides, to find numbers or to unpack them, is not counted.
    pub operations: u64,
    /// Bytes of the inputs, each read once; those of packed weights with their scales and padding.
    pub read_bytes: u64,
    /// Bytes of the output.
    pub written_bytes: u64,
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            operations: self.operations + other.operations,
            read_bytes: self.read_bytes + other.read_bytes,
            written_bytes: self.written_bytes + other.written_bytes,
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), Cost::add)
    }
}
