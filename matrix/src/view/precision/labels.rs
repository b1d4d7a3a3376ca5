//! Where the labels of a chart's marks go: beside them, and never over one another.

/// What a letter takes.
const LETTER: f64 = 6.7;
/// What a line takes.
const LINE: f64 = 13.0;
/// Half of what a mark takes.
const MARK: f64 = 6.0;
/// How far labels are from their marks: close by, else a little away, with a line between them.
const DISTANCES: [f64; 4] = [9.0, 20.0, 34.0, 50.0];
/// Where a label is tried, seen from its mark: first where a front that falls to the right leaves room.
const DIRECTIONS: [(f64, f64); 8] = [
    (0.8, -0.8),
    (1.0, 0.0),
    (-1.0, 0.0),
    (-0.8, 0.8),
    (0.8, 0.8),
    (-0.8, -0.8),
    (0.0, -1.0),
    (0.0, 1.0),
];

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    fn touches(&self, other: &Area) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn holds(&self, other: &Area) -> bool {
        self.left <= other.left
            && other.right <= self.right
            && self.top <= other.top
            && other.bottom <= self.bottom
    }

    /// What a mark takes.
    pub(super) fn of_mark((x, y): (f64, f64)) -> Area {
        Area { left: x - MARK, top: y - MARK, right: x + MARK, bottom: y + MARK }
    }
}

/// A label that has a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Placed {
    pub area: Area,
    /// Whether it is so far from its mark that a line must lead to it.
    pub is_led: bool,
}

/// Places the labels of marks, one after another, within an area; none for those that have no room.
pub(super) fn place(marks: &[(f64, f64)], labels: &[String], within: Area) -> Vec<Option<Placed>> {
    let mut taken: Vec<Area> = marks.iter().map(|mark| Area::of_mark(*mark)).collect();
    let one = |(mark, label): (&(f64, f64), &String)| {
        let width = label.chars().count() as f64 * LETTER;
        let tries = DISTANCES.iter().flat_map(|far| DIRECTIONS.map(|direction| (*far, direction)));
        let found = tries
            .map(|(far, direction)| (far, beside(*mark, direction, far, width)))
            .find(|(_, area)| within.holds(area) && !taken.iter().any(|other| other.touches(area)));
        let (far, area) = found?;
        taken.push(area);
        Some(Placed { area, is_led: far > DISTANCES[0] })
    };
    marks.iter().zip(labels).map(one).collect()
}

/// The area of a label so far from a mark.
fn beside((x, y): (f64, f64), (across, down): (f64, f64), far: f64, width: f64) -> Area {
    let left = match across {
        to if to > 0.0 => x + far * to,
        to if to < 0.0 => x + far * to - width,
        _ => x - width / 2.0,
    };
    let middle = if across == 0.0 { y + down * (far + LINE / 2.0) } else { y + down * far };
    Area { left, top: middle - LINE / 2.0, right: left + width, bottom: middle + LINE / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_touch_neither_each_other_nor_marks_and_stay_inside() {
        let within = Area { left: 0.0, top: 0.0, right: 300.0, bottom: 200.0 };
        let marks: Vec<(f64, f64)> = (0..24)
            .map(|at| (20.0 + f64::from(at * 7 % 60) * 4.5, 20.0 + f64::from(at * 5 % 40) * 4.0))
            .collect();
        let labels: Vec<String> = (0..24).map(|at| format!("4 asymmetric g{at}")).collect();
        let placed = place(&marks, &labels, within);
        let areas: Vec<Area> = placed.iter().flatten().map(|placed| placed.area).collect();
        assert!(areas.len() > 4, "{}", areas.len());
        for (at, area) in areas.iter().enumerate() {
            assert!(within.holds(area));
            assert!(!marks.iter().any(|mark| Area::of_mark(*mark).touches(area)));
            assert!(!areas[..at].iter().any(|other| other.touches(area)));
        }
        let alone = place(&[(150.0, 100.0)], &["4".to_owned()], within);
        assert!(!alone[0].unwrap().is_led);
        let wide = place(&[(150.0, 100.0)], &["x".repeat(60)], within);
        assert_eq!(wide, [None]);
    }
}
