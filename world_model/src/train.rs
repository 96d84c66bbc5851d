use std::ops::{ControlFlow, Range};
use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use reverie_policy::initial_values;
use reverie_policy::train::{AdamW, AdamWConfig, FlatParameters, clip};
use reverie_schema::derive_seed;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::WorldModelError;
use crate::config::WorldModelConfig;
use crate::data::{Cursor, PlayData, Streams};
use crate::error::Result;
use crate::likelihood::Spread;
use crate::noise::Noise;
use crate::rssm::WorldModel;
use crate::state::RunState;

/// AdamW's constants in LUMOS.
const BETAS: [f64; 2] = [0.9, 0.999];
const EPS: f64 = 1e-5;
/// AdamW of the networks beside the world model.
pub(crate) const ADAMW: AdamWConfig = AdamWConfig { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 };
/// Smoothing of the reported losses.
const SMOOTHING: f64 = 0.98;

/// How far a training run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorldModelProgress {
    /// Updates taken.
    pub update: u64,
    /// Smoothed loss, nats.
    pub loss: f64,
    /// Smoothed negative log-likelihood of the state.
    pub state: f64,
    /// Smoothed squared error of the pictures.
    pub pictures: f64,
    /// Smoothed divergence, nats.
    pub kl: f64,
    /// Norm of the last gradient before clipping.
    pub grad_norm: f64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All updates were taken.
    Finished,
    /// The callback stopped it; the state was saved.
    Interrupted,
}

/// Trains a world model on play.
#[derive(Debug)]
pub struct WorldModelTrainer {
    config: WorldModelConfig,
    data: PlayData,
    train: Range<usize>,
    held_out: Range<usize>,
    parameters: FlatParameters,
    model: WorldModel,
    optimiser: AdamW,
    streams: Streams,
    carried: Tensor,
    spread: Spread,
    progress: WorldModelProgress,
}

#[derive(Serialize, Deserialize)]
struct Rest {
    config: WorldModelConfig,
    data: [u64; 2],
    cursors: Vec<Option<Cursor>>,
    batches: [u64; 3],
    progress: WorldModelProgress,
}

impl WorldModelTrainer {
    /// A run from fresh weights.
    ///
    /// # Errors
    /// A setting that can't be used, cameras that are not in the data, too few data.
    pub fn new(config: WorldModelConfig, data: PlayData) -> Result<Self> {
        config.validate()?;
        if config.inputs.has_cameras() && !data.has_cameras() {
            return Err(WorldModelError::config(
                "inputs",
                format!("{:?}", config.inputs).to_lowercase(),
                "needs pictures of the cameras static and gripper; record play with `--camera static --camera gripper`",
            ));
        }
        let [train, held_out] = data.split(&config)?;
        let specs = WorldModel::parameters(&config);
        let values = initial_values(&specs, derive_seed(config.seed, "world model"));
        let parameters = FlatParameters::new(specs, &values, data.device());
        let model = WorldModel::new(&config, data.normaliser(), &parameters.table());
        let optimiser = AdamWConfig { betas: BETAS, eps: EPS, weight_decay: config.weight_decay };
        Ok(Self {
            carried: model.blank(config.streams as i64, &parameters.copy()),
            spread: Spread::new(data.device()),
            optimiser: AdamW::new(&parameters.copy(), optimiser),
            streams: Streams::new(config.streams),
            progress: WorldModelProgress::default(),
            config,
            data,
            train,
            held_out,
            parameters,
            model,
        })
    }

    /// The model as it is now.
    pub fn model(&self) -> &WorldModel {
        &self.model
    }

    /// The data.
    pub fn data(&self) -> &PlayData {
        &self.data
    }

    /// The episodes that are not learned from.
    pub fn held_out(&self) -> Range<usize> {
        self.held_out.clone()
    }

    /// The episodes that are learned from.
    pub fn train_episodes(&self) -> Range<usize> {
        self.train.clone()
    }

    /// The parameters.
    pub fn parameters(&self) -> &FlatParameters {
        &self.parameters
    }

    /// How far it is.
    pub fn progress(&self) -> WorldModelProgress {
        self.progress
    }

