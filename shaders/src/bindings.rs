//! What a composed kernel binds, read from its own declarations.

/// What stands at a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// `var<uniform>`: the kernel's parameters.
    Uniform,
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
}

/// The bindings of group 0 in the order of their declarations. A declaration stands on one line and
/// begins it, which is the custom of these files.
pub fn bindings(text: &str) -> Vec<(u32, Space)> {
    text.lines().filter_map(binding).collect()
}

fn binding(line: &str) -> Option<(u32, Space)> {
    let (slot, rest) = line.strip_prefix("@group(0) @binding(")?.split_once(") var<")?;
    let space = match rest.split_once('>')?.0 {
        "uniform" => Space::Uniform,
        "storage, read" => Space::Read,
        "storage, read_write" => Space::ReadWrite,
        _ => return None,
    };
    Some((slot.parse().ok()?, space))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_found() {
        let text = crate::compose("binary", &[("WG", 64)], crate::Dialect::Naga).unwrap();
        let expected =
            [(0, Space::Uniform), (1, Space::Read), (2, Space::Read), (3, Space::ReadWrite)];
        assert_eq!(bindings(&text), expected);
    }
}
