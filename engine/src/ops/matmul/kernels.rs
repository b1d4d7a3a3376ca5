//! Which kernels a product can have.

use crate::{
    device::{Geometry, Gpu, Kernel},
    ops::{Activation, Choice},
    quant::Format,
};

/// Rows of `x` up to which each is treated on its own.
pub(super) const FEW_ROWS: usize = 4;

/// Teams of invocations, each of which has some rows of the matrix and one of `x`.
const MATVEC: [Kernel; 2] = [
    Kernel::new("matvec", Geometry::elements(16)).for_software().with("WIDE", 1).with("ROWS", 4),
    Kernel::new("matvec", Geometry::elements(64)).with("WIDE", 1).with("ROWS", 4),
];
/// The same in integers, each workgroup rounding `x` for itself.
const DIGITS: Kernel = Kernel::new("matvec_digits", Geometry::elements(256))
    .with("DIGITS", 1)
    .with("WIDE", 1)
    .with("ROWS", 2);
/// The same of `x` that [`ROUND`] has rounded.
const ROUNDED_DIGITS: Kernel = Kernel::new("matvec_digits", Geometry::elements(128))
    .with("DIGITS", 1)
    .with("WIDE", 1)
    .with("ROWS", 4)
    .with("ROUNDED", 1);
/// Half a chunk of activations an invocation.
pub(super) const ROUND: Kernel = Kernel::new("round_rows", Geometry::elements(64));

/// Rows of the matrix from which on so many workgroups would round `x` that it is done once before.
const MANY_OUTPUTS: usize = 8192;

/// A square of outputs a workgroup, 4 × 4 of them an invocation.
const MATMUL: [Kernel; 2] = [
    Kernel::new("matmul", Geometry { workgroup: 16, tile: [16, 16], folded: false }).for_software(),
    Kernel::new("matmul", Geometry { workgroup: 64, tile: [32, 32], folded: false }),
];

/// The kernels for `rows` rows of `x` and `outputs` rows of the matrix, the preferred one first.
pub(super) fn kernels(rows: usize, outputs: usize, format: Format) -> Vec<Kernel> {
    if rows <= FEW_ROWS {
        return few_rows(outputs, format);
    }
    let [small, large] = MATMUL.map(|kernel| format.define(kernel));
    // 16-bit weights stay at 16 bits in workgroup memory, where there are such numbers.
    let by_halves = large.switched("F16", format == Format::F16);
    vec![small, by_halves, large]
}

/// The same with both halves of a gated product of few rows.
pub(super) fn gated_kernels(outputs: usize, format: Format) -> Vec<Kernel> {
    let gate = Activation::Silu as u32;
    let gated = |kernel: Kernel| kernel.with("GATED", 1).with("KIND", gate);
    few_rows(outputs, format).into_iter().map(gated).collect()
}

fn few_rows(outputs: usize, format: Format) -> Vec<Kernel> {
    let [for_software, floats] = MATVEC.map(|kernel| format.define(kernel));
    let digits = if outputs < MANY_OUTPUTS { DIGITS } else { ROUNDED_DIGITS };
    let digits = matches!(format, Format::Grouped { .. }).then(|| format.define(digits));
    let kernels = [Some(for_software), digits, Some(floats)];
    kernels.into_iter().flatten().flat_map(Kernel::or_by_subgroups).collect()
}

/// The first kernel that can be had with all that it needs before it.
pub(super) fn choose(gpu: &Gpu, kernels: Vec<Kernel>) -> Option<Kernel> {
    let can_round = gpu.choose([ROUND]).is_some();
    gpu.choose(kernels.into_iter().filter(|kernel| can_round || kernel.value("ROUNDED") == 0))
}

/// Outputs of a team.
pub(super) fn team_outputs(kernel: &Kernel) -> usize {
    let rows = kernel.value("ROWS") as usize;
    if kernel.value("GATED") != 0 { rows / 2 } else { rows }
}

/// Invocations of a team, for rows of so many chunks: at most a chunk each, as those without one wait at
/// every barrier; at least as many as add up by a subgroup of a software adapter, and at most as many as
/// do on a GPU, or twice as many where rows are very long.
pub(super) fn team(chunks: usize, kernel: &Kernel) -> usize {
    let most = if chunks < 512 { 32 } else { 64 };
    chunks.next_power_of_two().clamp(8, most.min(kernel.geometry.workgroup) as usize)
}

pub(in crate::ops) fn choices() -> Vec<Choice> {
    let mut choices = vec![Choice::new("matmul", "activations for integer products", [ROUND])];
    for format in Format::all() {
        for (outputs, name) in [(1, "few"), (MANY_OUTPUTS, "many")] {
            let call = format!("{format}, few rows, {name} outputs");
            choices.push(Choice::new("matmul", call.clone(), kernels(1, outputs, format)));
            choices.push(Choice::new("project", call + ", gated", gated_kernels(outputs, format)));
        }
        let call = format!("{format}, many rows");
        choices.push(Choice::new("matmul", call, kernels(FEW_ROWS + 1, 1, format)));
    }
    choices
}
