//! The path that the TCP took in this episode.

use reverie_schema::Stamp;

/// Points closer than this to the last one are left out, metres. Half a pixel at the layout's eye distance.
const SPACING_M: f32 = 0.003;
/// The line is drawn anew at most this often, nanoseconds: each time it is written in full.
const REDRAW_NS: i64 = 100_000_000;

#[derive(Default)]
pub(crate) struct ExecutedPath {
    points: Vec<[f32; 3]>,
    grown: bool,
    drawn: Option<Stamp>,
}

impl ExecutedPath {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a point; one that is not finite has no place.
    pub(crate) fn add(&mut self, point: [f32; 3]) {
        if !point.iter().all(|metres| metres.is_finite()) {
            return;
        }
        let far = self.points.last().is_none_or(|last| {
            let squared: f32 = last.iter().zip(&point).map(|(a, b)| (a - b) * (a - b)).sum();
            squared >= SPACING_M * SPACING_M
        });
        if far {
            self.points.push(point);
            self.grown = true;
        }
    }

    /// The line, if it is to be drawn anew at `now`.
    pub(crate) fn redraw(&mut self, now: Stamp) -> Option<&[[f32; 3]]> {
        let due = self.drawn.is_none_or(|drawn| now.since(drawn) >= REDRAW_NS);
        if !(self.grown && due && self.points.len() > 1) {
            return None;
        }
        self.grown = false;
        self.drawn = Some(now);
        Some(&self.points)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resting_arm_adds_no_points_and_a_moving_one_is_drawn_ten_times_a_second() {
        let mut path = ExecutedPath::default();
        (0..1000).for_each(|_| path.add([0.1, 0.2, 0.3]));
        assert_eq!(path.redraw(Stamp(0)), None);

        let mut drawn = 0;
        for i in 0..1000_i64 {
            path.add([i as f32 * 1e-3, 0.0, 0.0]);
            drawn += usize::from(path.redraw(Stamp(i * 1_000_000)).is_some());
        }
        assert_eq!(drawn, 10);
        // A metre in steps of 3 or, where rounding falls short, 4 mm.
        assert!((250..=335).contains(&path.points.len()), "{}", path.points.len());
    }
}
