//! Which kernels a product can have.

use crate::{
    device::{Geometry, Gpu, Kernel},
    ops::{Activation, Choice},
    quant::Format,
};

/// Rows of `x` up to which each is treated on its own in floats.
const FEW_ROWS: usize = 4;
/// Rows of `x` up to which four of them are treated at once in integers.
const SEVERAL_ROWS: usize = 64;

/// Teams of invocations, each of which has some rows of the matrix and one of `x`.
const MATVEC: [Kernel; 2] = [
    Kernel::new("matvec", Geometry::elements(16)).for_software().with("WIDE", 1).with("ROWS", 4),
    Kernel::new("matvec", Geometry::elements(64)).with("WIDE", 1).with("ROWS", 4),
];
/// The same in integers, each workgroup rounding `x` for itself.
const DIGITS: Kernel = Kernel::new("matvec_digits", Geometry::elements(256))
    .for_hardware()
    .with("WIDE", 1)
    .with("ROWS", 2);
/// The same of `x` that [`ROUND`] has rounded, one row of it or several.
const ROUNDED_DIGITS: [Kernel; 2] = [rounded_digits(1), rounded_digits(4)];
const fn rounded_digits(rows: u32) -> Kernel {
    let workgroup = if rows == 1 { 128 } else { 64 };
    Kernel::new("matvec_digits", Geometry { workgroup, tile: [workgroup, rows], folded: true })
        .for_hardware()
        .with("WIDE", 1)
        .with("ROWS", 4)
        .with("ROUNDED", 1)
}
/// Half a chunk of activations an invocation.
pub(super) const ROUND: Kernel = Kernel::new("round_rows", Geometry::elements(64));

/// Rows of the matrix from which on so many workgroups would round `x` that it is done once before.
const MANY_OUTPUTS: usize = 8192;

/// For software adapters a small square of outputs a workgroup, 4 × 4 of them an invocation.
const SMALL: Kernel =
    Kernel::new("matmul", Geometry { workgroup: 16, tile: [16, 16], folded: false }).for_software();
/// A large square, 8 × 4 outputs an invocation.
const SLABS: Kernel =
    Kernel::new("matmul_slabs", Geometry { workgroup: 128, tile: [64, 64], folded: false })
        .for_hardware();
/// Large squares from which on there are enough to keep a GPU busy.
const MANY_SQUARES: usize = 128;
/// Where there are fewer, four teams that share the sums of a smaller one.
const TEAMS: Kernel =
    Kernel::new("matmul_teams", Geometry { workgroup: 256, tile: [32, 32], folded: false })
        .for_hardware();

/// The kernels for `rows` rows of `x` and `outputs` rows of the matrix, the preferred one first.
pub(super) fn kernels(rows: usize, outputs: usize, format: Format) -> Vec<Kernel> {
    let mut kernels = few_rows(rows, outputs, format);
    if rows > FEW_ROWS {
        let [height, width] = [rows, outputs].map(|size| size.div_ceil(64));
        let is_busy = height * width >= MANY_SQUARES;
        let [first, second] = if is_busy { [SLABS, TEAMS] } else { [TEAMS, SLABS] };
        kernels.extend([SMALL, first, second].map(|kernel| format.define(kernel)));
    }
    kernels
}

/// Those of them that can have something around the product, or both halves of a gated one.
pub(super) fn fused_kernels(
    rows: usize,
    outputs: usize,
    format: Format,
    gated: bool,
) -> Vec<Kernel> {
    let kernels = few_rows(rows, outputs, format).into_iter();
    let gate = Activation::Silu as u32;
    match gated {
        true => kernels.map(|kernel| kernel.with("GATED", 1).with("KIND", gate)).collect(),
        false => kernels.collect(),
    }
}

fn few_rows(rows: usize, outputs: usize, format: Format) -> Vec<Kernel> {
    let [for_software, floats] = MATVEC.map(|kernel| (rows <= FEW_ROWS).then_some(kernel));
    let [of_one, of_several] = ROUNDED_DIGITS;
    let digits = match rows {
        1 if outputs < MANY_OUTPUTS => Some(DIGITS),
        1 => Some(of_one),
        _ => (rows <= SEVERAL_ROWS).then_some(of_several),
    };
    let digits = digits.filter(|_| matches!(format, Format::Grouped { .. }));
    let kernels = [for_software, digits, floats].into_iter().flatten();
    kernels.flat_map(|kernel| format.define(kernel).or_by_subgroups()).collect()
}

/// Whether a kernel is one of [`fused_kernels`], whose teams have rows.
pub(super) fn is_for_few(kernel: &Kernel) -> bool {
    kernel.value("ROWS") != 0
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
        for (rows, outputs, name) in [
            (1, 1, "a row, few outputs"),
            (1, MANY_OUTPUTS, "a row, many outputs"),
            (2, 1, "few rows"),
            (FEW_ROWS + 1, 1, "several rows"),
            (SEVERAL_ROWS + 1, 1, "many rows"),
            (SEVERAL_ROWS + 1, MANY_SQUARES * 64, "many rows, many outputs"),
        ] {
            let call = format!("{format}, {name}");
            choices.push(Choice::new("matmul", call, kernels(rows, outputs, format)));
            if rows <= FEW_ROWS {
                let gated = fused_kernels(rows, outputs, format, true);
                choices.push(Choice::new("project", format!("{format}, {name}, gated"), gated));
            } else if rows <= SEVERAL_ROWS && matches!(format, Format::Grouped { .. }) {
                // Where there is none, gate and product are two.
                let gated = fused_kernels(rows, outputs, format, true);
                let apart = kernels(rows, outputs, format);
                let all = gated.into_iter().chain(apart);
                choices.push(Choice::new("project", format!("{format}, {name}, gated"), all));
            }
        }
    }
    choices
}
