//! The faults of key-value caches in few bits, by file.

use super::faults::Fault;

pub(super) const FAULTS: &[Fault] = &[
    ("attention_step_rows", "codes[quad + 4u] << 4u", "codes[quad + 4u]", "a high half of a byte"),
    ("attention_step_rows", "first + quad - own + i", "first + i", "each block turns for itself"),
    ("attention_step_rows", "chunk + 1u", "chunk", "the second scale of a word"),
    (
        "attention_step_rows",
        "turned_block(3u * QUADS",
        "turned_block(0u * QUADS",
        "a query for sinks",
    ),
    ("attention_step_rows", "turning[lane] = total", "turning[lane] = -total", "outputs turn back"),
    ("attention_step_rows", "first + chunk * 8u", "first", "each chunk has its extreme"),
    ("bytes", "word ^ 0x80808080u", "word", "signed bytes"),
    ("bytes", "word >> 9u", "word >> 1u", "the fourth byte"),
    ("kv_codes", "abs(b) > abs(a)", "b > a", "an extreme may be negative"),
    ("kv_codes", "extreme / -8.0", "abs(extreme) / 8.0", "the code that is farthest from zero"),
    ("kv_codes", "floor(steps + 8.5)", "floor(steps + 8.0)", "to the nearest code"),
    ("kv_pack", "pair * 2u + 1u < chunks", "false", "a second chunk"),
    ("kv_pack", "second << 4u", "second", "a high half of a byte"),
    ("kv_pack", "step[0] + token", "token", "rows go behind those that are there"),
    ("kv_rows", "quad / 16u", "0u", "a second word of scales"),
    ("kv_rows", "quad / 8u % 2u == 1u", "false", "two scales a word"),
    ("kv_rows", "quad / 4u % 2u * 4u", "0u", "a high half of a byte"),
    ("kv_rows", "signed4(word) * d", "signed4(word)", "a scale"),
    ("rope", "row * params.kv_heads + (head", "(head", "keys of a later token, apart"),
    ("rotate", "countOneBits(own & i) % 2u == 1u", "false", "signs of the matrix"),
];
