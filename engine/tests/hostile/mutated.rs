//! Files that were well-formed before some of their bytes were changed.

use super::{SPARE, ggufs::TINY, measured, open, safetensors::two};
use engine::{
    device::Device,
    models,
    packing::Weights,
    preprocess::Tokenizer,
    published::Published,
    weights::{Folder, Memory, gguf},
};
use pollster::block_on;
use record::{Bits, Precision};
use std::io::Cursor;

/// Xorshift: the same mutations on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// Changes, removes, repeats or cuts a few bytes in the first `header` ones.
fn mutate(original: &[u8], header: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(header.min(bytes.len()));
        let Some(byte) = bytes.get_mut(at) else { break };
        match random.below(8) {
            0..3 => *byte = random.below(256) as u8,
            3 => *byte ^= 1 << random.below(8),
            4 => *byte = [0, 0x7f, 0x80, 0xff, b'"', b'{', b'9', b'-'][random.below(8)],
            5 => {
                let end = (at + 1 + random.below(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            6 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Opens mutations of a file and reads every tensor of those that open; returns how many opened.
fn fuzz(file: &str, original: &[u8], header: usize, rounds: u64) -> usize {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut opened = 0;
    for _ in 0..rounds {
        let bytes = mutate(original, header, &mut random);
        let size = bytes.len() as isize;
        let memory = Memory::new().with(file, bytes);
        let (ok, peak) = measured(|| {
            let Ok(checkpoint) = open(&memory, file) else { return false };
            for name in checkpoint.names() {
                // Damaged values may be refused here; what counts is that nothing panics.
                let _ = block_on(checkpoint.tensor_f32(&memory, name));
                let _ = block_on(checkpoint.tensor_i64(&memory, name));
            }
            true
        });
        opened += usize::from(ok);
        assert!(peak <= size + SPARE, "{peak} bytes were held for a file of {size}");
    }
    opened
}

#[test]
fn mutated_safetensors_are_refused_or_read() {
    let original = two("[0,8]", "[8,16]", 16);
    let opened = fuzz("model.safetensors", &original, original.len(), 8000);
    assert!((1..4000).contains(&opened), "{opened} of 8000 were opened");
}

#[test]
fn mutated_ggufs_are_refused_or_read() {
    let opened = fuzz("model.gguf", TINY, 1200, 4000);
    assert!((1..3000).contains(&opened), "{opened} of 4000 were opened");
}

#[test]
fn mutated_vocabularies_are_refused_or_used() {
    let original = include_bytes!("../../src/preprocess/fixtures/spm.gguf");
    let mut random = Random(7);
    let (mut used, mut refused) = (0, 0);
    for _ in 0..600 {
        let bytes = mutate(original, original.len(), &mut random);
        let memory = Memory::new().with("model.gguf", bytes);
        let tokenizer = block_on(gguf::read(&memory, "model.gguf"))
            .and_then(|header| Tokenizer::from_gguf(&header.metadata));
        match tokenizer.and_then(|tokenizer| tokenizer.encode("a few words, 12 🍕\n", true)) {
            Ok(_) => used += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(used > 50 && refused > 50, "{used} used, {refused} refused");
}

/// A header may be changed so that it still fits the model, but no damage is computed with: words and
/// checksums hold each other.
#[test]
fn mutated_artefacts_are_refused_or_loaded() {
    const FILE: &str = "model.safetensors";
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/zoo/llama/llama-tied-mha");
    let precision = Precision::of(Bits::Fixed(4));
    let weights = Weights::open(folder.as_ref(), &Folder::new(folder).files().unwrap()).unwrap();
    let mut original = Cursor::new(Vec::new());
    weights.pack(&precision, FILE, &mut original, &|_, _| {}).unwrap();
    let original = original.into_inner();
    let load = |bytes: Vec<u8>| {
        let memory = Memory::new().with(FILE, bytes);
        let published = block_on(Published::open(&memory, &[FILE.to_owned()]))?;
        let Published { class, config, checkpoint, .. } = published;
        let declared = models::declare(class, &config, &checkpoint, &precision)?;
        block_on(declared.load(&memory, &Device::cpu(), &|_, _| {})).map(|_| ())
    };
    let mut random = Random(11);
    let (mut loaded, rounds) = (0, 1500);
    for _ in 0..rounds {
        let bytes = mutate(&original, original.len(), &mut random);
        let size = bytes.len() as isize;
        let (result, peak) = measured(|| load(bytes));
        loaded += usize::from(result.is_ok());
        assert!(peak <= 2 * size + SPARE, "{peak} bytes were held for a file of {size}");
    }
    assert!(loaded < rounds / 10, "{loaded} of {rounds} were loaded");
}
