//! Which kernels a product can have: those that the rules here take, and behind them others that are right for
//! it as well, of which a tuning may take one.

use crate::{
    device::{Geometry, Gpu, Kernel},
    ops::{Activation, Choice, choice::up_to},
    quant::{CHUNK, Format},
};
use std::fmt;

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
const DIGITS: Kernel = digits(256, 2);
/// In smaller workgroups: where there are few outputs, large ones leave much of a GPU idle.
const SMALL_DIGITS: Kernel = digits(128, 2);
const fn digits(workgroup: u32, rows: u32) -> Kernel {
    let geometry = Geometry::elements(workgroup);
    Kernel::new("matvec_digits", geometry).for_hardware().with("WIDE", 1).with("ROWS", rows)
}
/// Several rows of `x` that [`ROUND`] has rounded.
const ROUNDED_ROWS: Kernel =
    rounded("matvec_rows", 4, Geometry { workgroup: 64, tile: [64, 4], folded: true });
/// One row that it has: fewer rows of the matrix to a team where bytes are most of what it waits for, or where there
/// would be few teams.
fn rounded_row(outputs: usize, format: Format) -> Kernel {
    let rows = if format.bits() == 8 || outputs < MANY_OUTPUTS { 2 } else { 4 };
    rounded(ROW, rows, Geometry::elements(128))
}
/// The same in smaller workgroups.
const SMALL_ROUNDED_ROW: Kernel = rounded(ROW, 2, Geometry::elements(64));
const ROW: &str = "matvec_row";
const fn rounded(source: &'static str, rows: u32, geometry: Geometry) -> Kernel {
    Kernel::new(source, geometry)
        .for_hardware()
        .with("WIDE", 1)
        .with("ROWS", rows)
        .with("ROUNDED", 1)
}
/// How an invocation goes along a row of so many chunks, as was fastest on an H200: by pairs, where there are such,
/// where it has to round before and codes are not of four bits, or where many long rows have two bits or three.
fn paced(kernel: Kernel, chunks: usize, format: Format) -> Kernel {
    let gains = match kernel.source {
        // Four rows of a pair of chunks are too much for registers at more than two bits.
        "matvec_digits" if kernel.value("ROWS") == 4 => format.bits() == 2,
        "matvec_digits" => format.bits() != 4,
        _ => can_be_paired(&kernel, format) && chunks >= MANY_CHUNKS,
    };
    if gains && chunks.is_multiple_of(2) { paired(kernel, format) } else { kernel }
}
fn can_be_paired(kernel: &Kernel, format: Format) -> bool {
    kernel.source == ROW && kernel.value("ROWS") == 4 && format.bits() <= 3
}
fn paired(kernel: Kernel, format: Format) -> Kernel {
    let has_minima = matches!(format, Format::Grouped { asymmetric: true, group: 32, .. });
    kernel.with("PAIRS", 1).switched("SHARED", !has_minima)
}

/// A gated row whose outputs are left rounded for the product behind it: a workgroup has a chunk of them, so its teams
/// are small.
const LEAVING: [Kernel; 2] = [digits(256, 4), rounded(ROW, 4, Geometry::elements(256))];
/// Chunks of a row up to which each of its workgroups rounds the row for itself at once.
const FEW_CHUNKS: usize = 96;

/// Half a chunk of activations an invocation.
pub(super) const ROUND: Kernel = Kernel::new("round_rows", Geometry::elements(64));

/// Rows of the matrix from which on so many workgroups would round `x` that it is done once before.
const MANY_OUTPUTS: usize = 8192;
/// Chunks of a row from which on that is so with any number of outputs.
const MANY_CHUNKS: usize = 128;

/// For software adapters a small square of outputs a workgroup, 4 × 4 of them an invocation.
const SMALL: Kernel =
    Kernel::new("matmul", Geometry { workgroup: 16, tile: [16, 16], folded: false }).for_software();
