//! Places in a cache that is shorter than its text (Xiao et al. 2023, StreamingLLM).
//!
//! The first tokens keep theirs; when all are taken, a token gets the place of the oldest of the others. Keys stay turned
//! by their positions in the text, so among the latest distances are as they should be. The first tokens would move
//! away for ever: their query is turned as if it stood at the end of the cache.

/// So many places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    sinks: usize,
    places: usize,
}

impl Ring {
    pub(super) fn new(sinks: usize, places: usize) -> Ring {
        assert!(sinks < places, "a place is left for the token itself");
        Ring { sinks, places }
    }

    /// First tokens that stay.
    pub(crate) fn sinks(self) -> usize {
        self.sinks
    }

    /// Where the token at a position lies.
    pub(crate) fn place(self, position: usize) -> usize {
        match position < self.places {
            true => position,
            false => self.sinks + (position - self.sinks) % (self.places - self.sinks),
        }
    }

    /// Tokens that the one at a position sees, itself included: they lie in as many places from the first.
    pub(crate) fn seen(self, position: usize) -> usize {
        (position + 1).min(self.places)
    }

    /// The position of what lies in a place when the token at `position` has come.
    pub(crate) fn held(self, place: usize, position: usize) -> usize {
        if place < self.sinks || position < self.places {
            return place;
        }
        let turn = self.places - self.sinks;
        position - (self.place(position) + turn - place) % turn
    }

    /// Where the first tokens see the one at a position.
    pub(crate) fn position_for_sinks(self, position: usize) -> usize {
        position.min(self.places - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tokens_stay_and_the_latest_take_turns() {
        let ring = Ring::new(2, 5);
        let mut places = [None; 5];
        for position in 0..40 {
            places[ring.place(position)] = Some(position);
            for (place, held) in places.iter().enumerate() {
                assert!(held.is_none_or(|held| held == ring.held(place, position)));
            }
            let kept: Vec<usize> = places.iter().flatten().copied().collect();
            let latest = position.saturating_sub(2).max(2)..=position;
            let mut wanted: Vec<usize> = (0..2.min(position + 1)).chain(latest).collect();
            wanted.dedup();
            let mut sorted = kept.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, wanted);
            assert_eq!(ring.seen(position), kept.len());
            assert_eq!(ring.position_for_sinks(position), position.min(4));
        }
    }
}
