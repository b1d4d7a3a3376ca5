//! A model whose memory shrinks: when all is measured, its weights are lowered to fewer bits where they lie, in the order
//! of least harm and without a file, and its outputs are judged again.

use super::{compare, outputs, texts, verdict};
use crate::{
    case::Case,
    device::{Caches, Device},
    embedder::Embedder,
    error::{Error, Result},
    load::{Held, LoadPlan, PrecisionPlan},
    models::{self, Model},
    published::{Inputs, Published},
};
use record::{Correctness, KvFormat, Lowered, MemoryLimit, RunRequest, Tolerances};

/// What a model is to be lowered to.
pub(super) struct Lowering {
    limit: MemoryLimit,
    formats: PrecisionPlan,
    /// How many matrices change.
    matrices: u64,
}

/// By what a model is judged that was lowered.
pub(super) struct Subject<'a> {
    pub(super) request: &'a RunRequest,
    pub(super) case: &'a Case,
    pub(super) judged: &'a Inputs,
    pub(super) embedder: &'a dyn Embedder,
}

impl Lowering {
    /// What the request asks for, if it asks; said before anything is measured, as it may be more than can be done.
    pub(super) fn of(
        plan: &LoadPlan,
        model: &dyn Model,
        case: &Case,
        request: &RunRequest,
    ) -> Result<Option<Lowering>> {
        let Some(limit) = request.lower_to else { return Ok(None) };
        let cache = model.decoder().map_or(Ok(0), |it| texts::cache_bytes(it, case, request))?;
        let room = limit.bytes.saturating_sub(cache);
        let formats = plan.smaller(room, &request.cell.precision).map_err(|least| {
            let least = MemoryLimit { bytes: least + cache };
            Error::unsupported(format!("--lower-to {limit}: {least} is the least that would do"))
        })?;
        let before = plan.precision_plan().formats;
        let changed = formats.formats.iter().filter(|(name, format)| before[*name] != **format);
        let matrices = changed.count() as u64;
        Ok(Some(Lowering { limit, formats, matrices }))
    }
}

impl Subject<'_> {
    /// Lowers what `device` holds. Says what came of it, and why it is not right, if it is not.
    pub(super) async fn lower(
        &self,
        device: &Device,
        held: Held,
        Lowering { limit, formats, matrices }: Lowering,
    ) -> Result<(Lowered, Option<String>)> {
        let Subject { request, case, judged, embedder } = *self;
        let Published { class, config, checkpoint, .. } = &case.published;
        let precision = &request.cell.precision;
        let (start, fetched) = (embedder.now(), embedder.fetched_bytes());
        let declared = models::declare(*class, config, checkpoint, precision)?;
        let loaded = declared.lower(held, &formats, device).await?;
        let ms = embedder.now() - start;
        let fetched_bytes = embedder.fetched_bytes().zip(fetched).map(|(now, then)| now - then);
        let (model, plan, held) = loaded.split();

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
