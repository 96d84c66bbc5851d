use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use reverie_schema::{N_ACT, derive_seed};
use tch::{Device, Tensor};

use super::adamw::{AdamW, AdamWConfig, clip};
use super::flat::{FlatParameters, to_raw};
use super::state::TrainState;
use super::{TrainConfig, TrainingData};
use crate::checkpoint::{ActionSpace, CheckpointInfo, FORMAT_VERSION, FeatureKind, TrainingRecord};
use crate::{
    Checkpoint, DecoderConfig, DraftConfig, Drafter, Network, NoiseSchedule, ParameterSpec, PolicyError, RawTensor,
    initial_values,
};

/// Smoothing of the reported loss: about the last hundred steps.
const LOSS_SMOOTHING: f64 = 0.99;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainProgress {
    /// Steps taken.
    pub step: u64,
    /// Steps to take.
    pub steps: u64,
    /// Mean loss of the last hundred steps or so.
    pub loss: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Norm of the last gradient before clipping.
    pub grad_norm: f64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps were taken.
    Finished,
    /// The callback stopped it; the state was saved if there was a file for it.
    Interrupted,
}

/// Where a checkpoint comes from, as told by the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The command line.
    pub command: String,
    /// The commit of the program.
    pub commit: String,
    /// The demonstrations: where from, how many, which seeds.
    pub dataset: String,
}

/// A training run.
///
/// Every step draws its batch from its own stream: a resumed run continues bit by
/// bit, given the same number of threads.
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    device: Device,
    data: TrainingData,
    schedule: NoiseSchedule,
    cond: Tensor,
    actions: Tensor,
    windows: Tensor,
    /// `sqrt(alpha_bar)` and `sqrt(1 - alpha_bar)`, `[noise_steps]` each.
    levels: [Tensor; 2],
    parameters: FlatParameters,
    average: Tensor,
    optimiser: AdamW,
    learner: Learner,
    step: u64,
    loss: f64,
    grad_norm: f64,
}

/// What is trained.
#[derive(Debug)]
enum Learner {
    /// Predicts the noise that was added to a window.
    Denoiser(Network),
    /// Predicts the window from its condition alone.
    Drafter(Drafter, DraftConfig),
}

struct Batch {
    clean: Tensor,
    cond: Tensor,
    labels: Tensor,
    eps: Tensor,
}

impl Trainer {
    /// A run from fresh weights.
    ///
    /// # Errors
    /// [`PolicyError::Config`] if the settings don't fit the data.
    pub fn new(config: TrainConfig, data: TrainingData, device: Device) -> Result<Self, PolicyError> {
        let specs = config.network.parameters(config.shape(data.tasks.len()));
        let values = initial_values(&specs, derive_seed(config.seed, "weights"));
        Self::assemble(config, data, device, specs, &values, None)
    }

    /// A run that trains a drafter by the mean squared error of whole windows, from fresh weights. `config.network` is not
    /// trained; sizes and normalisation are those of the checkpoint that `data` was cut for
    /// ([`TrainingData::for_checkpoint`]).
    ///
    /// # Errors
    /// [`PolicyError::Config`] if the settings don't fit the data.
    pub fn drafter(config: TrainConfig, draft: DraftConfig, data: TrainingData, device: Device) -> Result<Self, PolicyError> {
        draft.validate()?;
        let specs = draft.parameters(config.shape(data.tasks.len()));
        let values = initial_values(&specs, derive_seed(config.seed, "draft"));
        Self::assemble(config, data, device, specs, &values, Some(draft))
    }

    /// A run from the weights of `checkpoint` with fresh optimiser state, on data of [`TrainingData::for_checkpoint`].
    ///
    /// # Errors
    /// [`PolicyError::Config`] if the settings describe another network or schedule, or don't fit the data.
    pub fn from_checkpoint(
        config: TrainConfig,
        data: TrainingData,
        checkpoint: &Checkpoint,
        device: Device,
    ) -> Result<Self, PolicyError> {
        let info = &checkpoint.info;
        let shape = config.shape(data.tasks.len());
        if config.network != info.network || config.schedule() != info.schedule || shape != info.shape() {
            return Err(PolicyError::config("network", &config.network, "is not that of the checkpoint to start from"));
        }
        let specs = config.network.parameters(shape);
        let values = specs.iter().map(|s| checkpoint.tensor(&s.name).cloned()).collect::<Result<Vec<_>, _>>()?;
        Self::assemble(config, data, device, specs, &values, None)
    }

    /// Goes on from the state saved at `path`.
    ///
    /// # Errors
    /// Names the file and what is wrong with it, or that its settings are others. The run is then as before.
    pub fn resume(&mut self, path: &Path) -> Result<(), PolicyError> {
        let state = TrainState::load(path, &self.config, self.parameters.numel())?;
        let _guard = tch::no_grad_guard();
        self.step = state.step;
        self.loss = state.loss;
        let array = |name: &str| Tensor::from_slice(&state.arrays[name].data);
        self.parameters.assign(&array("parameters"));
        self.average.copy_(&array("average"));
        self.optimiser.first.copy_(&array("first_moment"));
        self.optimiser.second.copy_(&array("second_moment"));
        Ok(())
    }

