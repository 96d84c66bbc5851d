//! Streams of recordings as the world model takes them.

use tch::Tensor;

/// What is seen, frame by frame. Shapes begin with any number of dimensions, the same in all.
#[derive(Debug)]
pub struct Seen {
    /// State features, normalised to [-1, 1], `[.., 51]`. All of them, even if the model may only look at the robot's own: the
    /// rest is what it is taught to tell.
    pub state: Tensor,
    /// How far the commanded TCP is ahead, leash lengths, `[.., 3]`: known to whoever commands.
    pub lead: Tensor,
    /// Pictures of [`CAMERAS`](crate::CAMERAS) in [-1, 1], `[.., 3, 64, 64]` each; empty without cameras.
    pub pictures: Vec<Tensor>,
}

/// Parallel streams, cut at the same times.
#[derive(Debug)]
pub struct Sequence {
    /// `[time, streams, ..]`.
    pub seen: Seen,
    /// Actions between the frame before and this one, `[time, streams, actions_per_step * n_act]`.
    pub actions: Tensor,
    /// 1 where a stream begins anew, so that what was before counts for nothing, `[time, streams]`.
    pub begins: Tensor,
    /// For each head, 1 where it learns from the stream, `[streams, heads]`.
    pub learns: Tensor,
    /// 1 where nothing is seen, `[time, streams]`.
    pub blind: Tensor,
    /// 1 where the state is given though the model would have to tell it from pictures, `[streams]`: dynamics are learned where it is, and
    /// where it is not, to tell it from a memory of what was told.
    pub given: Tensor,
}

impl Sequence {
    /// The same with the state given to all streams.
    pub(crate) fn with_given_state(self) -> Self {
        Self { given: self.given.ones_like(), ..self }
    }
}
