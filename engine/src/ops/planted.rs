//! Faults planted in the kernels one at a time: each must be noticed by a check of the self-test.
//!
//! A fault that nothing here would notice is one that nothing would notice on a user's device either.
//! New kernels, and new branches of old ones, bring theirs.

use super::{Check, checks};
use crate::{
    device::{Capabilities, Gpu, Kernel, Terms},
    selftest::{Ran, run_checks},
};
use shaders::{Dialect, Files};
use std::{collections::BTreeSet, rc::Rc};

/// A file, a text in it, what stands there instead, and what that would mean.
type Fault = (&'static str, &'static str, &'static str, &'static str);

const FAULTS: &[Fault] = &[
    ("activate", "0.044715", "0.04", "a constant of gelu by tanh"),
    ("activate", "1.702", "1.7", "a constant of quick gelu"),
    ("activate", "return sign(x) *", "return", "erf is odd"),
    ("activate", "return max(x, 0.0)", "return abs(x)", "relu of what is below zero"),
    ("activation", "activate(x[at])", "x[at]", "no activation at all"),
    ("add_positions", "step[0] + ", "", "positions go on behind the cache"),
    ("add_positions", "% params.tokens", "", "positions begin anew with each sequence"),
    ("argmax", "places[lane + span] < places[lane]", "false", "the first of equals wins"),
    ("argmax", "more.y > best.value", "more.y >= best.value", "the first of equals wins"),
    (
        "argmax",
        "let fars = vec4<f32>(x[base + far.x]",
        "let fars = vec4<f32>(x[base]",
        "each of eight is seen",
    ),
    ("attention", "query[d + 3u] * k[at + 3u]", "0.0", "four of a head at a time"),
    ("attention", "query[rest] * k[base + rest]", "0.0", "the rest of a head"),
    ("attention", "+ parts[at + 3u]", "", "all parts of a score"),
    ("attention", "v[base + (i + 3u * groups) * stride]", "0.0", "four keys at a time"),
    ("attention", "i < groups; i++", "i < 1u; i++", "all groups of keys"),
    ("attention", "sum = sum * rescale +", "sum = sum +", "a larger score rescales the sum"),
    ("attention", "acc *= rescale", "acc *= 1.0", "a larger score rescales the values"),
    ("attention", "select(0.0, 1.0 / sum, sum > 0.0)", "1.0 / sum", "a query that sees nothing"),
    ("attention_alone", "workgroup, grid) * WG", "workgroup, grid)", "a query an invocation"),
    ("attention_alone", "<= 0.5", "< -0.5", "padding is not seen"),
    ("attention_alone", "score += bias", "score = bias", "a bias is added"),
    ("attention_alone", "sum = sum * rescale +", "sum = sum +", "a larger score rescales the sum"),
    ("attention_alone", "y[query.base + d] * rescale +", "y[query.base + d] +", "and the values"),
    (
        "attention_alone",
        "select(0.0, 1.0 / sum, sum > 0.0)",
        "1.0 / sum",
        "a query that sees nothing",
    ),
    ("attention_inputs", "before + t + 1u)", "before + t)", "a causal query sees itself"),
    (
        "attention_inputs",
        "params.window) - params.window",
        "params.window) - params.window + 1u",
        "a window is as long as it says",
    ),
    ("attention_inputs", "keys = before + params.tokens", "keys = before", "keys of this pass"),
    (
        "attention_inputs",
        "mask_base = b * params.mask_stride",
        "mask_base = 0u",
        "each sequence has its own padding",
    ),
    (
        "attention_inputs",
        "b % max(params.bias_groups, 1u)",
        "0u",
        "batches share groups of biases in turn",
    ),
    (
        "attention_inputs",
        "+ before + t) * params.bias_columns",
        "+ t) * params.bias_columns",
        "a bias by position, those in the cache counted",
    ),
    (
        "attention_inputs",
        "head / (params.heads / params.kv_heads)",
        "head % params.kv_heads",
        "neighbouring heads share keys",
    ),
    ("attention_merge", "weight * about.y", "about.y", "weights relative to the largest score"),
    ("attention_merge", "at / params.quads * params.splits", "0u", "each head has its shares"),
    ("attention_merge", "largest = max(largest, ", "largest = (", "the largest score of all"),
    (
        "attention_step",
        "min(start + (split + 1u) * share",
        "min(start + split * share",
        "a share's keys",
    ),
    ("attention_step", "+ params.splits - 1u", "", "the last of the keys"),
    ("attention_step", "low * cosines - high * sines", "low * cosines + high * sines", "the turn"),
    ("attention_step", "keys[at + 8u]", "keys[at + 4u]", "all quads of a key"),
    ("attention_step", "keys[at + 28u]", "keys[at + 24u]", "all quads of a wide key"),
    ("attention_step", "if (i + SCORED < count)", "if (false)", "keys that are scored second"),
    ("attention_step", "values[base + (i + 3u * GROUPS) * QUADS]", "vec4<f32>(0.0)", "four values"),
    ("attention_step", "i < count; i += GROUPS", "false; i += GROUPS", "the rest of the values"),
    ("attention_step", "= key[lane]", "= query[lane]", "the key that is stored"),
    ("attention_step", "= value[lane]", "= key[lane]", "the value that is stored"),
    ("attention_step", "turned[0] * params.scale", "turned[0]", "scores are scaled"),
    (
        "attention_step",
        "params.window) - params.window",
        "params.window) - params.window + 1u",
        "a window",
    ),
    ("attention_step", "sum = sum * rescale +", "sum = sum +", "a larger score rescales the sum"),
    ("attention_step", "acc *= rescale", "acc *= 1.0", "a larger score rescales the values"),
    ("attention_step", "value[quad], group == 0u", "value[quad], false", "the token's own value"),
    ("attention_step", "batch * (params.heads", "0u * (params.heads", "a second sequence"),
    ("attention_step", "i < GROUPS; i++", "i < 1u; i++", "all groups of keys"),
    ("binary", "b[at % params.b_count]", "b[at]", "a row repeats"),
    ("binary", "a[at] * b", "a[at] + b", "a product is no sum"),
    ("blend", "exp(-clamp", "exp(clamp", "a gate opens and closes"),
    ("copy_columns", "row % params.x_rows", "row", "a part of fewer rows repeats"),
    ("copy_columns", "+ params.x_first", "", "a part begins in the middle of a row"),
    ("copy_columns", "+ params.y_first", "", "parts lie behind one another"),
    (
        "elements",
        "workgroup, grid) * WG + lane",
        "workgroup, grid) * WG",
        "one element an invocation",
    ),
    ("emit_token", "input[0] = chosen[0];", "", "a token becomes the next input"),
    ("emit_token", "emitted[step[1]] =", "emitted[0] =", "tokens lie behind one another"),
    ("emit_token", "step[0] += 1u", "step[0] += 0u", "positions go on"),
    ("embed", "- params.first", "", "rows of a second shard"),
    ("embed", "chunk * WEIGHT_CHUNK / GROUP", "chunk", "chunks share the scale of a group"),
    ("gated", "* up[at]", "", "a gate lets something through"),
    ("gather_rows", "ids[at / params.columns]", "at / params.columns", "rows by their ids"),
    ("grid", "+ workgroup.y * grid.x", "", "a grid that was folded"),
    ("group_norm", "let c = channel + i % width", "let c = i % width", "weights of a later group"),
    ("group_norm", "f32(elements) + params.eps", "f32(elements)", "what is added to a variance"),
    ("kv_append", "step[0] + token", "token", "behind what the cache holds"),
    ("kv_append", "* params.capacity", "* params.tokens", "heads have room for all positions"),
    ("log_mel", "max(sum, params.floor)", "sum", "silence has a logarithm"),
    ("log_mel", "u32(last - abs(last - at))", "u32(at)", "a sound is mirrored at its end"),
    ("log_mel", "let turn = root(n2 * k1)", "let turn = root(0u)", "the turn between the passes"),
    ("matmul", "params.y_offset + row", "row", "a second shard writes beside the first"),
    ("matmul", "sum += bias[n]", "sum += 0.0", "a bias is added"),
    ("matmul", "store_one(m, row + 2u, values.z)", "", "each of four columns is kept"),
    ("matmul", "chunk * WEIGHT_CHUNK / GROUP", "chunk", "chunks share the scale of a group"),
    (
        "matmul",
        "four(m0 + quad * 4u, params.m)",
        "four(quad * 4u, params.m)",
        "a second tile of rows",
    ),
    (
        "matmul",
        "four(n0 + quad * 4u, params.rows)",
        "four(quad * 4u, params.rows)",
        "a second tile of columns",
    ),
    ("few_rows", "params.y_offset + first", "first", "a second shard writes beside the first"),
    ("few_rows", "rows + params.y_offset", "rows", "a second shard has its own bias"),
    (
        "matvec",
        "chunk += params.team",
        "chunk += 2u * params.team",
        "rows of more chunks than a team has members",
    ),
    ("matvec", "start += SLAB", "start += 2u * SLAB", "rows of more chunks than a slab has"),
    ("matvec", "dm3.y) * x_sum", "dm3.y) * 0.0", "codes are not counted from zero"),
    ("matvec", "m * params.chunks * 8u", "0u", "a second row of activations"),
    (
        "few_rows",
        "let partial = subgroupAdd(value)",
        "let partial = value",
        "a sum over a subgroup",
    ),
    (
        "few_rows",
        "sums[lane] += sums[lane + span]",
        "sums[lane] = sums[lane + span]",
        "a team's sum",
    ),
    (
        "matvec",
        "values *= gain * norm[start * 8u + i]",
        "values *= gain * norm[i]",
        "a norm's weight",
    ),
    ("matvec", "f32(params.columns) + params.eps", "f32(params.columns)", "what a norm adds"),
    (
        "few_rows",
        "bias[n.z], bias[n.w]",
        "bias[n.x], bias[n.y]",
        "the bias of what a gate lets through",
    ),
    (
        "few_rows",
        "value += addend[at]",
        "value += addend[first + member]",
        "a second row of the addend",
    ),
    ("few_rows", "gates + params.rows", "gates", "a gate and what it lets through"),
    (
        "matvec_digits",
        "start += min(SLAB, params.chunks)",
        "start += params.chunks",
        "a second slab",
    ),
    ("matvec_digits", "chunk += params.team", "chunk += 2u * params.team", "all chunks of a row"),
    ("matvec_digits", "params.chunks * ROUNDED_QUADS", "0u", "a second row that is rounded"),
    ("matvec_digits", "workgroup.z * TILE_Y", "workgroup.z", "a fifth row"),
    (
        "matvec_digits",
        "finish(m + 3u, first, found3",
        "finish(m + 3u, first, found2",
        "a fourth row",
    ),
    (
        "matvec_digits",
        "(start + chunk) * 8u + half * 4u",
        "chunk * 8u + half * 4u",
        "a second slab",
    ),
    ("matvec_digits", "f32(middle * 256 + low)", "f32(middle * 256)", "the third digit"),
    ("matvec_digits", "w.affine.y * xs.about.y", "0.0", "codes are not counted from zero"),
    ("matvec_digits", "norm[at + 3u]", "norm[at]", "a norm's weight"),
    ("matvec_digits", "mean + params.eps", "mean", "what a norm adds"),
    ("matvec_digits", "found.squares + xs.about.z", "xs.about.z", "all chunks are normed"),
    ("matvec_digits", "chunk * WEIGHT_CHUNK / GROUP", "chunk / GROUP", "a scale for each group"),
    ("max_pool", "var largest = -3.4e38", "var largest = 0.0", "the largest may be negative"),
    ("max_pool", "ky * params.dilation_y", "ky", "dilated windows"),
    ("mean_pool", "sum += mask[token] *", "sum +=", "padding does not count"),
    (
        "mean_pool",
        "squares += sum * weight * sum * weight",
        "squares += sum * sum * weight",
        "a length is that of the mean",
    ),
    ("norm", "+ params.eps", "", "what is added to a variance"),
    ("norm", "(x[base + c] - mean) * scale", "x[base + c] * scale", "the mean is taken away"),
    ("norm", "normed + bias[c]", "normed", "a bias is added"),
    ("pad_columns", "column < params.columns", "column <= params.columns", "padding is zero"),
    ("patches", "params.first_channel + c", "c", "channels of a later group"),
    ("patches", "iy < params.height && ix < params.width", "iy < params.height", "beyond an edge"),
    ("patches", "params.first_row + k", "k", "a second piece of the windows"),
    ("place_rows", "n < params.features", "true", "tokens beyond the features"),
    ("place_rows", "i < row", "i <= row", "a token does not count itself"),
    ("reduce", "let partial = subgroupAdd(value)", "let partial = value", "a sum over a subgroup"),
    (
        "reduce",
        "let partial = subgroupMax(value)",
        "let partial = value",
        "a maximum over a subgroup",
    ),
    (
        "reduce",
        "reduce_slots[lane] += reduce_slots[lane + span]",
        "reduce_slots[lane] += 0.0",
        "a sum without subgroups",
    ),
    (
        "reduce",
        "max(reduce_slots[lane], reduce_slots[lane + span])",
        "reduce_slots[lane]",
        "a maximum without subgroups",
    ),
    ("round", "abs(own[2])", "abs(own[1])", "the largest of a chunk"),
    ("round", "abs(other[3])", "abs(other[1])", "the largest of the other half"),
    ("round", "^ vec4<u32>(0x00808080u)", "", "digits have a sign"),
    ("round", "other[2] + other[3]", "other[2]", "the sum of a chunk"),
    ("round", "dot(values[3], values[3])", "0.0", "all squares"),
    ("round_rows", "norm[at + 3u]", "norm[at]", "a norm's weight"),
    ("round_rows", "four(row * params.chunks * 8u + second)", "four(second)", "a second row"),
    ("rope", "step[0] + ", "", "positions go on behind the cache"),
    ("rope", "turn.x - pair.y * turn.y", "turn.x + pair.y * turn.y", "the way a pair turns"),
    ("rope", "head < params.heads + params.kv_heads", "head < params.heads", "keys turn too"),
    ("rope", "row / params.tokens * params.kv_heads +", "", "keys of a second sequence"),
    (
        "rope",
        "* params.capacity + position",
        "* params.tokens + position",
        "room for all positions",
    ),
    ("rows", "grid_index(workgroup, grid)", "workgroup.x", "a grid that was folded"),
    ("sample", "pcg(step[0])", "pcg(0u)", "each position has its own draw"),
    (
        "sample",
        "places[j - 1u] > place",
        "places[j - 1u] < place",
        "the first of equals comes first",
    ),
    ("sample", "params.top_p * mass", "mass", "a cut by mass"),
    ("similarity", "at / (params.n * params.m) * params.n", "0u", "a second batch"),
    ("softmax", "x[base + c] - largest", "x[base + c]", "exp has an end"),
    ("weights", "return vec2<f32>(d, -4.0 * d)", "return vec2<f32>(d, -3.5 * d)", "zero at 3 bits"),
    ("weights", "return vec2<f32>(d, -1.5 * d)", "return vec2<f32>(d, -2.0 * d)", "zero at 2 bits"),
    ("weights", "(group & 1u) == 1u", "false", "scales lie two to a word"),
    (
        "weights",
        "return unpack2x16float(scales[group])",
        "return vec2<f32>(unpack2x16float(scales[group]).x, 0.0)",
        "groups have a minimum",
    ),
    ("weights", "half * 4u + pair", "half * 4u", "high bits at 3 bits"),
    ("weights", "word ^ 0x80808080u", "word", "signed bytes at 8 bits"),
    (
        "weights",
        "words.low[i & 3u], words.high[i & 3u]",
        "words.low[i & 3u], words.low[i & 3u]",
        "8 bits",
    ),
    (
        "weights",
        "const WEIGHT_CHUNK: u32 = 32u",
        "const WEIGHT_CHUNK: u32 = 16u",
        "groups of chunks",
    ),
];