/// A large square, 8 × 4 outputs an invocation.
const SLABS: Kernel = slabs([64, 64]).with("HALVES", 1);
/// With what is fetched when its turn comes: fewer registers, and so more workgroups at a time.
const LATE: Kernel = SLABS.with("LATE", 1);
/// The same of other shapes, 8 × 8 and 4 × 4 outputs an invocation, the smaller with slabs of both depths.
const OTHER_SLABS: [Kernel; 3] = [
    slabs([128, 64]).with("BROAD", 1),
    slabs([64, 32]).with("LOW", 1),
    slabs([64, 32]).with("LOW", 1).with("DEEP", 1),
];
const fn slabs(tile: [u32; 2]) -> Kernel {
    let geometry = Geometry { workgroup: 128, tile, folded: false };
    Kernel::new("matmul_slabs", geometry).for_hardware()
}
/// Large squares from which on there are enough to keep a GPU busy.
const MANY_SQUARES: usize = 128;
/// And from which on so many that a GPU hides what it waits for behind other workgroups.
const VERY_MANY_SQUARES: usize = 1024;
/// Where there are fewer, four teams that share the sums of a smaller one.
const TEAMS: Kernel =
    Kernel::new("matmul_teams", Geometry { workgroup: 256, tile: [32, 32], folded: false })
        .for_hardware();

/// A product as far as a tuning tells products apart: as many rows of `x` as some others have, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::ops) struct Product {
    /// Whether it is one dispatch with what stands around it.
    pub fused: bool,
    pub gated: bool,
    /// Whether its outputs are left rounded, or its row was.
    pub handed: bool,
    /// Whether its rows of `x` are windows of an image.
    pub windows: bool,
    /// Most rows of `x`.
    pub rows: usize,
    pub columns: usize,
    pub outputs: usize,
    pub format: Format,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Product { fused, gated, handed, windows, rows, columns, outputs, format } = self;
        let op = match (fused, windows) {
            (true, _) => "project",
            (_, true) => "conv",
            _ => "matmul",
        };
        let few = if *rows > FEW_ROWS { "≤" } else { "" };
        let gated = if *gated { ", gated" } else { "" };
        let handed = if *handed { ", handed on" } else { "" };
        write!(f, "{op} {few}{rows}×{columns}×{outputs} {format}{gated}{handed}")
    }
}

impl Product {
    /// Of an `x: [rows, columns]`.
    pub(super) fn of(
        fused: bool,
        gated: bool,
        [rows, columns, outputs]: [usize; 3],
        format: Format,
    ) -> Product {
        let rows = up_to(rows, FEW_ROWS);
        Product { fused, gated, handed: false, windows: false, rows, columns, outputs, format }
    }

    /// One of two, of which the first leaves rounded what the second takes.
    pub(super) fn handed(gated: bool, sizes: [usize; 3], format: Format) -> Product {
        Product { handed: true, ..Product::of(true, gated, sizes, format) }
    }
}

/// The kernels for `[rows, columns]` of `x` and `outputs` rows of the matrix, the preferred one first; `all` that are
/// right, or those of the rules.
pub(super) fn kernels(sizes: [usize; 3], format: Format, all: bool) -> Vec<Kernel> {
    let rows = sizes[0];
    let mut kernels = few_rows(sizes, format);
    if rows > FEW_ROWS {
        kernels.push(format.define(SMALL));
        kernels.extend(many_rows(sizes, format, all));
    }
    if all {
        kernels.extend(other_few_rows(sizes, format, false));
    }
    kernels
}

/// Those for many rows that read windows of an image as rows of `x`. Software adapters gain nothing by it: what they
/// save in memory they spend on finding the way.
pub(super) fn windowed_kernels(sizes: [usize; 3], format: Format, all: bool) -> Vec<Kernel> {
    if sizes[0] <= SEVERAL_ROWS {
        return Vec::new();
    }
    many_rows(sizes, format, all).into_iter().map(|kernel| kernel.with("WINDOWS", 1)).collect()
}

fn many_rows([rows, _, outputs]: [usize; 3], format: Format, all: bool) -> Vec<Kernel> {
    let [height, width] = [rows, outputs].map(|size| size.div_ceil(64));
    let many = match height * width {
        VERY_MANY_SQUARES.. if matches!(format, Format::Grouped { .. }) => [LATE, SLABS, TEAMS],
        MANY_SQUARES.. => [SLABS, TEAMS, LATE],
        _ => [TEAMS, SLABS, LATE],
    };
    let others = OTHER_SLABS.iter().filter(|_| all);
    many.iter().chain(others).map(|kernel| format.define(*kernel)).collect()
}

