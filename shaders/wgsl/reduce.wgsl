// Sums and maxima over a workgroup of WG invocations, WG a power of two. Every invocation calls
// them and every invocation receives the result.
#if SUBGROUPS
enable subgroups;
#endif

var<workgroup> reduce_slots: array<f32, WG>;

#if SUBGROUPS
fn reduce_sum(value: f32, lane: u32, size: u32) -> f32 {
    let partial = subgroupAdd(value);
    if (lane % size == 0u) {
        reduce_slots[lane / size] = partial;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < (WG + size - 1u) / size; i++) {
        total += reduce_slots[i];
    }
    workgroupBarrier();
    return total;
}

fn reduce_max(value: f32, lane: u32, size: u32) -> f32 {
    let partial = subgroupMax(value);
    if (lane % size == 0u) {
        reduce_slots[lane / size] = partial;
    }
    workgroupBarrier();
    var total = reduce_slots[0];
    for (var i = 1u; i < (WG + size - 1u) / size; i++) {
        total = max(total, reduce_slots[i]);
    }
    workgroupBarrier();
    return total;
}
#else
fn reduce_sum(value: f32, lane: u32, size: u32) -> f32 {
    reduce_slots[lane] = value;
    workgroupBarrier();
    for (var span = WG / 2u; span > 0u; span >>= 1u) {
        if (lane < span) {
            reduce_slots[lane] += reduce_slots[lane + span];
        }
        workgroupBarrier();
    }
    let total = reduce_slots[0];
    workgroupBarrier();
    return total;
}

fn reduce_max(value: f32, lane: u32, size: u32) -> f32 {
    reduce_slots[lane] = value;
    workgroupBarrier();
    for (var span = WG / 2u; span > 0u; span >>= 1u) {
        if (lane < span) {
            reduce_slots[lane] = max(reduce_slots[lane], reduce_slots[lane + span]);
        }
        workgroupBarrier();
    }
    let total = reduce_slots[0];
    workgroupBarrier();
    return total;
}
#endif