/// What is included and has no entry point of its own, and what no op uses: `bench` judges those itself.
const ELSEWHERE: &[&str] = &["ceiling_arithmetic", "ceiling_memory", "ceiling_step", "product"];

#[test]
fn every_file_has_a_fault() {
    let planted: BTreeSet<&str> = FAULTS.iter().map(|(file, ..)| *file).collect();
    for name in shaders::names().filter(|name| !ELSEWHERE.contains(name)) {
        assert!(planted.contains(name), "no fault is planted in {name}.wgsl");
    }
}

/// What a GPU with certain features is checked with.
struct Checked {
    gpu: Rc<Gpu>,
    checks: Vec<Check>,
    kernels: Vec<BTreeSet<Kernel>>,
}

impl Checked {
    /// Runs all checks without a fault.
    fn new(of: impl Fn(Capabilities) -> Capabilities) -> Checked {
        let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
        let capabilities = of(gpu.terms().capabilities);
        gpu.set_terms(Terms { capabilities, ..Terms::default() });
        let checks = checks();
        let ran = pollster::block_on(run_checks(&gpu, checks.iter()));
        let kernels = ran.into_iter().map(|ran| ran.kernels).collect();
        Checked { gpu, checks, kernels }
    }

    /// Whether a check fails of those that dispatch a kernel with the fault in its text.
    fn notices(&self, files: &Files) -> bool {
        let text =
            |kernel: &Kernel, files: &Files| kernel.text(files, Dialect::HERE).expect("a text");
        let all: BTreeSet<&Kernel> = self.kernels.iter().flatten().collect();
        let differing: BTreeSet<&Kernel> = all
            .into_iter()
            .filter(|kernel| text(kernel, files) != text(kernel, &Files::default()))
            .collect();
        let meets = |kernels: &BTreeSet<Kernel>| kernels.iter().any(|it| differing.contains(it));
        let checks = self.checks.iter().zip(&self.kernels);
        let hit: Vec<&Check> =
            checks.filter(|(_, kernels)| meets(kernels)).map(|(check, _)| check).collect();
        self.gpu.use_files(files.clone());
        let failed = |ran: &Ran| ran.check.error.is_some();
        // Few at a time: most faults are noticed by the first check that meets them.
        let noticed = hit.chunks(6).any(|checks| {
            pollster::block_on(run_checks(&self.gpu, checks.iter().copied())).iter().any(failed)
        });
        self.gpu.use_files(Files::default());
        noticed
    }
}

#[test]
fn every_fault_is_noticed() {
    // Its own kernels, those of hardware with as many features, and of hardware with none.
    let gpus = [
        Checked::new(|all| all),
        Checked::new(|all| Capabilities { software: false, ..all }),
        Checked::new(|_| Capabilities::default()),
    ];
    let mut unnoticed = Vec::new();
    for (file, before, after, why) in FAULTS {
        let mut files = Files::default();
        let text = files.text(file).expect("a file").to_owned();
        assert!(text.contains(before), "{file}.wgsl has no {before:?}");
        files.replace(file, text.replacen(before, after, 1));
        if !gpus.iter().any(|checked| checked.notices(&files)) {
            unnoticed.push(format!("{file}.wgsl: {before:?} as {after:?}: {why}"));
        }
    }
    assert!(unnoticed.is_empty(), "nobody notices\n{}", unnoticed.join("\n"));
}
