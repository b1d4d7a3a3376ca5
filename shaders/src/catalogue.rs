//! Every variant the engine can ask for.

use crate::Define;

/// Kernels with the definitions of each of their variants, workgroup sizes apart.
///
/// `SUBGROUPS` and `F16` follow the device, so each variant appears with and without them where its
/// kernel knows them.
pub fn catalogue() -> Vec<(&'static str, Vec<Define>)> {
    let mut variants = Vec::new();
    let plain: &[&str] = &[
        "add_positions",
        "argmax",
        "blend",
        "copy_columns",
        "emit_token",
        "gather_rows",
        "kv_append",
        "max_pool",
        "pad_columns",
        "patches",
        "rope",
        "sample",
        "similarity",
    ];
    for kernel in plain {
        variants.push((*kernel, vec![("WG", 64)]));
    }
    // Whisper's windows and CLAP's, and one that cannot be split.
    for (window, first) in [(400, 20), (1024, 32), (101, 1)] {
        variants.push(("log_mel", vec![("WG", 64), ("N", window), ("A", first)]));
    }
    for kernel in ["activation", "gated"] {
        for kind in 0..7 {
            variants.push((kernel, vec![("WG", 64), ("KIND", kind)]));
        }
    }
    for product in 0..2 {
        variants.push(("binary", vec![("WG", 64), ("PRODUCT", product)]));
    }
    for subgroups in [0, 2] {
        for kernel in ["group_norm", "place_rows", "softmax"] {
            variants.push((kernel, vec![("WG", 64), ("SUBGROUPS", subgroups)]));
        }
        for rms in 0..2 {
            let defines = vec![("WG", 64), ("SUBGROUPS", subgroups), ("RMS", rms)];
            variants.push(("norm", defines));
        }
        for normalise in 0..2 {
            let defines = vec![("WG", 64), ("SUBGROUPS", subgroups), ("NORMALISE", normalise)];
            variants.push(("mean_pool", defines));
        }
        for masks in 0..16 {
            let defines = vec![
                ("WG", 64),
                ("SUBGROUPS", subgroups),
                ("CAUSAL", masks & 1),
                ("CACHED", masks >> 1 & 1),
                ("PADDED", masks >> 2 & 1),
                ("BIASED", masks >> 3 & 1),
            ];
            variants.push(("attention", defines));
        }
        for weights in weights() {
            for bias in 0..2 {
                let mut defines = weights.clone();
                defines.extend([("BIAS", bias), ("WG", 32), ("SUBGROUPS", subgroups)]);
                variants.push(("matvec", defines));
            }
        }
    }
    for weights in weights() {
        for bias in 0..2 {
            let mut defines = weights.clone();
            defines.push(("BIAS", bias));
            if defines.contains(&("BITS", 16)) {
                variants.push(("matmul", [defines.clone(), vec![("F16", 1)]].concat()));
            }
            variants.push(("matmul", defines));
        }
        let mut defines = weights.clone();
        defines.push(("WG", 64));
        variants.push(("embed", defines));
    }
    variants
}

/// Every way in which weights can be stored.
fn weights() -> Vec<Vec<Define>> {
    let mut formats = vec![vec![("BITS", 32)], vec![("BITS", 16)]];
    for bits in [8, 4, 3, 2] {
        for group in [32, 64, 128] {
            for asymmetric in 0..2 {
                formats.push(vec![("BITS", bits), ("GROUP", group), ("ASYM", asymmetric)]);
            }
        }
    }
    for format in &mut formats {
        // `weights.wgsl` divides by it, even where nothing is grouped.
        if !format.iter().any(|(name, _)| *name == "GROUP") {
            format.push(("GROUP", 32));
        }
    }
    formats
}

#[cfg(test)]
mod tests {
    use super::*;
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    #[test]
    fn every_variant_is_valid() {
        let mut failures = Vec::new();
        for (kernel, defines) in catalogue() {
            let text = crate::compose(kernel, &defines).unwrap();
            let verdict = naga::front::wgsl::parse_str(&text)
                .map_err(|error| error.emit_to_string(&text))
                .and_then(|module| {
                    Validator::new(ValidationFlags::all(), Capabilities::all())
                        .validate(&module)
                        .map_err(|error| error.emit_to_string(&text))
                });
            if let Err(message) = verdict {
                failures.push(format!("{kernel} {defines:?}: {message}"));
            }
        }
        assert!(failures.is_empty(), "{} variants fail, first: {}", failures.len(), failures[0]);
    }

    #[test]
    fn every_file_is_reached() {
        let kernels: Vec<&str> = catalogue().into_iter().map(|(kernel, _)| kernel).collect();
        for (name, _) in crate::SOURCES {
            let included = crate::SOURCES
                .iter()
                .any(|(_, text)| text.contains(&format!("#include \"{name}.wgsl\"")));
            assert!(kernels.contains(name) || included, "{name}.wgsl is used by nothing");
        }
    }
}
