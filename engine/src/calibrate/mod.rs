//! Quantises a model while it reads a text, and says how far a quantised model is from another.
//!
//! The text is read twice at once: one half of a batch by the model as it is, the other by what has been
//! quantised so far (`learner.rs`). A matrix is quantised when the pass first multiplies with it, by the
//! inputs that it then has in both halves, and the pass goes on with what came of it. So each matrix makes
//! up for what those before it have done, and no class has to know of it. A pass of the model as it is goes
//! ahead, for tables that are looked up before they are multiplied with.
//!
//! `opened.rs` has a model whose products are floats. `text.rs` makes such a batch of a text, and `own.rs` has the model write one, `written.rs` about what it is
//! given; `fidelity.rs` compares what two
//! models expect to follow, and `logits.rs` is the arithmetic of that. `harm.rs` measures what each matrix costs at
//! each width, of which `load/budget.rs` makes the best in so many bytes. When all codes are chosen, `refine.rs` moves
//! the scales of all matrices together, by the gradients of what comes out.

mod fidelity;
mod harm;
mod learner;
mod logits;
mod opened;
mod own;
mod refine;
mod text;
mod written;

pub use crate::load::{Choice, Harm, within};
pub use fidelity::fidelity;
pub(crate) use fidelity::{Token, summed};
pub use harm::{harms, unmoved};
pub(crate) use opened::Opened;
pub use own::{own, writes};
pub use refine::Refinement;
pub use text::{Windows, answered, windows};
pub(crate) use written::{Text, Writer};

use crate::{
    device::Device,
    error::{Error, Result},
    load::LoadPlan,
    models::{Model, Rows},
    packing::Weights,
    published::Inputs,
    quant::Gptq,
    threads,
};
use learner::Learner;
use pollster::block_on;
use record::{Bits, Precision};
use refine::refine;
use std::{
    io::{Seek, Write},
    rc::Rc,
};

/// Hears how far it is: how many matrices are quantised or tried, or tokens compared.
pub type Heard = Rc<dyn Fn(u64)>;

/// What a calibration has made.
#[derive(Debug)]
pub struct Quantised {
    /// The weights as they are packed.
    pub plan: LoadPlan,
    /// Matrices that are rounded to nearest: the text does not reach them, they are only looked up, or they
    /// are several under one name.
    pub rounded: Vec<String>,
    /// How far the model was from the one that it is made of before each step of a refinement.
    pub divergences: Vec<f64>,
}

/// Quantises `weights` while the model reads `text`, and packs them into `out`, an empty file called `file`. A
/// refinement reads a text of its own: on the one by which codes were chosen, a model is better than elsewhere.
///
/// # Errors
/// When weights cannot be read, the model does not take the text, or the file cannot be written.
pub fn quantise(
    weights: &Weights,
    precision: &Precision,
    text: &Windows,
    refinement: Option<(Refinement, &Windows)>,
    (file, out): (&str, &mut (impl Write + Seek)),
    heard: Heard,
) -> Result<Quantised> {
    if !precision.bits.is_grouped() {
        let message = format!("{}-bit weights have no codes to choose", precision.bits);
        return Err(Error::unsupported(message));
    }
    must_be_whole(weights)?;
    if refinement.is_some() && !own::writes(weights) {
        let message =
            "scales are refined by what a model expects to follow in a text: llama, qwen2";
        return Err(Error::unsupported(message));
    }
    use_all_processors();
    let source = weights.source();
    let mut declared = weights.declare(precision)?;
    block_on(declared.settle(source))?;
    let formats = declared.plan().entries.iter().map(|entry| (entry.name.clone(), entry.format));
    let whole = weights.declare(&Precision::of(Bits::Fixed(32)))?;
    let loaded = block_on(whole.load(source, &Device::reference(), &|_, _| ()))?;
    let own = Rc::clone(&heard);
    let learner = Rc::new(Learner::new(&loaded.matrices(), &formats.collect(), text, own));
    // Tables that are multiplied with as well are quantised for that, too, as they are looked up before; and
    // it is seen which matrix is the last.
    read(&*loaded.model, &learner, text.inputs())?;
    learner.begin();
    read(&*loaded.model, &learner, &twice(text.inputs()))?;
    let (mut made, done) = (learner.take()?, learner.done());
    drop(learner);
    let divergences = match refinement {
        Some((how, text)) => {
            let heard: Heard = Rc::new(move |steps| heard(done + steps));
            refine(&loaded, &mut made, text, how, &heard)?
        }
        None => Vec::new(),
    };
    let matrices =
        declared.plan().entries.iter().filter(|entry| entry.is_matrix() && entry.bytes > 0);
    let names = matrices.map(|entry| entry.name.clone());
    let rounded = names.filter(|name| !made.contains_key(name)).collect();
    let recipe = (precision, weights.published.config.value());
    let declared = declared.by(&Gptq);
    let plan = block_on(declared.write(source, made, recipe, file, out, &|_, _| ()))?;
    Ok(Quantised { plan, rounded, divergences })
}

/// Codes are chosen for weights that have none.
fn must_be_whole(weights: &Weights) -> Result<()> {
    let Some(packed) = &weights.published.checkpoint.artefact else { return Ok(()) };
    let message = "it is packed already; quantise the model that it was made of";
    Err(Error::malformed(&packed.file, message))
}

/// Work of this thread is spread over all processors.
pub(crate) fn use_all_processors() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    threads::grow(processors);
    threads::spread(processors);
}

/// One pass; what it gives is of no interest.
fn read(model: &dyn Model, learner: &Rc<Learner>, inputs: &Inputs) -> Result<()> {
    let device = learner.device();
    match model.decoder() {
        Some(decoder) => {
            let ids = inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
            let state = decoder.begin(&device, inputs, ids.tokens)?;
            let rows = Rows { last: false, mask: None };
            decoder.prefill(&device, &state, inputs, &ids.upload(&device), rows)?;
        }
        None => drop(model.forward(&device, inputs)?),
    }
    Ok(())
}

/// Everything once more, below.
fn twice(inputs: &Inputs) -> Inputs {
    fn double<T: Copy>((shape, values): (Vec<usize>, Vec<T>)) -> (Vec<usize>, Vec<T>) {
        let shape = [&[2 * shape[0]], &shape[1..]].concat();
        (shape, values.repeat(2))
    }
    let Inputs { ints, floats } = inputs.clone();
    Inputs {
        ints: ints.into_iter().map(|(name, tensor)| (name, double(tensor))).collect(),
        floats: floats.into_iter().map(|(name, tensor)| (name, double(tensor))).collect(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
