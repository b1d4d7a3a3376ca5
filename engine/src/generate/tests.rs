//! Texts of a decoder whose every token can be told beforehand, on the CPU and on a GPU.

use super::*;
use crate::{
    device::Gpu,
    kv::{CacheShape, KvCache},
    models::{Model, Outputs},
    published::{GenerationConfig, Suppressed},
};
use record::KvFormat;
use std::cell::{Cell, RefCell};

/// Tokens there are.
pub(crate) const VOCABULARY: usize = 12;
/// Positions there are.
const POSITIONS: usize = 160;

/// A decoder of tables: a token is followed by the next one, but at every fifth position by the token
/// of that position. So a wrong token and a wrong position both change the text.
pub(crate) struct Chain {
    tokens: Tensor,
    places: Tensor,
    pub(crate) stop: Vec<u32>,
    pub(crate) placeholder: Option<u32>,
    pub(crate) positions: usize,
    pub(crate) vocabulary: usize,
    /// What [`Decoder::begin`] was asked for, and where each pass began as the host counts.
    pub(crate) begun: RefCell<Vec<usize>>,
    pub(crate) passes: RefCell<Vec<usize>>,
}

/// The token that follows `token` at `position`.
fn next(token: u32, position: usize) -> u32 {
    match position % 5 {
        0 => (7 * position + 3) as u32 % VOCABULARY as u32,
        _ => (token + 1) % VOCABULARY as u32,
    }
}

/// What follows `prompt`: so many tokens.
pub(crate) fn continued(prompt: &[u32], count: usize) -> Vec<u32> {
    let mut ids = prompt.to_vec();
    for _ in 0..count {
        ids.push(next(ids[ids.len() - 1], ids.len() - 1));
    }
    ids
}

impl Chain {
    pub(crate) fn new(device: &Device) -> Chain {
        let table = |rows: usize, weight: f32, token: &dyn Fn(usize) -> Option<u32>| {
            let mut values = vec![0.0; rows * VOCABULARY];
            for row in 0..rows {
                if let Some(token) = token(row) {
                    values[row * VOCABULARY + token as usize] = weight;
                }
            }
            device.keep(&[rows, VOCABULARY], values)
        };
        Chain {
            tokens: table(VOCABULARY, 1.0, &|token| Some(next(token as u32, 1))),
            places: table(POSITIONS, 2.0, &|at| (at % 5 == 0).then(|| next(0, at))),
            stop: vec![5],
            placeholder: None,
            positions: POSITIONS,
            vocabulary: VOCABULARY,
            begun: RefCell::default(),
            passes: RefCell::default(),
        }
    }
}

impl Decoder for Chain {
    fn begin(&self, device: &Device, _: &Inputs, capacity: usize) -> Result<State> {
        self.begun.borrow_mut().push(capacity);
        let (layers, shape) = self.cache(1, capacity);
        Ok(State::new(KvCache::new(device, layers, shape)))
    }

    fn cache(&self, batch: usize, capacity: usize) -> (usize, CacheShape) {
        (2, CacheShape { format: KvFormat::F32, batch, heads: 3, width: 4, capacity })
    }

    fn step(&self, device: &Device, state: &State, ids: &Tensor, rows: Rows<'_>) -> Tensor {
        self.passes.borrow_mut().push(state.cache.len());
        let count = ids.count();
        let logits = ops::gather_rows(device, &self.tokens, ids);
        let logits = logits.reshape(&[1, count, VOCABULARY]);
        let logits = ops::add_positions(device, &logits, &self.places, state.cache.step());
        if !rows.last || count == 1 {
            return logits;
        }
        let last = device.upload_u32(&[1], vec![count as u32 - 1]);
        ops::gather_rows(device, &logits, &last).reshape(&[1, 1, VOCABULARY])
    }

    fn placeholder(&self) -> Option<u32> {
        self.placeholder
    }

    fn positions(&self) -> usize {
        self.positions
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn stop_tokens(&self) -> &[u32] {
        &self.stop
    }
}

impl Model for Chain {
    fn forward(&self, _: &Device, _: &Inputs) -> Result<Outputs> {
        Ok(Vec::new())
    }

