//! What is continued behind the prompts of a case, and how far it is what was known.

use super::{
    clocked::{Page, batch},
    *,
};
use crate::{
    generate::tests::{Chain, VOCABULARY, continued},
    published::{GenerationConfig, Suppressed},
};
use record::Memory;

/// What comes of texts behind the prompts of a case.
struct Told {
    first: Vec<u32>,
    timing: Timing,
    memory: Memory,
    correctness: Correctness,
    tokens: Vec<(u32, u32)>,
    /// The room that each pass over a prompt asked for.
    begun: Vec<usize>,
}

/// Texts of a chain on the CPU behind `prompts`, of which `expected` is known.
fn texts(
    chain: impl Fn(&mut Chain),
    prompts: &[&[i64]],
    expected: &[Vec<u32>],
    change: impl Fn(&mut Case, &mut RunRequest),
) -> Told {
    let (page, device) = (Page::new(0.5), Device::cpu());
    let mut decoder = Chain::new(&device);
    chain(&mut decoder);
    let mut request = request(Class::Llama, LLAMA);
    let files: Vec<String> = request.files.iter().map(|file| file.name.clone()).collect();
    pollster::block_on(async {
        let mut case = Case::open(&Folder::new(LLAMA), &files).await.unwrap();
        case.inputs = batch(prompts);
        case.expected.generated = expected.to_vec();
        case.published.generation = GenerationConfig::default();
        change(&mut case, &mut request);
        let (mut timing, mut memory, mut correctness) = (
            Timing { median_ms: 8.0, ..Timing::default() },
            Memory::default(),
            Correctness::default(),
        );
        let texts = Texts {
            device: &device,
            decoder: &decoder,
            case: &case,
            request: &request,
            embedder: &page,
        };
        let first = texts.run(&mut timing, &mut memory, &mut correctness).await.unwrap();
        Told {
            first,
            timing,
            memory,
            correctness,
            tokens: page.tokens(),
            begun: decoder.begun.take(),
        }
    })
}

fn as_it_is<T>(_: &mut T) {}

fn unchanged(_: &mut Case, _: &mut RunRequest) {}

#[test]
fn a_known_text_is_continued_as_far_as_it_is_known() {
    let known = [continued(&[1, 3], 6), continued(&[4, 9], 4)];
    let told = texts(as_it_is, &[&[1, 3], &[4, 9]], &known, unchanged);
    assert_eq!(told.first, known[0]);
    let count = |text: &[u32]| (1..).zip(&text[2..]).map(|(at, id)| (*id, at)).collect::<Vec<_>>();
    assert_eq!(told.tokens, [count(&known[0]), count(&known[1])].concat());
    let found = told.correctness;
    assert_eq!((found.generated_match, found.top1_agreement), (Some(1.0), Some(1.0)));
    // Four tokens of prompts in a pass of eight milliseconds; five and three steps in half of one each.
    assert_eq!((told.timing.prefill_tps, told.timing.decode_tps), (Some(500.0), Some(8000.0)));
    assert_eq!(told.timing.decode_yardstick_ms, [0.5]);
    // Each text, and then all of it but its last token, which nothing follows.
    assert_eq!(told.begun, [8, 7, 6, 5]);
    assert_eq!(told.memory.kv_bytes, 2 * 2 * 3 * 4 * 4 * 8, "the most of all texts");
}

/// A text that leaves the known one is wrong from there on; behind the right tokens it may be right again.
#[test]
fn a_text_repeats_up_to_its_first_other_token_and_agrees_behind_right_ones() {
    let right = continued(&[1, 3], 6);
    let mut other = continued(&[4, 9], 6);
    other[5] = (other[5] + 1) % VOCABULARY as u32;
    let told = texts(as_it_is, &[&[1, 3], &[4, 9]], &[right, other.clone()], unchanged);
    assert_eq!(told.correctness.generated_match, Some((6 + 3) as f64 / 12.0));
    let agree = (2..8).filter(|at| continued(&other[..*at], 1)[*at] == other[*at]).count();
    assert!((3..6).contains(&agree), "{agree} of six");
    assert_eq!(told.correctness.top1_agreement, Some((6 + agree) as f64 / 12.0));
}