    /// Takes the updates that are left. `report` is called every `report_every` updates and may stop the run; the state is saved
    /// to `state_file` every `save_every` updates, when stopped, and at the end.
    ///
    /// # Errors
    /// [`WorldModelError::Diverged`], or what saving says.
    pub fn run(
        &mut self,
        state_file: Option<&Path>,
        mut report: impl FnMut(&WorldModelProgress) -> ControlFlow<()>,
    ) -> Result<Ended> {
        while self.progress.update < self.config.updates {
            self.update()?;
            let update = self.progress.update;
            let last = update == self.config.updates;
            let due = last || update.is_multiple_of(self.config.report_every);
            if due && report(&self.progress).is_break() && !last {
                state_file.map(|path| self.save_state(path)).transpose()?;
                return Ok(Ended::Interrupted);
            }
            if last || update.is_multiple_of(self.config.save_every) {
                state_file.map(|path| self.save_state(path)).transpose()?;
            }
        }
        Ok(Ended::Finished)
    }

    /// One update.
    ///
    /// # Errors
    /// [`WorldModelError::Diverged`]; the weights are then as before.
    pub fn update(&mut self) -> Result<()> {
        let update = self.progress.update;
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(self.config.seed, "streams"));
        rng.set_stream(update);
        let sequence = self.streams.next(&self.data, &self.train, &self.config, &mut rng);
        let mut noise = Noise::new(self.config.seed, "posterior", self.data.device()).part(update);
        let observed = self.model.observe(&sequence, &self.carried, &mut noise);
        let loss = self.model.loss(&sequence, &observed, &mut self.spread);
        let mut gradient = self.parameters.gradient(&loss.total);