/// Those of them that can have something around the product, or both halves of a gated one.
pub(super) fn fused_kernels(
    sizes: [usize; 3],
    format: Format,
    gated: bool,
    all: bool,
) -> Vec<Kernel> {
    let mut kernels = few_rows(sizes, format);
    if all {
        kernels.extend(other_few_rows(sizes, format, gated));
    }
    if gated {
        let gate = Activation::Silu as u32;
        kernels.iter_mut().for_each(|it| *it = it.with("GATED", 1).with("KIND", gate));
    }
    kernels
}

fn few_rows([rows, columns, outputs]: [usize; 3], format: Format) -> Vec<Kernel> {
    let chunks = columns.div_ceil(CHUNK);
    let [for_software, floats] = MATVEC.map(|kernel| (rows <= FEW_ROWS).then_some(kernel));
    let digits = match rows {
        1 if outputs < MANY_OUTPUTS && chunks < MANY_CHUNKS => Some(DIGITS),
        1 => Some(rounded_row(outputs, format)),
        _ => (rows <= SEVERAL_ROWS).then_some(ROUNDED_ROWS),
    };
    let digits = digits.filter(|_| matches!(format, Format::Grouped { .. }));
    let kernels = [for_software, digits, floats].into_iter().flatten();
    kernels
        .flat_map(|kernel| paced(format.define(kernel), chunks, format).or_by_subgroups())
        .collect()
}

/// Others in integers, a row of `x` after another. A gate has many outputs, for which small workgroups are none
/// too few.
fn other_few_rows(
    [rows, columns, outputs]: [usize; 3],
    format: Format,
    gated: bool,
) -> Vec<Kernel> {
    if rows > FEW_ROWS || !matches!(format, Format::Grouped { .. }) {
        return Vec::new();
    }
    let chunks = columns.div_ceil(CHUNK);
    let row = format.define(rounded_row(outputs, format));
    // The rules have `x` rounded before, and what is left is to round for oneself, or the other way round.
    let is_before = rows > 1 || outputs >= MANY_OUTPUTS || chunks >= MANY_CHUNKS;
    let own = [DIGITS, SMALL_DIGITS].map(|kernel| paced(format.define(kernel), chunks, format));
    let mut others = Vec::new();
    if rows == 1 && is_before && can_be_paired(&row, format) && chunks.is_multiple_of(2) {
        // The pace that the rules do not take.
        others.push(if chunks < MANY_CHUNKS { paired(row, format) } else { row });
    }
    others.push(if is_before { own[0] } else { paced(row, chunks, format) });
    if !gated {
        others.push(own[1]);
        others.extend((rows == 1).then(|| format.define(SMALL_ROUNDED_ROW)));
    }
    others.into_iter().flat_map(Kernel::or_by_subgroups).collect()
}

/// Those of a gated row that leave its outputs rounded.
pub(super) fn leaving_kernels(columns: usize, format: Format) -> Vec<Kernel> {
    let chunks = columns.div_ceil(CHUNK);
    let [own, before] = LEAVING.map(|kernel| format.define(kernel));
    let own = paced(own, chunks, format);
    let mut kernels = vec![own, paced(before, chunks, format)];
    if can_be_paired(&before, format) && chunks.is_multiple_of(2) {
        // The pace that the rules do not take.
        kernels.push(if chunks < MANY_CHUNKS { paired(before, format) } else { before });
    }
    if chunks > FEW_CHUNKS {
        kernels.rotate_left(1);
    }
    let gate = Activation::Silu as u32;
    let leaving = |kernel: Kernel| kernel.with("GATED", 1).with("KIND", gate).with("LEAVES", 1);
    kernels.into_iter().map(leaving).flat_map(Kernel::or_by_subgroups).collect()
}

/// Those of a row that was left so.
pub(super) fn left_kernels(columns: usize, outputs: usize, format: Format) -> Vec<Kernel> {
    let chunks = columns.div_ceil(CHUNK);
    let kernel = paced(format.define(rounded_row(outputs, format)), chunks, format);
    kernel.or_by_subgroups().into_iter().collect()
}

/// Whether a matrix of so many columns has its row rounded before, so that who writes the row may do it.
pub(super) fn wants_rounded(columns: usize) -> bool {
    columns.div_ceil(CHUNK) >= MANY_CHUNKS
}

