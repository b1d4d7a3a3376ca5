//! One op a file: what a call makes and takes, told from shapes; guards, the kernels that can do it and
//! the GPU's dispatch, the CPU's path, a check for the user's device and a test against something
//! plainer.
//!
//! Model code calls these functions and nothing else. On a GPU they record and return at once; on
//! the CPU they compute. An op that is left without a working kernel is computed by the CPU in the
//! middle of the GPU's pass (`host.rs`). A wrong shape is a mistake in a model file, not in its input, and panics.

mod activation;
mod add_positions;
mod argmax;
mod attention;
mod binary;
mod blend;
mod choice;
mod concat;
mod conv;
mod embed;
mod emit_token;
mod exp;
mod feed_forward;
mod gather_rows;
mod group_norm;
mod host;
mod kv_append;
mod layer_norm;
#[cfg(feature = "infer")]
mod log_mel;
mod matmul;
mod max_pool;
mod mean_pool;
mod pad_columns;
mod place_rows;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod planted;
mod project;
mod rms_norm;
mod rope;
mod rotate;
mod sample;
mod similarity;
mod softmax;

pub use activation::{Activation, activation, gate_halves, gated};
pub use add_positions::add_positions;
pub use argmax::argmax;
pub use attention::{
    Attention, KeysValues, MAX_WIDTH as MAX_HEAD_WIDTH, attention, self_attention,
};
pub use binary::{add, multiply};
pub use blend::blend;
pub use choice::{Choice, choices};
pub use concat::{concat, narrow};
pub use conv::{Window, conv};
pub use embed::embed;
pub use emit_token::emit_token;
pub use feed_forward::feed_forward;
pub use gather_rows::gather_rows;
pub use group_norm::group_norm;
pub use kv_append::kv_append;
pub use layer_norm::layer_norm;
#[cfg(feature = "infer")]
pub use log_mel::{kernels as log_mel_kernels, log_mel};
pub use matmul::matmul;
pub use max_pool::max_pool;
pub use mean_pool::mean_pool;
pub use pad_columns::pad_columns;
pub use place_rows::place_rows;
pub use project::{Projection, project};
pub use rms_norm::rms_norm;
pub use rope::{Angles, RopeScaling, rope};
pub use sample::{MAX_TOP_K, Sampling, sample};
pub use similarity::{similarity, unit_rows};
pub use softmax::softmax;

use crate::{device::Device, tensor::Tensor};
use std::cell::OnceCell;

/// Invocations in a workgroup of the elementwise and row kernels.
const WG: u32 = 64;

/// Runs an op on a device and gives its outputs.
pub type Run = dyn Fn(&Device) -> Vec<Tensor>;

/// An op run on small data, for the self-test of a user's device and for tests.
pub struct Check {
    /// Name of the op and its variant.
    pub op: String,
    /// Runs it on a device; the outputs are f32, or indices where `indices` is set.
    pub run: Box<Run>,
    /// Whether the outputs are indices, which must be equal.
    pub indices: bool,
    /// Whether it stores codes in a cache, of which the reference takes those that may be its own.
    pub stores: bool,
    /// What the reference gave.
    expected: OnceCell<Vec<Tensor>>,
}

impl Check {
    pub(crate) fn new(
        op: impl Into<String>,
        run: impl Fn(&Device) -> Vec<Tensor> + 'static,
    ) -> Check {
        let (op, run, expected) = (op.into(), Box::new(run), OnceCell::new());
        Check { op, run, indices: false, stores: false, expected }
    }

    /// The same, which stores codes in a cache or not.
    pub(crate) fn storing(self, stores: bool) -> Check {
        Check { stores, ..self }
    }

    fn indices(op: impl Into<String>, run: impl Fn(&Device) -> Vec<Tensor> + 'static) -> Check {
        Check { indices: true, ..Check::new(op, run) }
    }

    /// The outputs of the reference, which is asked once.
    pub(crate) fn expected(&self) -> &[Tensor] {
        self.expected.get_or_init(|| (self.run)(&Device::reference()))
    }
}

/// Every op's checks and, of those whose kernels are too many to check on every device, all.
#[cfg(test)]
pub(crate) fn all_checks() -> Vec<Check> {
    [
        checks(),
        attention::all_checks(),
        conv::all_checks(),
        embed::all_checks(),
        feed_forward::all_checks(),
        matmul::all_checks(),
        project::all_checks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Every op's checks.
pub fn checks() -> Vec<Check> {
    [
        activation::checks(),
        add_positions::checks(),
        argmax::checks(),
        attention::checks(),
        binary::checks(),
        blend::checks(),
        concat::checks(),
        conv::checks(),
        embed::checks(),
        emit_token::checks(),
        feed_forward::checks(),
        gather_rows::checks(),
        group_norm::checks(),
        kv_append::checks(),
        layer_norm::checks(),
        #[cfg(feature = "infer")]
        log_mel::checks(),
        matmul::checks(),
        max_pool::checks(),
        mean_pool::checks(),
        pad_columns::checks(),
        place_rows::checks(),
        project::checks(),
        rms_norm::checks(),
        rope::checks(),
        rotate::checks(),
        sample::checks(),
        similarity::checks(),
        softmax::checks(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::threads::tests::over;

    /// Of all ops, on every path of the CPU.
    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let checks: Vec<Check> = checks().into_iter().chain(matmul::all_checks()).collect();
        for check in checks {
            for device in [Device::cpu(), Device::reference()] {
                let run = || (check.run)(&device).iter().map(Tensor::words).collect::<Vec<_>>();
                let alone = run();
                for threads in [2, 3, 5] {
                    assert!(over(threads, run) == alone, "{} on {threads} threads", check.op);
                }
            }
        }
    }
}
