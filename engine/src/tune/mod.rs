//! Which kernels are the fastest for the calls of a model on its GPU: measured where it runs.
//!
//! The passes of the model are recorded as they are (`generate/passes.rs`), and each of their calls says which kernels
//! it could have. Those are measured by successive halving (`halving.rs`): the calls of a kind are taken out of a
//! pass and replayed together, so that the weights of all layers come in turn, as in a pass, and `crate::timed` tells
//! the time. What is faster than the rules' kernel beyond noise, and passes the self-test, is the pick. A cell's passes
//! run with the picks, and its outputs are judged with them as with any other kernel.

mod halving;

use crate::{
    device::{Device, Gpu, Kernel, Tuning},
    error::{Error, Result},
    generate::{Kind, Pass, Passes},
    models::Model,
    ops::{self, Check},
    published::Inputs,
    selftest::run_checks,
    time::now_ms,
    timed::{self, Effort},
};
use halving::{Contest, Told};
use record::{TriedKernel, TunedCall};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// Milliseconds that a sample takes at least.
const SAMPLE_MS: f64 = 1.0;
/// Calls that are measured side by side: those that cost most come first, and have a result when the time is over.
const AT_ONCE: usize = 8;
/// Operations that take a GPU about as long as a byte: what tells which calls cost most.
const OPERATIONS_OF_A_BYTE: u64 = 8;

/// A model on a GPU, whose calls are tuned.
pub(crate) struct Subject<'a> {
    pub(crate) device: &'a Device,
    pub(crate) gpu: &'a Rc<Gpu>,
    pub(crate) model: &'a dyn Model,
    pub(crate) inputs: &'a Inputs,
}

/// A call that can have several kernels.
struct Tunable {
    call: String,
    kind: Kind,
    /// How often the passes make it.
    calls: u32,
    weight: u64,
    /// The rules' first.
    kernels: Vec<Kernel>,
}

