//! A kernel as a value, and the choice among those that can do the same work.

use super::Tuning;
use shaders::{ComposeError, Define, Dialect, Files};
use std::{
    collections::HashSet,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Most definitions of a kernel, its geometry's apart.
const MAX_DEFINES: usize = 14;

/// A file of WGSL, the definitions that make a variant of it, and its geometry. Equal kernels have
/// equal texts, so one is compiled once however often it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel {
    /// File below `shaders/wgsl`, without its ending.
    pub source: &'static str,
    /// Unused ones have no name.
    defines: [Define; MAX_DEFINES],
    /// How work is cut up.
    pub geometry: Geometry,
}

/// How work is cut into workgroups. Sizes stand here alone: WGSL gets them as the constants `WG`,
/// `TILE_X` and `TILE_Y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Geometry {
    /// Invocations of a workgroup.
    pub workgroup: u32,
    /// How much of each axis of the work one workgroup does.
    pub tile: [u32; 2],
    /// Whether the first axis may need more workgroups than a dimension of a grid holds: it is then
    /// folded over x and y, which `grid.wgsl` unfolds, and the second axis is z.
    pub folded: bool,
}

impl Geometry {
    /// An element an invocation.
    pub const fn elements(workgroup: u32) -> Geometry {
        Geometry { workgroup, tile: [workgroup, 1], folded: true }
    }

    /// A row a workgroup.
    pub const fn rows(workgroup: u32) -> Geometry {
        Geometry { workgroup, tile: [1, 1], folded: true }
    }

    /// The grid of workgroups for work of this size.
    pub fn groups(&self, work: [usize; 2]) -> [u32; 3] {
        /// Workgroups that a dimension holds.
        const LIMIT: usize = 65_535;
        let [x, y] = [0, 1].map(|axis| work[axis].div_ceil(self.tile[axis] as usize));
        if !self.folded {
            return [x as u32, y as u32, 1];
        }
        let folds = x.div_ceil(LIMIT).max(1);
        [x.div_ceil(folds) as u32, folds as u32, y as u32]
    }
}

impl Kernel {
    /// A file without definitions.
    pub const fn new(source: &'static str, geometry: Geometry) -> Kernel {
        Kernel { source, defines: [("", 0); MAX_DEFINES], geometry }
    }

    /// The variant with one more definition.
    pub const fn with(mut self, name: &'static str, value: u32) -> Kernel {
        let mut at = 0;
        while !self.defines[at].0.is_empty() {
            at += 1;
        }
        self.defines[at] = (name, value);
        self
    }

    /// The variant with a switch turned on or off.
    pub const fn switched(self, name: &'static str, on: bool) -> Kernel {
        if on { self.with(name, 1) } else { self }
    }

    /// The variant for software adapters. They spell out how workgroup memory is cleared, and so take long
    /// to compile what has much of it; wide workgroups gain them nothing.
    pub const fn for_software(self) -> Kernel {
        self.with("SOFTWARE", 1)
    }

    /// The kernel for GPUs alone: software adapters do without, as they have better.
    pub const fn for_hardware(self) -> Kernel {
        self.with("HARDWARE", 1)
    }

    /// The variant that sums and compares over subgroups, then this one.
    pub const fn or_by_subgroups(self) -> [Kernel; 2] {
        [self.with("SUBGROUPS", 1), self]
    }

    /// The variant of a kernel that gives a workgroup a row, as narrow as a CPU's vectors are: at a barrier
    /// software adapters go from one vector of invocations to the next. It is for these alone.
    pub const fn narrow(self) -> Kernel {
        Kernel { geometry: Geometry::rows(8), ..self }.for_software()
    }

    /// All variants of a kernel that gives a workgroup a row and sums it up, the preferred one first.
    pub const fn for_rows(self) -> [Kernel; 4] {
        let [a, b] = self.narrow().or_by_subgroups();
        let [c, d] = self.or_by_subgroups();
        [a, b, c, d]
    }

    /// The definitions, those of the geometry apart.
    pub fn defines(&self) -> impl Iterator<Item = Define> {
        self.defines.into_iter().take_while(|(name, _)| !name.is_empty())
    }

    /// The value of a definition; 0 where it has none.
    pub fn value(&self, name: &str) -> u32 {
        self.defines().find(|(known, _)| *known == name).map_or(0, |(_, value)| value)
    }

