//! Inputs and outputs as safetensors files.

use anyhow::{Context, Result};
use engine::{published::Inputs, reference::Computed};
use safetensors::{Dtype, serialize, tensor::TensorView};

/// One tensor: name, type, shape, little-endian bytes.
type Named = (String, Dtype, Vec<usize>, Vec<u8>);

/// Integers as I64, all else as F32.
pub(super) fn of_inputs(inputs: &Inputs) -> Result<Vec<u8>> {
    let ints = inputs.ints.iter().map(|(name, (shape, values))| {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (name.clone(), Dtype::I64, shape.clone(), bytes)
    });
    let floats = inputs.floats.iter().map(|(name, (shape, values))| floats(name, shape, values));
    file(ints.chain(floats).collect())
}

/// Outputs by their names, and `generated_ids`.
pub(super) fn of_outputs(computed: &Computed) -> Result<Vec<u8>> {
    let outputs = computed.outputs.iter();
    let mut tensors: Vec<Named> =
        outputs.map(|(name, (shape, values))| floats(name, shape, values)).collect();
    if let Some(first) = computed.generated.first() {
        let shape = vec![computed.generated.len(), first.len()];
        let ids = computed.generated.iter().flatten();
        let bytes = ids.flat_map(|id| i64::from(*id).to_le_bytes()).collect();
        tensors.push(("generated_ids".to_owned(), Dtype::I64, shape, bytes));
    }
    file(tensors)
}

fn floats(name: &str, shape: &[usize], values: &[f32]) -> Named {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    (name.to_owned(), Dtype::F32, shape.to_vec(), bytes)
}

fn file(tensors: Vec<Named>) -> Result<Vec<u8>> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        Ok((name.as_str(), view.with_context(|| format!("the tensor {name}"))?))
    });
    let views: Vec<_> = views.collect::<Result<_>>()?;
    serialize(views, None).context("laying out a safetensors file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Reference;
    use safetensors::SafeTensors;

    #[test]
    fn tensors_come_back_as_they_went() {
        let mut inputs = Inputs::default();
        inputs.ints.insert("input_ids".to_owned(), (vec![1, 2], vec![3, -4]));
        inputs.floats.insert("pixel_values".to_owned(), (vec![1], vec![0.5]));
        let bytes = of_inputs(&inputs).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let ids = file.tensor("input_ids").unwrap();
        assert_eq!((ids.dtype(), ids.shape()), (Dtype::I64, &[1, 2][..]));
        assert_eq!(ids.data()[8..], (-4i64).to_le_bytes());
        assert_eq!(file.tensor("pixel_values").unwrap().data(), 0.5f32.to_le_bytes());

        let computed = Computed {
            by: Reference::EngineF32,
            outputs: [("logits".to_owned(), (vec![1, 1], vec![2.0]))].into(),
            generated: vec![vec![1, 2, 3], vec![4, 5, 6]],
        };
        let bytes = of_outputs(&computed).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("generated_ids").unwrap().shape(), [2, 3]);
        assert_eq!(file.tensor("logits").unwrap().dtype(), Dtype::F32);
    }
}