impl Subject<'_> {
    fn passes(&self) -> Result<Passes<'_>> {
        let Subject { device, gpu, model, inputs } = self;
        Passes::open(device, gpu, *model, inputs, 1)
    }

    /// Gives calls the kernels that were found before, and says which: none where no call of the model was
    /// measured.
    pub(crate) fn fixed(&self, known: &record::Tuning) -> Result<record::Tuning> {
        self.gpu.untune();
        let tunable = tunable(&self.passes()?)?;
        let mut found = known.clone();
        found.entries.retain(|entry| tunable.iter().any(|it| it.call == entry.call));
        if found.entries.is_empty() {
            let note = "none of the calls of this model was measured here; see `harness tune`";
            return Ok(record::Tuning { note: Some(note.to_owned()), ..found });
        }
        Ok(self.apply(found))
    }

    /// Measures kernels for so long, going on from what is known, and gives calls the fastest.
    pub(crate) async fn auto(
        &self,
        known: Option<&record::Tuning>,
        budget_ms: f64,
    ) -> Result<record::Tuning> {
        let gpu = self.gpu;
        gpu.untune();
        let passes = self.passes()?;
        let mut tunable = tunable(&passes)?;
        tunable.sort_by_key(|it| std::cmp::Reverse(it.weight));
        let mut found = record::Tuning::default();
        if let Some(refused) = self.compile(&passes, &tunable).await? {
            let note = format!("kernels that could be taken are refused: {refused}");
            return Ok(record::Tuning { note: Some(note), ..found });
        }
        // Pipelines take as long as they take.
        let until = now_ms() + budget_ms;
        for group in tunable.chunks(AT_ONCE) {
            let known = |call: &str| known?.entries.iter().find(|entry| entry.call == call);
            let mut contests: Vec<Contest> = group
                .iter()
                .map(|it| {
                    let known = known(&it.call);
                    let told = |kernel: &Kernel| told(known?.tried(&format!("{kernel:?}"))?);
                    Contest::new(it.kernels.iter().map(told))
                })
                .collect();
            let left = || until - now_ms();
            halving::run(
                &mut contests,
                || left() > 0.0,
                async |wanted, samples| {
                    let effort = Effort { sample_ms: SAMPLE_MS, samples, most_ms: left().max(0.0) };
                    self.measure(&passes, group, wanted, effort).await
                },
            )
            .await?;
            found
                .entries
                .extend(group.iter().zip(&contests).map(|(it, contest)| it.entry(contest)));
        }
        gpu.untune();
        self.leave_out_what_fails(&tunable, &mut found).await;
        Ok(self.apply(found))
    }

    /// Makes the pipelines of all kernels, side by side where that is possible; why they cannot be had, where the GPU
    /// refuses one.
    async fn compile(&self, passes: &Passes<'_>, tunable: &[Tunable]) -> Result<Option<String>> {
        let kernels: BTreeSet<Kernel> =
            tunable.iter().flat_map(|it| &it.kernels).copied().collect();
        let (recorded, refused) = self.gpu.caught(|| {
            for kernel in kernels {
                self.favour(kernel);
                for kind in passes.kinds() {
                    let takes = |it: &Tunable| it.kind == *kind && it.kernels.contains(&kernel);
                    if tunable.iter().any(takes) {
                        passes.record(*kind)?;
                    }
                }
            }
            Ok::<(), Error>(())
        });
        recorded?;
        let refused = refused.await;
        self.gpu.make_ahead().await;
        let made = self.gpu.scoped(|| ()).1;
        Ok(refused.or(made.await))
    }

    /// Lets all calls that can take a kernel take it.
    fn favour(&self, kernel: Kernel) {
        let mut terms = self.gpu.terms().clone();
        terms.favoured = [kernel].into();
        self.gpu.set_terms(terms);
    }

    /// Microseconds of a call, for each pair of a call and one of its kernels.
    async fn measure(
        &self,
        passes: &Passes<'_>,
        group: &[Tunable],
        wanted: &[(usize, usize)],
        effort: Effort,
    ) -> Result<Vec<Option<Vec<f64>>>> {
        let mut by_kernel: BTreeMap<Kernel, Vec<usize>> = BTreeMap::new();
        for (place, (at, arm)) in wanted.iter().enumerate() {
            by_kernel.entry(group[*at].kernels[*arm]).or_default().push(place);
        }
        let mut measured = vec![None; wanted.len()];
        for (kernel, places) in by_kernel {
            self.favour(kernel);
            for kind in passes.kinds() {
                let of_kind = |place: &&usize| group[wanted[**place].0].kind == *kind;
                let places: Vec<usize> = places.iter().filter(of_kind).copied().collect();
                if places.is_empty() {
                    continue;
                }
                let pass = passes.record(*kind)?;
                let taken = |place: &usize| taken(&pass, &group[wanted[*place].0].call, kernel);
                let calls: Vec<Vec<usize>> = places.iter().map(taken).collect();
                let lists: Vec<_> = calls
                    .iter()
                    .map(|calls| pass.list.part(|at| calls.binary_search(&at).is_ok()))
                    .collect();
                let some: Vec<usize> =
                    (0..lists.len()).filter(|at| lists[*at].dispatches() > 0).collect();
                let times: Vec<_> = some.iter().map(|at| &lists[*at]).collect();
                let times = match timed::lists(self.gpu, &times, effort).await {
                    Ok(times) => times,
                    // There is no time for it.
                    Err(Error::Unsupported { .. }) => continue,
                    Err(error) => return Err(error),
                };
                for (at, ms) in some.into_iter().zip(times) {
                    let each = |ms: f64| ms * 1e3 / calls[at].len() as f64;
                    measured[places[at]] = Some(ms.into_iter().map(each).collect());
                }
            }
        }
        Ok(measured)
    }

    /// Puts picks that no check has seen yet through the self-test, and the rules' kernel in the place of those that
    /// fail.
    async fn leave_out_what_fails(&self, tunable: &[Tunable], found: &mut record::Tuning) {
        for entry in found.entries.iter_mut().filter(|entry| entry.pick != entry.rule) {
            let kernels =
                tunable.iter().filter(|it| it.call == entry.call).flat_map(|it| &it.kernels);
            let mut named = kernels.filter(|kernel| format!("{kernel:?}") == entry.pick);
            let Some(kernel) = named.next() else { continue };
            self.favour(*kernel);
            let takes = |check: &Check| {
                let run = || self.gpu.discard(|| drop((check.run)(self.device)));
                self.gpu.watch(run).1.kernels.contains(kernel)
            };
            let checks: Vec<Check> = ops::checks()
                .into_iter()
                .filter(|check| is_about(&check.op, &entry.call) && takes(check))
                .collect();
            let ran = run_checks(self.gpu, checks.iter()).await;
            if ran.iter().any(|ran| ran.check.error.is_some()) {
                entry.pick.clone_from(&entry.rule);
            }
        }
        self.gpu.untune();
    }

    /// Gives calls their picks from now on.
    fn apply(&self, found: record::Tuning) -> record::Tuning {
        let picks = found.entries.iter().filter(|entry| entry.pick != entry.rule);
        let picks = picks.map(|entry| (entry.call.clone(), entry.pick.clone()));
        let mut terms = self.gpu.terms().clone();
        terms.tuning = Tuning::new(picks);
        self.gpu.set_terms(terms);
        record::Tuning { hash: Some(hash(&found.entries)), ..found }
    }
}

