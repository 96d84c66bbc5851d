use std::ops::Range;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use reverie_policy::{MinMax, STATE_FEATURES};
use reverie_schema::N_ACT;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::WorldModelError;
use crate::cameras::PICTURE_PX;
use crate::config::{Inputs, SIGHTED, WorldModelConfig};
use crate::error::Result;
use crate::lead::{LEAD, leads_of};
use crate::rssm::CAMERAS;
use crate::sequence::{Seen, Sequence};

/// Bytes of a picture.
pub const PICTURE_LEN: usize = PICTURE_PX * PICTURE_PX * 3;
/// Fewer steps of the model than these in an episode teach nothing.
const LEAST_STEPS: usize = 4;
/// Share of the streams that are given the state where a model would have to tell it.
const GIVEN: f64 = 0.5;

/// Recorded frames, episode after episode, as they come from a data set.
#[derive(Debug, Default)]
pub struct RawPlay {
    /// State features, not normalised, `[frames, 51]`.
    pub state: Vec<f32>,
    /// The action taken at each frame, `[frames, 7]`.
    pub actions: Vec<f32>,
    /// Pictures of each of [`CAMERAS`], `[frames, 64, 64, 3]`; empty without cameras.
    pub pictures: Vec<Vec<u8>>,
    /// The frames of each episode.
    pub episodes: Vec<Range<usize>>,
}

/// Recorded frames as tensors, for training.
#[derive(Debug)]
pub struct PlayData {
    /// Normalised, `[frames, 51]`.
    state: Tensor,
    /// `[frames, 7]`.
    actions: Tensor,
    /// `[frames, 3]`.
    leads: Tensor,
    /// Bytes, `[frames, 3, 64, 64]`; empty without cameras.
    pictures: Vec<Tensor>,
    episodes: Vec<Range<usize>>,
    normaliser: MinMax,
}