    /// All definitions that the text gets.
    fn definitions(&self) -> Vec<Define> {
        let Geometry { workgroup, tile: [x, y], .. } = self.geometry;
        self.defines().chain([("WG", workgroup), ("TILE_X", x), ("TILE_Y", y)]).collect()
    }

    /// The WGSL that is compiled.
    pub fn text(&self, files: &Files, dialect: Dialect) -> Result<String, ComposeError> {
        files.compose(self.source, &self.definitions(), dialect)
    }

    /// The files that the text is made of.
    pub fn files(&self, files: &Files) -> Result<Vec<String>, ComposeError> {
        files.of(self.source, &self.definitions())
    }
}

impl Hash for Kernel {
    /// Every dispatch looks a kernel up. Of the definitions, the values tell variants apart well
    /// enough.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.source.hash(state);
        self.defines.map(|(_, value)| value).hash(state);
        self.geometry.hash(state);
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source)?;
        self.defines().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Geometry { workgroup, tile: [x, y], .. } = self.geometry;
        write!(f, "{self} WG={workgroup} TILE={x}×{y}")
    }
}

/// What a GPU offers to kernels; by default, what every WebGPU device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// WGSL's subgroup functions.
    pub subgroups: bool,
    /// 16-bit floats.
    pub f16: bool,
    /// Whether a CPU computes, not a GPU.
    pub software: bool,
    /// Most invocations of a workgroup.
    pub max_invocations: u64,
}

impl Default for Capabilities {
    fn default() -> Capabilities {
        Capabilities { subgroups: false, f16: false, software: false, max_invocations: 256 }
    }
}

impl Capabilities {
    /// What an adapter says of itself, here or in a record.
    pub fn of(adapter: &record::Adapter) -> Capabilities {
        let has = |name: &str| adapter.features.iter().any(|feature| feature == name);
        let least = Capabilities::default();
        let limit = adapter.limits.get("maxComputeInvocationsPerWorkgroup").copied();
        Capabilities {
            subgroups: has("subgroups"),
            f16: has("shader-f16"),
            software: adapter.software == Some(true),
            max_invocations: limit.unwrap_or(least.max_invocations),
        }
    }

    /// What a kernel needs that is not offered.
    pub fn lacks(&self, kernel: &Kernel) -> Option<&'static str> {
        // Every dispatch asks: a kernel is looked into only where something is lacking.
        if !self.subgroups && kernel.value("SUBGROUPS") != 0 {
            Some("the adapter has no subgroups")
        } else if !self.f16 && kernel.value("F16") != 0 {
            Some("the adapter has no shader-f16")
        } else if !self.software && kernel.value("SOFTWARE") != 0 {
            Some("it is for software adapters")
        } else if self.software && kernel.value("HARDWARE") != 0 {
            Some("it is for GPUs")
        } else if u64::from(kernel.geometry.workgroup) > self.max_invocations {
            Some("the adapter allows no workgroup as large")
        } else {
            None
        }
    }
}

/// A call as a tuning knows it.
pub trait Tunable: fmt::Display {
    /// What tells it from others, as its name takes longer to make than all else.
    fn key(&self) -> u64;
}

impl<T: fmt::Display + Hash> Tunable for T {
    fn key(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        self.hash(&mut hash);
        hash.finish()
    }
}

/// All that the choice among an op's kernels depends on.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// What the GPU offers.
    pub capabilities: Capabilities,
    /// Kernels that were measured to be faster than those that the rules take.
    pub tuning: Tuning,
    /// Kernels that go over all others wherever an op names them: how one is measured or checked.
    pub favoured: HashSet<Kernel>,
    /// Kernels that failed their check.
    pub refused: HashSet<Kernel>,
}

impl Terms {
    /// The first of an op's kernels, which come in the order of preference, that the GPU can run and
    /// that has not failed.
    pub fn choose(&self, kernels: impl IntoIterator<Item = Kernel>) -> Option<Kernel> {
        kernels.into_iter().find(|kernel| self.against(kernel).is_none())
    }

    /// The kernel for a call that can be tuned: one that is favoured, or what the tuning says, or what the rules
    /// do. Nothing is taken that the GPU cannot run, or that has failed.
    pub fn choose_for(&self, call: &dyn Tunable, kernels: &[Kernel]) -> Option<Kernel> {
        if self.takes_the_first() {
            return self.choose(kernels.iter().copied());
        }
        let runs = |kernel: &Kernel| self.against(kernel).is_none();
        let mut favoured = kernels.iter().filter(|kernel| self.favoured.contains(kernel)).copied();
        let tuned = || self.tuning.pick(call, kernels).filter(runs);
        let by_rules = || kernels.iter().copied().find(runs);
        favoured.find(runs).or_else(tuned).or_else(by_rules)
    }