impl Tunable {
    fn entry(&self, contest: &Contest) -> TunedCall {
        let name = |at: usize| format!("{:?}", self.kernels[at]);
        let tried = contest.arms.iter().enumerate().filter_map(|(at, arm)| {
            let Told { median, quartiles, samples } = arm.told()?;
            Some(TriedKernel {
                kernel: name(at),
                samples,
                median_us: median,
                quartiles_us: quartiles,
            })
        });
        TunedCall {
            call: self.call.clone(),
            calls: self.calls,
            rule: name(0),
            pick: name(contest.pick()),
            tried: tried.collect(),
        }
    }
}

/// The calls of all passes that have a choice.
fn tunable(passes: &Passes<'_>) -> Result<Vec<Tunable>> {
    let mut tunable: Vec<Tunable> = Vec::new();
    for kind in passes.kinds() {
        let pass = passes.record(*kind)?;
        for faced in pass.faced.iter().filter(|faced| faced.kernels.len() > 1) {
            let cost = pass.calls.get(faced.at).map(|call| call.cost).unwrap_or_default();
            let bytes = cost.read_bytes + cost.written_bytes;
            let weight = bytes + cost.operations / OPERATIONS_OF_A_BYTE;
            match tunable.iter_mut().find(|it| it.call == faced.call) {
                Some(it) => {
                    it.calls += 1;
                    it.weight += weight;
                }
                None => tunable.push(Tunable {
                    call: faced.call.clone(),
                    kind: *kind,
                    calls: 1,
                    weight,
                    kernels: faced.kernels.clone(),
                }),
            }
        }
    }
    Ok(tunable)
}

/// Which of the noted calls of a pass are a call by a kernel, in their order.
fn taken(pass: &Pass<'_>, call: &str, kernel: Kernel) -> Vec<usize> {
    let taken = pass.faced.iter().filter(|faced| faced.call == call && faced.chosen == kernel);
    taken.map(|faced| faced.at).collect()
}

fn told(tried: &TriedKernel) -> Option<Told> {
    let TriedKernel { samples, median_us, quartiles_us, .. } = *tried;
    (samples > 0).then_some(Told { median: median_us, quartiles: quartiles_us, samples })
}

/// Whether a check of the self-test is about the op of a call, and the format of its weights where it has some.
fn is_about(check: &str, call: &str) -> bool {
    let mut words = call.splitn(3, ' ');
    let (op, _, rest) = (words.next().unwrap_or_default(), words.next(), words.next());
    let format = rest.unwrap_or_default().split(',').next().unwrap_or_default();
    let has_format = matches!(op, "matmul" | "project");
    check.split(' ').next() == Some(op) && (!has_format || check.contains(format))
}

/// SHA-256 over calls and picks, which come in any order.
fn hash(entries: &[TunedCall]) -> String {
    let lines: BTreeSet<String> =
        entries.iter().map(|entry| format!("{}\t{}\n", entry.call, entry.pick)).collect();
    let hash = Sha256::digest(lines.into_iter().collect::<String>());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