        let _guard = tch::no_grad_guard();
        let grad_norm = clip(&mut gradient, self.config.grad_clip);
        let total = loss.total.double_value(&[]);
        if !(total.is_finite() && grad_norm.is_finite()) {
            return Err(WorldModelError::Diverged { what: "the world model's loss", update, loss: total });
        }
        self.optimiser.step(self.parameters.flat(), &gradient, update, self.config.learning_rate_at(update));
        self.carried = observed.latents.get(-1).detach();
        let smooth = |before: f64, now: &Tensor| {
            let now = now.double_value(&[]);
            if update == 0 { now } else { SMOOTHING * before + (1.0 - SMOOTHING) * now }
        };
        let before = self.progress;
        self.progress = WorldModelProgress {
            update: update + 1,
            loss: smooth(before.loss, &loss.total),
            state: smooth(before.state, &loss.state),
            pictures: smooth(before.pictures, &loss.pictures),
            kl: smooth(before.kl, &loss.kl),
            grad_norm,
        };
        Ok(())
    }

    /// Writes everything that [`resume`](Self::resume) needs.
    ///
    /// # Errors
    /// [`WorldModelError::File`].
    pub fn save_state(&self, path: &Path) -> Result<()> {
        let rest = Rest {
            config: self.config.clone(),
            data: self.data.fingerprint(),
            cursors: self.streams.cursors().to_vec(),
            batches: self.spread.batches,
            progress: self.progress,
        };
        let parameters = self.parameters.copy();
        RunState::save(
            path,
            &[
                ("parameters", &parameters),
                ("first_moment", &self.optimiser.first),
                ("second_moment", &self.optimiser.second),
                ("carried", &self.carried),
                ("errors", &self.spread.errors),
            ],
            &rest,
        )
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// What is wrong with the file, or that it is of other settings or data. The run is then as before.
    pub fn resume(&mut self, path: &Path) -> Result<()> {
        let (state, rest) = RunState::load::<Rest>(path)?;
        let same = WorldModelConfig {
            report_every: self.config.report_every,
            save_every: self.config.save_every,
            ..rest.config.clone()
        };
        if same != self.config || rest.data != self.data.fingerprint() {
            return Err(WorldModelError::file(path, "the run was begun with other settings or other play data"));
        }
        let n = [self.parameters.numel() as i64];
        let device = self.data.device();
        let parameters = state.tensor("parameters", &n, device)?;
        let first = state.tensor("first_moment", &n, device)?;
        let second = state.tensor("second_moment", &n, device)?;
        self.carried = state.tensor("carried", &self.carried.size(), device)?;
        let errors = state.tensor("errors", &self.spread.errors.size(), device)?;
        self.parameters.assign(&parameters);
        (self.optimiser.first, self.optimiser.second) = (first, second);
        self.spread = Spread { errors, batches: rest.batches };
        self.streams = Streams::resume(rest.cursors);
        self.progress = rest.progress;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::data::tests::numbered;

    fn config() -> WorldModelConfig {
        WorldModelConfig {
            deter: 16,
            groups: 4,
            classes: 4,
            hidden: 16,
            embed: 8,
            heads: 2,
            streams: 4,
            sequence: 5,
            updates: 12,
            warmup_updates: 2,
            ..WorldModelConfig::default()
        }
    }

    fn trainer(config: WorldModelConfig) -> WorldModelTrainer {
        let data = PlayData::new(numbered(&[60, 80, 70]), None, Device::Cpu).unwrap();
        WorldModelTrainer::new(config, data).unwrap()
    }

    #[test]
    fn an_interrupted_run_ends_with_the_same_weights() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.state");
        let mut whole = trainer(config());
        whole.run(None, |_| ControlFlow::Continue(())).unwrap();
        let mut first = trainer(WorldModelConfig { report_every: 5, ..config() });
        assert_eq!(first.run(Some(&path), |_| ControlFlow::Break(())).unwrap(), Ended::Interrupted);
        let mut second = trainer(config());
        second.resume(&path).unwrap();
        assert_eq!(second.progress().update, 5);
        second.run(Some(&path), |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(whole.parameters().copy(), second.parameters().copy());
        assert_eq!(whole.progress().update, second.progress().update);
        let mut other = trainer(WorldModelConfig { seed: 4, ..config() });
        assert!(other.resume(&path).unwrap_err().to_string().contains("other settings"));
    }

    /// A world that counts up: after learning, imagining goes on counting.
    #[test]
    fn a_counting_world_is_learned() {
        let config = WorldModelConfig { updates: 400, learning_rate: 3e-3, warmup_updates: 20, ..config() };
        let mut trainer = trainer(config);
        let mut first = None;
        trainer
            .run(None, |progress| {
                first.get_or_insert(progress.loss);
                ControlFlow::Continue(())
            })
            .unwrap();
        let (first, last) = (first.unwrap(), trainer.progress().loss);
        assert!(last < first - 30.0, "{first} -> {last} nats");

        let (model, data) = (trainer.model(), trainer.data());
        let mut noise = Noise::new(1, "imagine", Device::Cpu);
        let sequence = data.windows(&[0, 10, 70], 12, model.config());
        let observed = model.observe(&sequence, &model.blank(3, &sequence.actions), &mut noise).latents;
        let (mut latent, held) = (observed.get(3), model.state(&observed.get(3)));
        let apart = |a: &Tensor, b: &Tensor| (a - b).abs().mean(Kind::Float).double_value(&[]);
        for step in 4..12 {
            latent = model.imagine(&latent, &sequence.actions.get(step), &mut noise);
        }
        let truth = sequence.seen.state.get(11);
        let (imagined, holding) = (apart(&model.state(&latent), &truth), apart(&held, &truth));
        assert!(imagined < 0.5 * holding, "{imagined} from the truth, {holding} if it had stood still");
    }

    #[test]
    fn a_loss_that_is_no_number_stops_the_run() {
        let mut trainer = trainer(config());
        let _guard = tch::no_grad_guard();
        let _ = trainer.parameters.flat().fill_(f64::NAN);
        drop(_guard);
        let error = trainer.update().unwrap_err().to_string();
        assert!(error.starts_with("the world model's loss is NaN at update 0"), "{error}");
    }

    #[test]
    fn a_model_that_looks_needs_pictures() {
        let data = PlayData::new(numbered(&[60, 80]), None, Device::Cpu).unwrap();
        let config = WorldModelConfig { inputs: crate::Inputs::Vision, ..config() };
        assert!(WorldModelTrainer::new(config, data).unwrap_err().to_string().contains("--camera static"));
    }
}