impl PlayData {
    /// Checks `raw`, and normalises it by `normaliser`, or by one fitted to it.
    ///
    /// # Errors
    /// [`WorldModelError::Data`] with what is missing or not finite.
    pub fn new(raw: RawPlay, normaliser: Option<MinMax>, device: Device) -> Result<Self> {
        let frames = raw.state.len() / STATE_FEATURES;
        let lengths = [("action", raw.actions.len() / N_ACT)].into_iter();
        for (what, length) in lengths.chain(raw.pictures.iter().map(|p| ("picture", p.len() / PICTURE_LEN))) {
            if length != frames {
                return Err(WorldModelError::Data(format!("{frames} frames but {length} {what}s")));
            }
        }
        if frames == 0 || raw.episodes.is_empty() {
            return Err(WorldModelError::Data("there is no frame to learn from".into()));
        }
        for (what, values, width) in [("state feature", &raw.state, STATE_FEATURES), ("action entry", &raw.actions, N_ACT)] {
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                return Err(WorldModelError::Data(format!("frame {}: {what} {} is {}", at / width, at % width, values[at])));
            }
        }
        if let Some(at) = raw.actions.iter().position(|v| v.abs() > 1.0 + 1e-6) {
            let (row, value) = (at / N_ACT, raw.actions[at]);
            return Err(WorldModelError::Data(format!(
                "frame {row}: action entry {} is {value}, outside [-1, 1]: these are not CALVIN's relative actions",
                at % N_ACT
            )));
        }
        let normaliser = match normaliser {
            Some(normaliser) => normaliser,
            None => MinMax::fit(&raw.state, STATE_FEATURES)?,
        };
        let mut leads = vec![0.0; frames * LEAD];
        for episode in &raw.episodes {
            if episode.end > frames {
                return Err(WorldModelError::Data(format!("an episode ends at frame {} of {frames}", episode.end)));
            }
            let rows = |width: usize| episode.start * width..episode.end * width;
            leads[rows(LEAD)].copy_from_slice(&leads_of(&raw.state[rows(STATE_FEATURES)], &raw.actions[rows(N_ACT)]));
        }
        let mut state = raw.state;
        normaliser.normalise(&mut state);
        let pictures = raw.pictures.iter().map(|bytes| {
            let px = PICTURE_PX as i64;
            Tensor::from_slice(bytes).view([-1, px, px, 3]).permute([0, 3, 1, 2]).contiguous()
        });
        Ok(Self {
            state: Tensor::from_slice(&state).view([-1, STATE_FEATURES as i64]).to_device(device),
            actions: Tensor::from_slice(&raw.actions).view([-1, N_ACT as i64]).to_device(device),
            leads: Tensor::from_slice(&leads).view([-1, LEAD as i64]).to_device(device),
            pictures: pictures.collect(),
            episodes: raw.episodes,
            normaliser,
        })
    }

    /// What tells these data from others: sums over states and actions, as bits.
    pub fn fingerprint(&self) -> [u64; 2] {
        [&self.state, &self.actions].map(|t| t.sum(Kind::Double).double_value(&[]).to_bits())
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.state.size()[0] as usize
    }

    /// The frames of each episode.
    pub fn episodes(&self) -> &[Range<usize>] {
        &self.episodes
    }

    /// What the state was normalised by.
    pub fn normaliser(&self) -> &MinMax {
        &self.normaliser
    }

    /// Where the tensors lie.
    pub fn device(&self) -> Device {
        self.state.device()
    }

    /// Whether there are pictures.
    pub fn has_cameras(&self) -> bool {
        self.pictures.len() == CAMERAS.len()
    }

    /// What is seen at `frames`, `[n]` indices in any shape.
    pub fn seen(&self, frames: &Tensor, pictures: bool) -> Seen {
        let shape = frames.size();
        let flat = frames.reshape(-1);
        let shaped = |tensor: Tensor| {
            let mut size = shape.clone();
            size.extend(&tensor.size()[1..]);
            tensor.view(size.as_slice())
        };
        let on_device = flat.to_device(self.device());
        let [state, lead] = [&self.state, &self.leads].map(|rows| shaped(rows.index_select(0, &on_device)));
        // Pictures stay in main memory until they are wanted.
        let on_host = flat.to_device(Device::Cpu);
        let picture =
            |bytes: &Tensor| shaped(bytes.index_select(0, &on_host).to_device(self.device()).to_kind(Kind::Float) / 127.5 - 1.0);
        Seen { state, lead, pictures: if pictures { self.pictures.iter().map(picture).collect() } else { Vec::new() } }
    }

    /// The `count` actions before each of `frames`, flattened, `[.., count * 7]`.
    pub fn actions_before(&self, frames: &Tensor, count: usize) -> Tensor {
        let offsets: Vec<i64> = (0..count as i64).map(|i| i - count as i64).collect();
        let offsets = Tensor::from_slice(&offsets).to_device(self.device());
        let rows = (frames.to_device(self.device()).unsqueeze(-1) + offsets).clamp_min(0);
        let mut shape = frames.size();
        shape.push((count * N_ACT) as i64);
        self.actions.index_select(0, &rows.reshape(-1)).view(shape.as_slice())
    }

    /// A sequence of the frames `first, first + stride, ...` for each of `firsts`, all of which begin anew.
    pub fn windows(&self, firsts: &[i64], steps: usize, config: &WorldModelConfig) -> Sequence {
        let stride = config.actions_per_step as i64;
        let frames: Vec<i64> = (0..steps as i64).flat_map(|t| firsts.iter().map(move |first| first + t * stride)).collect();
        let frames = Tensor::from_slice(&frames).view([steps as i64, firsts.len() as i64]);
        let begins = Tensor::zeros_like(&frames).to_kind(Kind::Float).to_device(self.device());
        let _ = begins.get(0).fill_(1.0);
        Sequence {
            seen: self.seen(&frames, config.inputs.has_cameras()),
            actions: self.actions_before(&frames, config.actions_per_step),
            learns: Tensor::ones([firsts.len() as i64, config.heads as i64], (Kind::Float, self.device())),
            blind: begins.zeros_like(),
            begins,
            given: Tensor::zeros([firsts.len() as i64], (Kind::Float, self.device())),
        }
    }

    /// Splits the episodes: all but the last share `held_out` of the frames, and the rest, at least one episode each.
    ///
    /// # Errors
    /// [`WorldModelError::Data`] if there are too few.
    pub fn split(&self, config: &WorldModelConfig) -> Result<[Range<usize>; 2]> {
        let shortest = LEAST_STEPS * config.actions_per_step;
        let long = self.episodes.iter().filter(|e| e.len() > shortest).count();
        let need = config.streams * config.sequence;
        if long < 2 || self.frames() < need {
            return Err(WorldModelError::Data(format!(
                "{} frames in {long} episodes longer than {shortest} frames: too few, at least 2 such episodes and {need} frames are needed \
                 (streams x sequence); record more with `reverie collect play`",
                self.frames()
            )));
        }
        let count = self.episodes.len();
        let held = ((count as f64 * config.held_out).round() as usize).clamp(1, count - 1);
        Ok([0..count - held, count - held..count])
    }
}