#[test]
fn a_text_is_as_long_as_it_is_asked_to_be() {
    let known = [continued(&[1, 3], 6)];
    let new = |told: &Told| told.first.len() - 2;
    let told = texts(as_it_is, &[&[1, 3]], &known, |_, request| request.max_new_tokens = Some(4));
    assert_eq!((new(&told), told.correctness.generated_match), (4, Some(1.0)));
    let told = texts(as_it_is, &[&[1, 3]], &known, |_, request| request.max_new_tokens = Some(9));
    assert_eq!(new(&told), 6);
    let told = texts(|chain| chain.positions = 5, &[&[1, 3]], &known, unchanged);
    assert_eq!(new(&told), 3, "positions end");
    let told = texts(as_it_is, &[&[1, 3]], &[], |case, _| case.new_tokens = Some(20));
    assert_eq!(new(&told), 20);
    assert_eq!(told.correctness, Correctness::default(), "nothing is known of it");
    // Without anything that says how long it is, it ends as its publisher has it.
    let told = texts(|chain| chain.stop = vec![], &[&[1, 3]], &[], unchanged);
    assert_eq!(new(&told), 16);
    let told = texts(as_it_is, &[&[1, 3], &[4, 9]], &[], unchanged);
    assert_eq!(
        told.first,
        [1, 3, 4, 5],
        "up to the token that ends it, and of the first prompt alone"
    );
    assert_eq!(told.tokens, [(4, 1), (5, 2)]);
}

#[test]
fn what_has_no_new_token_has_no_figure() {
    let told = texts(as_it_is, &[&[1, 3]], &[vec![1, 3]], unchanged);
    assert_eq!(told.first, [1, 3]);
    assert_eq!(told.correctness, Correctness::default());
    assert_eq!((told.timing.decode_tps, told.timing.decode_yardstick_ms), (None, vec![]));
    // One new token is no step, and two are one.
    let told = texts(as_it_is, &[&[1, 3]], &[continued(&[1, 3], 1)], unchanged);
    assert_eq!((told.timing.decode_tps, told.correctness.generated_match), (None, Some(1.0)));
    let told = texts(as_it_is, &[&[1, 3]], &[continued(&[1, 3], 2)], unchanged);
    assert_eq!(told.timing.decode_tps, Some(2000.0));
}

/// Where more tokens are given than a text begins with, they are there to be scored.
#[test]
fn a_text_that_does_not_go_on_behind_what_is_given_begins_with_its_first_token() {
    let known = [continued(&[1], 6)];
    let told = texts(as_it_is, &[&[1, 9, 9]], &known, unchanged);
    assert_eq!((told.first, told.correctness.generated_match), (known[0].clone(), Some(1.0)));
    assert_eq!(told.correctness.top1_agreement, Some(1.0));
}

#[test]
fn suppressed_tokens_are_suppressed_under_forced_decoding_as_well() {
    // In place of 4 at first, and of 5 anywhere, there is 0: nothing else is likelier.
    let suppressed = Suppressed { always: vec![5], first: vec![4] };
    let known = vec![1, 3, 0, 1, 2, 3, 2, 3, 4, 0];
    let told = texts(as_it_is, &[&[1, 3]], std::slice::from_ref(&known), |case, _| {
        case.published.generation.suppressed = suppressed.clone();
    });
    let found = (told.correctness.generated_match, told.correctness.top1_agreement);
    assert_eq!((told.first, found), (known, (Some(1.0), Some(1.0))));
}

#[test]
fn of_a_long_prompt_the_beginning_is_judged_unless_all_of_it_is_expected() {
    let files = Folder::new(LLAMA).files().unwrap();
    let mut case = pollster::block_on(Case::open(&Folder::new(LLAMA), &files)).unwrap();
    case.inputs = batch(&[&[1, 3, 5, 2], &[4, 9, 6, 7]]);
    let mask = (vec![2, 4], vec![1, 1, 1, 0, 1, 1, 1, 1]);
    case.inputs.ints.insert("attention_mask".to_owned(), mask);
    case.expected.outputs.clear();
    let chain = Chain::new(&Device::cpu());
    let judged = |chain: &Chain, case: &Case, positions: usize| {
        let (inputs, cut) = outputs::judged(chain, case, 2 * positions * VOCABULARY).unwrap();
        (inputs.ints["input_ids"].1.clone(), inputs.ints["attention_mask"].clone(), cut)
    };
    let (ids, mask, cut) = judged(&chain, &case, 3);
    assert_eq!((ids, cut), (vec![1, 3, 5, 4, 9, 6], Some(3)));
    assert_eq!(mask, (vec![2, 3], vec![1, 1, 1, 1, 1, 1]));
    assert_eq!(judged(&chain, &case, 4).2, None);
    let mut pictures = Chain::new(&Device::cpu());
    pictures.placeholder = Some(7);
    assert_eq!(judged(&pictures, &case, 3).2, None, "places of pictures would be cut off");
    case.expected.outputs.insert("logits".to_owned(), (vec![], vec![]));
    assert_eq!(judged(&chain, &case, 3).0.len(), 8, "they are held to what is expected");
}
