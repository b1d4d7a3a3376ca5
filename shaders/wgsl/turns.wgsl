// The chunks of a turn, one after the other: with both in registers at once products of rows that go by pairs take a
// tenth longer on an H200. Whoever includes this has Activations, and product(words, affine, xs) of a chunk.

fn first_product(row: u32, w: Part, turn: u32, xs: Activations) -> f32 {
#if PAIRS
    return product(w.codes.a, affine_first(w, group_of(row, turn)), xs);
#else
    return product(w.codes, affine_first(w, group_of(row, turn)), xs);
#endif
}

// What the first chunk of a turn gives of each row of a team.
fn first_products(rows: Rows, w: Parts, turn: u32, xs: Activations) -> Sums {
    var found: Sums;
    found.x = first_product(rows.x, w.r0, turn, xs);
    found.y = first_product(rows.y, w.r1, turn, xs);
#if ROWS == 4
    found.z = first_product(rows.z, w.r2, turn, xs);
    found.w = first_product(rows.w, w.r3, turn, xs);
#endif
    return found;
}

#if PAIRS
fn second_product(row: u32, w: Part, turn: u32, xs: Activations) -> f32 {
    return product(w.codes.b, affine_second(w, group_of(row, turn)), xs);
}

fn second_products(rows: Rows, w: Parts, turn: u32, xs: Activations) -> Sums {
    var found: Sums;
    found.x = second_product(rows.x, w.r0, turn, xs);
    found.y = second_product(rows.y, w.r1, turn, xs);
#if ROWS == 4
    found.z = second_product(rows.z, w.r2, turn, xs);
    found.w = second_product(rows.w, w.r3, turn, xs);
#endif
    return found;
}
#endif