    fn assemble(
        config: TrainConfig,
        data: TrainingData,
        device: Device,
        specs: Vec<ParameterSpec>,
        values: &[RawTensor],
        draft: Option<DraftConfig>,
    ) -> Result<Self, PolicyError> {
        config.validate(data.tasks.len())?;
        let shape = config.shape(data.tasks.len());
        if shape != data.shape {
            return Err(PolicyError::config("horizon", shape, format!("the data were cut for {:?}", data.shape)));
        }
        if data.is_empty() {
            return Err(PolicyError::Data("there is no frame to learn from".into()));
        }
        let schedule = config.schedule().build()?;
        let on_device = |values: &[f32], width: usize| Tensor::from_slice(values).view([-1, width as i64]).to_device(device);
        let level = |f: &dyn Fn(f64) -> f64| {
            let all: Vec<f32> = (0..schedule.n_steps()).map(|t| f(schedule.alpha_bar(t)) as f32).collect();
            Tensor::from_slice(&all).to_device(device)
        };
        let parameters = FlatParameters::new(specs, values, device);
        let table = parameters.table();
        let optimiser = AdamWConfig { betas: config.betas, eps: config.adam_eps, weight_decay: config.weight_decay };
        let average = parameters.copy();
        Ok(Self {
            cond: on_device(&data.cond, shape.n_cond),
            actions: on_device(&data.actions, N_ACT),
            windows: Tensor::from_slice(&data.windows).view([-1, shape.horizon as i64]).to_device(device),
            levels: [level(&f64::sqrt), level(&|a| (1.0 - a).sqrt())],
            optimiser: AdamW::new(&average, optimiser),
            average,
            learner: match draft {
                None => Learner::Denoiser(Network::new(&config.network, &table)),
                Some(draft) => Learner::Drafter(Drafter::new(&draft, &table, shape), draft),
            },
            parameters,
            schedule,
            device,
            data,
            config,
            step: 0,
            loss: f64::NAN,
            grad_norm: 0.0,
        })
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Steps taken so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Takes the remaining steps. `report` is called every `report_every` steps and after the last, and may stop the run. The
    /// state is saved to `state_file`, if given, every `save_every` steps, when stopped, and at the end.
    ///
    /// # Errors
    /// [`PolicyError::Diverged`] if the loss is no number (the last saved state is kept), [`PolicyError::Io`] from saving.
    pub fn run(
        &mut self,
        state_file: Option<&Path>,
        mut report: impl FnMut(&TrainProgress) -> ControlFlow<()>,
    ) -> Result<Outcome, PolicyError> {
        while self.step < self.config.steps {
            self.train_step()?;
            let last = self.step == self.config.steps;
            let due = last || self.step.is_multiple_of(self.config.report_every);
            if due && report(&self.progress()).is_break() && !last {
                state_file.map(|path| self.save_state(path)).transpose()?;
                return Ok(Outcome::Interrupted);
            }
            if last || self.step.is_multiple_of(self.config.save_every) {
                state_file.map(|path| self.save_state(path)).transpose()?;
            }
        }
        Ok(Outcome::Finished)
    }

    fn progress(&self) -> TrainProgress {
        TrainProgress {
            step: self.step,
            steps: self.config.steps,
            loss: self.loss,
            learning_rate: self.config.learning_rate_at(self.step.saturating_sub(1)),
            grad_norm: self.grad_norm,
        }
    }

    /// One optimiser step on a batch of its own stream. Returns its loss.
    ///
    /// # Errors
    /// [`PolicyError::Diverged`]; the weights are then as before.
    pub fn train_step(&mut self) -> Result<f64, PolicyError> {
        let batch = self.draw_batch(self.step);
        self.train_on(&batch)
    }

    fn train_on(&mut self, batch: &Batch) -> Result<f64, PolicyError> {
        let objective = match &self.learner {
            Learner::Denoiser(network) => {
                let level = |i: usize| self.levels[i].index_select(0, &batch.labels).view([-1, 1, 1]);
                let noisy = level(0) * &batch.clean + level(1) * &batch.eps;
                let predicted = network.forward(&noisy, &batch.labels, &batch.cond);
                predicted.mse_loss(&batch.eps, tch::Reduction::Mean)
            }
            Learner::Drafter(drafter, _) => drafter.forward(&batch.cond).mse_loss(&batch.clean, tch::Reduction::Mean),
        };
        let mut gradient = self.parameters.gradient(&objective);

        let _guard = tch::no_grad_guard();
        let loss = objective.double_value(&[]);
        let grad_norm = clip(&mut gradient, self.config.grad_clip);
        if !(loss.is_finite() && grad_norm.is_finite()) {
            return Err(PolicyError::Diverged { step: self.step, loss });
        }
        self.optimiser.step(self.parameters.flat(), &gradient, self.step, self.config.learning_rate_at(self.step));
        let decay = self.config.ema_decay_at(self.step);
        let _ = self.average.lerp_(self.parameters.flat(), 1.0 - decay);
        self.step += 1;
        self.grad_norm = grad_norm;
        self.loss = if self.loss.is_nan() { loss } else { LOSS_SMOOTHING * self.loss + (1.0 - LOSS_SMOOTHING) * loss };
        Ok(loss)
    }

    /// Windows, noise levels and noise of a step, from a stream of that step alone.
    fn draw_batch(&self, step: u64) -> Batch {
        let mut rng = ChaCha8Rng::seed_from_u64(derive_seed(self.config.seed, "batch"));
        rng.set_stream(step);
        let (batch, shape) = (self.config.batch, self.data.shape);
        let windows: Vec<i64> = (0..batch).map(|_| rng.random_range(0..self.data.len()) as i64).collect();
        let labels: Vec<i64> = (0..batch).map(|_| rng.random_range(0..self.schedule.n_steps()) as i64).collect();
        let eps: Vec<f32> = (0..batch * shape.chunk_len()).map(|_| rng.sample(StandardNormal)).collect();
        let windows = Tensor::from_slice(&windows).to_device(self.device);
        let size = [batch as i64, shape.horizon as i64, shape.n_act as i64];
        // A window's first row is its own frame, so the window's index is the condition's too.
        let rows = self.windows.index_select(0, &windows).view([-1]);
        Batch {
            clean: self.actions.index_select(0, &rows).view(size),
            cond: self.cond.index_select(0, &windows),
            labels: Tensor::from_slice(&labels).to_device(self.device),
            eps: Tensor::from_slice(&eps).view(size).to_device(self.device),
        }
    }

    fn arrays(&self) -> [(&'static str, Tensor); 4] {
        [
            ("parameters", self.parameters.copy()),
            ("average", self.average.shallow_clone()),
            ("first_moment", self.optimiser.first.shallow_clone()),
            ("second_moment", self.optimiser.second.shallow_clone()),
        ]
    }

    /// Writes everything that [`resume`](Self::resume) needs, whole or not at all.
    ///
    /// # Errors
    /// [`PolicyError::Io`].
    pub fn save_state(&self, path: &Path) -> Result<(), PolicyError> {
        let arrays = self.arrays().map(|(name, tensor)| (name.to_owned(), to_raw(&tensor)));
        TrainState { step: self.step, loss: self.loss, arrays: arrays.into() }.save(path, &self.config)
    }

    fn averaged(&self) -> BTreeMap<String, RawTensor> {
        self.parameters.named(&self.average)
    }

    fn record(&self, provenance: Provenance) -> TrainingRecord {
        TrainingRecord {
            command: provenance.command,
            commit: provenance.commit,
            dataset: provenance.dataset,
            steps: self.step,
            loss: if self.loss.is_nan() { 0.0 } else { self.loss },
            config: self.config.clone(),
        }
    }

    /// `base` with the averaged weights as its drafter, in the place of one that it had.
    ///
    /// # Errors
    /// [`PolicyError::Config`] unless this run trains a drafter, and those of [`Checkpoint::new`].
    pub fn add_draft(&self, base: &Checkpoint, provenance: Provenance) -> Result<Checkpoint, PolicyError> {
        let Learner::Drafter(_, draft) = &self.learner else {
            return Err(PolicyError::config("draft", "none", "this run trains a policy, not a drafter"));
        };
        base.with_draft(draft.clone(), self.record(provenance), self.averaged())
    }

    /// The averaged weights as a checkpoint.
    ///
    /// # Errors
    /// Those of [`Checkpoint::new`], about `decoder` for example.
    pub fn checkpoint(&self, decoder: DecoderConfig, provenance: Provenance) -> Result<Checkpoint, PolicyError> {
        let info = CheckpointInfo {
            format_version: FORMAT_VERSION,
            network: self.config.network.clone(),
            draft: None,
            draft_training: None,
            schedule: self.config.schedule(),
            horizon: self.data.shape.horizon,
            n_act: self.data.shape.n_act,
            action_space: ActionSpace::CalvinRelative,
            features: FeatureKind::CalvinState,
            n_obs: self.config.n_obs,
            tasks: self.data.tasks.clone(),
            observation_normaliser: self.data.observation_normaliser.clone(),
            action_normaliser: self.data.action_normaliser.clone(),
            decoder,
            rti: None,
            training: self.record(provenance),
            tuning: None,
            tensors_sha256: String::new(),
        };
        Checkpoint::new(info, self.averaged())
    }
}