/// Whether a kernel is one of [`fused_kernels`], whose teams have rows.
pub(super) fn is_for_few(kernel: &Kernel) -> bool {
    kernel.value("ROWS") != 0
}

/// The kernels that can be had with all that they need before them.
pub(super) fn available(gpu: &Gpu, mut kernels: Vec<Kernel>) -> Vec<Kernel> {
    if gpu.choose([ROUND]).is_none() {
        kernels.retain(|kernel| kernel.value("ROUNDED") == 0);
    }
    kernels
}

/// Outputs of a team.
pub(super) fn team_outputs(kernel: &Kernel) -> usize {
    let rows = kernel.value("ROWS") as usize;
    if kernel.value("GATED") != 0 { rows / 2 } else { rows }
}

/// Invocations of a team, for rows of so many chunks: at most a turn each, as those without one wait at
/// every barrier; at least as many as add up by a subgroup of a software adapter, and at most as many as
/// do on a GPU, or twice as many where rows are very long. One row of rounded activations has those wide teams
/// from a quarter of that length on, where there are few outputs. Those of a workgroup that leaves a chunk have it among
/// them.
pub(super) fn team(chunks: usize, outputs: usize, kernel: &Kernel) -> usize {
    if kernel.value("LEAVES") != 0 {
        return kernel.geometry.workgroup as usize * team_outputs(kernel) / CHUNK;
    }
    let turns = if kernel.value("PAIRS") != 0 { chunks / 2 } else { chunks };
    let is_early = kernel.source == ROW && outputs < MANY_OUTPUTS;
    let very_long = if is_early { MANY_CHUNKS } else { 512 };
    let most = if turns < very_long { 32 } else { 64 };
    turns.next_power_of_two().clamp(8, most.min(kernel.geometry.workgroup) as usize)
}

pub(in crate::ops) fn choices() -> Vec<Choice> {
    let mut choices = vec![Choice::new("matmul", "activations for integer products", [ROUND])];
    for format in Format::all() {
        for (rows, chunks, outputs, name) in [
            (1, 1, 1, "a row, few outputs"),
            (1, 2, 1, "a row of pairs, few outputs"),
            (1, 1, MANY_OUTPUTS, "a row, many outputs"),
            (1, 2, MANY_OUTPUTS, "a row of pairs, many outputs"),
            (1, MANY_CHUNKS, 1, "a long row, few outputs"),
            (2, 1, 1, "few rows"),
            (2, 2, 1, "few rows of pairs"),
            (FEW_ROWS + 1, 1, 1, "several rows"),
            (SEVERAL_ROWS + 1, 1, 1, "many rows"),
            (SEVERAL_ROWS + 1, 1, MANY_SQUARES * 64, "many rows, many outputs"),
        ] {
            let call = format!("{format}, {name}");
            let sizes = [rows, chunks * CHUNK, outputs];
            choices.push(Choice::new("matmul", call, kernels(sizes, format, true)));
            if rows > SEVERAL_ROWS {
                let call = format!("{format}, {name}");
                // Where there is none, windows are laid out and are rows like any others.
                let windowed = windowed_kernels(sizes, format, true).into_iter();
                let all = windowed.chain(kernels(sizes, format, true));
                choices.push(Choice::new("conv", call, all));
            }
            if rows == 1 && matches!(format, Format::Grouped { .. }) {
                let call = format!("{format}, {name}, gated and left rounded");
                choices.push(Choice::new(
                    "feed_forward",
                    call,
                    leaving_kernels(chunks * CHUNK, format),
                ));
            }
            if rows <= FEW_ROWS {
                let gated = fused_kernels(sizes, format, true, true);
                choices.push(Choice::new("project", format!("{format}, {name}, gated"), gated));
            } else if rows <= SEVERAL_ROWS && matches!(format, Format::Grouped { .. }) {
                // Where there is none, gate and product are two.
                let gated = fused_kernels(sizes, format, true, true);
                let apart = kernels(sizes, format, true);
                let all = gated.into_iter().chain(apart);
                choices.push(Choice::new("project", format!("{format}, {name}, gated"), all));
            }
        }
    }
    choices
}
