//! Which columns of each row a convex outline covers.

use glam::Vec2;

/// Scratch for one outline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spans {
    edges: Vec<[f32; 2]>,
    top: usize,
    bottom: usize,
}

const NOTHING: [f32; 2] = [f32::INFINITY, f32::NEG_INFINITY];

/// First pixel whose middle is at or beyond `coordinate`, at most `end`. A NaN gives 0.
#[inline]
fn first_at(coordinate: f32, end: usize) -> usize {
    let from_middle = coordinate - 0.5;
    let whole = from_middle as i32;
    // Rounds up without `ceil`, which is a call on processors of the x86-64 baseline.
    let up = whole.saturating_add(i32::from(from_middle > whole as f32));
    (up.max(0) as usize).min(end)
}

impl Spans {
    pub fn reserve(&mut self, height: usize) {
        if self.edges.len() < height {
            self.edges.resize(height, NOTHING);
        }
    }

    /// Starts an outline between these image rows.
    pub fn begin(&mut self, corners: &[Vec2], height: usize) {
        let (mut top, mut bottom) = (f32::INFINITY, f32::NEG_INFINITY);
        for corner in corners {
            top = top.min(corner.y);
            bottom = bottom.max(corner.y);
        }
        self.top = first_at(top, height);
        self.bottom = first_at(bottom, height).max(self.top);
        self.edges[self.top..self.bottom].fill(NOTHING);
    }

    /// Adds an edge. An edge gives the same columns from either end, so that neighbours neither overlap nor leave a gap.
    pub fn edge(&mut self, a: Vec2, b: Vec2) {
        let (a, b) = if a.y <= b.y { (a, b) } else { (b, a) };
        let first = first_at(a.y, self.bottom).max(self.top);
        let end = first_at(b.y, self.bottom);
        if first >= end {
            return;
        }
        let slope = (b.x - a.x) / (b.y - a.y);
        let mut x = a.x + (first as f32 + 0.5 - a.y) * slope;
        for [left, right] in &mut self.edges[first..end] {
            *left = if x < *left { x } else { *left };
            *right = if x > *right { x } else { *right };
            x += slope;
        }
    }

    /// Takes every pixel of the image.
    pub fn everything(&mut self, width: usize, height: usize) {
        (self.top, self.bottom) = (0, height);
        self.edges[..height].fill([0.0, width as f32]);
    }

    /// `(row, first column, column after the last)` of each row that holds a pixel's middle, wider by `margin` pixels.
    pub fn rows(&self, width: usize, margin: f32) -> impl Iterator<Item = (usize, usize, usize)> {
        self.edges[self.top..self.bottom].iter().enumerate().filter_map(move |(offset, &[left, right])| {
            let (first, end) = (first_at(left - margin, width), first_at(right + margin, width));
            (first < end).then_some((self.top + offset, first, end))
        })
    }
}