/// Where a stream is in the play data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    episode: usize,
    frame: usize,
}

/// Parallel streams through episodes, each from a random place to the end of its episode, then on to another.
#[derive(Clone, Debug)]
pub struct Streams {
    cursors: Vec<Option<Cursor>>,
}

impl Streams {
    /// Streams that have not begun.
    pub fn new(count: usize) -> Self {
        Self { cursors: vec![None; count] }
    }

    /// Where they are, to be saved.
    pub fn cursors(&self) -> &[Option<Cursor>] {
        &self.cursors
    }

    /// Goes on from saved places.
    pub fn resume(cursors: Vec<Option<Cursor>>) -> Self {
        Self { cursors }
    }

    /// The next steps of all streams.
    pub fn next(&mut self, data: &PlayData, train: &Range<usize>, config: &WorldModelConfig, rng: &mut ChaCha8Rng) -> Sequence {
        let (time, streams, stride) = (config.sequence, self.cursors.len(), config.actions_per_step);
        let mut frames = vec![0_i64; time * streams];
        let mut begins = vec![0.0_f32; time * streams];
        let mut blind = begins.clone();
        let mut learns = vec![1.0_f32; streams * config.heads];
        for (stream, cursor) in self.cursors.iter_mut().enumerate() {
            let sighted = if time > SIGHTED && rng.random_bool(config.blind) { rng.random_range(SIGHTED..time) } else { time };
            for t in 0..time {
                let last = cursor.map_or(0, |c| data.episodes[c.episode].end);
                let next = cursor.map(|c| Cursor { frame: c.frame + stride, ..c }).filter(|c| c.frame < last);
                let at = t * streams + stream;
                let now = next.unwrap_or_else(|| {
                    begins[at] = 1.0;
                    let episode = rng.random_range(train.clone());
                    let range = &data.episodes[episode];
                    let latest = range.end.saturating_sub(LEAST_STEPS * stride).max(range.start + 1);
                    Cursor { episode, frame: rng.random_range(range.start..latest) }
                });
                if t < sighted && rng.random_bool(config.reset_probability) {
                    begins[at] = 1.0;
                }
                frames[at] = now.frame as i64;
                *cursor = Some(now);
            }
            for t in sighted..time {
                // Who begins anew must see.
                if begins[t * streams + stream] > 0.5 {
                    break;
                }
                blind[t * streams + stream] = 1.0;
            }
            // Each head leaves out the episodes of its turn: what heads agree on does not hang on single episodes. A sequence counts as of
            // the episode that it ends in, so that a head sees the end of one it leaves out where another begins.
            if let Some(now) = cursor.filter(|_| config.heads > 1) {
                learns[stream * config.heads + now.episode % config.heads] = 0.0;
            }
        }
        // Only where it matters.
        let given: Vec<f32> = match config.inputs {
            Inputs::Vision => (0..streams).map(|_| f32::from(rng.random_bool(GIVEN))).collect(),
            _ => vec![1.0; streams],
        };
        let shape = [time as i64, streams as i64];
        let frames = Tensor::from_slice(&frames).view(shape);
        Sequence {
            seen: data.seen(&frames, config.inputs.has_cameras()),
            actions: data.actions_before(&frames, stride),
            begins: Tensor::from_slice(&begins).view(shape).to_device(data.device()),
            learns: Tensor::from_slice(&learns).view([streams as i64, config.heads as i64]).to_device(data.device()),
            blind: Tensor::from_slice(&blind).view(shape).to_device(data.device()),
            given: Tensor::from_slice(&given).to_device(data.device()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rand::SeedableRng;

    use super::*;

    /// Frames whose features and actions are their own number, in episodes of the given lengths.
    pub(crate) fn numbered(lengths: &[usize]) -> RawPlay {
        let mut raw = RawPlay::default();
        for &length in lengths {
            let from = raw.state.len() / STATE_FEATURES;
            for frame in from..from + length {
                raw.state.extend(std::iter::repeat_n(frame as f32, STATE_FEATURES));
                raw.actions.extend(std::iter::repeat_n(frame as f32 / 1000.0, N_ACT));
            }
            raw.episodes.push(from..from + length);
        }
        raw
    }

    fn identity() -> MinMax {
        MinMax { offset: vec![0.0; STATE_FEATURES], scale: vec![1.0; STATE_FEATURES] }
    }

    #[test]
    fn streams_advance_by_a_step_within_their_episode_and_carry_the_actions_between() {
        let data = PlayData::new(numbered(&[50, 70, 60]), Some(identity()), Device::Cpu).unwrap();
        let config = WorldModelConfig {
            actions_per_step: 3,
            sequence: 40,
            heads: 2,
            reset_probability: 0.0,
            ..WorldModelConfig::default()
        };
        let mut streams = Streams::new(4);
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let first = streams.next(&data, &(0..2), &config, &mut rng);
        let frame = |s: &Sequence, t: i64, b: i64| s.seen.state.double_value(&[t, b, 0]);
        let (mut begun, mut within) = (0, 0);
        for stream in 0..4 {
            for t in 0..40 {
                let now = frame(&first, t, stream);
                assert!(now < 120.0, "held-out frames are not learned from");
                if first.begins.double_value(&[t, stream]) == 1.0 {
                    begun += 1;
                    continue;
                }
                within += 1;
                assert_eq!(now, frame(&first, t - 1, stream) + 3.0);
                for row in 0..3 {
                    let action = first.actions.double_value(&[t, stream, row * 7]);
                    assert!((action * 1000.0 - (now - 3.0 + row as f64)).abs() < 1e-3, "{action}");
                }
            }
            let learns = |head| first.learns.double_value(&[stream, head]);
            assert_eq!(learns(0) + learns(1), 1.0);
        }
        assert!(begun >= 8 && within > 60, "{begun} {within}");
        // Saved places go on with the same frames.
        let mut again = Streams::resume(streams.cursors().to_vec());
        let (mut one, mut two) = (ChaCha8Rng::seed_from_u64(9), ChaCha8Rng::seed_from_u64(9));
        assert_eq!(
            streams.next(&data, &(0..2), &config, &mut one).seen.state,
            again.next(&data, &(0..2), &config, &mut two).seen.state
        );
    }

    #[test]
    fn every_episode_begins_without_a_lead() {
        let data = PlayData::new(numbered(&[50, 70]), Some(identity()), Device::Cpu).unwrap();
        let lead = data.seen(&Tensor::from_slice(&[0_i64, 1, 50, 51]), false).lead;
        let length = lead.square().sum_dim_intlist([-1_i64].as_slice(), false, Kind::Float);
        assert_eq!(
            Vec::<f32>::try_from(length.round()).unwrap(),
            [0.0, 1.0, 0.0, 1.0],
            "metres a frame leave the command behind"
        );
        let mut raw = numbered(&[9]);
        raw.episodes[0].end = 12;
        assert_eq!(PlayData::new(raw, None, Device::Cpu).unwrap_err().to_string(), "an episode ends at frame 12 of 9");
    }

    #[test]
    fn what_cannot_be_learned_from_is_refused() {
        let error = |raw: RawPlay| PlayData::new(raw, None, Device::Cpu).unwrap_err().to_string();
        assert!(error(RawPlay::default()).contains("no frame"));
        let mut raw = numbered(&[9]);
        raw.state[2 * STATE_FEATURES + 5] = f32::NAN;
        assert_eq!(error(raw), "frame 2: state feature 5 is NaN");
        let mut raw = numbered(&[9]);
        raw.actions[10] = 3.0;
        assert!(error(raw).starts_with("frame 1: action entry 3 is 3, outside [-1, 1]"));
        let data = PlayData::new(numbered(&[9, 200]), None, Device::Cpu).unwrap();
        assert!(data.split(&WorldModelConfig::default()).unwrap_err().to_string().contains("too few"));
    }
}
