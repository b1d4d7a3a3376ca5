//! One tiny module for each optional feature of WebAssembly: a browser that calls it valid has the
//! feature. They are written as text and kept as bytes; a test compiles the one and compares.

/// What every module begins with: its magic number and version.
const PREFIX: [u8; 8] = *b"\0asm\x01\0\0\0";

struct Feature {
    name: &'static str,
    /// The module as text.
    #[cfg_attr(not(test), allow(dead_code, reason = "says what the bytes are; a test compares"))]
    text: &'static str,
    /// The module behind its prefix.
    sections: &'static [u8],
}

/// In the order of their names.
const FEATURES: &[Feature] = &[
    Feature {
        name: "bulk-memory",
        text: "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))",
        sections: &[
            1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1, 10, 13, 1, 11, 0, 65, 0, 65, 0, 65, 0,
            252, 11, 0, 11,
        ],
    },
    Feature {
        name: "exceptions",
        text: "(module (func (block (result exnref) (try_table (catch_all_ref 0)) unreachable) drop))",
        sections: &[
            1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 15, 1, 13, 0, 2, 105, 31, 64, 1, 3, 0, 11, 0, 11,
            26, 11,
        ],
    },
    Feature {
        name: "exceptions-legacy",
        text: "(module (func try catch_all end))",
        sections: &[1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 8, 1, 6, 0, 6, 64, 25, 11, 11],
    },
    Feature {
        name: "extended-const",
        text: "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
        sections: &[6, 9, 1, 127, 0, 65, 1, 65, 2, 106, 11],
    },
    Feature {
        name: "gc",
        text: "(module (type (struct (field i32))))",
        sections: &[1, 5, 1, 95, 1, 127, 0],
    },
    Feature { name: "memory64", text: "(module (memory i64 1))", sections: &[5, 3, 1, 4, 1] },
    Feature {
        name: "multi-memory",
        text: "(module (memory 1) (memory 1))",
        sections: &[5, 5, 2, 0, 1, 0, 1],
    },
    Feature {
        name: "multi-value",
        text: "(module (func (result i32 i32) (i32.const 0) (i32.const 0)))",
        sections: &[1, 6, 1, 96, 0, 2, 127, 127, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 65, 0, 11],
    },
    Feature {
        name: "reference-types",
        text: "(module (func (result externref) (ref.null extern)))",
        sections: &[1, 5, 1, 96, 0, 1, 111, 3, 2, 1, 0, 10, 6, 1, 4, 0, 208, 111, 11],
    },
    Feature {
        name: "relaxed-simd",
        text: "(module (func (result v128) (i16x8.relaxed_dot_i8x16_i7x16_s (i8x16.splat (i32.const 0)) (i8x16.splat (i32.const 0)))))",
        sections: &[
            1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 0, 253, 15, 65, 0, 253, 15,
            253, 146, 2, 11,
        ],
    },
    Feature {
        name: "simd",
        text: "(module (func (result v128) (i8x16.splat (i32.const 0))))",
        sections: &[1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11],
    },
    Feature {
        name: "tail-call",
        text: "(module (func (return_call 0)))",
        sections: &[1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 6, 1, 4, 0, 18, 0, 11],
    },
    Feature {
        name: "threads",
        text: "(module (memory 1 1 shared) (func (drop (i32.atomic.load (i32.const 0)))))",
        sections: &[
            1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 5, 4, 1, 3, 1, 1, 10, 11, 1, 9, 0, 65, 0, 254, 16, 2, 0,
            26, 11,
        ],
    },
];

/// The name and the whole module of each feature.
pub(crate) fn modules() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    FEATURES.iter().map(|feature| (feature.name, [&PREFIX, feature.sections].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_what_the_text_says() {
        for (feature, (name, module)) in FEATURES.iter().zip(modules()) {
            assert_eq!(module, wat::parse_str(feature.text).unwrap(), "{name}");
        }
        assert!(FEATURES.is_sorted_by_key(|feature| feature.name));
    }
}
