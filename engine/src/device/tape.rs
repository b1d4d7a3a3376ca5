//! What a pass computed, so that gradients can be taken back through it: reverse-mode differentiation, on the
//! host alone. An op that knows its gradient notes how, in its own file; others end the way back.

use super::ProductsBack;
use crate::tensor::Tensor;
use std::{cell::RefCell, collections::HashMap, fmt, rc::Rc};

/// From the gradient of an output to those of what it was made of.
type Back = Box<dyn FnOnce(&[f32], &mut Gradients)>;

/// The calls of a pass.
#[derive(Default)]
pub(crate) struct Tape {
    /// In their order.
    calls: RefCell<Vec<(Tensor, Back)>>,
    /// Who computes products, and takes gradients back through them.
    products: Option<Rc<dyn ProductsBack>>,
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").field("calls", &self.calls.borrow().len()).finish_non_exhaustive()
    }
}

impl Tape {
    /// Of a pass whose products somebody else computes.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn through(products: Rc<dyn ProductsBack>) -> Tape {
        Tape { calls: RefCell::default(), products: Some(products) }
    }

    /// Who takes gradients back through products, if anybody does.
    pub(crate) fn products(&self) -> Option<Rc<dyn ProductsBack>> {
        self.products.clone()
    }

    /// Notes how `output` was made.
    pub(crate) fn note(
        &self,
        output: &Tensor,
        back: impl FnOnce(&[f32], &mut Gradients) + 'static,
    ) {
        self.calls.borrow_mut().push((output.clone(), Box::new(back)));
    }

    /// Goes all the way back from the gradient of `output`; the calls are forgotten on the way.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn back(&self, output: &Tensor, gradient: Vec<f32>) -> Gradients {
        let mut gradients = Gradients::default();
        gradients.add(output, gradient);
        let mut calls = self.calls.take();
        while let Some((output, back)) = calls.pop() {
            // What nothing depends on has none.
            if let Some(gradient) = gradients.0.remove(&output.address()) {
                back(&gradient, &mut gradients);
            }
        }
        gradients
    }
}

/// Gradients by the numbers that they are of; a tensor in another shape has the same numbers.
#[derive(Debug, Default)]
pub(crate) struct Gradients(HashMap<usize, Vec<f32>>);

impl Gradients {
    /// Adds to the gradient of a tensor, which the tape keeps until then.
    pub(crate) fn add(&mut self, tensor: &Tensor, gradient: Vec<f32>) {
        assert_eq!(gradient.len(), tensor.count());
        match self.0.entry(tensor.address()) {
            std::collections::hash_map::Entry::Vacant(place) => drop(place.insert(gradient)),
            std::collections::hash_map::Entry::Occupied(mut place) => {
                place.get_mut().iter_mut().zip(gradient).for_each(|(sum, more)| *sum += more);
            }
        }
    }

    /// The gradient of what nothing on the tape has made.
    #[cfg(test)]
    pub(crate) fn of(&self, tensor: &Tensor) -> &[f32] {
        &self.0[&tensor.address()]
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
pub(crate) mod tests {
    use super::*;
    use crate::{device::Device, testing::normal};

    /// Holds the gradients of an op by its inputs to differences of a sum of its outputs, weighed by numbers that
    /// nobody chose.
    pub(crate) fn check(
        inputs: &[(&[usize], Vec<f32>)],
        op: impl Fn(&Device, &[Tensor]) -> Tensor,
    ) {
        let tensors = |inputs: &[(&[usize], Vec<f32>)]| -> Vec<Tensor> {
            inputs.iter().map(|(shape, values)| Tensor::from_f32(shape, values.clone())).collect()
        };
        let tape = Rc::new(Tape::default());
        let device = Device::with_tape(&tape);
        let own = tensors(inputs);
        let y = op(&device, &own);
        let weights = normal(99, y.count());
        let gradients = tape.back(&y, weights.clone());
        let sum = |inputs: &[(&[usize], Vec<f32>)]| -> f64 {
            let y = op(&Device::reference(), &tensors(inputs));
            y.f32s().iter().zip(&weights).map(|(y, w)| f64::from(*y) * f64::from(*w)).sum()
        };
        for (which, tensor) in own.iter().enumerate() {
            let found = gradients.of(tensor);
            let size = found.iter().map(|value| value.abs()).fold(0.1, f32::max);
            for at in (0..tensor.count()).step_by(tensor.count().div_ceil(40)) {
                let moved = |by: f32| {
                    let mut inputs = inputs.to_vec();
                    inputs[which].1[at] += by;
                    sum(&inputs)
                };
                let step = 4e-3;
                let wanted = ((moved(step) - moved(-step)) / f64::from(2.0 * step)) as f32;
                let far = (found[at] - wanted).abs();
                assert!(far < 0.01 * size, "input {which}, {at}: {} and {wanted}", found[at]);
            }
        }
    }

    #[test]
    fn what_is_used_twice_has_the_sum_of_both_gradients() {
        let tape = Tape::default();
        let [x, y, z] = [1.0, 2.0, 3.0].map(|value| Tensor::from_f32(&[1], vec![value]));
        for (output, factor) in [(&y, 5.0), (&z, 7.0)] {
            let x = x.clone();
            tape.note(output, move |dy, to| to.add(&x, vec![factor * dy[0]]));
        }
        let (own, other) = (y.reshape(&[1, 1]), z.clone());
        let sum = Tensor::from_f32(&[1], vec![5.0]);
        tape.note(&sum, move |dy, to| {
            to.add(&own, dy.to_vec());
            to.add(&other, dy.to_vec());
        });
        assert_eq!(tape.back(&sum, vec![2.0]).of(&x), [24.0]);
    }
}