    /// Whether kernels behind those of the rules are never taken, and need not be named.
    pub fn takes_the_first(&self) -> bool {
        self.tuning.is_empty() && self.favoured.is_empty()
    }

    /// Why a kernel is not chosen whatever comes after it.
    pub fn against(&self, kernel: &Kernel) -> Option<&'static str> {
        let lacks = self.capabilities.lacks(kernel);
        lacks.or_else(|| self.refused.contains(kernel).then_some("it failed the self-test"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: Kernel = Kernel::new("norm", Geometry::rows(64)).with("RMS", 1);

    #[test]
    fn grids_hold_what_was_asked_for() {
        for count in [1, 65_535, 65_536, 1_000_000] {
            let [x, y, z] = Geometry::rows(64).groups([count, 3]);
            assert!(x <= 65_535 && y <= 65_535 && z == 3);
            assert!((x * y) as usize >= count && (x * y) as usize <= count + y as usize);
        }
        assert_eq!(Geometry::elements(64).groups([129, 1]), [3, 1, 1]);
        let tiled = Geometry { workgroup: 64, tile: [32, 16], folded: false };
        assert_eq!(tiled.groups([65, 16]), [3, 1, 1]);
        assert_eq!(Geometry::rows(64).groups([0, 1]), [0, 1, 1]);
    }

    #[test]
    fn the_first_kernel_that_can_run_and_has_not_failed_is_chosen() {
        let mut terms = Terms::default();
        assert_eq!(terms.choose(KERNEL.or_by_subgroups()), Some(KERNEL));
        terms.capabilities.subgroups = true;
        let fast = KERNEL.with("SUBGROUPS", 1);
        assert_eq!(terms.choose(KERNEL.or_by_subgroups()), Some(fast));
        terms.refused.insert(fast);
        assert_eq!(terms.choose(KERNEL.or_by_subgroups()), Some(KERNEL));
        terms.refused.insert(KERNEL);
        assert_eq!(terms.choose(KERNEL.or_by_subgroups()), None);
    }

    /// The same work in other workgroups.
    const OTHER: Kernel = Kernel { geometry: Geometry::rows(128), ..KERNEL };

    #[test]
    fn a_tuned_call_gets_its_pick_where_that_is_its_own_and_runs() {
        let name = format!("{OTHER:?}");
        let tuned = |call: &str, kernel: &str| Terms {
            tuning: Tuning::new([(call, kernel)]),
            ..Terms::default()
        };
        let both = [KERNEL, OTHER];
        let mut terms = tuned("norm 3", &name);
        assert_eq!(terms.choose_for(&"norm 3", &both), Some(OTHER));
        assert_eq!(terms.choose_for(&"norm 3", &both), Some(OTHER), "and again");
        assert_eq!(terms.choose_for(&"norm 4", &both), Some(KERNEL), "another call");
        assert_eq!(terms.choose_for(&"norm 3", &[KERNEL]), Some(KERNEL), "not right for it");
        assert_eq!(tuned("norm 3", "nonsense").choose_for(&"norm 3", &both), Some(KERNEL));
        terms.refused.insert(OTHER);
        assert_eq!(terms.choose_for(&"norm 3", &both), Some(KERNEL), "it failed the self-test");
        let mut small = tuned("norm 3", &name);
        small.capabilities.max_invocations = 64;
        assert_eq!(small.choose_for(&"norm 3", &both), Some(KERNEL), "it does not run");
        assert_eq!(small.choose_for(&"norm 3", &[OTHER]), None);
    }

    #[test]
    fn what_is_favoured_goes_over_rules_and_tuning() {
        let tuning = Tuning::new([("norm", format!("{OTHER:?}"))]);
        let mut terms = Terms { tuning, favoured: [KERNEL].into(), ..Terms::default() };
        assert_eq!(terms.choose_for(&"norm", &[OTHER, KERNEL]), Some(KERNEL));
        assert_eq!(terms.choose_for(&"norm", &[OTHER]), Some(OTHER));
        terms.refused.insert(KERNEL);
        assert_eq!(terms.choose_for(&"norm", &[KERNEL, OTHER]), Some(OTHER));
    }
}
