//! What a reader must know before believing the figures of a cell.

use record::{Flag, Record};
use serde::Serialize;

/// A short word beside a figure, and what it means.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FlagNote {
    /// The word.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

impl FlagNote {
    /// The flags of a record.
    pub fn of(record: &Record) -> Vec<FlagNote> {
        record.flags().into_iter().map(FlagNote::from).collect()
    }

    /// Every flag, for the legend.
    pub fn all() -> Vec<FlagNote> {
        Flag::ALL.iter().copied().map(FlagNote::from).collect()
    }
}

impl From<Flag> for FlagNote {
    fn from(flag: Flag) -> FlagNote {
        let meaning = match flag {
            Flag::Hidden => {
                "the page was hidden for some of the time, and browsers slow such pages down"
            }
            Flag::CoarseTimer => "a pass is so few ticks of the page's clock that they show",
            Flag::BrowserTimer => {
                "most of the pass is a wait for a timer of the browser, and no work: the time on the \
                 GPU is what it took"
            }
            Flag::PartJudged => {
                "the prompt is so long that its beginning was judged and not all of it: the record \
                 says how many positions"
            }
        };
        FlagNote { name: flag.name(), meaning }
    }
}
