//! A model whose memory shrinks: when all is measured, its weights are lowered to fewer bits where they lie, in the order
//! of least harm and without a file, and its outputs are judged again.

use super::{compare, outputs, texts, verdict};
use crate::{
    case::Case,
    device::{Caches, Device},
    embedder::Embedder,
    error::{Error, Result},
    load::Held,
    models,
    published::{Inputs, Published},
};
use record::{Correctness, KvFormat, Lowered, MemoryLimit, RunRequest, Tolerances};

/// What is lowered, and by what it is judged.
pub(super) struct Subject<'a> {
    pub(super) request: &'a RunRequest,
    pub(super) case: &'a Case,
    pub(super) judged: &'a Inputs,
    pub(super) embedder: &'a dyn Embedder,
}

impl Subject<'_> {
    /// Lowers what `device` holds. Says what came of it, and why it is not right, if it is not.
    pub(super) async fn lower(
        &self,
        device: &Device,
        held: Held,
        limit: MemoryLimit,
    ) -> Result<(Lowered, Option<String>)> {
        let Subject { request, case, judged, embedder } = *self;
        let Published { class, config, checkpoint, .. } = &case.published;
        let precision = &request.cell.precision;
        let (start, fetched) = (embedder.now(), embedder.fetched_bytes());
        let declared = models::declare(*class, config, checkpoint, precision)?;
        let cache = declared.model().decoder();
        let cache = cache.map_or(Ok(0), |decoder| texts::cache_bytes(decoder, case, request))?;
        let room = limit.bytes.saturating_sub(cache);
        let formats = held.plan().smaller(room, precision).map_err(|least| {
            let least = MemoryLimit { bytes: least + cache };
            Error::unsupported(format!("--lower-to {limit}: {least} is the least that would do"))
        })?;
        let before = held.plan().precision_plan();
        let loaded = declared.lower(held, &formats, device).await?;
        let ms = embedder.now() - start;
        let fetched_bytes = embedder.fetched_bytes().zip(fetched).map(|(now, then)| now - then);
        let (model, plan, held) = loaded.split();
        let changed =
            formats.formats.iter().filter(|(name, format)| before.formats[*name] != **format);
        let matrices = changed.count() as u64;

        let keeping = device.with_caches(match precision.kv {
            KvFormat::F32 => Caches::default(),
            _ => Caches::kept(),
        });
        let outputs = outputs::checked(&keeping, model.as_ref(), judged).await?;
        let given = keeping.caches().fetch(device).await?.given();
        drop(keeping);
        let mut correctness = Correctness::default();
        compare::expected(&outputs.values, &case.expected, &case.inputs, &mut correctness)?;
        let by = (device, precision);
        let (reference, _) =
            super::reference(model, held, &case.published, judged, by, given, false).await?;
        let worst = compare::kernel(&outputs.values, &reference, &mut correctness);
        // What is lost by fewer bits is measured and not judged, whatever the bits were before.
        let tolerances = Tolerances {
            reference_rel_l2: None,
            generation_is_exact: false,
            ..Tolerances::of(precision)
        };
        let (_, doubt) = verdict::verdict(&correctness, tolerances, &worst, &[]);
        let memory = plan.memory();
        let lowered = Lowered {
            limit,
            weights_bytes: memory.weights_bytes,
            bpw: memory.bpw,
            matrices,
            ms,
            fetched_bytes,
            plan: plan.formats(),
            correctness,
        };
        Ok((lowered, doubt.map(|doubt| format!("lowered to {limit}: {doubt}"))))
    }
}
