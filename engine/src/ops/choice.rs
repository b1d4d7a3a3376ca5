//! Which kernels the ops can ask for.

use crate::device::Kernel;

/// A call of an op as far as it decides the kernel, and the kernels that can do it, the preferred one
/// first.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The op's name.
    pub op: &'static str,
    /// What sets this call apart from others of the op; empty where all use the same kernels.
    pub call: String,
    /// Kernels in the order of preference; behind those that the rules take come others that are right as well.
    pub kernels: Vec<Kernel>,
}

impl Choice {
    pub(super) fn new(
        op: &'static str,
        call: impl Into<String>,
        kernels: impl IntoIterator<Item = Kernel>,
    ) -> Choice {
        let mut kernels: Vec<Kernel> = kernels.into_iter().collect();
        kernels.dedup();
        Choice { op, call: call.into(), kernels }
    }
}

/// What stands for a size where a tuning tells calls apart: itself up to `few`, and the next power of two beyond.
pub(super) fn up_to(size: usize, few: usize) -> usize {
    if size <= few { size } else { size.next_power_of_two() }
}

/// Every choice that an op can be faced with, whatever the model.
pub fn choices() -> Vec<Choice> {
    [
        super::activation::choices(),
        super::add_positions::choices(),
        super::argmax::choices(),
        super::attention::choices(),
        super::binary::choices(),
        super::blend::choices(),
        super::concat::choices(),
        super::conv::choices(),
        super::embed::choices(),
        super::emit_token::choices(),
        super::gather_rows::choices(),
        super::group_norm::choices(),
        super::kv_append::choices(),
        super::layer_norm::choices(),
        #[cfg(feature = "infer")]
        super::log_mel::choices(),
        super::matmul::choices(),
        super::max_pool::choices(),
        super::mean_pool::choices(),
        super::pad_columns::choices(),
        super::place_rows::choices(),
        super::rms_norm::choices(),
        super::rope::choices(),
        super::rotate::choices(),
        super::sample::choices(),
        super::similarity::choices(),
        super::softmax::choices(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    use shaders::{Dialect, Files};
    use std::collections::BTreeSet;

    /// Those of all ops, and those that show what a GPU can do at most.
    fn kernels() -> BTreeSet<Kernel> {
        let of_ops = choices().into_iter().flat_map(|choice| choice.kernels);
        of_ops.chain(crate::bench::kernels()).collect()
    }

    #[test]
    fn every_kernel_is_valid() {
        for kernel in kernels() {
            let text = kernel.text(&Files::default(), Dialect::Naga).unwrap();
            let verdict = naga::front::wgsl::parse_str(&text)
                .map_err(|error| error.emit_to_string(&text))
                .and_then(|module| {
                    Validator::new(ValidationFlags::all(), Capabilities::all())
                        .validate(&module)
                        .map_err(|error| error.emit_to_string(&text))?;
                    // The layout is read from the text: naga must see the same.
                    let bound = |(_, variable): (_, &naga::GlobalVariable)| {
                        variable.binding.map(|place| (place.binding, space(variable.space)))
                    };
                    let bound = module.global_variables.iter().filter_map(bound);
                    assert_eq!(shaders::bindings(&text), bound.collect::<Vec<_>>(), "{kernel}");
                    Ok(())
                });
            assert_eq!(verdict, Ok(()), "{kernel}");
        }
    }

    fn space(space: naga::AddressSpace) -> shaders::Space {
        match space {
            naga::AddressSpace::Uniform => shaders::Space::Uniform,
            naga::AddressSpace::Storage { access }
                if access.contains(naga::StorageAccess::STORE) =>
            {
                shaders::Space::ReadWrite
            }
            _ => shaders::Space::Read,
        }
    }

    #[test]
    fn sizes_that_are_alike_have_one_name() {
        let named = [1, 4, 5, 8, 9, 64, 65, 1500].map(|size| up_to(size, 4));
        assert_eq!(named, [1, 4, 8, 8, 16, 64, 128, 2048]);
    }

    #[test]
    fn every_file_is_reached() {
        let reached: BTreeSet<String> =
            kernels().iter().flat_map(|kernel| kernel.files(&Files::default()).unwrap()).collect();
        for name in shaders::names() {
            assert!(reached.contains(name), "{name}.wgsl is used by nothing");
        }
    }

    /// Some kernel works everywhere, and none comes twice.
    #[test]
    fn every_call_has_a_kernel_that_needs_nothing() {
        let least = crate::device::Terms::default();
        for Choice { op, call, kernels } in choices() {
            assert!(kernels.iter().any(|kernel| least.against(kernel).is_none()), "{op} {call}");
            assert_eq!(kernels.iter().collect::<BTreeSet<_>>().len(), kernels.len(), "{op} {call}");
        }
    }
}
