//! Which kernels a product can have.

use crate::{
    device::{Geometry, Kernel},
    ops::{Activation, Choice},
    quant::Format,
};

/// Rows of `x` up to which each is treated on its own.
pub(super) const FEW_ROWS: usize = 4;

/// Teams of invocations, each of which has four rows of the matrix and one of `x`.
const MATVEC: [Kernel; 2] = [
    Kernel::new("matvec", Geometry::elements(16)).for_software().with("WIDE", 1),
    Kernel::new("matvec", Geometry::elements(64)).with("WIDE", 1),
];
/// Rows of the matrix that a team has.
pub(super) const TEAM_ROWS: usize = 4;

/// A square of outputs a workgroup, 4 × 4 of them an invocation.
const MATMUL: [Kernel; 2] = [
    Kernel::new("matmul", Geometry { workgroup: 16, tile: [16, 16], folded: false }).for_software(),
    Kernel::new("matmul", Geometry { workgroup: 64, tile: [32, 32], folded: false }),
];

/// The kernels for `rows` rows of `x`, the preferred one first.
pub(super) fn kernels(rows: usize, format: Format) -> [Kernel; 4] {
    if rows <= FEW_ROWS {
        return by_subgroups(MATVEC.map(|kernel| format.define(kernel)));
    }
    let [small, large] = MATMUL.map(|kernel| format.define(kernel));
    // 16-bit weights stay at 16 bits in workgroup memory, where there are such numbers.
    let by_halves = large.switched("F16", format == Format::F16);
    [small, by_halves, large, large]
}

/// The same with both halves of a gated product.
pub(super) fn gated_kernels(format: Format) -> [Kernel; 4] {
    let gate = Activation::Silu as u32;
    by_subgroups(MATVEC.map(|kernel| format.define(kernel).with("GATED", 1).with("KIND", gate)))
}

fn by_subgroups(kernels: [Kernel; 2]) -> [Kernel; 4] {
    let [[a, b], [c, d]] = kernels.map(Kernel::or_by_subgroups);
    [a, b, c, d]
}

/// Invocations of a team, for rows of so many chunks: at most a chunk each, as those without one wait at
/// every barrier; at least as many as add up by a subgroup of a software adapter, and at most as many as
/// do on a GPU.
pub(super) fn team(chunks: usize, kernel: &Kernel) -> usize {
    let most = kernel.geometry.workgroup.min(32);
    chunks.next_power_of_two().clamp(8, most as usize)
}

pub(in crate::ops) fn choices() -> Vec<Choice> {
    let mut choices = Vec::new();
    for format in Format::all() {
        for (rows, name) in [(1, "few"), (FEW_ROWS + 1, "many")] {
            let call = format!("{format}, {name} rows");
            choices.push(Choice::new("matmul", call, kernels(rows, format)));
        }
        let call = format!("{format}, few rows, gated");
        choices.push(Choice::new("project", call, gated_kernels(format)));
    }
    choices
}