    fn decoder(&self) -> Option<&dyn Decoder> {
        Some(self)
    }
}

pub(crate) fn devices() -> [Device; 2] {
    [Device::cpu(), Device::Gpu(pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe"))]
}

fn options(max_new_tokens: usize) -> Options {
    Options {
        max_new_tokens,
        sampling: Sampling::Greedy,
        stop_tokens: Vec::new(),
        suppressed: Suppressed::default(),
    }
}

/// A text with the tokens that were emitted, by a clock on which each look takes `tick` milliseconds.
/// Each token comes with how often the clock was looked at before.
fn text(
    device: &Device,
    prompt: &[u32],
    options: &Options,
    tick: f64,
) -> (Chain, Generation, Vec<(usize, u32)>) {
    let chain = Chain::new(device);
    let (looks, emitted) = (Cell::new(0), RefCell::new(Vec::new()));
    let now = || {
        looks.set(looks.get() + 1);
        looks.get() as f64 * tick
    };
    let emit = |id| emitted.borrow_mut().push((looks.get(), id));
    let inputs = Inputs::default();
    let text = generate(device, &chain, &inputs, prompt, options, &now, &emit);
    let text = pollster::block_on(text).unwrap();
    (chain, text, emitted.into_inner())
}

#[test]
fn a_text_goes_on_behind_its_prompt_up_to_its_length() {
    for device in devices() {
        for count in [1, 2, 3, 40] {
            let (chain, text, emitted) = text(&device, &[3, 9], &options(count), 1.0);
            assert_eq!(text.ids, continued(&[3, 9], count), "{count} new tokens");
            let told: Vec<u32> = emitted.iter().map(|(_, id)| *id).collect();
            assert_eq!(told, text.ids[2..]);
            assert_eq!(text.decode_steps, count - 1);
            assert_eq!(chain.begun.take(), [2 + count]);
            // Two layers of keys and values, three heads of four numbers.
            assert_eq!(text.kv_bytes, 2 * 2 * 3 * 4 * 4 * (2 + count as u64));
        }
        let (chain, text, emitted) = text(&device, &[3, 9], &options(0), 1.0);
        assert_eq!((text.ids, emitted), (vec![3, 9], vec![]));
        assert_eq!(chain.begun.take(), [0; 0], "nothing is computed for no token");
    }
}

#[test]
fn each_pass_begins_behind_all_tokens_before_it() {
    let [cpu, gpu] = devices();
    let (chain, ..) = text(&cpu, &[3, 9, 1], &options(4), 1.0);
    assert_eq!(chain.passes.take(), [0, 3, 4, 5]);
    let (chain, ..) = text(&gpu, &[3, 9, 1], &options(4), 1.0);
    assert_eq!(chain.passes.take(), [0, 3], "the pass for a token is recorded once");
}

#[test]
fn a_text_ends_with_a_token_that_ends_it() {
    for device in devices() {
        // 1 3 4 5 6 7 2 3 4 5 …: one is the first new token, and one comes twice.
        let whole = continued(&[1], 20);
        for end in [2, 3, whole[9]] {
            let at = whole.iter().skip(1).position(|id| *id == end).unwrap() + 1;
            let options = Options { stop_tokens: vec![11, end], ..options(20) };
            let (_, text, emitted) = text(&device, &[1], &options, 1.0);
            assert_eq!(text.ids, whole[..=at], "up to {end}");
            assert_eq!(emitted.len(), at);
        }
    }
}

#[test]
fn prompts_that_are_none_are_refused() {
    let device = Device::cpu();
    let chain = Chain::new(&device);
    for prompt in [&[][..], &[VOCABULARY as u32], &[1, 99]] {
        let inputs = Inputs::default();
        let (now, emit) = (|| 0.0, |_| ());
        let (options, now, emit) = (options(3), &now, &emit);
        let text = generate(&device, &chain, &inputs, prompt, &options, now, emit);
        let error = pollster::block_on(text).unwrap_err().to_string();
        assert!(error.contains("empty or beyond the vocabulary"), "{error}");
    }
}

/// The clock is looked at twice before the first token and once more before the decode.
#[test]
fn prefill_ends_with_the_first_token_and_decode_with_the_last() {
    let [cpu, gpu] = devices();
    let (_, text, _) = text(&cpu, &[3, 9], &options(5), 7.0);
    assert_eq!((text.prefill_ms, text.decode_ms), (7.0, 7.0));
    // Two fetches, of one token and of two, of which the first is told to have been quick.
    let (_, text, _) = self::text(&gpu, &[3, 9], &options(4), 7.0);
    assert_eq!((text.prefill_ms, text.decode_ms), (7.0, 28.0));
}

#[test]
fn more_tokens_are_fetched_at_once_while_a_fetch_is_quick() {
    let gpu = &devices()[1];
    let fetches = |tick| {
        let (_, _, emitted) = text(gpu, &[3, 9], &options(120), tick);
        let chunks = emitted[1..].chunk_by(|(a, _), (b, _)| a == b);
        chunks.map(<[_]>::len).collect::<Vec<_>>()
    };
    // Two fetches are under way before the first tells how quick it was.
    let quick = fetches(QUICK_MS - 1.0);
    assert_eq!(
        (quick[0], quick.iter().sum::<usize>(), quick.iter().max()),
        (1, 119, Some(&MAX_BATCH))
    );
    assert!(quick.windows(2).all(|pair| pair[1] <= 2 * pair[0]) && quick.len() < 11, "{quick:?}");
    let slow = [&[1, 2][..], &[1; 116]].concat();
    assert_eq!(fetches(QUICK_MS), slow);
}

#[test]
fn what_is_suppressed_is_not_chosen() {
    for device in devices() {
        // 4 follows 3, and 9 its own position; where they may not, the first of all tokens is likeliest.
        let suppressed = |always: &[u32], first: &[u32]| Options {
            suppressed: Suppressed { always: always.to_vec(), first: first.to_vec() },
            ..options(3)
        };
        let ids = |options: &Options| text(&device, &[1, 3], options, 1.0).1.ids;
        assert_eq!(ids(&suppressed(&[], &[])), [1, 3, 4, 5, 6]);
        assert_eq!(ids(&suppressed(&[4], &[])), [1, 3, 0, 1, 2]);
        assert_eq!(ids(&suppressed(&[], &[4])), [1, 3, 0, 1, 2]);
        assert_eq!(ids(&suppressed(&[5], &[])), [1, 3, 4, 0, 1]);
        assert_eq!(ids(&suppressed(&[], &[5])), [1, 3, 4, 5, 6], "only as the first new token");
        // Ids beyond the vocabulary mean nothing.
        let beyond = VOCABULARY as u32;
        assert_eq!(ids(&suppressed(&[beyond, beyond + 1], &[beyond, 0, 4])), [1, 3, 1, 2, 3]);
    }
}

#[test]
fn addends_are_those_of_their_rows() {
    let device = Device::cpu();
    let suppressed = Suppressed { always: vec![1], first: vec![0] };
    let addend = |first| suppressed.addend(&device, 2, 3, first).map(|addend| addend.into_f32s());
    let no = UNLIKELY;
    assert!(no < -1e20 && no.is_finite());
    assert_eq!(addend(None), Some(vec![0.0, no, 0.0, 0.0, no, 0.0]));
    assert_eq!(addend(Some(1)), Some(vec![0.0, no, 0.0, no, no, 0.0]));
    assert_eq!(addend(Some(2)), addend(None));
    let only_first = Suppressed { always: vec![3], first: vec![0] };
    assert!(only_first.addend(&device, 2, 3, None).is_none(), "nothing is to be added");
    assert!(only_first.addend(&device, 2, 3, Some(0)).is_some());
}

/// What is sampled depends on the position, which a GPU counts on its own.
#[test]
fn a_device_counts_positions_as_the_host_does() {
    let sampling = Sampling::Random { temperature: 1.0, top_k: 12, top_p: 1.0, seed: 5 };
    let [cpu, gpu] = devices().map(|device| {
        let options = Options { sampling, ..options(40) };
        text(&device, &[3, 9], &options, 1.0).1.ids
    });
    assert_eq!(cpu, gpu);
    assert_ne!(cpu, continued(&[3, 9], 40), "it is no greedy text");
}

fn batch(ids: &[&[i64]], mask: Option<&[i64]>) -> Inputs {
    let shape = vec![ids.len(), ids[0].len()];
    let mut inputs = Inputs::default();
    inputs.ints.insert("input_ids".to_owned(), (shape.clone(), ids.concat()));
    if let Some(mask) = mask {
        inputs.ints.insert("attention_mask".to_owned(), (shape, mask.to_vec()));
    }
    inputs
}

#[test]
fn prompts_are_cut_out_of_a_batch_without_their_padding() {
    let chain = Chain::new(&Device::cpu());
    let inputs = batch(&[&[1, 2, 3], &[4, 5, 6]], Some(&[0, 1, 1, 1, 1, 0]));
    let found = prompts(&chain, &inputs).unwrap();
    let of = |prompts: &[prompts::Prompt]| -> Vec<_> {
        prompts.iter().map(|prompt| (prompt.given.clone(), prompt.ids.clone())).collect()
    };
    assert_eq!(of(&found), [(vec![1, 2, 3], vec![2, 3]), (vec![4, 5, 6], vec![4, 5])]);
    assert_eq!(found[1].inputs.ints["input_ids"], (vec![1, 3], vec![4, 5, 6]));
    assert_eq!(found[0].room(&chain), POSITIONS - 2);
    let short: Vec<_> = found.into_iter().map(|prompt| prompt.of_length(2)).collect();
    assert_eq!(of(&short), [(vec![1, 2, 3], vec![2]), (vec![4, 5, 6], vec![4, 5])]);
    let whole = prompts(&chain, &batch(&[&[1, 2, 3]], None)).unwrap();
    assert_eq!(of(&whole), [(vec![1, 2, 3], vec![1, 2, 3])]);
    let narrow = Chain { positions: 2, ..Chain::new(&Device::cpu()) };
    assert_eq!(whole[0].room(&narrow), 0);
}

#[test]
fn a_publisher_s_stop_tokens_go_before_those_of_the_configuration() {
    let chain = Chain::new(&Device::cpu());
    let published = |stop_tokens| GenerationConfig { stop_tokens, ..GenerationConfig::default() };
    assert_eq!(stop_tokens(&chain, &published(None)), [5]);
    assert_eq!(stop_tokens(&chain, &published(Some(vec![7, 8]))), [7, 8]);
    assert_eq!(stop_tokens(&chain, &published(Some(vec![]))), [0; 0]);
}

/// Each step gives the logits behind the token that was forced on it, whatever it would have chosen.
#[test]
fn forced_steps_follow_what_is_forced_on_them() {
    let forced = [4, 0, 7, 7, 2];
    for device in devices() {
        let chain = Chain::new(&device);
        let state = chain.begin(&device, &Inputs::default(), 8).unwrap();
        state.cache.advance(&device, 3);
        let steps = ForcedSteps::run(&device, &chain, &state, &forced);
        assert_eq!(state.cache.len(), 3 + forced.len());
        let tokens = |tensor: &Tensor| pollster::block_on(device.read_u32(tensor)).unwrap();
        let chosen: Vec<u32> = steps.chosen.iter().flat_map(tokens).collect();
        let wanted: Vec<u32> = (3..).zip(forced).map(|(at, token)| next(token, at)).collect();
        assert_eq!(chosen, wanted);
        let logits = pollster::block_on(device.take(steps.logits)).unwrap();
        for (logits, wanted) in logits.iter().zip(wanted) {
            assert_eq!(crate::stats::argmax(logits), wanted as usize);
        }
        let emitted = steps.emitted.as_ref().map(tokens);
        assert_eq!(emitted, matches!(device, Device::Gpu(_)).then(|| vec![0, 7, 7, 2, 0]));
    }
}
