//! The residual MLP's phases. See [`NetworkConfig::ResidualMlp`](crate::NetworkConfig::ResidualMlp) and `net/residual_mlp.rs`
//! for the network. The drafter is the same without chunk and noise level as inputs.

use super::modulation::{Modulation, step_table};
use super::pack::WeightFormat;
use super::program::{Add, Builder, Built, Epilogue, Film, Kernel, Layer, Output, Parameters, Phase, View, layer, plain};
use crate::{PolicyError, PolicyShape};

pub(super) fn build<'a>(
    builder: &mut Builder<'a>,
    parameters: &Parameters<'a>,
    shape: PolicyShape,
    (blocks, step_embed): (usize, usize),
    labels: usize,
) -> Result<Built, PolicyError> {
    let chunk = shape.chunk_len();
    let x = builder.view(1, chunk, false);
    let eps = builder.view(1, chunk, false);
    let [weight, bias] = parameters.pair("input")?;
    let (hidden, columns) = (bias.len(), weight.len() / bias.len());
    // The columns of the chunk are a layer, those of the noise level and the condition modulate its output.
    let rest: Vec<f32> = weight.chunks_exact(columns).flat_map(|row| &row[chunk..]).copied().collect();
    let time = step_table(parameters, ["time.0", "time.1"], step_embed, labels)?;
    let mut modulation = Modulation::new(hidden, shape.n_cond, labels);
    modulation.add_rows(&rest, bias, step_embed, &time);

    let kept = builder.view(1, hidden, false);
    let first = builder.operand(1, hidden);
    let epilogue = Epilogue {
        film: Some(Film::Bias(0)),
        keep: Some(kept),
        outputs: vec![Output { view: first, mish: true }],
        ..plain(first)
    };
    let kernel = dense(hidden, chunk, move |row, column| weight[row * columns + column]);
    let zeros = vec![0.0; hidden];
    let mut phases = vec![builder.phase(Layer { epilogue, ..layer(WeightFormat::F32, x, kernel, &zeros, 1) })];
    trunk(builder, parameters, "", blocks, (first, kept), eps, &mut phases)?;
    Ok(Built { evaluation: phases, x, eps, modulation })
}

/// A drafter: `input` from the condition, then the trunk, its parameters under `draft.`.
pub(super) fn build_draft<'a>(
    builder: &mut Builder<'a>,
    parameters: &Parameters<'a>,
    cond: View,
    blocks: usize,
) -> Result<(Vec<Phase>, View), PolicyError> {
    let [weight, bias] = parameters.pair("draft.input")?;
    let [_, out_bias] = parameters.pair("draft.output")?;
    let (hidden, columns) = (bias.len(), cond.channels);
    let chunk = builder.view(1, out_bias.len(), false);
    let kept = builder.view(1, hidden, false);
    let first = builder.operand(1, hidden);
    let epilogue = Epilogue { keep: Some(kept), outputs: vec![Output { view: first, mish: true }], ..plain(first) };
    let kernel = dense(hidden, columns, move |row, column| weight[row * columns + column]);
    let mut phases = vec![builder.phase(Layer { epilogue, ..layer(WeightFormat::F32, cond, kernel, bias, 1) })];
    trunk(builder, parameters, "draft.", blocks, (first, kept), chunk, &mut phases)?;
    Ok((phases, chunk))
}

/// Residual blocks and the output layer. `(operand, kept)`: Mish of the signal, and the signal.
fn trunk<'a>(
    builder: &mut Builder<'a>,
    parameters: &Parameters<'a>,
    prefix: &str,
    blocks: usize,
    (mut operand, mut kept): (View, View),
    out: View,
    phases: &mut Vec<Phase>,
) -> Result<(), PolicyError> {
    let hidden = kept.channels;
    let last = builder.view(1, hidden, false);
    for block in 0..blocks {
        let [weight, bias] = parameters.pair(&format!("{prefix}blocks.{block}.0"))?;
        let middle = builder.operand(1, hidden);
        let epilogue = Epilogue { outputs: vec![Output { view: middle, mish: true }], ..plain(middle) };
        let kernel = dense(hidden, hidden, move |row, column| weight[row * hidden + column]);
        phases.push(builder.phase(Layer { epilogue, ..layer(builder.format, operand, kernel, bias, 1) }));

        let [weight, bias] = parameters.pair(&format!("{prefix}blocks.{block}.1"))?;
        let next = builder.view(1, hidden, false);
        let is_last = block + 1 == blocks;
        operand = if is_last { last } else { builder.operand(1, hidden) };
        let outputs = vec![Output { view: operand, mish: !is_last }];
        let epilogue = Epilogue { add: Add::Kept(kept), keep: Some(next), outputs, ..plain(operand) };
        let kernel = dense(hidden, hidden, move |row, column| weight[row * hidden + column]);
        phases.push(builder.phase(Layer { epilogue, ..layer(builder.format, middle, kernel, bias, 1) }));
        kept = next;
    }
    let [weight, bias] = parameters.pair(&format!("{prefix}output"))?;
    let input = if blocks == 0 { kept } else { last };
    let kernel = dense(out.channels, hidden, move |row, column| weight[row * hidden + column]);
    phases.push(builder.phase(Layer { epilogue: plain(out), ..layer(WeightFormat::F32, input, kernel, bias, 1) }));
    Ok(())
}

/// A linear layer as a convolution over one row.
pub(super) fn dense<'a>(channels_out: usize, channels_in: usize, at: impl Fn(usize, usize) -> f32 + 'a) -> Kernel<'a> {
    Kernel {
        rows_out: 1,
        channels_out,
        channels_in,
        stride: 1,
        shifts: vec![0],
        first_row: 0,
        row_step: 1,
        at: Box::new(move |row, _, column| at(row, column)),
    }
}
